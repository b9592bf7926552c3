//! `node.k8s.io`: runtime classes.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::age;
use super::plain::Plain;
use super::pod_spec;
use super::value::{list, map, text};
use super::{check, node_labels};
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "runtimeclasses").then(|| Plain {
        checks: "handler required immutable label",
        validate,
        row: Some(row),
        warnings,
        update_warnings: |object, _| warnings(object),
        ..Plain::new(generic)
    })
}

fn validate(object: &Value) -> Errors {
    let mut errors = pod_spec::overhead_amounts(&object["overhead"]["podFixed"], &Path::new("overhead"));
    let (scheduling, path) = (&object["scheduling"], Path::new("scheduling"));
    errors.extend(check::labels(map(scheduling, "nodeSelector"), &path.child("nodeSelector")));
    errors.extend(pod_spec::tolerations(scheduling, &path));
    let mut seen = Vec::new();
    for (i, toleration) in list(scheduling, "tolerations").iter().enumerate() {
        let key = ["key", "operator", "value", "effect"].map(|field| text(toleration, field));
        if seen.contains(&key) {
            let error = FieldError::duplicate(&path.child("tolerations").index(i), toleration.clone());
            errors.push(error.as_struct("Toleration"));
        }
        seen.push(key);
    }
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
