//! `autoscaling`: horizontal pod autoscalers.

mod rules;

use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, count};
use super::plain::Plain;
use super::value::{below, fill, has, int, list, put, text};
use crate::registry::convert::{autoscaler, convert};
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    (plural == "horizontalpodautoscalers").then(|| Plain {
        defaults: "spec.minReplicas = 1",
        complete: defaults,
        status: r#"{"currentMetrics": null, "desiredReplicas": 0}"#,
        validate_create: |object| rules::validate(object, None),
        validate_update: |object, old| rules::validate(object, Some(old)),
        validate_status: rules::validate_status,
        row: Some(row),
        ..Plain::new(generic)
    })
}

fn defaults(object: &mut Value) {
    autoscaler::drop_annotations(object);
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if list(spec, "metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        put(spec, "metrics", json!([metric]));
    }
    let Some(behavior) = spec.get_mut("behavior").filter(|behavior| behavior.is_object()) else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    if let Some(up) = below(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
    }
    below(behavior, "scaleDown");
    for (direction, policies) in
        [("scaleUp", json!([pods, percent.clone()])), ("scaleDown", json!([percent]))]
    {
        let Some(rules) = behavior.get_mut(direction) else { continue };
        fill(rules, "selectPolicy", "Max");
        fill(rules, "policies", policies);
    }
}

/// Type of a metric, and the field that says more.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn source_field(metric: &Value) -> Option<&'static str> {
    SOURCES.iter().find(|(kind, _)| *kind == text(metric, "type")).map(|(_, field)| *field)
}

/// The columns are those of v2, whatever version is served.
fn row(object: &Value, now: i64) -> Vec<Value> {
    let object = &convert(object.clone(), "autoscaling/v2", meta::kind(object));
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    vec![
        json!(meta::name(object)),
        json!(format!("{}/{}", text(target, "kind"), text(target, "name"))),
        json!(targets(object)),
        json!(int(spec, "minReplicas").map_or("<unset>".to_owned(), |n| n.to_string())),
        count(spec, "maxReplicas"),
        count(status, "currentReplicas"),
        age(object, now),
    ]
}

/// What is measured against what is aimed at, for at most two metrics.
fn targets(object: &Value) -> String {
    const SHOWN: usize = 2;
    let (spec, status) = (&object["spec"], &object["status"]);
    let all: Vec<String> = list(spec, "metrics")
        .iter()
        .enumerate()
        .map(|(i, metric)| target(metric, list(status, "currentMetrics").get(i).unwrap_or(&Value::Null)))
        .collect();
    match all.len() {
        0 => "<none>".to_owned(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(", "), n - SHOWN),
        _ => all.join(", "),
    }
}

fn unknown() -> String {
    "<unknown>".to_owned()
}

fn target(metric: &Value, current: &Value) -> String {
    let Some(field) = source_field(metric) else { return "<unknown type>".to_owned() };
    let (target, current) = (&metric[field]["target"], &current[field]["current"]);
    let resource = matches!(field, "resource" | "containerResource");
    let prefix = if resource { format!("{}: ", text(&metric[field], "name")) } else { String::new() };
    let amount = |of: &Value, field: &str| has(of, field).then(|| text(of, field).to_owned());
    if let Some(aim) = amount(target, "averageValue") {
        let now = amount(current, "averageValue").unwrap_or_else(unknown);
        let average = if matches!(field, "object" | "external") { " (avg)" } else { "" };
        return format!("{prefix}{now}/{aim}{average}");
    }
    if resource {
        let percent = |of: &Value| int(of, "averageUtilization").map(|n| format!("{n}%"));
        let aim = percent(target).unwrap_or_else(|| "<auto>".to_owned());
        return format!("{prefix}{}/{aim}", percent(current).unwrap_or_else(unknown));
    }
    let now = amount(current, "value").unwrap_or_else(unknown);
    format!("{now}/{}", amount(target, "value").unwrap_or_else(unknown))
}
