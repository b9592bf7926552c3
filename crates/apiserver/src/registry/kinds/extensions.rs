//! What extends the API itself or says how it is served: aggregated APIs, custom resources, flow control.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, or_none};
use super::check;
use super::plain::Plain;
use super::value::{below, fill, flag, has, int, list, put, text};
use crate::registry::strategy::Generic;

/// The strategy of a resource of one of these groups.
pub(super) fn plain(group: &str, plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match (group, plural) {
        ("apiregistration.k8s.io", "apiservices") => Plain {
            defaults: "spec.service.port = 443",
            validate: api_service,
            row: Some(api_service_row),
            ..base
        },
        ("apiextensions.k8s.io", "customresourcedefinitions") => Plain {
            complete: definition_defaults,
            prepare: definition_status,
            validate_create: definition_name,
            row: Some(|object, _| vec![json!(meta::name(object)), json!(meta::creation_timestamp(object))]),
            ..base
        },
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => {
            Plain { defaults: "spec.matchingPrecedence = 1000", row: Some(flow_schema_row), ..base }
        }
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => {
            Plain { defaults: LEVEL, row: Some(level_row), ..base }
        }
        _ => return None,
    })
}

const LEVEL: &str = r#"
spec.limited.nominalConcurrencyShares = 30
spec.limited.lendablePercent = 0
spec.limited.limitResponse.queuing.queues = 64
spec.limited.limitResponse.queuing.handSize = 8
spec.limited.limitResponse.queuing.queueLengthLimit = 50
spec.exempt.nominalConcurrencyShares = 0
spec.exempt.lendablePercent = 0
"#;

fn api_service(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let name = format!("{}.{}", text(spec, "version"), text(spec, "group"));
    if meta::name(object) != name.trim_end_matches('.') && meta::name(object) != name {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {name:?}");
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), meta::name(object), detail));
    }
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let value = int(spec, field).unwrap_or_default();
        if !(1..=most).contains(&value) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&path.child(field), value, detail));
        }
    }
    if has(spec, "service") {
        let at = path.child("service");
        errors.extend(check::required(&spec["service"], "namespace", &at));
        errors.extend(check::required(&spec["service"], "name", &at));
        if flag(spec, "insecureSkipTLSVerify") && !text(spec, "caBundle").is_empty() {
            let detail = "may not be true if caBundle is present";
            errors.push(FieldError::invalid(&path.child("insecureSkipTLSVerify"), true, detail));
        }
    }
    errors
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

fn definition_defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    fill(spec, "scope", "Namespaced");
    if let Some(names) = spec.get_mut("names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            fill(names, "singular", kind.to_lowercase());
            fill(names, "listKind", format!("{kind}List"));
        }
    }
    if let Some(conversion) = below(spec, "conversion") {
        fill(conversion, "strategy", "None");
        if let Some(service) = conversion.pointer_mut("/webhook/clientConfig/service") {
            fill(service, "port", 443);
        }
    }
}

/// The stored version counts as one that was ever stored from the first moment.
fn definition_status(object: &mut Value) {
    let stored: Vec<String> = list(&object["spec"], "versions")
        .iter()
        .filter(|version| flag(version, "storage"))
        .map(|version| text(version, "name").to_owned())
        .collect();
    let status =
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": stored});
    put(object, "status", status);
}

fn definition_name(object: &Value) -> Errors {
    let spec = &object["spec"];
    let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    let name = meta::name(object);
    if name == wanted {
        return Errors::new();
    }
    let detail = r#"must be spec.names.plural+"."+spec.group"#;
    vec![FieldError::invalid(&Path::new("metadata").child("name"), name, detail)]
}

fn flow_schema_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let method = text(&spec["distinguisherMethod"], "type");
    let dangling = list(&object["status"], "conditions").iter().find(|c| text(c, "type") == "Dangling");
    vec![
        json!(meta::name(object)),
        json!(text(&spec["priorityLevelConfiguration"], "name")),
        json!(int(spec, "matchingPrecedence").unwrap_or_default().to_string()),
        json!(or_none(method)),
        age(object, now),
        json!(dangling.map_or("?", |condition| text(condition, "status"))),
    ]
}

fn level_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let limited = &spec["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let shown =
        |of: &Value, field: &str| json!(int(of, field).map_or("<none>".to_owned(), |n| n.to_string()));
    vec![
        json!(meta::name(object)),
        json!(text(spec, "type")),
        shown(limited, "nominalConcurrencyShares"),
        shown(queuing, "queues"),
        shown(queuing, "handSize"),
        shown(queuing, "queueLengthLimit"),
        age(object, now),
    ]
}
