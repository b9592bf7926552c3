//! Sets of fields, and their form in `fieldsV1`: `f:name` for fields, `k:{…}` for items of lists by key, `v:…` for items of
//! sets, `i:…` for positions, `.` for the thing itself (structured-merge-diff `fieldpath`).

use std::collections::BTreeMap;

use machinery::text::go_json;
use serde_json::{Map, Value};

/// A set of fields: this one, or some below it. What is below does not belong to the set because its parent does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// The thing itself is in the set.
    pub own: bool,
    /// What is below, by path element. No set in here is empty.
    pub below: BTreeMap<String, Set>,
}

/// Fields that are not in the form of `fieldsV1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Set {
    /// A set of paths of fields.
    pub fn of_paths(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let at = path.iter().fold(&mut set, |at, name| at.below.entry(format!("f:{name}")).or_default());
            at.own = true;
        }
        set
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }

    /// Puts a set below a path element, unless it is empty.
    pub fn insert(&mut self, element: impl FnOnce() -> String, set: Self) {
        if !set.is_empty() {
            self.below.insert(element(), set);
        }
    }

    /// Adds another set.
    pub fn add(&mut self, other: Self) {
        self.own |= other.own;
        for (element, set) in other.below {
            match self.below.get_mut(&element) {
                Some(mine) => mine.add(set),
                None => {
                    self.below.insert(element, set);
                }
            }
        }
    }

    /// Takes the members of another set away.
    pub fn remove(&mut self, other: &Self) {
        self.own &= !other.own;
        for (element, set) in &other.below {
            if let Some(mine) = self.below.get_mut(element) {
                mine.remove(set);
                if mine.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// Takes the members of another set away, with all that is below them.
    pub fn remove_whole(&mut self, other: &Self) {
        for (element, set) in &other.below {
            if set.own {
                self.below.remove(element);
            } else if let Some(mine) = self.below.get_mut(element) {
                mine.remove_whole(set);
                if mine.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// The members that are in both.
    pub fn common(&self, other: &Self) -> Self {
        let mut common = Self { own: self.own && other.own, below: BTreeMap::new() };
        for (element, set) in &self.below {
            if let Some(other) = other.below.get(element) {
                common.insert(|| element.clone(), set.common(other));
            }
        }
        common
    }

    /// Whether a field is a member.
    pub fn has(&self, path: &[&str]) -> bool {
        let found = path
            .iter()
            .try_fold(self, |at, name| at.below.iter().find(|(e, _)| names(e, name)).map(|(_, s)| s));
        found.is_some_and(|set| set.own)
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

    /// Reads `fieldsV1` that this program has written.
    pub fn from_json(fields: &Value) -> Self {
        let mut set = Self::default();
        for (element, below) in fields.as_object().into_iter().flatten() {
            if element == "." {
                set.own = true;
            } else {
                let mut below = Self::from_json(below);
                below.own |= below.below.is_empty();
                set.below.insert(element.clone(), below);
            }
        }
        set
    }

    /// Reads `fieldsV1` from elsewhere: elements are brought into the one form that is compared, unknown ones dropped.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(fields: &Value) -> Result<Self, Malformed> {
        let mut set = Self::default();
        let map = match fields {
            Value::Null => return Ok(set),
            Value::Object(map) => map,
            _ => return Err(Malformed),
        };
        for (element, below) in map {
            if element == "." {
                set.own = true;
                continue;
            }
            let Some(element) = canonical(element)? else { continue };
            let mut below = Self::parse(below)?;
            below.own |= below.below.is_empty();
            set.below.insert(element, below);
        }
        Ok(set)
    }
}

/// Whether a stored set (`fieldsV1`) has members in common with another one.
pub fn touches(fields: &Value, set: &Set) -> bool {
    let Some(map) = fields.as_object() else { return false };
    set.below.iter().any(|(element, set)| {
        map.get(element).is_some_and(|fields| {
            let member = fields.as_object().is_none_or(|below| below.is_empty() || below.contains_key("."));
            (set.own && member) || touches(fields, set)
        })
    })
}

fn names(element: &str, name: &str) -> bool {
    element.strip_prefix("f:") == Some(name)
}

fn canonical(element: &str) -> Result<Option<String>, Malformed> {
    let (kind, rest) = element.split_once(':').ok_or(Malformed)?;
    let json = || serde_json::from_str::<Value>(rest).map_err(|_| Malformed);
    Ok(match kind {
        "f" => Some(element.to_owned()),
        "k" => Some(key_element(&Some(json()?).filter(Value::is_object).ok_or(Malformed)?)),
        "v" => Some(value_element(&json()?)),
        "i" => Some(format!("i:{}", rest.parse::<i64>().map_err(|_| Malformed)?)),
        _ if kind.len() == 1 => None,
        _ => return Err(Malformed),
    })
}

/// The path element of an item of a list that is identified by these values.
pub fn key_element(keys: &Value) -> String {
    format!("k:{}", go_json(keys))
}

/// The path element of an item of a set.
pub fn value_element(value: &Value) -> String {
    format!("v:{}", go_json(value))
}
