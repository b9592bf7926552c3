//! Sets of fields, in the form of `fieldsV1`: `f:name` for fields, `k:{…}` for items of lists by key, `v:…` for items of
//! sets, `.` for the thing itself.

use std::collections::BTreeMap;

use machinery::schema::{Field, FieldType, ListType, MapType, Schema, TypeId};
use serde_json::{Map, Value};

/// A set of fields: this one, or some below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// The thing itself is in the set.
    pub own: bool,
    /// What is below, by path element.
    pub below: BTreeMap<String, Set>,
}

/// How a value is merged: what the schema says about its place.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// As one value.
    Leaf,
    /// Fields of a struct.
    Struct(TypeId),
    /// Entries of a map, all alike.
    Map(&'static FieldType),
    /// Items that are values.
    ValueSet,
    /// Items identified by keys.
    Keyed {
        /// The keys.
        keys: &'static [&'static str],
        /// The items.
        item: &'static FieldType,
    },
    /// Nothing is known: objects are merged, the rest is one value.
    Unknown,
}

impl Shape {
    /// The shape of a whole object.
    pub fn of(type_id: Option<TypeId>) -> Self {
        type_id.map_or(Self::Unknown, Self::Struct)
    }

    fn of_type(ty: &'static FieldType) -> Self {
        match ty {
            FieldType::Ref(id) => match Schema::builtin().ty(*id) {
                ty if ty.map_type == Some(MapType::Atomic) || ty.fields.is_empty() => Self::Leaf,
                _ => Self::Struct(*id),
            },
            FieldType::Map(values) => Self::Map(values),
            FieldType::Any => Self::Unknown,
            _ => Self::Leaf,
        }
    }

    fn of_field(field: &'static Field) -> Self {
        if field.map_type() == Some(MapType::Atomic) {
            return Self::Leaf;
        }
        match (field.list_type(), field.ty) {
            (Some(ListType::Set), FieldType::Array(_)) => Self::ValueSet,
            (Some(ListType::Map(keys)), FieldType::Array(item)) => Self::Keyed { keys, item },
            (_, FieldType::Array(_)) => Self::Leaf,
            (_, ty) => Self::of_type(ty),
        }
    }

    /// The shape of a field of an object with this shape.
    pub fn field(self, name: &str) -> Self {
        match self {
            Self::Struct(id) => Schema::builtin().ty(id).field(name).map_or(Self::Leaf, Self::of_field),
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

    /// Whether a value of this shape is merged entry by entry, and not taken as one value.
    pub fn merges(self, value: &Value) -> bool {
        match self {
            Self::Leaf => false,
            Self::Struct(_) | Self::Map(_) | Self::Unknown => value.is_object(),
            Self::ValueSet | Self::Keyed { .. } => value.is_array(),
        }
    }

    /// The path element of a list's item.
    pub fn element(self, item: &Value) -> Option<String> {
        match self {
            Self::ValueSet => Some(format!("v:{item}")),
            Self::Keyed { keys, item: ty } => {
                let mut found = Map::new();
                for key in keys {
                    let value = item.get(*key).cloned().or_else(|| default_of(ty, key));
                    found.extend(value.map(|value| ((*key).to_owned(), value)));
                }
                (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
            }
            _ => None,
        }
    }
}

/// The default of a key that an item leaves out: the protocol of a port.
fn default_of(ty: &FieldType, key: &str) -> Option<Value> {
    match ty {
        FieldType::Ref(id) => Schema::builtin().ty(*id).field(key)?.default(),
        _ => None,
    }
}

impl Set {
    fn leaf() -> Self {
        Self { own: true, below: BTreeMap::new() }
    }

    /// The fields that a configuration sets.
    pub fn of(value: &Value, shape: Shape) -> Self {
        if !shape.merges(value) {
            return Self::leaf();
        }
        let mut set = Self::default();
        for (name, value) in value.as_object().into_iter().flatten() {
            set.below.insert(format!("f:{name}"), Self::of(value, shape.field(name)));
        }
        for item in value.as_array().into_iter().flatten() {
            let Some(element) = shape.element(item) else { continue };
            let mut below = Self::of(item, shape.item());
            below.own = true;
            set.below.insert(element, below);
        }
        // An empty map or list is set all the same.
        set.own = set.below.is_empty();
        set
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        !self.own && self.below.values().all(Self::is_empty)
    }

    /// Adds another set.
    pub fn add(&mut self, other: &Self) {
        self.own |= other.own;
        for (element, set) in &other.below {
            self.below.entry(element.clone()).or_default().add(set);
        }
    }

    /// Takes another set away.
    pub fn remove(&mut self, other: &Self) {
        self.own &= !other.own;
        for (element, set) in &other.below {
            if let Some(mine) = self.below.get_mut(element) {
                mine.remove(set);
            }
        }
        self.below.retain(|_, set| !set.is_empty());
    }

    /// What is in both.
    pub fn common(&self, other: &Self) -> Self {
        let both = |(element, set): (&String, &Self)| {
            let common = set.common(other.below.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        };
        Self { own: self.own && other.own, below: self.below.iter().filter_map(both).collect() }
    }

    /// The paths of the set as messages show them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, at: &str, paths: &mut Vec<String>) {
        if self.own {
            paths.push(at.to_owned());
        }
        for (element, set) in &self.below {
            set.collect_paths(&format!("{at}{}", shown(element)), paths);
        }
    }

    /// The set as `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.own && !self.below.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        map.extend(self.below.iter().map(|(element, set)| (element.clone(), set.to_json())));
        Value::Object(map)
    }

    /// Reads `fieldsV1`.
    pub fn from_json(json: &Value) -> Self {
        Self::read(json, true)
    }

    fn read(json: &Value, root: bool) -> Self {
        let map = json.as_object();
        let below: BTreeMap<String, Self> = map
            .into_iter()
            .flatten()
            .filter(|(element, _)| *element != ".")
            .map(|(element, set)| (element.clone(), Self::read(set, false)))
            .collect();
        let own = map.is_some_and(|map| map.contains_key(".")) || (below.is_empty() && !root);
        Self { own, below }
    }
}

fn shown(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        _ => element.to_owned(),
    }
}
