//! Label selectors, both as text and as the API's `LabelSelector` object.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::SelectorError;
use super::lexer::{Token, tokens};
use crate::field::{FieldError, Path, aggregate};
use crate::names;
use crate::text::go_quote;

/// How the value of a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`, also true when the label is missing
    NotEquals,
    /// `in (…)`
    In,
    /// `notin (…)`, also true when the label is missing
    NotIn,
    /// the label is there
    Exists,
    /// the label is missing
    DoesNotExist,
    /// `>`, integers only
    GreaterThan,
    /// `<`, integers only
    LessThan,
}

/// One condition; all of a selector have to hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// The comparison.
    pub operator: Operator,
    /// What it is compared with, sorted, without repetitions.
    pub values: Vec<String>,
}

/// Conditions on labels. The default one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// Set on the selector of a missing `LabelSelector` object, which selects nothing.
    nothing: bool,
}

impl Requirement {
    /// Checks key, values and their number.
    ///
    /// # Errors
    /// Upstream's field errors in one sentence.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let mut errors = Vec::new();
        let path = Path::new("values");
        let bad_key = names::qualified_name(key);
        if !bad_key.is_empty() {
            errors.push(FieldError::invalid(&Path::new("key"), key, bad_key.join("; ")));
        }
        if let Some(detail) = wrong_count(operator, values.len()) {
            errors.push(FieldError::invalid(&path, values.clone(), detail));
        }
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (i, value) in values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&path.index(i), value.as_str(), detail));
            }
        }
        for (i, value) in values.iter().enumerate() {
            let bad = names::label_value(value);
            if !bad.is_empty() {
                errors.push(FieldError::invalid(&path.index(i).key(key), value.as_str(), bad.join("; ")));
            }
        }
        if errors.is_empty() {
            Ok(Self { key: key.to_owned(), operator, values })
        } else {
            Err(SelectorError(aggregate(&errors)))
        }
    }

    /// Whether a label's value (or its absence) meets the condition.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|have| have == v);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |v: &str| v.parse::<i64>().ok();
                let Some((have, limit)) =
                    value.and_then(number).zip(self.values.first().and_then(|v| number(v)))
                else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { have > limit } else { have < limit }
            }
        }
    }
}

fn wrong_count(operator: Operator, count: usize) -> Option<&'static str> {
    match operator {
        Operator::In | Operator::NotIn if count == 0 => {
            Some("for 'in', 'notin' operators, values set can't be empty")
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if count != 1 => {
            Some("exact-match compatibility requires one single value")
        }
        Operator::Exists | Operator::DoesNotExist if count != 0 => {
            Some("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan if count != 1 => {
            Some("for 'Gt', 'Lt' operators, exactly one value is required")
        }
        _ => None,
    }
}

impl LabelSelector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// A selector of these conditions.
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Reads `a in (b,c),!d,e=f`.
    ///
    /// # Errors
    /// Upstream's sentence, for a 400 answer.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { tokens: tokens(text), at: 0 }.selector().map(Self::from_requirements)
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). Null selects nothing, an empty object everything.
    ///
    /// # Errors
    /// Upstream's sentence.
    pub fn from_object(object: &Value) -> Result<Self, SelectorError> {
        let Some(object) = object.as_object() else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements.push(equals(key, value)?);
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(from_expression(expression)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// Reads a plain map of labels, as Services and ReplicationControllers have. Values are not checked.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        Self::from_requirements(labels.iter().map(requirement).collect())
    }

    /// Whether an object with these labels is selected.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// The same for labels held as JSON (`metadata.labels`).
    pub fn matches_map(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches(|key| labels?.get(key)?.as_str())
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// The conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

fn equals(key: &str, value: &Value) -> Result<Requirement, SelectorError> {
    Requirement::new(key, Operator::Equals, vec![value.as_str().unwrap_or_default().to_owned()])
}

fn from_expression(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            return Err(SelectorError(format!("{} is not a valid label selector operator", go_quote(other))));
        }
    };
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement::new(text("key"), operator, values)
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// The grammar of apimachinery `labels.Parse`, error by error.
struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> (Token, &str) {
        self.tokens.get(self.at).map_or((Token::End, ""), |(t, text)| (*t, text.as_str()))
    }

    /// Where a value may stand, `in` and `notin` are plain words.
    fn peek_value(&self) -> (Token, &str) {
        match self.peek() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn take(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let taken = (token, text.to_owned());
        self.at += 1;
        taken
    }

    fn take_value(&mut self) -> (Token, String) {
        match self.take() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn selector(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut found = Vec::new();
        loop {
            match self.peek_value() {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self.requirement();
                    found.push(requirement.map_err(|e| refuse(format!("unable to parse requirement: {e}")))?);
                    if self.separator()? {
                        return Ok(found);
                    }
                }
                (Token::End, _) => return Ok(found),
                (_, text) => {
                    return Err(refuse(format!(
                        "found '{text}', expected: !, identifier, or 'end of string'"
                    )));
                }
            }
        }
    }

    /// Takes what follows a requirement; true at the end.
    fn separator(&mut self) -> Result<bool, SelectorError> {
        match self.take_value() {
            (Token::End, _) => Ok(true),
            (Token::Comma, _) => match self.peek_value() {
                (Token::Identifier | Token::Not, _) => Ok(false),
                (_, text) => Err(refuse(format!("found '{text}', expected: identifier after ','"))),
            },
            (_, text) => Err(refuse(format!("found '{text}', expected: ',' or 'end of string'"))),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.take_value();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take_value();
        }
        if token != Token::Identifier {
            return Err(refuse(format!("found '{key}', expected: identifier")));
        }
        let bad = names::qualified_name(&key);
        if !bad.is_empty() {
            return Err(refuse(FieldError::invalid(&Path::root(), key, bad.join("; ")).to_string()));
        }
        let alone = matches!(self.peek_value().0, Token::End | Token::Comma);
        // A negated key takes no operator: upstream answers `exists not` here and refuses what follows.
        if negated || alone {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement::new(&key, operator, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(&key, operator, values.into_iter().collect())
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        Ok(match self.take() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals, _) => Operator::Equals,
            (Token::DoubleEquals, _) => Operator::DoubleEquals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::Greater, _) => Operator::GreaterThan,
            (Token::Less, _) => Operator::LessThan,
            (_, text) => {
                return Err(refuse(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")));
            }
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let (token, text) = self.take_value();
        if token != Token::Open {
            return Err(refuse(format!("found '{text}' expected: '('")));
        }
        match self.peek_value() {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.identifiers()?;
                self.at += 1; // the closing parenthesis, which ended the list
                Ok(values)
            }
            (Token::Close, _) => {
                self.at += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            (_, text) => Err(refuse(format!("found '{text}', expected: ',', ')' or identifier"))),
        }
    }

    fn identifiers(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut found = BTreeSet::new();
        loop {
            match self.take_value() {
                (Token::Identifier, text) => {
                    found.insert(text);
                    match self.peek_value() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(found),
                        (_, text) => return Err(refuse(format!("found '{text}', expected: ',' or ')'"))),
                    }
                }
                (Token::Comma, _) => {
                    let next = self.peek_value().0;
                    if found.is_empty() || matches!(next, Token::Close | Token::Comma) {
                        found.insert(String::new());
                    }
                    if next == Token::Close {
                        return Ok(found);
                    }
                }
                (_, text) => return Err(refuse(format!("found '{text}', expected: ',', or identifier"))),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take_value() {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(refuse(format!("found '{text}', expected: identifier"))),
        }
    }
}

fn refuse(message: String) -> SelectorError {
    SelectorError(message)
}
