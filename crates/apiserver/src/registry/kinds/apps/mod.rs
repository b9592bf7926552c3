//! `apps`: workloads.

mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

pub(super) use daemon_set::DaemonSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, count};
use super::check;
use super::plain::Plain;
use super::value::text;
use crate::registry::strategy::Generic;

/// What is said of a selector that is malformed, beside what is wrong with it.
const UNUSABLE: &str = "invalid label selector";

/// The strategy of a resource of the group; DaemonSets have one of their own.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    Some(match plural {
        "controllerrevisions" => Plain {
            immutable: &["/data"],
            validate: |object| check::non_negative(object, "revision", &Path::root()).into_iter().collect(),
            validate_create: revision_data,
            row: Some(revision_row),
            ..Plain::new(generic)
        },
        "deployments" => deployment::plain(generic),
        "replicasets" => replica_set::plain(generic),
        "statefulsets" => stateful_set::plain(generic),
        _ => return None,
    })
}

fn revision_data(object: &Value) -> Errors {
    let why = match object.get("data") {
        None | Some(Value::Null) => "data is mandatory",
        Some(Value::Object(_)) => return Errors::new(),
        Some(_) => "data must be a valid JSON object",
    };
    vec![FieldError::required(&Path::new("data"), why)]
}

fn revision_row(object: &Value, now: i64) -> Vec<Value> {
    let controller = meta::controller_of(object).map_or("<none>".to_owned(), |owner| {
        let (group, _) = meta::split_api_version(text(owner, "apiVersion"));
        let kind = text(owner, "kind").to_lowercase();
        let kind = if group.is_empty() { kind } else { format!("{kind}.{group}") };
        format!("{kind}/{}", text(owner, "name"))
    });
    vec![json!(meta::name(object)), json!(controller), count(object, "revision"), age(object, now)]
}
