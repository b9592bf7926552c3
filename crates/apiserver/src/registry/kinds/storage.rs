//! `storage.k8s.io`: classes, drivers, attachments.

use std::collections::{BTreeMap, BTreeSet};

use machinery::field::{Errors, FieldError, Path};
use machinery::text::go_json;
use machinery::{meta, names};
use serde_json::{Map, Value, json};

use super::cells::age;
use super::check;
use super::core::validate_inline;
use super::node_labels;
use super::plain::Plain;
use super::shape::csi_driver;
use super::value::{flag, has, int, list, map, put, strings, text};
use crate::registry::strategy::Generic;

/// Parameters that a class may have.
const PARAMETERS_MAX: usize = 512;
/// Bytes of all parameters, or of what an attachment says of itself.
const TEXT_MAX: usize = 256 << 10;

const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

const DRIVER: &str = r#"
spec.attachRequired = true
spec.podInfoOnMount = false
spec.storageCapacity = false
spec.fsGroupPolicy = "ReadWriteOnceWithFSType"
spec.requiresRepublish = false
spec.seLinuxMount = false
"#;

const CLASS: &str = "
provisioner        required immutable
parameters         immutable
reclaimPolicy      immutable
volumeBindingMode  immutable
";

const ATTACHMENT: &str = "
spec           struct immutable
spec.attacher  required caseless characters=63
";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "storageclasses" => Plain {
            defaults: "reclaimPolicy = \"Delete\"\nvolumeBindingMode = \"Immediate\"",
            checks: CLASS,
            validate: class,
            row: Some(class_row),
            warnings: node_labels::of_storage_class,
            update_warnings: |object, _| node_labels::of_storage_class(object),
            ..base
        },
        "csidrivers" => Plain {
            defaults: DRIVER,
            complete: driver_defaults,
            // Updates are counted, from where the client says.
            any_generation: true,
            prepare: |object| drop_disabled(object, &Value::Null),
            prepare_update: drop_disabled,
            warnings: |object| token_warning(object, &Value::Null),
            update_warnings: token_warning,
            validate: driver,
            validate_update: driver_update,
            row: Some(driver_row),
            ..base
        },
        "csinodes" => Plain { validate: node, validate_update: node_update, row: Some(node_row), ..base },
        "csistoragecapacities" => Plain {
            validate: capacity,
            immutable: &["/nodeTopology", "/storageClassName"],
            warnings: node_labels::of_storage_capacity,
            update_warnings: |object, _| node_labels::of_storage_capacity(object),
            ..base
        },
        "volumeattachments" => Plain {
            checks: ATTACHMENT,
            validate: attachment,
            validate_status: |object, _| attachment(object),
            row: Some(attachment_row),
            status: r#"{"attached":false}"#,
            ..base
        },
        "volumeattributesclasses" => Plain {
            changes_first: true,
            validate: attributes,
            validate_update: |object, old| forbidden_updates(object, old, &["driverName", "parameters"]),
            row: Some(attributes_row),
            ..base
        },
        _ => return None,
    })
}

fn class(object: &Value) -> Errors {
    let root = Path::root();
    let mut errors = provisioner(text(object, "provisioner"), &Path::new("provisioner"));
    errors.extend(parameters(object, true));
    errors.extend(check::enumeration(object, "reclaimPolicy", &["Delete", "Retain"], &root));
    let modes = ["Immediate", "WaitForFirstConsumer"];
    errors.extend(check::known(object, "volumeBindingMode", &modes, &root));
    errors.extend(topologies(list(object, "allowedTopologies")));
    errors
}

fn provisioner(name: &str, path: &Path) -> Errors {
    let name = name.to_lowercase();
    if name.is_empty() { Errors::new() } else { check::named(path, &name, names::qualified_name(&name)) }
}

