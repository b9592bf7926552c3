//! Namespaces: they end in two steps, through `spec.finalizers`.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::age;
use super::super::check;
use super::super::value::{below, fill, put, strings, text};
use crate::registry::strategy::Strategy;

/// Label that every namespace carries with its own name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What keeps a namespace has a domain, or is Kubernetes' own.
fn finalizer(name: &str, path: &Path) -> Errors {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let mut errors = check::named(path, name, names::qualified_name(name));
    if !name.contains('/') && !STANDARD.contains(&name) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

/// The strategy of Namespaces.
pub struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        let name = meta::name(object).to_owned();
        if !name.is_empty() {
            meta::set_label(object, NAME_LABEL, &name);
        }
        if let Some(status) = below(object, "status").filter(|status| text(status, "phase").is_empty()) {
            put(status, "phase", "Active");
        }
    }

    fn name_errors(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn prepare_for_create(&self, object: &mut Value) {
        self.default(object);
        if let Some(spec) = below(object, "spec") {
            fill(spec, "finalizers", json!([]));
            if let Some(finalizers) = spec.get_mut("finalizers").and_then(Value::as_array_mut)
                && !finalizers.iter().any(|f| f == "kubernetes")
            {
                finalizers.push("kubernetes".into());
            }
        }
        put(object, "status", json!({ "phase": "Active" }));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        // Only the finalize subresource may change these.
        if let Some(spec) = below(object, "spec") {
            put(spec, "finalizers", old.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([])));
        }
        put(object, "status", old.get("status").cloned().unwrap_or_else(|| json!({})));
    }

    fn validate_create(&self, object: &Value) -> Errors {
        let path = Path::new("spec").child("finalizers");
        strings(&object["spec"], "finalizers").into_iter().flat_map(|name| finalizer(name, &path)).collect()
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> Errors {
        let phase = text(&object["status"], "phase");
        let (wanted, when) = match meta::deletion_timestamp(object) {
            None => ("Active", "empty"),
            Some(_) => ("Terminating", "not empty"),
        };
        let detail = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
        let path = Path::new("status").child("Phase");
        (phase != wanted).then(|| FieldError::invalid(&path, phase, detail)).into_iter().collect()
    }

    fn validate_subresource_update(&self, subresource: &str, object: &Value, _old: &Value) -> Errors {
        let path = Path::new("spec").child("finalizers");
        let names = strings(&object["spec"], "finalizers").into_iter().enumerate();
        let names = names.filter(|_| subresource == "finalize");
        names.flat_map(|(i, name)| finalizer(name, &path.index(i))).collect()
    }

    fn holds(&self, object: &Value) -> bool {
        object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|finalizers| !finalizers.is_empty())
    }

    fn mark_deleting(&self, object: &mut Value) {
        meta::remove(object, "deletionGracePeriodSeconds");
        if let Some(status) = below(object, "status") {
            put(status, "phase", "Terminating");
        }
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        vec![("status.phase", phase.to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        let phase = text(&object["status"], "phase");
        Some(vec![json!(meta::name(object)), json!(phase), age(object, now)])
    }
}
