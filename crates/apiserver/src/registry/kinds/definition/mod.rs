//! CustomResourceDefinitions (apiextensions-apiserver `pkg/apis/apiextensions/validation`). Schemas themselves are not looked into.

mod names;
mod versions;
mod webhook;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names as formats};
use serde_json::{Value, json};

use super::check;
use super::plain::Plain;
use super::value::{fill, flag, is_condition_true, list, put, strings, text};

/// The strategy of definitions.
pub(super) fn plain(base: Plain) -> Plain {
    Plain {
        complete: defaults,
        prepare: |object| {
            put(object, "status", json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null}));
            remember_stored(object);
        },
        prepare_update: |object, _| remember_stored(object),
        validate_create: new,
        validate_update: changed,
        validate_status: |object, _| accepted_names(object),
        row: Some(|object, _| vec![json!(meta::name(object)), json!(meta::creation_timestamp(object))]),
        ..base
    }
}

fn defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if let Some(names) = spec.get_mut("names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            fill(names, "singular", kind.to_lowercase());
            fill(names, "listKind", format!("{kind}List"));
        }
    }
    fill(spec, "conversion", json!({"strategy": "None"}));
    if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service") {
        fill(service, "port", 443);
    }
}

/// The stored version counts as one that was ever stored from the first moment.
fn remember_stored(object: &mut Value) {
    let stored = list(&object["spec"], "versions").iter().find(|version| flag(version, "storage"));
    let Some(name) = stored.map(|version| text(version, "name").to_owned()) else { return };
    let mut names: Vec<String> =
        strings(&object["status"], "storedVersions").into_iter().map(str::to_owned).collect();
    if !names.contains(&name) {
        names.push(name);
        put(&mut object["status"], "storedVersions", names);
    }
}

fn new(object: &Value) -> Errors {
    let spec = &object["spec"];
    let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    let mut errors = Errors::new();
    if meta::name(object) != wanted {
        let detail = r#"must be spec.names.plural+"."+spec.group"#;
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), meta::name(object), detail));
    }
    errors.extend(specification(&as_kept(spec), true, true));
    errors.extend(rest(object, None));
    errors
}

fn changed(object: &Value, old: &Value) -> Errors {
    let (spec, before, path) = (&object["spec"], &old["spec"], Path::new("spec"));
    let has_schema = |version: &Value| version["schema"]["openAPIV3Schema"].is_object();
    let schemas = list(before, "versions").iter().all(has_schema);
    let mut errors = specification(&as_kept(spec), schemas, webhook::was_understood(&before["conversion"]));
    let fixed: &[&str] = match is_condition_true(old, "Established") {
        true => &["scope", "names.kind", "group", "names.plural"],
        false => &["group", "names.plural"],
    };
    for field in fixed {
        let pointer = format!("/{}", field.replace('.', "/"));
        errors.extend(check::immutable(spec, before, &pointer, &path.child(field)));
    }
    errors.extend(rest(object, Some(old)));
    errors
}

/// What is checked of both, after the specification.
fn rest(object: &Value, old: Option<&Value>) -> Errors {
    let mut errors = accepted_names(object);
    errors.extend(stored_versions(object));
    errors.extend(names::approval(object, old));
    let keeps = |object: &Value| flag(&object["spec"], "preserveUnknownFields");
    if keeps(object) && !old.is_some_and(keeps) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&Path::new("spec").child("preserveUnknownFields"), true, detail));
    }
    errors
}

fn accepted_names(object: &Value) -> Errors {
    names::validate(&object["status"]["acceptedNames"], &Path::new("status").child("acceptedNames"))
}

fn stored_versions(object: &Value) -> Errors {
    let path = Path::new("status").child("storedVersions");
    let stored = strings(&object["status"], "storedVersions");
    if stored.is_empty() {
        return vec![FieldError::invalid(&path, Value::Null, "must have at least one stored version")];
    }
    let versions = list(&object["spec"], "versions");
    let gone =
        stored.iter().enumerate().filter(|(_, name)| !versions.iter().any(|one| text(one, "name") == **name));
    let refuse = |(i, name): (usize, &&str)| {
        let detail = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a \
             storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        FieldError::invalid(&path.index(i), *name, detail)
    };
    gone.map(refuse).collect()
}

/// What upstream moves from the versions to the definition when all of them agree: the field and where it goes.
const SHARED: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// A specification as upstream keeps it, whose paths its messages have.
fn as_kept(spec: &Value) -> Value {
    let mut kept = spec.clone();
    for (field, shared) in SHARED {
        let versions = list(spec, "versions");
        let Some(first) = versions.first().map(|version| version[field].clone()) else { continue };
        if versions.iter().any(|version| version[field] != first) {
            continue;
        }
        for version in kept["versions"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
        {
            version.remove(field);
        }
        put(&mut kept, shared, first);
    }
    kept
}

/// `spec`, as it is kept.
fn specification(spec: &Value, needs_schemas: bool, needs_known_review: bool) -> Errors {
    let path = Path::new("spec");
    let mut errors: Errors = group(text(spec, "group"), &path.child("group")).into_iter().collect();
    errors.extend(check::one_of(spec, "scope", &["Cluster", "Namespaced"], &path));
    errors.extend(versions::schemas(spec, needs_schemas, &path));
    errors.extend(versions::validate(spec, &path));
    let (kept, at) = (&spec["names"], path.child("names"));
    let required = ["plural", "singular", "kind", "listKind"].into_iter();
    errors.extend(required.filter_map(|field| check::required(kept, field, &at)));
    errors.extend(names::validate(kept, &at));
    errors.extend(versions::shared(spec, &path));
    errors.extend(webhook::conversion(spec, needs_known_review, &path.child("conversion")));
    errors
}

fn group(group: &str, path: &Path) -> Option<FieldError> {
    let reasons = formats::dns1123_subdomain(group);
    match group {
        "" => Some(FieldError::required(path, "")),
        _ if !reasons.is_empty() => Some(FieldError::invalid(path, group, reasons.join(","))),
        _ if !group.contains('.') => {
            Some(FieldError::invalid(path, group, "should be a domain with at least one dot"))
        }
        _ => None,
    }
}
