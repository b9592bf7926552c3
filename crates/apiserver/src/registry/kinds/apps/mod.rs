//! `apps`: workloads.

mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;
mod template;

pub(super) use daemon_set::DaemonSet;
pub(super) use deployment::Deployment;
pub(super) use replica_set::ReplicaSet;
pub(super) use stateful_set::StatefulSet;

use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, count};
use super::plain::Plain;
use super::value::text;
use crate::registry::strategy::Generic;

/// The strategy of what is left of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "controllerrevisions").then(|| Plain {
        immutable: &["/data"],
        row: Some(revision_row),
        ..Plain::new(generic)
    })
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
