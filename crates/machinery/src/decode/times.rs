//! The forms of times, and what Go says about text in none of them.

use crate::time;

/// A form of times.
pub(super) struct Layout {
    /// What Go calls it.
    name: &'static str,
    /// What stands between the seconds and the zone.
    fraction: &'static str,
    pub parse: fn(&str) -> Option<jiff::Timestamp>,
    pub print: fn(jiff::Timestamp) -> String,
}

pub(super) const SECONDS: Layout =
    Layout { name: "2006-01-02T15:04:05Z07:00", fraction: "", parse: time::parse, print: time::rfc3339 };
pub(super) const MICROSECONDS: Layout = Layout {
    name: "2006-01-02T15:04:05.000000Z07:00",
    fraction: ".000000",
    parse: time::parse_micro,
    print: time::micro,
};

impl Layout {
    /// What Go's `time.Parse` says about text that is no such time.
    pub fn error(&self, text: &str) -> String {
        const PARTS: [&str; 11] = ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"];
        const ZONE: &str = "Z07:00";
        let said = format!("parsing time {}", quote(text));
        let misfit = |rest: &str, part: &str| {
            format!("{said} as {}: cannot parse {} as {}", quote(self.name), quote(rest), quote(part))
        };
        let mut rest = text;
        for part in PARTS.into_iter().chain([self.fraction]) {
            let is_number = |c: char| c.is_ascii_digit();
            let fits = |taken: &str| {
                taken
                    .chars()
                    .zip(part.chars())
                    .all(|(is, want)| is == want || is_number(is) && is_number(want))
            };
            if !rest.get(..part.len()).is_some_and(fits) {
                return misfit(rest, part);
            }
            rest = &rest[part.len()..];
        }
        if !is_zone(rest) {
            return misfit(rest, ZONE);
        }
        format!("{said}: {} out of range", out_of_range(text))
    }
}

/// The text as Go's messages about times quote it.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', byte.into()]),
            b' '..=0x7f => quoted.push(byte.into()),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted + "\""
}

/// Which part of a time there is not.
fn out_of_range(text: &str) -> &'static str {
    const PARTS: [(&str, usize, std::ops::Range<u8>); 4] =
        [("month", 5, 1..13), ("hour", 11, 0..24), ("minute", 14, 0..60), ("second", 17, 0..60)];
    let number = |at: usize| text.get(at..at + 2).and_then(|number| number.parse().ok());
    let wrong =
        |at: usize, range: &std::ops::Range<u8>| number(at).is_none_or(|number| !range.contains(&number));
    PARTS.iter().find(|(_, at, range)| wrong(*at, range)).map_or("day", |(name, ..)| *name)
}

/// Whether this is the end of a time: `Z`, or an offset.
fn is_zone(text: &str) -> bool {
    text == "Z" || text.len() == 6 && text.starts_with(['+', '-']) && text.as_bytes()[3] == b':'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_byte_by_byte() {
        let said = SECONDS.error("\u{e9}\"\n");
        let want = r#"parsing time "\xc3\xa9\"\x0a" as "2006-01-02T15:04:05Z07:00": cannot parse "\xc3\xa9\"\x0a" as "2006""#;
        assert_eq!(said, want);
    }
}
