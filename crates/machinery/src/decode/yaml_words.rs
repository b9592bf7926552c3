//! What go-yaml says about text that is no YAML.

use granit_parser::{ErrorKind, Marker, ScanError};

/// The text of a document, or what is wrong with its bytes.
pub(super) fn readable(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| octets(bytes, &error).to_owned())?;
    match text.chars().find(|c| !is_allowed(*c)) {
        // A mark of the byte order may begin the text, and is none of it.
        Some('\u{feff}') if text.starts_with('\u{feff}') && text[3..].chars().all(is_allowed) => {
            Ok(&text[3..])
        }
        Some(_) => Err("control characters are not allowed".to_owned()),
        None => Ok(text),
    }
}

fn octets(bytes: &[u8], error: &std::str::Utf8Error) -> &'static str {
    let lead = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
    match (error.error_len(), lead) {
        (None, _) => "incomplete UTF-8 octet sequence",
        (_, 0x80..=0xbf | 0xf8..) => "invalid leading UTF-8 octet",
        _ => "invalid trailing UTF-8 octet",
    }
}

fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// The parser's message, with the line where go-yaml would name one.
pub(super) fn message(error: &ScanError, text: &str) -> String {
    let line = error.marker().line();
    let (words, line) = match error.kind() {
        ErrorKind::UnknownAnchor => {
            return format!("unknown anchor '{}' referenced", anchor_at(text, error.marker()));
        }
        kind => match grammar(kind, text).or_else(|| misplaced(kind, text, error.marker())) {
            // The grammar counts lines from zero, and does not correct that.
            Some((words, at_end)) => (words, if at_end { end(text) } else { line } - 1),
            None => {
                let (words, place) = scan(kind);
                let line = match place {
                    At::Mark => line,
                    At::End => lines(text),
                    At::NextToken => next_token(text, line),
                };
                (words, if line == 1 { 0 } else { line })
            }
        },
    };
    let words = words.map_or_else(|| own_words(error), str::to_owned);
    if line == 0 { words } else { format!("line {line}: {words}") }
}

/// Lines that were begun before the end, at least one.
fn lines(text: &str) -> usize {
    1 + text.bytes().filter(|byte| *byte == b'\n').count()
}

/// The line of the end, which begins one of its own.
fn end(text: &str) -> usize {
    lines(text) + usize::from(!text.ends_with('\n'))
}

/// The line of the first token after a line; behind the last there is the end.
fn next_token(text: &str, line: usize) -> usize {
    let is_token = |text: &str| !text.trim().is_empty() && !text.trim_start().starts_with('#');
    let after = text.lines().enumerate().skip(line).find(|(_, text)| is_token(text));
    // The end begins a line of its own.
    after.map_or_else(|| lines(text.trim_end_matches('\n')) + 1, |(at, _)| at + 1)
}

/// The parser's own words, without what it was doing.
fn own_words(error: &ScanError) -> String {
    let info = error.info();
    let shorter = info.strip_prefix("while ").and_then(|rest| rest.split_once(", "));
    shorter.map_or_else(|| info.clone(), |(_, words)| words.to_owned())
}

/// Words, where there are others than the parser's own, and whether the end of the text is meant.
type Words = (Option<&'static str>, bool);

/// What stands right behind a quoted scalar, and a dash between brackets, is a token of its own to go-yaml, and in the wrong
/// place.
fn misplaced(kind: &ErrorKind, text: &str, at: &Marker) -> Option<Words> {
    let before = text.chars().take(at.index()).collect::<String>();
    match kind {
        ErrorKind::BlockEntryInFlowCollection if before.trim_end().ends_with(['[', '{', ',', ':']) => {
            return Some((Some("did not find expected node content"), false));
        }
        ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar
            if text.chars().nth(at.index()).is_some_and(|c| matches!(c, '@' | '`')) =>
        {
            return None;
        }
        ErrorKind::BlockEntryInFlowCollection
        | ErrorKind::CommentNotSeparated
        | ErrorKind::InvalidTrailingDoubleQuotedScalar
        | ErrorKind::InvalidTrailingSingleQuotedScalar => {}
        _ => return None,
    }
    let words = match innermost(&before) {
        Some('[') => "did not find expected ',' or ']'",
        Some(_) => "did not find expected ',' or '}'",
        None => "did not find expected key",
    };
    Some((Some(words), false))
}

/// The bracket that is open at the end, as far as one can tell without reading all tokens.
fn innermost(text: &str) -> Option<char> {
    let (mut open, mut quote, mut last) = (Vec::new(), None, '\n');
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        // A token begins behind these.
        let fresh = last.is_whitespace() || matches!(last, '[' | '{' | ',' | ':');
        match (quote, c) {
            (Some('"'), '\\') => drop(chars.next()),
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') if fresh => quote = Some(c),
            (None, '#') if last.is_whitespace() => drop(chars.find(|c| *c == '\n')),
            (None, '[' | '{') if fresh || !open.is_empty() => open.push(c),
            (None, ']' | '}') => drop(open.pop()),
            _ => {}
        }
        last = c;
    }
    open.pop()
}

