//! Field selectors: `metadata.name=x,status.phase!=Running` (apimachinery `pkg/fields`).

use std::fmt;

use super::SelectorError;

/// One condition of a field selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// Path of the field, as each resource names it.
    pub field: String,
    /// `=` or `!=`.
    pub equal: bool,
    /// The value to compare with.
    pub value: String,
}

/// Conditions on fields, all of which have to hold. The default one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects the objects whose field has exactly this value.
    pub fn one(field: &str, value: &str) -> Self {
        Self { terms: vec![Term { field: field.to_owned(), equal: true, value: value.to_owned() }] }
    }

    /// Reads the text. Which fields a resource knows is not checked here.
    ///
    /// # Errors
    /// Upstream's sentence, for a 400 answer.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let Some((field, equal, value)) = split_term(part) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let value = unescape(value)?;
            // Upstream drops a term whose both sides are empty.
            if !(field.is_empty() && value.is_empty()) {
                terms.push(Term { field: field.to_owned(), equal, value });
            }
        }
        Ok(Self { terms })
    }

    /// The same with other names for the fields.
    ///
    /// # Errors
    /// The first that `rename` gives.
    pub fn renamed<E>(self, rename: impl Fn(&str) -> Result<String, E>) -> Result<Self, E> {
        let terms = self.terms.into_iter().map(|term| Ok(Term { field: rename(&term.field)?, ..term }));
        Ok(Self { terms: terms.collect::<Result<_, E>>()? })
    }

    /// The conditions.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object is selected; a field that is missing counts as the empty string.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|t| (get(&t.field).unwrap_or_default() == t.value) == t.equal)
    }

    /// The value that a field must have, when one term asks for exactly that.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (i, _) in term.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[i..].strip_prefix(operator) {
                return Some((&term[..i], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let bad = |sequence: String| {
        SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}"))
    };
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(bad(format!("\\{c}"))),
                None => return Err(bad("\\".to_owned())),
            },
            // Upstream prints the number of the character.
            ',' | '=' => {
                let message = format!("invalid field selector: unescaped character in value: {}", c as u32);
                return Err(SelectorError(message));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
