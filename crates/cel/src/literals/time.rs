//! Durations and times as Go writes them.

/// Seconds of the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(super) fn is_second(second: i64) -> bool {
    SECONDS.contains(&second)
}

/// Whether a text is a time as RFC 3339 writes it.
pub(super) fn is_timestamp(text: &str) -> bool {
    let plausible = text.len() >= 20 && text.as_bytes()[10] == b'T' && !text.contains(['[', 't', 'z']);
    plausible && text.parse::<jiff::Timestamp>().is_ok_and(|time| is_second(time.as_second()))
}

/// Whether a text is numbers with units, a sign before them, and not beyond what 64 bits of nanoseconds hold.
pub(super) fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let Some((nanoseconds, after)) = part(rest) else { return false };
        (total, rest) = (total + nanoseconds, after);
    }
    text.contains(|c: char| c.is_ascii_digit()) && total <= i64::MAX as f64
}

/// A number with its unit, in nanoseconds, and what comes after it.
fn part(text: &str) -> Option<(f64, &str)> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = match &text[..end] {
        "" | "." => return None,
        digits => digits.parse().ok()?,
    };
    let (unit, scale) = UNITS.into_iter().find(|(unit, _)| {
        let after = text[end..].strip_prefix(unit);
        after.is_some_and(|after| !after.starts_with(|c: char| !c.is_ascii_digit() && c != '.'))
    })?;
    Some((number * scale, &text[end + unit.len()..]))
}