fn parameters(object: &Value, may_be_empty: bool) -> Errors {
    let path = Path::new("parameters");
    let Some(parameters) = map(object, "parameters") else {
        let detail = "must contain at least one key/value pair";
        let missing = || FieldError::required(&path, detail);
        return (!may_be_empty).then(missing).into_iter().collect();
    };
    if parameters.len() > PARAMETERS_MAX {
        return vec![FieldError::too_long(&path, PARAMETERS_MAX)];
    }
    let mut errors = Errors::new();
    if parameters.contains_key("") {
        errors.push(FieldError::invalid(&path, "", "field can not be empty."));
    }
    if bytes(parameters) > TEXT_MAX {
        errors.push(FieldError::too_long(&path, TEXT_MAX));
    }
    errors
}

/// Bytes of all keys and values.
fn bytes(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

fn topologies(terms: &[Value]) -> Errors {
    let mut errors = Errors::new();
    // A term that says nothing is like as many as there are.
    let mut before: Vec<BTreeMap<&str, BTreeSet<&str>>> = vec![BTreeMap::new(); terms.len()];
    for (i, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies").index(i).child("matchLabelExpressions");
        let mut keys = BTreeMap::new();
        for (j, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let (key, values, at) = (text(expression, "key"), strings(expression, "values"), path.index(j));
            let mut distinct = BTreeSet::new();
            if values.is_empty() {
                errors.push(FieldError::required(&at.child("values"), ""));
            }
            for (k, value) in values.into_iter().enumerate() {
                if !distinct.insert(value) {
                    errors.push(FieldError::duplicate(&at.child("values").index(k), value));
                }
            }
            errors.extend(check::named(&at.child("key"), key, names::qualified_name(key)));
            if keys.insert(key, distinct).is_some() {
                errors.push(FieldError::duplicate(&at.child("key"), key));
            }
        }
        let same = before.iter().filter(|other| **other == keys);
        errors.extend(same.map(|_| FieldError::duplicate(&path, "")));
        before.push(keys);
    }
    errors
}

fn forbidden_updates(object: &Value, old: &Value, fields: &[&str]) -> Errors {
    let changed =
        |field: &str| object.get(field).unwrap_or(&Value::Null) != old.get(field).unwrap_or(&Value::Null);
    let refuse = |field: &&str| {
        FieldError::forbidden(&Path::new(*field), format!("updates to {field} are forbidden."))
    };
    fields.iter().filter(|field| changed(field)).map(refuse).collect()
}

fn class_row(object: &Value, now: i64) -> Vec<Value> {
    let default = DEFAULT_CLASS.iter().any(|key| meta::annotation(object, key) == Some("true"));
    let name = meta::name(object);
    vec![
        json!(if default { format!("{name} (default)") } else { name.to_owned() }),
        json!(text(object, "provisioner")),
        json!(text(object, "reclaimPolicy")),
        json!(text(object, "volumeBindingMode")),
        json!(flag(object, "allowVolumeExpansion")),
        age(object, now),
    ]
}

fn driver_defaults(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").filter(|spec| list(spec, "volumeLifecycleModes").is_empty()) {
        put(spec, "volumeLifecycleModes", json!(["Persistent"]));
    }
}

/// That pods wait for a driver is not switched on; it stays where it was said before.
fn drop_disabled(object: &mut Value, old: &Value) {
    const FIELD: &str = "preventPodSchedulingIfMissing";
    if !has(&old["spec"], FIELD)
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove(FIELD);
    }
}

/// Tokens that a driver gets with what may be logged.
fn token_warning(object: &Value, old: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let asks = !list(spec, "tokenRequests").is_empty()
        && spec.get("tokenRequests") != old["spec"].get("tokenRequests")
        && !has(spec, "serviceAccountTokenInSecrets");
    let warning = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible \
                   logging of tokens in volume attributes";
    asks.then(|| warning.to_owned()).into_iter().collect()
}

