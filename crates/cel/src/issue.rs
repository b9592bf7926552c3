//! What is wrong with an expression, and where, printed as cel-go prints it.

use crate::ast::Id;

/// Issues beyond these are only counted.
const SHOWN_MAX: usize = 100;
/// Lines longer than these many bytes are not quoted.
const SNIPPET_MAX: usize = 16_384;

/// The text of an expression with the places of its nodes. Offsets count characters.
#[derive(Clone, Debug)]
pub struct Source {
    pub chars: Vec<char>,
    /// Offset of each node, by its identity.
    pub places: Vec<usize>,
}

impl Source {
    pub fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), places: Vec::new() }
    }

    pub fn text(&self, start: usize, end: usize) -> String {
        self.chars[start.min(self.chars.len())..end.min(self.chars.len())].iter().collect()
    }

    pub fn issue(&self, id: Id, message: String) -> Issue {
        Issue { at: self.places.get(id as usize).copied(), message }
    }

    /// Line from 1 and column from 0 of an offset.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.chars[..at.min(self.chars.len())];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let start = before.iter().rposition(|c| *c == '\n').map_or(0, |i| i + 1);
        (line, at - start)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Offset of the character; none when it is about the whole.
    pub at: Option<usize>,
    pub message: String,
}

/// The issues in the order of their places.
pub fn display(source: &Source, mut issues: Vec<Issue>) -> String {
    issues.sort_by_key(|issue| issue.at);
    let beyond = issues.len().saturating_sub(SHOWN_MAX);
    let mut shown: Vec<String> = issues.iter().take(SHOWN_MAX).map(|issue| one(source, issue)).collect();
    if beyond > 0 {
        shown.push(format!("{beyond} more errors were truncated"));
    }
    shown.join("\n")
}

fn one(source: &Source, issue: &Issue) -> String {
    let Some(at) = issue.at else {
        return format!("ERROR: <input>:-1:0: {}", issue.message);
    };
    if source.chars.is_empty() {
        return format!("ERROR: <input>:1:0: {}", issue.message);
    }
    let (line, column) = source.position(at);
    let mut shown = format!("ERROR: <input>:{line}:{}: {}", column + 1, issue.message);
    let text: String = source.chars.iter().collect();
    let snippet = text.split('\n').nth(line - 1).unwrap_or_default();
    if snippet.len() <= SNIPPET_MAX {
        let wide = |c: char| c.len_utf8() > 1;
        let dots = snippet.chars().take(column).map(|c| if wide(c) { '\u{ff0e}' } else { '.' });
        let mark = if snippet.chars().nth(column).is_some_and(wide) { '\u{ff3e}' } else { '^' };
        shown.push_str(&format!("\n | {}\n | ", snippet.replace('\t', " ")));
        shown.extend(dots.chain([mark]));
    }
    shown
}
