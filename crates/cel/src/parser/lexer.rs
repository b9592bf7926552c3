//! From characters to tokens: at each place the longest token there is.

use super::tokens::{Tok, Token};
use crate::issue::{Issue, Source};

/// What is at a place: a token that ends there, or nothing, seen at the character at that offset.
enum Found {
    Token(Tok, usize),
    Nothing(usize),
}

/// What a text is made of.
#[derive(Default)]
pub(super) struct Lexed {
    /// An end after them; white space and comments are left out.
    pub tokens: Vec<Token>,
    pub issues: Vec<Issue>,
    /// What is no token, as ranges of characters.
    pub junk: Vec<(usize, usize)>,
}

pub(super) fn lex(source: &Source) -> Lexed {
    let chars = &source.chars;
    let Lexed { mut tokens, mut issues, mut junk } = Lexed::default();
    let mut at = 0;
    while at < chars.len() {
        if let Some(end) = blank(chars, at) {
            at = end;
            continue;
        }
        match token(chars, at) {
            Found::Token(kind, end) => {
                tokens.push(Token { kind, start: at, end });
                at = end;
            }
            Found::Nothing(seen) => {
                let text = source.text(at, seen + 1);
                let message = format!("Syntax error: token recognition error at: '{text}'");
                issues.push(Issue { at: Some(at), message });
                junk.push((at, seen + 1));
                at = seen + 1;
            }
        }
    }
    tokens.push(Token { kind: Tok::End, start: chars.len(), end: chars.len() });
    Lexed { tokens, issues, junk }
}

fn blank(chars: &[char], at: usize) -> Option<usize> {
    match chars[at] {
        '\t' | ' ' | '\r' | '\n' | '\u{c}' => Some(at + 1),
        '/' if chars.get(at + 1) == Some(&'/') => {
            Some(chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |i| at + i))
        }
        _ => None,
    }
}

fn token(chars: &[char], at: usize) -> Found {
    match chars[at] {
        '"' | '\'' => {
            quoted(chars, at, false).map_or_else(Found::Nothing, |end| Found::Token(Tok::Text, end))
        }
        '0'..='9' => number(chars, at),
        '.' if digit(chars, at + 1) => Found::Token(Tok::Float, fraction(chars, at)),
        'A'..='Z' | 'a'..='z' | '_' => word(chars, at),
        '`' => escaped(chars, at),
        _ => symbol(chars, at),
    }
}

fn symbol(chars: &[char], at: usize) -> Found {
    let next = chars.get(at + 1);
    let two = |second: char, kind: Tok| (next == Some(&second)).then_some(Found::Token(kind, at + 2));
    let one = |kind: Tok| Found::Token(kind, at + 1);
    match chars[at] {
        '=' => two('=', Tok::Equals).unwrap_or(Found::Nothing(at + 1)),
        '&' => two('&', Tok::And).unwrap_or(Found::Nothing(at + 1)),
        '|' => two('|', Tok::Or).unwrap_or(Found::Nothing(at + 1)),
        '!' => two('=', Tok::NotEquals).unwrap_or(one(Tok::Not)),
        '<' => two('=', Tok::LessEquals).unwrap_or(one(Tok::Less)),
        '>' => two('=', Tok::GreaterEquals).unwrap_or(one(Tok::Greater)),
        '[' => one(Tok::OpenBracket),
        ']' => one(Tok::CloseBracket),
        '{' => one(Tok::OpenBrace),
        '}' => one(Tok::CloseBrace),
        '(' => one(Tok::OpenParen),
        ')' => one(Tok::CloseParen),
        '.' => one(Tok::Dot),
        ',' => one(Tok::Comma),
        '-' => one(Tok::Minus),
        '?' => one(Tok::Question),
        ':' => one(Tok::Colon),
        '+' => one(Tok::Plus),
        '*' => one(Tok::Star),
        '/' => one(Tok::Slash),
        '%' => one(Tok::Percent),
        _ => Found::Nothing(at),
    }
}

fn digit(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(char::is_ascii_digit)
}

/// Where the run of characters that fulfil `is` ends.
fn run(chars: &[char], at: usize, is: impl Fn(char) -> bool) -> usize {
    chars[at..].iter().position(|c| !is(*c)).map_or(chars.len(), |i| at + i)
}