/// Errors that are about the order of tokens.
fn grammar(kind: &ErrorKind, text: &str) -> Option<Words> {
    const NODE: Option<&str> = Some("did not find expected node content");
    const SEQUENCE: Option<&str> = Some("did not find expected ',' or ']'");
    const MAPPING: Option<&str> = Some("did not find expected ',' or '}'");
    // After these an item has to follow.
    let open = text.trim_end().ends_with(['[', '{', ',', ':']);
    Some(match kind {
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnclosedFlowCollection { open: '[' } => {
            (if open { NODE } else { SEQUENCE }, true)
        }
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::UnclosedFlowCollection { .. } => (if open { NODE } else { MAPPING }, true),
        ErrorKind::UnexpectedEofBlockSequence => (Some("did not find expected '-' indicator"), true),
        ErrorKind::UnexpectedEofBlockMapping => (Some("did not find expected key"), true),
        ErrorKind::UnexpectedEof => (NODE, true),
        ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::MismatchedFlowCollectionEnd { open: '[', .. } => (SEQUENCE, false),
        ErrorKind::MismatchedFlowCollectionEnd { .. } => (MAPPING, false),
        ErrorKind::MisplacedFlowCollectionEnd => (NODE, false),
        ErrorKind::UndeclaredTagHandle => (Some("found undefined tag handle"), false),
        ErrorKind::DuplicateVersionDirective => (Some("found duplicate %YAML directive"), false),
        ErrorKind::UnsupportedYamlMajorVersion => (Some("found incompatible YAML document"), false),
        ErrorKind::DuplicateTagDirective => (Some("found duplicate %TAG directive"), false),
        ErrorKind::ExpectedNodeContent
        | ErrorKind::ExpectedStreamStart
        | ErrorKind::ExpectedDocumentStart
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::ExpectedFlowMappingSeparator => (None, false),
        _ => return None,
    })
}

/// What go-yaml means where the parser's mark stands elsewhere.
enum At {
    Mark,
    End,
    NextToken,
}

/// Errors that are about characters.
fn scan(kind: &ErrorKind) -> (Option<&'static str>, At) {
    let words = match kind {
        ErrorKind::UnclosedQuotedScalar => return (Some("found unexpected end of stream"), At::End),
        // Noticed when the next token is not the colon.
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            return (Some("could not find expected ':'"), At::NextToken);
        }
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::InvalidTrailingDoubleQuotedScalar
        | ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::UnexpectedCharacter { .. } => "found character that cannot start any token",
        ErrorKind::TabInPlainScalar => "found a tab character that violates indentation",
        ErrorKind::TabAtBlockScalarStart => "found a tab character where an indentation space is expected",
        ErrorKind::InvalidLowSurrogateHexEscape
        | ErrorKind::InvalidLowSurrogate
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate
        | ErrorKind::InvalidUnicodeEscape => "found invalid Unicode character escape code",
        ErrorKind::InvalidQuotedScalarHexEscape => "did not find expected hexdecimal number",
        ErrorKind::RecursionLimitExceeded => "exceeded max depth of 10000",
        _ => return (None, At::Mark),
    };
    (Some(words), At::Mark)
}

/// The name at an alias.
pub(super) fn anchor_at(text: &str, at: &Marker) -> String {
    let rest = text.chars().skip(at.index()).skip_while(|c| *c == '*');
    rest.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect()
}

#[cfg(test)]
mod tests {
    use crate::decode::{Media, object};

    #[test]
    fn tokens_in_the_wrong_place() {
        for (text, want) in [
            ("{\"a\": \"b\" \"c\": 1}", "yaml: did not find expected ',' or '}'"),
            ("# {\na:\n  - [\"b\" \"c\"]\n", "yaml: line 2: did not find expected ',' or ']'"),
            ("a:\n  b: 'c' d\n", "yaml: line 1: did not find expected key"),
            ("a: \"\\ud800\"", "yaml: found invalid Unicode character escape code"),
            ("{\"a\": [- 1]}", "yaml: did not find expected node content"),
            ("{\"a\": 1,\n\"b\": []- 1}", "yaml: line 1: did not find expected ',' or '}'"),
            ("a: {\"b\"@: 1}", "yaml: found character that cannot start any token"),
        ] {
            let error = object(text.as_bytes(), Media::Yaml).expect_err(text).to_string();
            assert_eq!(error, want, "{text}");
        }
    }
}
