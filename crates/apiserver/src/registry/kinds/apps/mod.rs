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
use super::value::{has, text};
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group; DaemonSets have one of their own.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    Some(match plural {
        "controllerrevisions" => Plain {
            immutable: &["/data"],
            validate: validate_revision,
            row: Some(revision_row),
            ..Plain::new(generic)
        },
        "deployments" => deployment::plain(generic),
        "replicasets" => replica_set::plain(generic),
        "statefulsets" => stateful_set::plain(generic),
        _ => return None,
    })
}

fn validate_revision(object: &Value) -> Errors {
    let mut errors = Errors::new();
    if !has(object, "data") {
        errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
    }
    errors.extend(check::non_negative(object, "revision", &Path::root()));
    errors
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
