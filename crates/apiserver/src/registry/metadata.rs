//! Rules for `metadata` (apimachinery `pkg/api/validation/objectmeta.go`).

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Map, Value};

use super::call::Call;
use super::handle::ResourceHandle;
use super::options;

/// Bytes of all annotations together, keys and values.
pub(super) const ANNOTATIONS_MAX: usize = 256 << 10;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Groups whose finalizers may have any name, because upstream checks them as it checks custom resources.
const FREE_FINALIZERS: [&str; 7] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "coordination.k8s.io",
    "internal.apiserver.k8s.io",
    "node.k8s.io",
    "policy",
];
/// Longest name of a subresource in `managedFields`, in bytes.
const SUBRESOURCE_MAX: usize = 256;

/// Checks the metadata of any object.
pub fn validate(handle: &ResourceHandle, object: &Value) -> Errors {
    let path = Path::new("metadata");
    let mut errors = names_of(handle, object, &path);
    if meta::generation(object) < 0 {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), meta::generation(object), detail));
    }
    errors.extend(common(object, &path));
    errors.extend(managers(object, &path.child("managedFields")));
    if handle.type_id.is_some() && !has_free_finalizers(handle) {
        errors.extend(domains(&meta::finalizers(object), &path.child("finalizers")));
    }
    errors
}

/// Checks labels, annotations, owners and finalizers.
fn common(object: &Value, path: &Path) -> Errors {
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
        let complaints = strategy.prefix_errors(generate);
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

/// Checks a map of labels (apimachinery `ValidateLabels`).
pub fn labels(labels: Option<&Map<String, Value>>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(
            names::qualified_name(key).into_iter().map(|why| FieldError::invalid(path, key.as_str(), why)),
        );
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::label_value(value).into_iter().map(|why| FieldError::invalid(path, value, why)));
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
    for (index, owner) in owners.iter().enumerate() {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        errors.extend(owner_reference(owner, &path.index(index)));
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

fn owner_reference(owner: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("apiVersion");
    let (_, version) = meta::split_api_version(api_version);
    if !api_version.is_empty() && (version.is_empty() || version.contains('/')) {
        let detail = "must be <group>/<version> or <version>";
        errors.push(FieldError::invalid(&path.child("apiVersion"), api_version, detail));
    }
    for key in ["apiVersion", "kind", "name", "uid"].into_iter().filter(|key| text(key).is_empty()) {
        errors.push(FieldError::required(&path.child(key), "must not be empty"));
    }
    if (api_version, text("kind")) == ("v1", "Event") {
        let detail = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(FieldError::invalid(path, owner.clone(), detail));
    }
    errors
}

/// Checks what clients say about managers: what makes no sense at all has been forgotten before.
fn managers(object: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let entries = object.get("metadata").and_then(|metadata| metadata.get("managedFields"));
    for (index, entry) in entries.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = path.index(index);
        errors.extend(options::manager_errors(text("manager"), &path.child("manager")));
        if text("subresource").len() > SUBRESOURCE_MAX {
            errors.push(FieldError::too_long(&path.child("subresource"), SUBRESOURCE_MAX));
        }
    }
    errors
}

/// Whether finalizers may have any name. Of events that holds for the older of their two groups.
fn has_free_finalizers(handle: &ResourceHandle) -> bool {
    let group = handle.group.as_str();
    FREE_FINALIZERS.contains(&group) || (group, handle.plural.as_str()) == ("", "events")
}

/// Kinds of the cluster want their finalizers to say whose they are.
fn domains(finalizers: &[&str], path: &Path) -> Errors {
    let bare = |finalizer: &str| !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer);
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    let wrong = finalizers.iter().enumerate().filter(|(_, finalizer)| bare(finalizer));
    wrong.map(|(index, finalizer)| FieldError::invalid(&path.index(index), *finalizer, detail)).collect()
}

fn finalizers(finalizers: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    for finalizer in finalizers {
        let complaints = names::qualified_name(finalizer);
        errors.extend(complaints.into_iter().map(|why| FieldError::invalid(path, *finalizer, why)));
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
