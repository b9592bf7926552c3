//! The query string: every key may appear several times.

/// A parsed query string, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses `a=1&b=x%20y&a=2`. A pair that cannot be decoded is left out, as `url.ParseQuery` leaves it out.
    #[must_use]
    pub fn parse(raw: &str) -> Query {
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode_component(key)?, decode_component(value)?))
            })
            .collect();
        Query { pairs }
    }

    /// The first value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The first value of `key` that is not empty: for parameters whose empty value means "not set".
    #[must_use]
    pub fn get_set(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Every value of `key`, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean as apimachinery's query conversion reads it: absent, `0` and `false` are false, anything else
    /// (also the empty value of `?watch`) is true.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(value) => value != "0" && !value.eq_ignore_ascii_case("false"),
        }
    }

    /// Whether `key` appears at all.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.pairs.push((key.into(), value.into()));
    }

    /// Writes the query back in encoded form, without the leading `?`.
    #[must_use]
    pub fn encode(&self) -> String {
        let parts: Vec<String> =
            self.pairs.iter().map(|(k, v)| format!("{}={}", percent_encode(k), percent_encode(v))).collect();
        parts.join("&")
    }
}

fn decode_component(raw: &str) -> Option<String> {
    if raw.contains('+') { percent_decode(&raw.replace('+', " ")) } else { percent_decode(raw) }
}

/// Decodes `%xx` escapes. `None` when an escape is broken or the result is not UTF-8.
#[must_use]
pub fn percent_decode(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Encodes everything but unreserved characters as `%XX`.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_repeat_and_values_are_decoded() {
        let query = Query::parse("command=sh&command=-c&command=echo+hi%26%3D&stdin&x=%zz&&limit=5");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo hi&="]);
        assert_eq!(query.get("limit"), Some("5"));
        assert_eq!(query.get("x"), None, "a broken escape drops the pair");
        assert_eq!(query.get("stdin"), Some(""));
        assert_eq!(query.get_set("stdin"), None);
    }

    #[test]
    fn flags_follow_the_query_conversion() {
        let query = Query::parse("a&b=true&c=false&d=0&e=1&f=False&g=x");
        let set: Vec<&str> =
            ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().filter(|k| query.flag(k)).collect();
        assert_eq!(set, ["a", "b", "e", "g"]);
    }

    #[test]
    fn encoding_reverses_parsing() {
        let text = "a=1%202&b=%2F%25&a=";
        let query = Query::parse(text);
        assert_eq!(query.encode(), text);
        assert_eq!(Query::parse(&query.encode()), query);
    }
}
