//! `coordination.k8s.io`: leases.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::age;
use super::check;
use super::plain::Plain;
use super::value::{int, text};
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "leases" => Plain { defaults: "spec = {}", validate: lease, row: Some(lease_row), ..base },
        "leasecandidates" => Plain { row: Some(candidate_row), ..base },
        _ => return None,
    })
}

fn lease(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let at = path.child("leaseDurationSeconds");
        errors.push(FieldError::invalid(&at, seconds, "must be greater than 0"));
    }
    errors.extend(check::non_negative(spec, "leaseTransitions", &path));
    errors
}

fn lease_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(text(&object["spec"], "holderIdentity")), age(object, now)]
}

fn candidate_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let mut cells = vec![json!(meta::name(object))];
    let fields = ["leaseName", "binaryVersion", "emulationVersion", "strategy"];
    cells.extend(fields.map(|field| json!(text(spec, field))));
    cells.push(age(object, now));
    cells
}
