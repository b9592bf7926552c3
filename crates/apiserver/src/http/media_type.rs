//! `Content-Type`, read as Go's `mime.ParseMediaType` reads it.

/// The media type in lower case, without parameters; none for what is no media type.
pub(crate) fn essence(header: &str) -> Option<String> {
    let (media, mut rest) = header.split_at(header.find(';').unwrap_or(header.len()));
    let media = media.trim().to_ascii_lowercase();
    let (kind, subtype) = media.split_once('/').unwrap_or((&media, "x"));
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    while let Some(after) = rest.trim_start().strip_prefix(';') {
        if after.trim().is_empty() {
            return Some(media);
        }
        let (name, after) = parameter(after)?;
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        rest = after;
    }
    rest.trim().is_empty().then_some(media)
}

/// The name of the first parameter, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let (name, value) = text.trim_start().split_once('=')?;
    if !is_token(name) {
        return None;
    }
    let after = match value.strip_prefix('"') {
        Some(quoted) => after_quotes(quoted)?,
        None => {
            let end = value.find(|c| !is_token_char(c)).unwrap_or(value.len());
            (end > 0).then(|| &value[end..])?
        }
    };
    Some((name.to_ascii_lowercase(), after))
}

/// What follows quoted text, whose first quote is taken off already.
fn after_quotes(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return Some(&text[at + 1..]),
            '\r' | '\n' => return None,
            _ => escaped = !escaped && c == '\\',
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::essence;

    #[test]
    fn media_types_are_read_as_go_reads_them() {
        for (header, want) in [
            ("application/json", Some("application/json")),
            (" Application/JSON ; charset=UTF-8", Some("application/json")),
            ("application/json;", Some("application/json")),
            ("application/json; a=\"x;\\\"y\" ; b=c", Some("application/json")),
            ("json", Some("json")),
            ("*/*", Some("*/*")),
            ("application/json; charset=\"", None),
            ("application/json; charset", None),
            ("application/json; a=1; A=2", None),
            ("application/json; a=1 b", None),
            ("application/", None),
            ("a b/c", None),
            ("", None),
        ] {
            assert_eq!(essence(header).as_deref(), want, "{header}");
        }
    }
}
