//! What an expression may speak of: variables, objects and their fields, and what comes with them.

use std::collections::BTreeMap;

use crate::functions::{self, Overload};
use crate::names::is_keyword;
use crate::parser::Macros;
use crate::types::Type;

/// Fields of an object by name.
pub type Fields = BTreeMap<String, Type>;

/// An environment to compile expressions in.
#[derive(Clone, Debug, Default)]
pub struct Env {
    pub(crate) variables: BTreeMap<String, Type>,
    pub(crate) objects: BTreeMap<String, Fields>,
    /// Whether `Object{…}` and `JSONPatch{…}` can be written, as policies that mutate do.
    pub(crate) patch: bool,
    /// Whether `cel.bind` is there.
    pub(crate) bind: bool,
}

/// Types that can be named, with what the name means.
const NAMES: [(&str, Type); 12] = [
    ("bool", Type::Bool),
    ("bytes", Type::Bytes),
    ("double", Type::Double),
    ("duration", Type::Duration),
    ("google.protobuf.Duration", Type::Duration),
    ("google.protobuf.Timestamp", Type::Timestamp),
    ("int", Type::Int),
    ("null_type", Type::Null),
    ("string", Type::Text),
    ("timestamp", Type::Timestamp),
    ("type", Type::Type(None)),
    ("uint", Type::Uint),
];

impl Env {
    #[must_use]
    pub fn variable(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.to_owned(), of);
        self
    }

    /// Adds objects written as `name: field type, field type …`, one a line.
    #[must_use]
    pub fn objects(mut self, text: &str) -> Self {
        for line in text.lines() {
            let Some((name, fields)) = line.split_once(": ") else { continue };
            let fields = crate::types::split(fields).into_iter().filter_map(|field| field.split_once(' '));
            let fields = fields.map(|(field, of)| (field.to_owned(), Type::read(of.trim())));
            let fields: Fields = fields.collect();
            self.objects.insert(name.trim().to_owned(), fields);
        }
        self
    }

    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.patch = true;
        self
    }

    #[must_use]
    pub fn with_bind(mut self) -> Self {
        self.bind = true;
        self
    }

    /// Adds a field to an object, which is made when there is none.
    pub fn add_field(&mut self, object: &str, field: &str, of: Type) {
        self.objects.entry(object.to_owned()).or_default().insert(field.to_owned(), of);
    }

    pub(crate) fn macros(&self) -> Macros {
        Macros { bind: self.bind }
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static [Overload]> {
        functions::find(name, self.patch)
    }

    /// The type that a global name has.
    pub(crate) fn global(&self, name: &str) -> Option<Type> {
        self.variables.get(name).cloned().or_else(|| self.type_named(name))
    }

    /// The type of the name of a type.
    pub(crate) fn type_named(&self, name: &str) -> Option<Type> {
        if let Some((_, named)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(match named {
                Type::Type(None) => Type::Type(None).of(),
                other => other.clone().of(),
            });
        }
        match name {
            "list" => Some(Type::list(Type::Dyn).of()),
            "map" => Some(Type::map(Type::Dyn, Type::Dyn).of()),
            "net.IP" | "net.CIDR" | "optional_type" => Some(Type::opaque(name).of()),
            _ => self.is_object(name).then(|| Type::object(name).of()),
        }
    }

    pub(crate) fn is_object(&self, name: &str) -> bool {
        let patch = name == "JSONPatch" || name == "Object" || name.starts_with("Object.");
        self.objects.contains_key(name) || self.patch && patch
    }

    /// The type of a field of an object.
    pub(crate) fn field(&self, object: &str, field: &str) -> Option<Type> {
        if self.patch && object == "JSONPatch" {
            return Some(match field {
                "op" | "from" | "path" => Type::Text,
                "value" => Type::Dyn,
                _ => Type::Unspecified,
            });
        }
        if self.patch && (object == "Object" || object.starts_with("Object.")) {
            return Some(Type::Dyn);
        }
        let fields = self.objects.get(object)?;
        let keyword = || is_keyword(field).then(|| fields.get(&format!("__{field}__"))).flatten();
        fields.get(field).or_else(keyword).cloned()
    }
}