fn driver(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    errors.extend(check::known(spec, "fsGroupPolicy", &policies, &path));
    errors.extend(token_requests(list(spec, "tokenRequests"), &path.child("tokenRequests")));
    for mode in strings(spec, "volumeLifecycleModes") {
        let allowed = ["Persistent", "Ephemeral"];
        if !allowed.contains(&mode) {
            errors.push(FieldError::not_supported(&path.child("volumeLifecycleModes"), mode, &allowed));
        }
    }
    let period = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = int(spec, period).filter(|seconds| *seconds < 10) {
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(FieldError::invalid(&path.child(period), seconds, detail));
    }
    let secret = "serviceAccountTokenInSecrets";
    if has(spec, secret) && list(spec, "tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(FieldError::invalid(&path.child(secret), spec[secret].clone(), detail));
    }
    errors
}

fn token_requests(requests: &[Value], path: &Path) -> Errors {
    const SECONDS_MIN: i64 = 600;
    const SECONDS_MAX: i64 = 1 << 32;
    let mut audiences = BTreeSet::new();
    let mut errors = Errors::new();
    for (i, request) in requests.iter().enumerate() {
        let (audience, at) = (text(request, "audience"), path.index(i));
        if !audiences.insert(audience) {
            errors.push(FieldError::duplicate(&at.child("audience"), audience));
            continue;
        }
        let Some(seconds) = int(request, "expirationSeconds") else { continue };
        let at = at.child("expirationSeconds");
        if seconds < SECONDS_MIN {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(&at, seconds, detail));
        }
        if seconds > SECONDS_MAX {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(&at, seconds, detail));
        }
    }
    errors
}

/// Upstream calls the first of the fields otherwise than it is called.
fn driver_update(object: &Value, old: &Value) -> Errors {
    [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        .into_iter()
        .filter_map(|(field, called)| {
            check::immutable(object, old, &format!("/spec/{field}"), &Path::new("spec").child(called))
        })
        .collect()
}

fn driver_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let known =
        |field: &str| json!(spec.get(field).and_then(Value::as_bool).unwrap_or(field == "attachRequired"));
    let requests: Vec<&str> = list(spec, "tokenRequests").iter().map(|r| text(r, "audience")).collect();
    let modes = strings(spec, "volumeLifecycleModes");
    vec![
        json!(meta::name(object)),
        known("attachRequired"),
        known("podInfoOnMount"),
        known("storageCapacity"),
        json!(if requests.is_empty() { "<unset>".to_owned() } else { requests.join(",") }),
        known("requiresRepublish"),
        json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") }),
        age(object, now),
    ]
}

fn node(object: &Value) -> Errors {
    const ID_MAX: usize = 256;
    let path = Path::new("spec").child("drivers");
    let mut names = BTreeSet::new();
    let mut errors = Errors::new();
    for (i, driver) in list(&object["spec"], "drivers").iter().enumerate() {
        let (name, id, at) = (text(driver, "name"), text(driver, "nodeID"), path.index(i));
        errors.extend(csi_driver(name, &at.child("name")));
        if id.is_empty() {
            errors.push(FieldError::required(&at.child("nodeID"), ""));
        }
        if id.len() > ID_MAX {
            let detail = format!("must be {ID_MAX} characters or less");
            errors.push(FieldError::invalid(&at.child("nodeID"), id, detail));
        }
        errors.extend(check::non_negative(&driver["allocatable"], "count", &at.child("allocatable")));
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
        let mut keys = BTreeSet::new();
        for key in strings(driver, "topologyKeys") {
            if key.is_empty() {
                errors.push(FieldError::required(&at, key));
            }
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(&at, key));
            }
            errors.extend(check::named(&at, key, names::qualified_name(key)));
        }
    }
    errors
}

