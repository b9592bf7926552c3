//! Rules for `metadata` (apimachinery `pkg/api/validation/objectmeta.go`).

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Map, Value};

use super::call::Call;
use super::handle::ResourceHandle;

/// Bytes of all annotations together, keys and values.
pub(super) const ANNOTATIONS_MAX: usize = 256 << 10;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Checks the metadata of any object.
pub fn validate(handle: &ResourceHandle, object: &Value) -> Errors {
    let path = Path::new("metadata");
    let mut errors = names_of(handle, object, &path);
    if meta::generation(object) < 0 {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), meta::generation(object), detail));
    }
    errors.extend(common(object, &path));
    errors
}

/// Checks labels, annotations, owners and finalizers, which also templates have.
pub fn common(object: &Value, path: &Path) -> Errors {
    let mut errors = labels(meta::labels(object), &path.child("labels"));
    errors.extend(annotations(meta::annotations(object), &path.child("annotations")));
    errors.extend(owner_references(meta::owner_references(object), &path.child("ownerReferences")));
    errors.extend(finalizers(&meta::finalizers(object), &path.child("finalizers")));
    errors
}

fn names_of(handle: &ResourceHandle, object: &Value, path: &Path) -> Errors {
    let strategy = handle.strategy();
    let (name, generate) = (meta::name(object), meta::generate_name(object));
    let mut errors = Errors::new();
    if !generate.is_empty() {
        let complaints = strategy.name_errors(&mask_trailing_dash(generate));
        errors.extend(
            complaints.into_iter().map(|why| FieldError::invalid(&path.child("generateName"), generate, why)),
        );
    }
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        let complaints = strategy.name_errors(name);
        errors.extend(complaints.into_iter().map(|why| FieldError::invalid(&path.child("name"), name, why)));
    }
    let namespace = meta::namespace(object);
    let path = path.child("namespace");
    match (handle.namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required(&path, "")),
        (true, false) => {
            let complaints = names::dns1123_label(namespace);
            errors.extend(complaints.into_iter().map(|why| FieldError::invalid(&path, namespace, why)));
        }
        (false, false) => errors.push(FieldError::forbidden(&path, "not allowed on this type")),
        (false, true) => {}
    }
    errors
}

/// A prefix of names may end in a dash, because something will follow it.
fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(head) if !head.is_empty() => format!("{head}a"),
        _ => name.to_owned(),
    }
}

/// Checks a map of labels (apimachinery `ValidateLabels`).
pub fn labels(labels: Option<&Map<String, Value>>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(
            names::qualified_name(key).into_iter().map(|why| FieldError::invalid(path, key.as_str(), why)),
        );
        let value = value.as_str().unwrap_or_default();
        errors.extend(
            names::label_value(value).into_iter().map(|why| FieldError::invalid(&path.key(key), value, why)),
        );
    }
    errors
}

/// Checks a map of annotations.
pub fn annotations(annotations: Option<&Map<String, Value>>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        // The rule is that of label keys, except that case does not matter.
        let complaints = names::qualified_name(&key.to_lowercase());
        errors.extend(complaints.into_iter().map(|why| FieldError::invalid(path, key.as_str(), why)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

impl Call<'_> {
    /// Leaves each owner in the object once; the warning about those that were there more often.
    pub(super) fn drop_repeated_owners(&self, object: &mut Value) -> Option<String> {
        let owners = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut)?;
        let mut repeated: Vec<String> = Vec::new();
        let mut once: Vec<Value> = Vec::with_capacity(owners.len());
        for owner in owners.drain(..) {
            if once.contains(&owner) {
                repeated.push(owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned());
            } else {
                once.push(owner);
            }
        }
        *owners = once;
        // Upstream looks at patched objects only after admission, and says so.
        let when = if self.request.info.verb == "patch" { " after mutating admission happens" } else { "" };
        (!repeated.is_empty()).then(|| {
            format!(
                ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
                repeated.join(", ")
            )
        })
    }
}

fn owner_references(owners: &[Value], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut controller: Option<String> = None;
    for owner in owners {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let (_, version) = meta::split_api_version(text("apiVersion"));
        if version.is_empty() {
            errors.push(FieldError::invalid(
                &path.child("apiVersion"),
                text("apiVersion"),
                "version must not be empty",
            ));
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                errors.push(FieldError::invalid(&path.child(key), "", "must not be empty"));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            errors.push(FieldError::invalid(
                path,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let this = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(FieldError::invalid(path, owners.to_vec(), detail));
                }
                None => controller = Some(this),
            }
        }
    }
    errors
}

fn finalizers(finalizers: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    for finalizer in finalizers {
        let complaints = names::qualified_name(finalizer);
        errors.extend(complaints.into_iter().map(|why| FieldError::invalid(path, *finalizer, why)));
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(path, *finalizer, detail));
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        let all: Vec<Value> = finalizers.iter().map(|f| (*f).into()).collect();
        errors.push(FieldError::invalid(path, all, detail));
    }
    errors
}

/// Checks what an update may not change (apimachinery `ValidateObjectMetaAccessorUpdate`). What may be left out by clients
/// has been filled in from `old` already.
pub fn validate_update(object: &Value, old: &Value) -> Errors {
    let path = Path::new("metadata");
    let mut errors = Errors::new();
    if meta::deletion_timestamp(old).is_some() {
        errors.extend(new_finalizers(object, old, &path.child("finalizers")));
    }
    let field = |object: &Value, key: &str| {
        object.get("metadata").and_then(|m| m.get(key)).cloned().unwrap_or_default()
    };
    for key in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let (new, before) = (field(object, key), field(old, key));
        if new != before {
            errors.push(FieldError::invalid(&path.child(key), new, "field is immutable"));
        }
    }
    errors
}

fn new_finalizers(object: &Value, old: &Value, path: &Path) -> Option<FieldError> {
    let before = meta::finalizers(old);
    let mut extra: Vec<&str> = meta::finalizers(object).into_iter().filter(|f| !before.contains(f)).collect();
    extra.sort_unstable();
    if extra.is_empty() {
        return None;
    }
    let quoted: Vec<String> = extra.iter().map(|f| machinery::text::go_quote(f)).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        quoted.join(", ")
    );
    Some(FieldError::forbidden(path, detail))
}
