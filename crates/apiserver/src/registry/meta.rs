//! The few parsed facts that the cache keeps beside an object's bytes: what selectors look at.

use std::borrow::Cow;
use std::collections::BTreeMap;

use machinery::selector::{FieldSelector, LabelSelector};
use serde::Deserialize;
use serde_json::Value;

use super::strategy::Strategy;

/// Labels and selectable fields of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    labels: Box<[(Box<str>, Box<str>)]>,
    fields: Box<[(&'static str, Box<str>)]>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    metadata: Labels<'a>,
}

#[derive(Deserialize, Default)]
struct Labels<'a> {
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

impl Meta {
    /// Reads what selectors need from an object's bytes. Kinds without selectable fields are not parsed whole.
    pub fn read(bytes: &[u8], strategy: &dyn Strategy) -> Self {
        if strategy.selectable_field_names().is_empty() {
            let document = serde_json::from_slice::<Document<'_>>(bytes).ok();
            let labels = document.and_then(|d| d.metadata.labels).unwrap_or_default();
            let labels = labels.iter().map(|(k, v)| (k.as_ref().into(), v.as_ref().into())).collect();
            return Self { labels, fields: Box::default() };
        }
        serde_json::from_slice::<Value>(bytes).map(|object| Self::of(&object, strategy)).unwrap_or_default()
    }

    /// The same from a parsed object.
    pub fn of(object: &Value, strategy: &dyn Strategy) -> Self {
        let labels = machinery::meta::labels(object).into_iter().flatten();
        let labels = labels.filter_map(|(k, v)| Some((k.as_str().into(), v.as_str()?.into()))).collect();
        let fields = strategy.selectable_fields(object);
        Self { labels, fields: fields.into_iter().map(|(path, value)| (path, value.into())).collect() }
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(have, _)| &**have == key).map(|(_, value)| &**value)
    }

    /// The value of a selectable field other than name and namespace.
    pub fn field(&self, path: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| *have == path).map(|(_, value)| &**value)
    }
}

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// On labels.
    pub labels: LabelSelector,
    /// On fields.
    pub fields: FieldSelector,
}

impl Selection {
    /// Whether every object is selected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is selected. `key` is its key below the resource's prefix: `namespace/name` or `name`.
    pub fn matches(&self, key: &str, meta: &Meta) -> bool {
        if self.is_empty() {
            return true;
        }
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        self.labels.matches(|key| meta.label(key))
            && self.fields.matches(|path| match path {
                "metadata.name" => Some(name),
                "metadata.namespace" => Some(namespace),
                path => meta.field(path),
            })
    }
}
