//! Types of expressions.

use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Known only when evaluated.
    Dyn,
    /// The same, when it comes from outside.
    Any,
    /// Of what does not make sense; there is an issue that says so.
    Error,
    /// Of a field that is accepted and is nothing.
    Unspecified,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    /// The type of a type.
    Type(Option<Arc<Type>>),
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// An object with fields.
    Struct(Arc<str>),
    /// What only functions look into.
    Opaque(Arc<str>, Arc<[Type]>),
    /// What an overload leaves open.
    Param(Arc<str>),
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(value: Self) -> Self {
        Self::Opaque(OPTIONAL.into(), [value].into())
    }

    pub fn object(name: &str) -> Self {
        Self::Struct(name.into())
    }

    pub fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), [].into())
    }

    pub fn of(self) -> Self {
        Self::Type(Some(Arc::new(self)))
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub fn is_dyn_or_error(&self) -> bool {
        self.is_dyn() || *self == Self::Error
    }

    /// What an optional holds, and whether this is one.
    pub fn unwrapped(&self) -> (&Self, bool) {
        match self {
            Self::Opaque(name, parameters) if &**name == OPTIONAL && !parameters.is_empty() => {
                (&parameters[0], true)
            }
            other => (other, false),
        }
    }

    pub fn parameters(&self) -> Vec<&Self> {
        match self {
            Self::Type(inner) => inner.iter().map(|inner| &**inner).collect(),
            Self::List(element) => vec![element],
            Self::Map(key, value) => vec![key, value],
            Self::Opaque(_, parameters) => parameters.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The same shape with each parameter replaced.
    pub fn with(&self, replace: &mut dyn FnMut(&Self) -> Self) -> Self {
        match self {
            Self::Type(Some(inner)) => replace(inner).of(),
            Self::List(element) => Self::list(replace(element)),
            Self::Map(key, value) => Self::map(replace(key), replace(value)),
            Self::Opaque(name, parameters) => {
                Self::Opaque(name.clone(), parameters.iter().map(replace).collect())
            }
            other => other.clone(),
        }
    }

    /// The name without parameters, as evaluation knows it.
    pub fn name(&self) -> &str {
        match self {
            Self::Dyn => "dyn",
            Self::Any => "google.protobuf.Any",
            Self::Error => "error",
            Self::Unspecified => "",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Type(_) => "type",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Struct(name) | Self::Opaque(name, _) | Self::Param(name) => name,
        }
    }

    /// As the checker's messages say it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Error => "!error!".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            other => named(other.name(), other.parameters().into_iter().map(Self::shown)),
        }
    }

    /// Reads `list(A)` and the like; a single capital is a parameter.
    pub(crate) fn read(text: &str) -> Self {
        let (name, parameters) = match text.split_once('(') {
            Some((name, rest)) => (name, split(rest.strip_suffix(')').unwrap_or(rest))),
            None => (text, Vec::new()),
        };
        let at = |i: usize| parameters.get(i).map_or(Self::Dyn, |parameter| Self::read(parameter));
        match name {
            "dyn" => Self::Dyn,
            "any" => Self::Any,
            "null_type" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::Text,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            "type" => at(0).of(),
            "list" => Self::list(at(0)),
            "map" => Self::map(at(0), at(1)),
            "optional_type" => Self::optional(at(0)),
            _ if name.len() == 1 => Self::Param(name.into()),
            _ if name.starts_with("kubernetes.") => Self::object(name),
            _ => Self::opaque(name),
        }
    }
}

/// Splits at commas that are in no parentheses.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

fn named(name: &str, parameters: impl Iterator<Item = String>) -> String {
    let parameters: Vec<String> = parameters.collect();
    if parameters.is_empty() { name.to_owned() } else { format!("{name}({})", parameters.join(", ")) }
}

/// As messages about results say it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(name) => write!(f, "<{name}>"),
            other => f.write_str(&named(other.name(), other.parameters().into_iter().map(Self::to_string))),
        }
    }
}
