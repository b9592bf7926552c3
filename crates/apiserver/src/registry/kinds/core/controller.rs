//! Pod templates and replication controllers.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::selector::LabelSelector;
use serde_json::{Map, Value, json};

use super::super::cells::{containers, labels};
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{has, map, put};
use super::super::workload::{self, Counts};
use crate::registry::strategy::{Dependents, Generic};

pub(super) fn pod_template(generic: Generic) -> Plain {
    Plain {
        complete: template_defaults,
        prepare: |object| {
            object.pointer_mut("/template/spec").map_or((), |pod| pod_spec::drop_disabled(pod, None))
        },
        prepare_update: |object, old| {
            if let Some(pod) = object.pointer_mut("/template/spec") {
                pod_spec::drop_disabled(pod, old.pointer("/template/spec"));
            }
        },
        warnings: template_warnings,
        update_warnings: |object, old| {
            if object.get("template") == old.get("template") { Vec::new() } else { template_warnings(object) }
        },
        validate: |object| pod_spec::validate_template(&object["template"], &Path::new("template")),
        row: Some(template_row),
        ..Plain::new(generic)
    }
}

pub(super) fn replication_controller(generic: Generic) -> Plain {
    Plain {
        defaults: "spec.replicas = 1",
        complete: controller_defaults,
        prepare: workload::prepare,
        prepare_update: workload::prepare_update,
        status: r#"{"replicas":0}"#,
        checks: "spec struct\nspec.replicas min=0\nspec.minReadySeconds min=0",
        validate: controller,
        validate_status: |object, old| COUNTS.validate(object, old),
        row: Some(|object, now| workload::row(object, now, labels(&object["spec"], "selector"))),
        warnings: workload::warnings,
        // Upstream looks at the template that is replaced.
        update_warnings: |object, old| {
            if object["spec"] == old["spec"] { Vec::new() } else { workload::template_warnings(old) }
        },
        selectable: &["status.replicas"],
        dependents: Dependents::Orphaned,
        ..Plain::new(generic)
    }
}

const COUNTS: Counts = Counts {
    all: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
    of_replicas: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    ready: "readyReplicas",
};

fn template_warnings(object: &Value) -> Vec<String> {
    pod_spec::template_warnings(&object["template"], &Path::new("template"))
}

fn template_defaults(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/template/spec") {
        pod_spec::apply_defaults(spec);
    }
}

fn template_row(object: &Value, _now: i64) -> Vec<Value> {
    let (names, images) = containers(&object["template"]["spec"]);
    vec![json!(meta::name(object)), names, images, labels(&object["template"]["metadata"], "labels")]
}

/// A controller without selector or labels has those of its pods.
fn controller_defaults(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        pod_spec::apply_defaults(spec);
    }
    let Some(own) = map(&object["spec"]["template"]["metadata"], "labels").cloned() else { return };
    if map(&object["spec"], "selector").is_none()
        && let Some(spec) = object.get_mut("spec")
    {
        put(spec, "selector", Value::Object(own.clone()));
    }
    if meta::labels(object).is_none_or(Map::is_empty) {
        meta::set(object, "labels", Value::Object(own));
    }
}

fn controller(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let chosen = map(spec, "selector");
    if chosen.is_none() {
        errors.push(FieldError::required(&path.child("selector"), ""));
    }
    if !has(spec, "replicas") {
        errors.push(FieldError::required(&path.child("replicas"), ""));
    }
    let template = &spec["template"];
    if !template.is_object() {
        errors.push(FieldError::required(&path.child("template"), ""));
        return errors;
    }
    let own = map(&template["metadata"], "labels");
    if chosen.is_some_and(|chosen| !LabelSelector::from_map(chosen).matches_map(own)) {
        let shown = own.cloned().map_or(Value::Null, Value::Object);
        let labels = path.child("template").child("metadata").child("labels");
        errors.push(FieldError::invalid(&labels, shown, "`selector` does not match template `labels`"));
    }
    errors.extend(workload::validate(spec, "ReplicationController", &path));
    errors
}