fn number(chars: &[char], at: usize) -> Found {
    let hex = chars[at] == '0' && chars.get(at + 1) == Some(&'x');
    if hex && chars.get(at + 2).is_some_and(char::is_ascii_hexdigit) {
        return unsigned(chars, run(chars, at + 2, |c| c.is_ascii_hexdigit()));
    }
    let whole = run(chars, at, |c| c.is_ascii_digit());
    if chars.get(whole) == Some(&'.') && digit(chars, whole + 1) {
        return Found::Token(Tok::Float, fraction(chars, whole));
    }
    match exponent(chars, whole) {
        end if end > whole => Found::Token(Tok::Float, end),
        _ => unsigned(chars, whole),
    }
}

fn unsigned(chars: &[char], end: usize) -> Found {
    match chars.get(end) {
        Some('u' | 'U') => Found::Token(Tok::Uint, end + 1),
        _ => Found::Token(Tok::Int, end),
    }
}

/// Where a fraction that starts with the dot at this place ends.
fn fraction(chars: &[char], at: usize) -> usize {
    exponent(chars, run(chars, at + 1, |c| c.is_ascii_digit()))
}

/// Where an exponent ends; the place itself when there is none.
fn exponent(chars: &[char], at: usize) -> usize {
    if !matches!(chars.get(at), Some('e' | 'E')) {
        return at;
    }
    let digits = at + 1 + usize::from(matches!(chars.get(at + 1), Some('+' | '-')));
    if digit(chars, digits) { run(chars, digits, |c| c.is_ascii_digit()) } else { at }
}

fn word(chars: &[char], at: usize) -> Found {
    let end = run(chars, at, |c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(found) = prefixed(chars, at) {
        return found;
    }
    let text: String = chars[at..end].iter().collect();
    let kind = match text.as_str() {
        "in" => Tok::In,
        "true" => Tok::True,
        "false" => Tok::False,
        "null" => Tok::Null,
        _ => Tok::Ident,
    };
    Found::Token(kind, end)
}

/// A text after `r`, `b` or both. What is not closed is a name and an error of its own.
fn prefixed(chars: &[char], at: usize) -> Option<Found> {
    let bytes = matches!(chars[at], 'b' | 'B');
    let quote = at + usize::from(bytes);
    let raw = matches!(chars.get(quote), Some('r' | 'R'));
    let quote = quote + usize::from(raw);
    if quote == at || !matches!(chars.get(quote), Some('"' | '\'')) {
        return None;
    }
    let end = quoted(chars, quote, raw).ok()?;
    Some(Found::Token(if bytes { Tok::Bytes } else { Tok::Text }, end))
}

fn escaped(chars: &[char], at: usize) -> Found {
    let end = run(chars, at + 1, |c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
    if end > at + 1 && chars.get(end) == Some(&'`') {
        Found::Token(Tok::EscapedIdent, end + 1)
    } else {
        Found::Nothing(end)
    }
}

/// Where a text ends, or the character at which it cannot go on.
fn quoted(chars: &[char], at: usize, raw: bool) -> Result<usize, usize> {
    let quote = chars[at];
    let triple = chars[at..].len() >= 3 && chars[at + 1] == quote && chars[at + 2] == quote;
    if triple && let Ok(end) = until(chars, at + 3, raw, |i| chars[i..].starts_with(&[quote; 3]), true) {
        return Ok(end + 3);
    }
    until(chars, at + 1, raw, |i| chars[i] == quote, false).map(|end| end + 1)
}

fn until(
    chars: &[char],
    mut at: usize,
    raw: bool,
    closes: impl Fn(usize) -> bool,
    lines: bool,
) -> Result<usize, usize> {
    while at < chars.len() {
        match chars[at] {
            _ if closes(at) => return Ok(at),
            '\n' | '\r' if !lines => return Err(at),
            '\\' if !raw => at = escape(chars, at)?,
            _ => at += 1,
        }
    }
    Err(at)
}

/// Where the escape sequence at this place ends.
fn escape(chars: &[char], at: usize) -> Result<usize, usize> {
    let (from, count) = match chars.get(at + 1) {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => return Ok(at + 2),
        Some('0'..='3') => return all(chars, at + 2, 2, |c| ('0'..='7').contains(&c)),
        Some('x' | 'X') => (at + 2, 2),
        Some('u') => (at + 2, 4),
        Some('U') => (at + 2, 8),
        _ => return Err(at + 1),
    };
    all(chars, from, count, |c| c.is_ascii_hexdigit())
}

fn all(chars: &[char], from: usize, count: usize, is: impl Fn(char) -> bool) -> Result<usize, usize> {
    let good = (from..from + count).find(|i| !chars.get(*i).is_some_and(|c| is(*c)));
    good.map_or(Ok(from + count), Err)
}
