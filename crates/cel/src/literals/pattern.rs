//! Regular expressions, and what Go says about bad ones.

use regex::bytes::RegexBuilder;

/// What is wrong with a pattern.
pub(super) fn error(pattern: &str) -> Option<String> {
    // What is quoted needs no look.
    let bad = !pattern.contains("\\Q") && RegexBuilder::new(&plain(pattern)).unicode(false).build().is_err();
    bad.then(|| format!("error parsing regexp: {}", reason(pattern)))
}

/// A pattern that is good where this one is good in Go: single brackets and braces are themselves there, and sets of
/// characters have names that need tables here.
fn plain(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let (mut rest, mut class) = (pattern, false);
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '\\' => {
                let name = named_set(rest);
                taken = name.unwrap_or_else(|| 1 + rest[1..].chars().next().map_or(0, char::len_utf8));
                out.push_str(if name.is_some() { "a" } else { &rest[..taken] });
            }
            '[' if class && !rest.starts_with("[:") => out.push_str("\\["),
            '{' if class || !repeats(&rest[1..]) => out.push_str("\\{"),
            _ if !c.is_ascii() => out.push('~'),
            _ => out.push(c),
        }
        match c {
            '[' if !class => {
                class = true;
                // A bracket that closes right after the one that opens is a member.
                let member = rest[1..].strip_prefix('^').unwrap_or(&rest[1..]).starts_with(']');
                if member {
                    let end = rest.find(']').map_or(1, |end| end + 1);
                    out.push_str(&rest[1..end - 1]);
                    out.push_str("\\]");
                    taken = end;
                }
            }
            ']' => class = false,
            _ => {}
        }
        rest = &rest[taken..];
    }
    out
}

/// The length of `\\pL` or `\\p{Greek}` at the start.
fn named_set(text: &str) -> Option<usize> {
    let name = text.strip_prefix("\\p").or_else(|| text.strip_prefix("\\P"))?;
    match name.strip_prefix('{') {
        Some(name) => name.find('}').map(|end| 3 + end + 1),
        None => name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(3),
    }
}

/// Whether a brace opens a number of repetitions.
fn repeats(text: &str) -> bool {
    let Some((counts, _)) = text.split_once('}') else { return false };
    let (min, max) = counts.split_once(',').unwrap_or((counts, "0"));
    !min.is_empty() && [min, max].iter().all(|count| count.bytes().all(|b| b.is_ascii_digit()))
}

/// The mistakes that are made most, told as Go tells them.
fn reason(pattern: &str) -> String {
    let chars: Vec<(usize, char)> = pattern.char_indices().collect();
    let (mut depth, mut i) = (0, 0);
    while let Some((at, c)) = chars.get(i).copied() {
        match c {
            '\\' if i + 1 == chars.len() => return "trailing backslash at end of expression: ``".to_owned(),
            '\\' => i += 1,
            '[' => match class_end(&chars, i) {
                Some(end) => i = end,
                None => return format!("missing closing ]: `{}`", &pattern[at..]),
            },
            '(' if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|start| pattern[at..].starts_with(start)) => {
                let end = pattern[at..].char_indices().nth(3).map_or(pattern.len(), |(end, _)| at + end);
                return format!("invalid or unsupported Perl syntax: `{}`", &pattern[at..end]);
            }
            '(' => depth += 1,
            ')' if depth == 0 => return format!("unexpected ): `{pattern}`"),
            ')' => depth -= 1,
            '*' | '+' | '?' if i == 0 || matches!(chars[i - 1].1, '(' | '|') => {
                return format!("missing argument to repetition operator: `{c}`");
            }
            _ => {}
        }
        i += 1;
    }
    match depth {
        0 => format!("invalid escape sequence: `{}`", unknown_escape(pattern).unwrap_or(pattern)),
        _ => format!("missing closing ): `{pattern}`"),
    }
}

/// The first escape that means nothing.
fn unknown_escape(pattern: &str) -> Option<&str> {
    const LETTERS: &str = "AbBCdDsSwWzQEaftnrvpPx01234567";
    let mut at = 0;
    loop {
        at += pattern[at..].find('\\')?;
        let escaped = pattern[at + 1..].chars().next()?;
        let end = at + 1 + escaped.len_utf8();
        if escaped.is_alphanumeric() && !LETTERS.contains(escaped) {
            return Some(&pattern[at..end]);
        }
        at = end;
    }
}

/// Where the class that opens at this place closes.
fn class_end(chars: &[(usize, char)], open: usize) -> Option<usize> {
    let mut i = open + 1;
    i += usize::from(chars.get(i).is_some_and(|(_, c)| *c == '^'));
    i += usize::from(chars.get(i).is_some_and(|(_, c)| *c == ']'));
    while let Some((_, c)) = chars.get(i) {
        match c {
            ']' => return Some(i),
            '\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}
