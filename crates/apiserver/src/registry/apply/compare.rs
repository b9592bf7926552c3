//! What differs between two objects (structured-merge-diff `typed.Compare`).
//!
//! Objects are compared as Go would hold them: a field that Go always writes is there with its zero value when it is left
//! out, and an empty one that Go would leave out is not there. What an apply has just made is compared as it stands.

use std::collections::{BTreeMap, BTreeSet};

use machinery::schema::{Schema, Type};
use serde_json::{Map, Value};

use super::set::Set;
use super::shape::Shape;

/// The fields that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only the old object has them.
    pub removed: Set,
    /// Both have them, with other values.
    pub modified: Set,
    /// Only the new object has them.
    pub added: Set,
}

impl Comparison {
    /// Compares two objects.
    pub fn of(old: &Value, new: &Value, shape: Shape) -> Self {
        Walk { decoded: true }.compare(Some(old), Some(new), shape)
    }

    /// Compares an object with one that is yet to be decoded: nulls and empty values are there.
    pub fn of_undecoded(old: &Value, new: &Value, shape: Shape) -> Self {
        Walk { decoded: false }.compare(Some(old), Some(new), shape)
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// The same without these fields and what is below them.
    #[must_use]
    pub fn without(mut self, fields: &Set) -> Self {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            set.remove_whole(fields);
        }
        self
    }

    /// What the new object sets.
    pub fn written(&self) -> Set {
        let mut set = self.modified.clone();
        set.add(self.added.clone());
        set
    }

    /// Everything that differs.
    pub fn all(&self) -> Set {
        let mut set = self.written();
        set.add(self.removed.clone());
        set
    }

    fn put(&mut self, element: impl Fn() -> String, below: Self) {
        self.removed.insert(&element, below.removed);
        self.modified.insert(&element, below.modified);
        self.added.insert(&element, below.added);
    }

    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut found = Self::default();
        match (old, new) {
            (None, Some(_)) => found.added.own = true,
            (Some(_), None) => found.removed.own = true,
            (old, new) => found.modified.own = old != new,
        }
        found
    }
}

/// Goes through two objects.
#[derive(Clone, Copy)]
struct Walk {
    /// Whether the new object is as Go would hold it.
    decoded: bool,
}

impl Walk {
    fn compare(self, old: Option<&Value>, new: Option<&Value>, shape: Shape) -> Comparison {
        if old.is_none() && new.is_none() {
            return Comparison::default();
        }
        let object = |value: Option<&'_ Value>| value.is_none_or(|v| v.is_object() || v.is_null());
        let list = |value: Option<&'_ Value>| value.is_none_or(|v| v.is_array() || v.is_null());
        let mut found = if shape.is_map() && object(old) && object(new) {
            self.maps(old, new, shape)
        } else if shape.is_list() && list(old) && list(new) {
            self.lists(old, new, shape)
        } else {
            let mut found = Comparison::leaf(old, new);
            // Of two kinds of values, the map's entries come or go as well.
            if shape.is_map() {
                let entries = self.maps(old.filter(|v| v.is_object()), new.filter(|v| v.is_object()), shape);
                found.removed.below = entries.removed.below;
                found.added.below = entries.added.below;
            }
            found
        };
        found.added.own |= old.is_none();
        found.removed.own |= new.is_none();
        found
    }

    fn maps(self, old: Option<&Value>, new: Option<&Value>, shape: Shape) -> Comparison {
        let (old_map, new_map) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
        let ty = match shape {
            Shape::Struct(id) => Some(Schema::builtin().ty(id)),
            _ => None,
        };
        let mut found = Comparison::default();
        let mut any = false;
        let mut visit = |name: &str| {
            let old = entry(old, old_map, ty, name, true);
            let new = entry(new, new_map, ty, name, self.decoded);
            any |= old.is_some() || new.is_some();
            found.put(|| format!("f:{name}"), self.compare(old, new, shape.field(name)));
        };
        for name in old_map.into_iter().flat_map(Map::keys) {
            visit(name);
        }
        let only_new = |name: &&String| old_map.is_none_or(|old| !old.contains_key(*name));
        for name in new_map.into_iter().flat_map(Map::keys).filter(only_new) {
            visit(name);
        }
        if old.is_none() != new.is_none() {
            let there =
                |name: &str| [old_map, new_map].into_iter().flatten().any(|map| map.contains_key(name));
            for field in
                ty.into_iter().flat_map(|ty| ty.fields).filter(|f| f.unset().is_some() && !there(f.name()))
            {
                visit(field.name());
            }
        }
        // Nothing in either: null and empty are not the same.
        if any { found } else { Comparison::leaf(old, new) }
    }

    fn lists(self, old: Option<&Value>, new: Option<&Value>, shape: Shape) -> Comparison {
        let empty = |value: Option<&Value>| value.and_then(Value::as_array).is_none_or(Vec::is_empty);
        if old == new {
            return Comparison::default();
        }
        if empty(old) && empty(new) {
            return Comparison::leaf(old, new);
        }
        let (old, new) = (items(old, shape), items(new, shape));
        let elements: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut found = Comparison::default();
        for element in elements {
            let (old, new) =
                (old.get(element).map_or(&[][..], |v| v), new.get(element).map_or(&[][..], |v| v));
            let below = self.item(old, new, shape.item());
            found.put(|| element.clone(), below);
        }
        found
    }

    /// Items that are there more than once are compared as one value.
    fn item(self, old: &[&Value], new: &[&Value], shape: Shape) -> Comparison {
        match (old, new) {
            ([_, _, ..], [_, _, ..]) => {
                let mut found = Comparison::default();
                found.modified.own = old != new;
                found
            }
            ([_, _, ..], _) => {
                let mut found = self.compare(None, new.first().copied(), shape);
                found.removed.own = true;
                found
            }
            (_, [_, _, ..]) => {
                let mut found = self.compare(old.first().copied(), None, shape);
                found.added.own = true;
                found
            }
            _ => self.compare(old.first().copied(), new.first().copied(), shape),
        }
    }
}

/// A field of an object as Go has it, or as it stands where that is not yet decoded.
fn entry<'a>(
    parent: Option<&Value>,
    map: Option<&'a Map<String, Value>>,
    ty: Option<&'static Type>,
    name: &str,
    decoded: bool,
) -> Option<&'a Value> {
    let value = map.and_then(|map| map.get(name));
    match ty.and_then(|ty| ty.field(name)) {
        Some(field) if parent.is_some_and(|p| !p.is_null()) => {
            let there = |value: &&Value| !decoded || !(field.omits(value) || value.is_null());
            value.filter(there).or_else(|| field.unset())
        }
        _ => value,
    }
}

fn items(list: Option<&Value>, shape: Shape) -> BTreeMap<String, Vec<&Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Some(element) = shape.element(item) {
            found.entry(element).or_default().push(item);
        }
    }
    found
}
