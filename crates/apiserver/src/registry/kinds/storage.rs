//! `storage.k8s.io`: classes, drivers, attachments.

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::{age, or_unset};
use super::check;
use super::plain::Plain;
use super::value::{flag, has, list, put, strings, text};
use crate::registry::strategy::Generic;

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

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "storageclasses" => Plain {
            defaults: "reclaimPolicy = \"Delete\"\nvolumeBindingMode = \"Immediate\"",
            validate: class,
            validate_update: class_update,
            row: Some(class_row),
            ..base
        },
        "csidrivers" => Plain {
            defaults: DRIVER,
            complete: driver_defaults,
            validate: driver,
            immutable: &["/spec/attachRequired", "/spec/fsGroupPolicy", "/spec/volumeLifecycleModes"],
            row: Some(driver_row),
            ..base
        },
        "csinodes" => Plain { row: Some(node_row), ..base },
        "csistoragecapacities" => {
            Plain { immutable: &["/nodeTopology", "/storageClassName"], row: Some(capacity_row), ..base }
        }
        "volumeattachments" => Plain {
            validate: attachment,
            immutable: &["/spec"],
            row: Some(attachment_row),
            status: r#"{"attached":false}"#,
            ..base
        },
        "volumeattributesclasses" => {
            Plain { immutable: &["/driverName", "/parameters"], row: Some(attributes_row), ..base }
        }
        _ => return None,
    })
}

fn class(object: &Value) -> Errors {
    let root = Path::root();
    let (provisioner, path) = (text(object, "provisioner"), Path::new("provisioner"));
    let mut errors = Errors::new();
    if provisioner.is_empty() {
        errors.push(FieldError::required(&path, provisioner));
    } else {
        errors.extend(check::named(&path, provisioner, names::qualified_name(&provisioner.to_lowercase())));
    }
    errors.extend(check::enumeration(object, "reclaimPolicy", &["Delete", "Retain"], &root));
    let modes = ["Immediate", "WaitForFirstConsumer"];
    errors.extend(check::one_of(object, "volumeBindingMode", &modes, &root));
    errors
}

fn class_update(object: &Value, old: &Value) -> Errors {
    let changed =
        |field: &str| object.get(field).unwrap_or(&Value::Null) != old.get(field).unwrap_or(&Value::Null);
    let mut errors: Errors = ["parameters", "provisioner", "reclaimPolicy"]
        .into_iter()
        .filter(|field| changed(field))
        .map(|field| FieldError::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")))
        .collect();
    errors.extend(check::immutable(object, old, "/volumeBindingMode", &Path::new("volumeBindingMode")));
    errors
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

fn driver(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    errors.extend(check::enumeration(spec, "fsGroupPolicy", &policies, &path));
    for mode in strings(spec, "volumeLifecycleModes") {
        let allowed = ["Ephemeral", "Persistent"];
        if !allowed.contains(&mode) {
            errors.push(FieldError::not_supported(&path.child("volumeLifecycleModes"), mode, &allowed));
        }
    }
    errors
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

fn node_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(list(&object["spec"], "drivers").len()), age(object, now)]
}

fn capacity_row(object: &Value, now: i64) -> Vec<Value> {
    vec![
        json!(meta::name(object)),
        json!(text(object, "storageClassName")),
        or_unset(object.get("capacity")),
        age(object, now),
    ]
}

fn attachment(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = check::required(spec, "attacher", &path).into_iter().collect();
    let (source, at) = (&spec["source"], path.child("source"));
    match (has(source, "inlineVolumeSpec"), text(source, "persistentVolumeName")) {
        (false, "") => {
            let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.push(FieldError::required(&at, detail));
        }
        (true, name) if !name.is_empty() => {
            let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.push(FieldError::forbidden(&at, detail));
        }
        _ => {}
    }
    errors.extend(check::required(spec, "nodeName", &path));
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

fn attributes_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(text(object, "driverName")), age(object, now)]
}
