//! Pod templates and replication controllers.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::selector::LabelSelector;
use serde_json::{Map, Value, json};

use super::super::cells::{age, containers, count, labels};
use super::super::check;
use super::super::plain::Plain;
use super::super::pod_spec;
use super::super::value::{map, put, text};
use crate::registry::strategy::Generic;

pub(super) fn pod_template(generic: Generic) -> Plain {
    Plain {
        complete: template_defaults,
        validate: |object| pod_spec::validate_template(&object["template"], &Path::new("template")),
        row: Some(template_row),
        ..Plain::new(generic)
    }
}

pub(super) fn replication_controller(generic: Generic) -> Plain {
    Plain {
        defaults: "spec.replicas = 1",
        complete: controller_defaults,
        status: r#"{"replicas":0}"#,
        validate: controller,
        row: Some(controller_row),
        selectable: &["status.replicas"],
        orphans: true,
        ..Plain::new(generic)
    }
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
    let mut errors: Errors = check::non_negative(spec, "minReadySeconds", &path).into_iter().collect();
    let chosen = map(spec, "selector");
    if chosen.is_none() {
        errors.push(FieldError::required(&path.child("selector"), ""));
    }
    errors.extend(check::non_negative(spec, "replicas", &path));
    let (template, at) = (&spec["template"], path.child("template"));
    if !template.is_object() {
        errors.push(FieldError::required(&at, ""));
        return errors;
    }
    let own = map(&template["metadata"], "labels");
    if chosen.is_some_and(|chosen| !LabelSelector::from_map(chosen).matches_map(own)) {
        let shown = own.cloned().map_or(Value::Null, Value::Object);
        let labels = at.child("metadata").child("labels");
        errors.push(FieldError::invalid(&labels, shown, "`selector` does not match template `labels`"));
    }
    errors.extend(pod_spec::validate_template(template, &at));
    let policy = text(&template["spec"], "restartPolicy");
    if !matches!(policy, "" | "Always") {
        let at = at.child("spec").child("restartPolicy");
        errors.push(FieldError::not_supported(&at, policy, &["Always"]));
    }
    errors
}

fn controller_row(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        json!(meta::name(object)),
        count(spec, "replicas"),
        count(status, "replicas"),
        count(status, "readyReplicas"),
        age(object, now),
        names,
        images,
        labels(spec, "selector"),
    ]
}
