//! Entries of `metadata.managedFields`.

use jiff::Timestamp;
use machinery::text::go_quote;
use serde_json::{Value, json};

use super::Apply;
use super::fields::Set;

/// One entry: who set which fields how.
#[derive(Debug, Clone, PartialEq)]
pub struct Manager {
    name: String,
    operation: String,
    api_version: String,
    subresource: String,
    /// When it last changed something.
    pub time: String,
    /// What it set.
    pub set: Set,
}

/// The entries of an object.
pub fn of(object: &Value) -> Vec<Manager> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().map(Manager::from_json).collect()
}

impl Manager {
    /// The entry that an apply leaves.
    pub fn new(apply: &Apply<'_>, now: Timestamp) -> Self {
        Self {
            name: apply.manager.to_owned(),
            operation: "Apply".into(),
            api_version: apply.api_version.to_owned(),
            subresource: apply.subresource.to_owned(),
            time: machinery::time::rfc3339(now),
            set: apply.set.clone(),
        }
    }

    fn from_json(entry: &Value) -> Self {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            name: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            set: Set::from_json(entry.get("fieldsV1").unwrap_or(&Value::Null)),
        }
    }

    /// The entry as it is stored.
    pub fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_json(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    /// Whether this is what the manager applied to that subresource before.
    pub fn is_apply_of(&self, manager: &str, subresource: &str) -> bool {
        self.operation == "Apply" && self.name == manager && self.subresource == subresource
    }

    /// The manager as conflicts name it.
    pub fn describe(&self) -> String {
        let mut text = go_quote(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", go_quote(&self.subresource)));
        }
        if self.operation == "Update" {
            text.push_str(&format!(" using {}", self.api_version));
            if !self.time.is_empty() {
                text.push_str(&format!(" at {}", self.time));
            }
        }
        text
    }
}
