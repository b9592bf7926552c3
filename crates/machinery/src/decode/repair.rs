//! JSON text that Go reads although its strings are not well-formed: what is wrong in them becomes U+FFFD.

use std::borrow::Cow;

/// The text with each byte that is not UTF-8, and each half of a surrogate pair, replaced. Borrowed when nothing is.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = match std::str::from_utf8(bytes) {
        Ok(_) => Cow::Borrowed(bytes),
        Err(_) => Cow::Owned(utf8(bytes)),
    };
    let whole = match &text {
        Cow::Borrowed(bytes) => surrogates(bytes),
        Cow::Owned(bytes) => surrogates(bytes),
    };
    whole.map_or(text, Cow::Owned)
}

fn utf8(bytes: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text.into_bytes()
}

/// `None` when all are in pairs. Backslashes stand only in strings, when the text is JSON at all.
fn surrogates(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < bytes.len() {
        let len = match bytes[at] {
            b'\\' => escape(&bytes[at..]),
            _ => Ok(1),
        };
        match len {
            Ok(len) => {
                let end = (at + len).min(bytes.len());
                if let Some(text) = &mut text {
                    text.extend_from_slice(&bytes[at..end]);
                }
                at = end;
            }
            Err(HalfPair) => {
                text.get_or_insert_with(|| bytes[..at].to_vec()).extend_from_slice(b"\\ufffd");
                at += UNICODE;
            }
        }
    }
    text
}

/// Length of `\u` with its digits.
const UNICODE: usize = 6;

/// An escape that stands for half of a character.
struct HalfPair;

/// The length of what an escape begins.
fn escape(bytes: &[u8]) -> Result<usize, HalfPair> {
    match unit(bytes) {
        None => Ok(2),
        Some(0xd800..=0xdbff) if matches!(unit(&bytes[UNICODE..]), Some(0xdc00..=0xdfff)) => Ok(2 * UNICODE),
        Some(0xd800..=0xdfff) => Err(HalfPair),
        Some(_) => Ok(UNICODE),
    }
}

/// The number in `\uXXXX` at the start.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(bytes.strip_prefix(b"\\u")?.get(..4)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::{Media, object};

    #[test]
    fn documents_are_read_from_it() {
        let decoded =
            object(br#"{"a": "\ud800", "b": 1, "b": "\udc00\n"}"#, Media::Json).expect("a document");
        assert_eq!(decoded.value, json!({"a": "\u{fffd}", "b": "\u{fffd}\n"}));
        assert_eq!(decoded.duplicates, ["duplicate field \"b\""]);
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        for (bytes, want) in [
            (br#""\ud83d\ude00""#.as_slice(), r#""\ud83d\ude00""#),
            (br#""\ud800""#, r#""\ufffd""#),
            (br#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (br#""\ud800\ud83d\ude00\n""#, r#""\ufffd\ud83d\ude00\n""#),
            (br#""\\ud800\uD800x""#, r#""\\ud800\ufffdx""#),
            (b"\"\xe2\x82x\xff\"", "\"\u{fffd}\u{fffd}x\u{fffd}\""),
            (b"\\", "\\"),
        ] {
            assert_eq!(text(bytes), want.as_bytes());
        }
    }
}
