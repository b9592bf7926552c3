//! Hand-over from client-side apply: `kubectl apply` keeps what it applied in an annotation, which says whose fields it may
//! take when it begins to apply on the server (apimachinery `lastappliedmanager.go`, `lastappliedupdater.go`).

use machinery::meta;
use machinery::text::go_json;
use serde_json::{Map, Value};

use super::compare::Comparison;
use super::owner::Conflicts;
use super::set::Set;
use super::shape::Shape;
use super::typed;
use crate::registry::metadata::ANNOTATIONS_MAX;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The only manager that the annotation is about.
const KUBECTL: &str = "kubectl";

/// The conflicts that remain: fields are kubectl's when they are as the annotation has them.
pub fn remaining(manager: &str, live: &Value, shape: Shape, conflicts: Conflicts) -> Conflicts {
    let allowed = if manager == KUBECTL { from_annotation(live, shape) } else { None };
    let Some(allowed) = allowed else { return conflicts };
    let rest = conflicts.into_iter().map(|(owner, mut set)| {
        set.remove(&allowed);
        (owner, set)
    });
    rest.filter(|(_, set)| !set.is_empty()).collect()
}

fn from_annotation(live: &Value, shape: Shape) -> Option<Set> {
    let applied: Value = serde_json::from_str(meta::annotation(live, ANNOTATION)?).ok()?;
    let fits = match shape {
        Shape::Struct(id) => typed::complaint(&applied, id).is_none(),
        _ => true,
    };
    if !fits || meta::api_version(&applied) != meta::api_version(live) {
        return None;
    }
    let comparison = Comparison::of(&applied, live, shape);
    let mut set = Set::of(&applied, shape);
    set.remove(&comparison.all());
    Some(set)
}

/// Brings the annotation of an object that has one up to date with what kubectl applies.
pub fn update(manager: &str, object: &mut Value, config: &Value) {
    if manager != KUBECTL || meta::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    meta::set_annotation(object, ANNOTATION, &format!("{}\n", go_json(&config)));
    let size = |map: &Map<String, Value>| -> usize {
        map.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
    };
    if meta::annotations(object).map_or(0, size) > ANNOTATIONS_MAX
        && let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION);
    }
}
