//! `Warning` headers: each warning once, in HTTP's quotes, and together not too long (apiserver
//! `pkg/endpoints/filters/warning.go`).

use std::collections::HashSet;

use http::HeaderValue;

/// When all have more characters than so many, each is cut.
const TOTAL_MAX: usize = 4 * 1024;
/// To so many.
const CUT: usize = 256;

/// The values of the headers. A warning that cannot stand in one is left out.
pub(super) fn headers(warnings: &[String]) -> Vec<HeaderValue> {
    let mut seen = HashSet::new();
    let once: Vec<&str> =
        warnings.iter().map(String::as_str).filter(|text| !text.is_empty() && seen.insert(*text)).collect();
    let sendable = |text: &&&str| !text.contains(char::is_control);
    let total: usize = once.iter().filter(sendable).map(|text| text.chars().count()).sum();
    if total <= TOTAL_MAX {
        return once.into_iter().filter_map(header).collect();
    }
    let mut written = 0;
    let cut = once.into_iter().take_while(|text| {
        let fits = written < TOTAL_MAX;
        written += text.chars().count().min(CUT);
        fits
    });
    cut.filter_map(|text| header(text.char_indices().nth(CUT).map_or(text, |(at, _)| &text[..at]))).collect()
}

fn header(text: &str) -> Option<HeaderValue> {
    if text.contains(char::is_control) {
        return None;
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(warnings: &[&str]) -> Vec<String> {
        let warnings: Vec<String> = warnings.iter().map(|text| (*text).to_owned()).collect();
        headers(&warnings)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }

    #[test]
    fn warnings_are_quoted_and_come_once() {
        assert_eq!(
            texts(&["use \"b\"", "a\\b", "", "use \"b\"", "größer", "two\nlines"]),
            ["299 - \"use \\\"b\\\"\"", "299 - \"a\\\\b\"", "299 - \"größer\""]
        );
    }

    #[test]
    fn too_much_is_cut() {
        let long: Vec<String> = (0..20).map(|n| format!("{n:0>300}")).collect();
        let headers = headers(&long);
        assert_eq!(headers.len(), TOTAL_MAX / CUT);
        assert!(headers.iter().all(|value| value.len() == CUT + "299 - \"\"".len()));
        let short: Vec<String> = (0..TOTAL_MAX / 300).map(|n| format!("{n:0>300}")).collect();
        assert!(super::headers(&short).iter().all(|value| value.len() > 300));
    }
}
