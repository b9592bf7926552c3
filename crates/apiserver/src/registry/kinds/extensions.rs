//! What extends the API itself or says how it is served: aggregated APIs, custom resources, flow control.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::check;
use super::definition;
use super::plain::Plain;
use super::storage_version;
use super::value::{flag, has, int, list, text};
use crate::registry::strategy::Generic;

/// The strategy of a resource of one of these groups.
pub(super) fn plain(group: &str, plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match (group, plural) {
        ("apiregistration.k8s.io", "apiservices") => Plain {
            defaults: "spec.service.port = 443",
            validate: api_service,
            validate_status: api_service_status,
            row: Some(api_service_row),
            ..base
        },
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition::plain(base),
        ("storagemigration.k8s.io", "storageversionmigrations") => Plain {
            validate: migration,
            immutable: &["/spec/resource"],
            status_checks: "status.conditions conditions",
            row: Some(migration_row),
            ..base
        },
        ("internal.apiserver.k8s.io", "storageversions") => storage_version::plain(base),
        _ => return None,
    })
}

/// Names like those of aggregated APIs and their resources.
fn migration(object: &Value) -> Errors {
    let (resource, path) = (&object["spec"]["resource"], Path::new("spec").child("resource"));
    let mut errors = Errors::new();
    let (name, group) = (text(resource, "resource"), text(resource, "group"));
    let reasons = names::dns1035_label(name);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), "resource is required to be set"));
    } else if !reasons.is_empty() {
        errors.push(FieldError::invalid(&path.child("resource"), name, reasons.join(",")));
    }
    let reasons = names::dns1123_subdomain(group);
    if !group.is_empty() && !reasons.is_empty() {
        errors.push(FieldError::invalid(&path.child("group"), group, reasons.join(",")));
    }
    errors
}

fn migration_row(object: &Value, _now: i64) -> Vec<Value> {
    let resource = &object["spec"]["resource"];
    let shown = machinery::status::qualified(text(resource, "group"), text(resource, "resource"));
    let mut state = "Unknown";
    for condition in list(&object["status"], "conditions").iter().filter(|c| text(c, "status") == "True") {
        if let kind @ ("Running" | "Failed" | "Succeeded") = text(condition, "type") {
            state = kind;
        }
    }
    vec![json!(meta::name(object)), json!(shown), json!(state)]
}

fn api_service(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let wanted = format!("{version}.{group}");
    let mut errors = Errors::new();
    if meta::name(object) != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), meta::name(object), detail));
    }
    let at = path.child("group");
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&at, detail));
    }
    if !group.is_empty() {
        errors.extend(check::named(&at, group, names::dns1123_subdomain(group)));
    }
    errors.extend(check::named(&path.child("version"), version, names::dns1035_label(version)));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let value = int(spec, field).unwrap_or_default();
        if !(1..=most).contains(&value) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&path.child(field), value, detail));
        }
    }
    errors.extend(api_backend(spec, &path));
    errors
}

fn api_backend(spec: &Value, path: &Path) -> Errors {
    let (bundle, insecure) = (text(spec, "caBundle"), flag(spec, "insecureSkipTLSVerify"));
    let (bundle_at, insecure_at) = (path.child("caBundle"), path.child("insecureSkipTLSVerify"));
    let mut errors = Errors::new();
    if !has(spec, "service") {
        if !bundle.is_empty() {
            let size = format!("{} bytes", STANDARD.decode(bundle).map_or(0, |bytes| bytes.len()));
            errors.push(FieldError::invalid(&bundle_at, size, "local APIServices may not have a caBundle"));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&insecure_at, true, detail));
        }
        return errors;
    }
    let (service, at) = (&spec["service"], path.child("service"));
    errors.extend(["namespace", "name"].into_iter().filter_map(|field| check::required(service, field, &at)));
    let port = int(service, "port").unwrap_or_default();
    let reasons = names::port_number(port);
    if !reasons.is_empty() {
        let detail = format!("port is not valid: {}", reasons.join(", "));
        errors.push(FieldError::invalid(&at.child("port"), port, detail));
    }
    if insecure && !bundle.is_empty() {
        errors.push(FieldError::invalid(&insecure_at, true, "may not be true if caBundle is present"));
    }
    errors
}

fn api_service_status(object: &Value, _: &Value) -> Errors {
    const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
    let path = Path::new("status").child("conditions");
    let conditions = list(&object["status"], "conditions").iter().enumerate();
    conditions
        .map(|(i, condition)| (path.index(i).child("status"), text(condition, "status")))
        .filter(|(_, status)| !STATUSES.contains(status))
        .map(|(at, status)| FieldError::not_supported(&at, status, &STATUSES))
        .collect()
}

fn api_service_row(object: &Value, now: i64) -> Vec<Value> {
    let service = &object["spec"]["service"];
    let shown = if service.is_object() {
        format!("{}/{}", text(service, "namespace"), text(service, "name"))
    } else {
        "Local".to_owned()
    };
    let condition = list(&object["status"], "conditions").iter().find(|c| text(c, "type") == "Available");
    let available = condition.map_or("Unknown".to_owned(), |condition| match text(condition, "status") {
        "True" => "True".to_owned(),
        status => format!("{status} ({})", text(condition, "reason")),
    });
    vec![json!(meta::name(object)), json!(shown), json!(available), age(object, now)]
}
