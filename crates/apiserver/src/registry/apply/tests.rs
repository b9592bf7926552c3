//! Ownership and apply without requests, on real kinds.

mod cases;
mod handover;
mod laws;

use std::sync::LazyLock;

use machinery::schema::Schema;

use super::owner::Applied;
use super::*;
use crate::registry::apply::managed::Entry;
use serde_json::json;

/// One kind in one version.
pub(super) struct OneVersion(pub &'static str, pub &'static str, pub &'static str);

pub(super) static DEPLOYMENT: OneVersion = OneVersion("apps", "v1", "Deployment");
pub(super) static SERVICE: OneVersion = OneVersion("", "v1", "Service");
pub(super) static POD: OneVersion = OneVersion("", "v1", "Pod");
pub(super) static CONFIG_MAP: OneVersion = OneVersion("", "v1", "ConfigMap");

impl OneVersion {
    pub fn api_version(&self) -> String {
        meta::join_api_version(self.0, self.1)
    }

    pub fn own_shape(&self) -> Shape {
        Shape::of(Schema::builtin().kind(self.0, self.1, self.2))
    }
}

impl Versions for OneVersion {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == self.api_version()).then(|| object.clone())
    }

    fn shape(&self, _: &str) -> Shape {
        self.own_shape()
    }

    fn unwritten(&self, _: &str) -> Set {
        Set::of_paths(&[&["status"]])
    }
}

pub(super) static NOW: LazyLock<Timestamp> =
    LazyLock::new(|| Timestamp::from_second(1_780_000_000).expect("a time"));

/// An object with its owners.
#[derive(Clone)]
pub(super) struct Live {
    pub kind: &'static OneVersion,
    pub object: Value,
    pub entries: Vec<Entry>,
    /// Seconds that have passed.
    pub clock: i64,
}

impl Live {
    pub fn new(kind: &'static OneVersion) -> Self {
        Self { kind, object: json!({}), entries: Vec::new(), clock: 0 }
    }

    pub fn writes<T>(&mut self, manager: &str, then: impl FnOnce(&Writer<'_>, &Self) -> T) -> T {
        let now = *NOW + jiff::SignedDuration::from_secs(self.clock);
        self.clock += 1;
        let api_version = self.kind.api_version();
        let writer = Writer { manager, api_version: &api_version, subresource: "", now, versions: self.kind };
        then(&writer, self)
    }

    fn settle(&mut self, mut object: Value) {
        let Shape::Struct(id) = self.kind.own_shape() else { panic!("a known kind") };
        decode::check(&mut object, id).expect("fits the schema");
        meta::set_uid(&mut object, "u");
        self.object = object;
    }

    pub fn apply(&mut self, manager: &str, config: &Value, force: bool) -> Result<(), Status> {
        let applied = self.writes(manager, |writer, live| {
            let fields = managed::to_json(live.entries.clone());
            let options = WriteOptions { force: Some(force), ..WriteOptions::default() };
            apply(writer, &live.object, config, Some(&fields), &options)
        });
        let Applied { object, entries } = applied?;
        self.entries = entries;
        self.settle(object);
        Ok(())
    }

    pub fn update(&mut self, manager: &str, object: &Value) {
        let mut new = object.clone();
        let Shape::Struct(id) = self.kind.own_shape() else { panic!("a known kind") };
        decode::check(&mut new, id).expect("fits the schema");
        self.entries = self.writes(manager, |writer, live| {
            let mut new = new.clone();
            meta::set_uid(&mut new, meta::uid(&live.object));
            writer.update(&live.object, &new, live.entries.clone())
        });
        self.settle(new);
    }

    /// The owners as `manager Operation` with their fields.
    pub fn owned(&self) -> Value {
        let entries = managed::to_json(self.entries.clone());
        let mut owned = Map::new();
        for entry in entries.as_array().into_iter().flatten() {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            owned.insert(format!("{} {}", text("manager"), text("operation")), entry["fieldsV1"].clone());
        }
        Value::Object(owned)
    }
}
