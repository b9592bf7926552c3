//! `node.k8s.io`: runtime classes.

use machinery::field::{Errors, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::plain::Plain;
use super::value::{map, text};
use super::{check, node_labels};
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "runtimeclasses").then(|| Plain {
        validate,
        immutable: &["/handler"],
        row: Some(row),
        warnings,
        update_warnings: |object, _| warnings(object),
        ..Plain::new(generic)
    })
}

fn validate(object: &Value) -> Errors {
    let handler = text(object, "handler");
    let mut errors = check::named(&Path::new("handler"), handler, names::dns1123_label(handler));
    let path = Path::new("overhead").child("podFixed");
    for (name, amount) in map(&object["overhead"], "podFixed").into_iter().flatten() {
        errors.extend(check::quantity(amount, &path.key(name)).err());
    }
    let at = Path::new("scheduling").child("nodeSelector");
    errors.extend(check::labels(map(&object["scheduling"], "nodeSelector"), &at));
    errors
}

fn warnings(object: &Value) -> Vec<String> {
    let labels = map(&object["scheduling"], "nodeSelector").into_iter().flatten();
    labels
        .filter_map(|(key, _)| Some(format!("scheduling.nodeSelector: {}", node_labels::old(key)?)))
        .collect()
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(text(object, "handler")), age(object, now)]
}