/// What a driver said of itself stays, but for how much it can take.
fn node_update(object: &Value, old: &Value) -> Errors {
    let drivers = |object: &Value| list(&object["spec"], "drivers").to_vec();
    let fixed = |mut driver: Value| {
        put(&mut driver, "allocatable", Value::Null);
        driver
    };
    let new = drivers(object);
    let refuse = |driver: Value| {
        let detail = format!("{}: field is immutable", shown_driver(&driver));
        FieldError::invalid(&Path::new("spec").child("drivers"), Value::Null, detail).without_value()
    };
    drivers(old)
        .into_iter()
        .filter_map(|old| {
            let same = new.iter().find(|driver| text(driver, "name") == text(&old, "name"))?;
            (fixed(same.clone()) != fixed(old)).then(|| refuse(same.clone()))
        })
        .collect()
}

/// A driver as Go shows it, but for how much it can take.
fn shown_driver(driver: &Value) -> String {
    let [name, id] = ["name", "nodeID"].map(|field| go_json(&text(driver, field).into()));
    let keys = driver.get("topologyKeys").map_or_else(|| "null".to_owned(), go_json);
    format!(r#"{{"Name":{name},"NodeID":{id},"TopologyKeys":{keys},"Allocatable":null}}"#)
}

fn capacity(object: &Value) -> Errors {
    let class = text(object, "storageClassName");
    let mut errors = check::selector(&object["nodeTopology"], &Path::new("nodeTopology"));
    errors.extend(check::named(&Path::new("storageClassName"), class, names::dns1123_subdomain(class)));
    if has(object, "capacity") {
        errors.extend(check::quantity(&object["capacity"], &Path::new("capacity")).err());
    }
    errors
}

fn node_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(list(&object["spec"], "drivers").len()), age(object, now)]
}

fn attachment(object: &Value) -> Errors {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (source, at) = (&spec["source"], path.child("source"));
    let mut errors = Errors::new();
    match (has(source, "inlineVolumeSpec"), has(source, "persistentVolumeName")) {
        (false, false) => errors.push(FieldError::required(&at, ONE)),
        (true, true) => errors.push(FieldError::forbidden(&at, ONE)),
        (false, true) if text(source, "persistentVolumeName").is_empty() => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&at.child("persistentVolumeName"), detail));
        }
        (true, false) => {
            errors.extend(validate_inline(&source["inlineVolumeSpec"], &at.child("inlineVolumeSpec")));
        }
        _ => {}
    }
    let node = text(spec, "nodeName");
    errors.extend(check::named(&path.child("nodeName"), node, names::dns1123_subdomain(node)));
    errors.extend(attachment_status(&object["status"]));
    let volume = text(&spec["source"], "persistentVolumeName");
    if has(&spec["source"], "persistentVolumeName") {
        let path = Path::new("spec.source.persistentVolumeName");
        errors.extend(check::named(&path, volume, names::dns1123_subdomain(volume)));
    }
    errors
}

fn attachment_status(status: &Value) -> Errors {
    const MESSAGE_MAX: usize = 1024;
    let path = Path::new("status");
    let mut errors = Errors::new();
    if map(status, "attachmentMetadata").is_some_and(|metadata| bytes(metadata) > TEXT_MAX) {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), TEXT_MAX));
    }
    for field in ["attachError", "detachError"] {
        let (error, at) = (&status[field], path.child(field));
        if text(error, "message").len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(&at.child("message"), TEXT_MAX));
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            let detail = names::range_error(0, check::MAX_INT32);
            errors.push(FieldError::invalid(&at.child("errorCode"), code, detail));
        }
    }
    errors
}

fn attachment_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        json!(meta::name(object)),
        json!(text(spec, "attacher")),
        json!(text(&spec["source"], "persistentVolumeName")),
        json!(text(spec, "nodeName")),
        json!(flag(&object["status"], "attached")),
        age(object, now),
    ]
}

fn attributes(object: &Value) -> Errors {
    let mut errors: Errors = check::required(object, "driverName", &Path::root()).into_iter().collect();
    errors.extend(provisioner(text(object, "driverName"), &Path::new("driverName")));
    errors.extend(parameters(object, false));
    errors
}

fn attributes_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(text(object, "driverName")), age(object, now)]
}
