//! `coordination.k8s.io`: leases.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::check;
use super::devices::is_semantic_version;
use super::plain::Plain;
use super::value::{has, int, text};
use crate::registry::strategy::Generic;

/// The one way of choosing a holder that Kubernetes itself knows.
const OLDEST: &str = "OldestEmulationVersion";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "leases" => Plain {
            defaults: "spec = {}",
            prepare: |lease| drop_disabled(lease, &Value::Null),
            prepare_update: drop_disabled,
            validate: lease,
            row: Some(lease_row),
            ..base
        },
        "leasecandidates" => Plain {
            names: Some(names::config_map_key),
            validate: candidate,
            immutable: &["/spec/leaseName"],
            row: Some(candidate_row),
            ..base
        },
        _ => return None,
    })
}

/// That a server chooses the holder is not switched on; it stays where it was said before.
fn drop_disabled(lease: &mut Value, old: &Value) {
    for field in ["strategy", "preferredHolder"] {
        if !has(&old["spec"], field)
            && let Some(spec) = lease.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.remove(field);
        }
    }
}

fn lease(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let at = path.child("leaseDurationSeconds");
        errors.push(FieldError::invalid(&at, seconds, "must be greater than 0"));
    }
    errors.extend(check::non_negative(spec, "leaseTransitions", &path));
    let named = text(spec, "strategy");
    if has(spec, "strategy") {
        errors.extend(strategy(named, &path.child("strategy")));
    }
    if !text(spec, "preferredHolder").is_empty() && named.is_empty() {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(&path.child("preferredHolder"), detail));
    }
    errors
}

/// How a holder is chosen. Upstream reports it one level too deep.
fn strategy(name: &str, path: &Path) -> Errors {
    let path = path.child("strategy");
    if name.contains('/') {
        return check::named(&path, name, names::qualified_name(name));
    }
    if name == OLDEST { Errors::new() } else { vec![FieldError::not_supported(&path, name, &[OLDEST])] }
}

fn candidate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = check::required(spec, "leaseName", &path).into_iter().collect();
    let version = |field: &str| numbers(text(spec, field));
    let refuse =
        |field: &str, detail: &str| FieldError::invalid(&path.child(field), text(spec, field), detail);
    let (emulated, binary) = (version("emulationVersion"), version("binaryVersion"));
    let not_a_version = "must be a valid semantic version";
    if emulated.is_none() && !text(spec, "emulationVersion").is_empty() {
        errors.push(refuse("emulationVersion", not_a_version));
    }
    if text(spec, "binaryVersion").is_empty() {
        errors.push(FieldError::required(&path.child("binaryVersion"), ""));
    } else if binary.is_none() {
        errors.push(refuse("binaryVersion", not_a_version));
    }
    // What is no version counts as 0.0.0.
    let given = |field: &str| !text(spec, field).is_empty();
    if given("binaryVersion")
        && given("emulationVersion")
        && emulated.unwrap_or_default() > binary.unwrap_or_default()
    {
        errors.push(refuse("binaryVersion", "must be greater than or equal to `emulationVersion`"));
    }
    let named = text(spec, "strategy");
    if named.is_empty() {
        errors.push(FieldError::required(&path.child("strategy"), ""));
        return errors;
    }
    if named == OLDEST && emulated.unwrap_or_default() == [0; 3] {
        let detail = "must be specified when `strategy` is 'OldestEmulationVersion'";
        errors.push(FieldError::required(&path.child("emulationVersion"), detail));
    }
    errors.extend(strategy(named, &path.child("strategy")));
    errors
}

/// The three numbers of a semantic version.
fn numbers(text: &str) -> Option<[u64; 3]> {
    if !is_semantic_version(text) {
        return None;
    }
    let core = text.split(['-', '+']).next()?;
    let numbers: Vec<u64> = core.split('.').filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().ok()
}

fn lease_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(text(&object["spec"], "holderIdentity")), age(object, now)]
}

fn candidate_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let mut cells = vec![json!(meta::name(object))];
    let fields = ["leaseName", "binaryVersion", "emulationVersion"];
    cells.extend(fields.map(|field| json!(text(spec, field))));
    cells.push(age(object, now));
    cells
}
