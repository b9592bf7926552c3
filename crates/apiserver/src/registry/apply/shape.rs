//! What the schema says about merging the value at a place, and the fields that a configuration names.

use std::collections::HashMap;

use machinery::schema::{Field, FieldType, ListType, MapType, Schema, TypeId};
use serde_json::{Map, Value};

use super::set::{self, Set};

/// How a value is merged.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// As one value.
    Leaf,
    /// Fields of a struct.
    Struct(TypeId),
    /// Entries of a map, all alike.
    Map(&'static FieldType),
    /// Items that are values, each there once.
    Set,
    /// Items identified by keys.
    Keyed {
        /// The fields that identify an item.
        keys: Keys,
        /// The items.
        item: &'static FieldType,
    },
    /// Nothing is known: objects are merged, the rest is one value.
    Unknown,
}

/// The fields that identify an item of a list.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// Those of a list map.
    Many(&'static [&'static str]),
    /// The merge key of a strategic merge patch.
    One(&'static str),
}

impl Keys {
    /// Their names.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        let (many, one) = match self {
            Self::Many(keys) => (keys, None),
            Self::One(key) => (&[][..], Some(key)),
        };
        many.iter().copied().chain(one)
    }
}

impl Shape {
    /// The shape of a whole object.
    pub fn of(type_id: Option<TypeId>) -> Self {
        type_id.map_or(Self::Unknown, Self::Struct)
    }

    /// The shape of a value of this type.
    pub fn of_type(ty: &'static FieldType) -> Self {
        match ty {
            FieldType::Ref(id) if Schema::builtin().ty(*id).map_type == Some(MapType::Atomic) => Self::Leaf,
            FieldType::Ref(id) => Self::Struct(*id),
            FieldType::Map(values) => Self::Map(values),
            FieldType::Any => Self::Unknown,
            _ => Self::Leaf,
        }
    }

    /// The shape of a field's value.
    pub fn of_field(field: &'static Field) -> Self {
        match (field.map_type(), field.ty) {
            (Some(MapType::Atomic), _) => Self::Leaf,
            (Some(MapType::Granular), FieldType::Ref(id)) => Self::Struct(*id),
            (_, FieldType::Array(item)) => Self::of_list(field, item),
            (_, FieldType::Any) if field.proto_type() == Some("RawExtension") => Self::Leaf,
            (_, ty) => Self::of_type(ty),
        }
    }

    /// Lists that say nothing about apply are merged as strategic merge patches merge them.
    fn of_list(field: &'static Field, item: &'static FieldType) -> Self {
        match (field.list_type(), field.patch_merge_key()) {
            (Some(ListType::Set), _) => Self::Set,
            (Some(ListType::Map(keys)), _) => Self::Keyed { keys: Keys::Many(keys), item },
            (None, Some(key)) if field.patch().merge => Self::Keyed { keys: Keys::One(key), item },
            (None, None) if field.patch().merge => Self::Set,
            _ => Self::Leaf,
        }
    }

    /// The declared field of this name.
    pub fn declared(self, name: &str) -> Option<&'static Field> {
        match self {
            Self::Struct(id) => Schema::builtin().ty(id).field(name),
            _ => None,
        }
    }

    /// The shape of a field of an object with this shape.
    pub fn field(self, name: &str) -> Self {
        match self {
            Self::Struct(_) => self.declared(name).map_or(Self::Leaf, Self::of_field),
            Self::Map(values) => Self::of_type(values),
            Self::Unknown => Self::Unknown,
            _ => Self::Leaf,
        }
    }

    /// The shape of the items of a list with this shape.
    pub fn item(self) -> Self {
        match self {
            Self::Keyed { item, .. } => Self::of_type(item),
            _ => Self::Leaf,
        }
    }

    /// The shape below a path element.
    pub fn below(self, element: &str) -> Self {
        element.strip_prefix("f:").map_or_else(|| self.item(), |name| self.field(name))
    }

    /// Whether objects of this shape are merged entry by entry.
    pub fn is_map(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::Unknown)
    }

    /// Whether lists of this shape are merged item by item.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Set | Self::Keyed { .. })
    }

    /// The path element of a list's item; `None` for one that nothing identifies.
    pub fn element(self, item: &Value) -> Option<String> {
        match self {
            Self::Set if item.is_object() || item.is_array() || item.is_null() => None,
            Self::Set => Some(set::value_element(item)),
            Self::Keyed { keys, item: ty } => {
                let object = item.as_object()?;
                let value = |key: &str| object.get(key).cloned().or_else(|| default_of(ty, key));
                let found: Map<String, Value> =
                    keys.iter().filter_map(|key| Some((key.to_owned(), value(key)?))).collect();
                if found.is_empty() { None } else { Some(set::key_element(&Value::Object(found))) }
            }
            _ => None,
        }
    }
}

/// The default of a key that an item leaves out: the protocol of a port, or what Go writes when nothing is set.
fn default_of(ty: &FieldType, key: &str) -> Option<Value> {
    match ty {
        FieldType::Ref(id) => {
            let field = Schema::builtin().ty(*id).field(key)?;
            field.default().or_else(|| field.unset().cloned())
        }
        _ => None,
    }
}

impl Set {
    /// The fields that a value names (structured-merge-diff `ToFieldSet`).
    pub fn of(value: &Value, shape: Shape) -> Self {
        let mut set = Self::default();
        match value {
            Value::Object(map) if shape.is_map() => {
                for (name, value) in map {
                    let mut below = Self::of(value, shape.field(name));
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    below.own |= empty || shape.declared(name).is_none();
                    set.insert(|| format!("f:{name}"), below);
                }
            }
            Value::Array(list) if shape.is_list() => set.add_items(list, shape),
            Value::Null if shape.is_map() || shape.is_list() => {}
            _ => set.own = true,
        }
        set
    }

    /// Items that are there more than once belong to the set without what is in them.
    fn add_items(&mut self, list: &[Value], shape: Shape) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        let elements: Vec<Option<String>> = list.iter().map(|item| shape.element(item)).collect();
        for element in elements.iter().flatten() {
            *counts.entry(element.clone()).or_default() += 1;
        }
        for (item, element) in list.iter().zip(elements) {
            let Some(element) = element else { continue };
            let below =
                if counts.get(&element) == Some(&1) { Self::of(item, shape.item()) } else { Self::default() };
            self.below.insert(element, Self { own: true, ..below });
        }
    }

    /// The set with every declared field that something below it is a member of (`EnsureNamedFieldsAreMembers`).
    #[must_use]
    pub fn with_named(mut self, shape: Shape) -> Self {
        let below = std::mem::take(&mut self.below);
        for (element, set) in below {
            let named = element.strip_prefix("f:").is_some_and(|name| shape.declared(name).is_some());
            let mut set = set.clone().with_named(shape.below(&element));
            set.own |= named;
            self.below.insert(element, set);
        }
        self
    }
}
