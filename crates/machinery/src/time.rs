//! Times as the API writes them: RFC 3339 in UTC, to the second (`metav1.Time`) or the microsecond (`metav1.MicroTime`).

use jiff::Timestamp;

/// Digits of a second's fraction in `metav1.MicroTime`.
const MICRO_DIGITS: usize = 6;

/// `metav1.Time`: `2026-07-01T12:00:00Z`; fractions of a second are cut off.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same as [`rfc3339`], named for its usual use: the caller passes the present.
pub fn now_rfc3339(now: Timestamp) -> String {
    rfc3339(now)
}

/// `metav1.MicroTime`: `2026-07-01T12:00:00.000000Z`, always six digits.
pub fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Parses RFC 3339 with any offset and any number of fractional digits.
pub fn parse(text: &str) -> Option<Timestamp> {
    // jiff also takes looser forms (a space, no offset); the API does not.
    let bytes = text.as_bytes();
    let strict = bytes.len() >= 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[10] == b'T'
        && bytes[13] == b':'
        && bytes[16] == b':'
        && !text.contains('[');
    if strict { text.parse().ok() } else { None }
}

/// Parses what Go's layout of times with microseconds takes: all six digits of them, and any offset.
pub fn parse_micro(text: &str) -> Option<Timestamp> {
    let digits = text.get(19..)?.strip_prefix('.')?;
    let six = digits.bytes().take_while(u8::is_ascii_digit).count() == MICRO_DIGITS;
    if six { parse(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        let time = Timestamp::new(1_780_000_000, 123_456_789).expect("in range");
        assert_eq!(rfc3339(time), "2026-05-28T20:26:40Z");
        assert_eq!(micro(time), "2026-05-28T20:26:40.123456Z");
        assert_eq!(parse("2026-05-28T22:26:40+02:00"), parse("2026-05-28T20:26:40Z"));
        for bad in [
            "",
            "yesterday",
            "2026-05-28",
            "2026-05-28 20:26:40Z",
            "2026-05-28T20:26:40",
            "2026-13-28T20:26:40Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
