//! Metrics and scaling rules of autoscalers in the words that `autoscaling/v1` writes into annotations, and back
//! (upstream: `pkg/apis/autoscaling/v1/conversion.go`).

use machinery::quantity::Quantity;
use machinery::text::{go_json, go_quote};
use serde_json::{Value, json};

/// A field of v1: its name, where v2 has it, and what v1 writes when v2 has nothing there (`None`: nothing, too).
type Field = (&'static str, &'static str, Option<&'static str>);
/// A source of metrics: its field, which both versions have, and the fields below, in v1's order.
type Source = (&'static str, &'static [Field]);

const NAME: Field = ("name", "/name", Some("\"\""));
const METRIC_NAME: Field = ("metricName", "/metric/name", Some("\"\""));
const CONTAINER: Field = ("container", "/container", Some("\"\""));
const SELECTOR: Field = ("selector", "/metric/selector", None);
const METRIC_SELECTOR: Field = ("metricSelector", "/metric/selector", None);
const OBJECT: Field = ("target", "/describedObject", Some(r#"{"kind":"","name":""}"#));
const ZERO: Option<&str> = Some("\"0\"");
const TARGET_USE: Field = ("targetAverageUtilization", "/target/averageUtilization", None);
const TARGET_AVERAGE: Field = ("targetAverageValue", "/target/averageValue", None);
const CURRENT_USE: Field = ("currentAverageUtilization", "/current/averageUtilization", None);
const CURRENT_VALUE: Field = ("currentValue", "/current/value", ZERO);
const CURRENT_AVERAGE: Field = ("currentAverageValue", "/current/averageValue", ZERO);

/// What is aimed at.
pub(super) const SPECS: [Source; 5] = [
    (
        "object",
        &[
            OBJECT,
            METRIC_NAME,
            ("targetValue", "/target/value", ZERO),
            SELECTOR,
            ("averageValue", "/target/averageValue", None),
        ],
    ),
    ("pods", &[METRIC_NAME, ("targetAverageValue", "/target/averageValue", ZERO), SELECTOR]),
    ("resource", &[NAME, TARGET_USE, TARGET_AVERAGE]),
    ("containerResource", &[NAME, TARGET_USE, TARGET_AVERAGE, CONTAINER]),
    ("external", &[METRIC_NAME, METRIC_SELECTOR, ("targetValue", "/target/value", None), TARGET_AVERAGE]),
];

/// What was measured.
pub(super) const STATUSES: [Source; 5] = [
    (
        "object",
        &[OBJECT, METRIC_NAME, CURRENT_VALUE, SELECTOR, ("averageValue", "/current/averageValue", None)],
    ),
    ("pods", &[METRIC_NAME, CURRENT_AVERAGE, SELECTOR]),
    ("resource", &[NAME, CURRENT_USE, CURRENT_AVERAGE]),
    ("containerResource", &[NAME, CURRENT_USE, CURRENT_AVERAGE, CONTAINER]),
    (
        "external",
        &[
            METRIC_NAME,
            METRIC_SELECTOR,
            CURRENT_VALUE,
            ("currentAverageValue", "/current/averageValue", None),
        ],
    ),
];

/// Scaling rules are written with the names that the fields have in Go.
const RULES: [&str; 4] = ["StabilizationWindowSeconds", "SelectPolicy", "Policies", "Tolerance"];
const POLICY: [&str; 3] = ["Type", "Value", "PeriodSeconds"];
const DIRECTIONS: [&str; 2] = ["ScaleUp", "ScaleDown"];
const CONDITION: [&str; 6] =
    ["type", "status", "lastTransitionTime", "reason", "message", "observedGeneration"];

/// Metrics as v1 writes them.
pub(super) fn print(metrics: &[Value], sources: &[Source]) -> String {
    array(metrics.iter().map(|metric| {
        let kind = ("type", Some(metric.get("type").map_or_else(|| "\"\"".to_owned(), go_json)));
        let below = sources.iter().map(|(field, fields)| {
            let source = metric.get(*field).filter(|source| !source.is_null());
            (*field, source.map(|source| source_text(source, fields)))
        });
        record(std::iter::once(kind).chain(below))
    }))
}

fn source_text(source: &Value, fields: &[Field]) -> String {
    record(fields.iter().map(|(name, pointer, missing)| {
        let value = source.pointer(pointer).filter(|value| !value.is_null());
        let text = value.map(|value| match *name {
            "target" => ordered(value, &["kind", "name", "apiVersion"]),
            "selector" | "metricSelector" => ordered(value, &["matchLabels", "matchExpressions"]),
            _ => go_json(value),
        });
        (*name, text.or_else(|| missing.map(str::to_owned)))
    }))
}

/// Scaling rules as v1 writes them.
pub(super) fn print_behavior(behavior: &Value) -> String {
    record(DIRECTIONS.map(|name| {
        let rules = field(behavior, name).map(|rules| {
            record(RULES.map(|name| {
                let text = field(rules, name).map(|value| match value.as_array() {
                    Some(policies) => array(policies.iter().map(policy_text)),
                    None => go_json(value),
                });
                (name, Some(text.unwrap_or_else(null)))
            }))
        });
        (name, Some(rules.unwrap_or_else(null)))
    }))
}

fn policy_text(policy: &Value) -> String {
    record(POLICY.map(|name| (name, Some(field(policy, name).map_or_else(null, go_json)))))
}

fn null() -> String {
    "null".to_owned()
}

/// Conditions as v1 writes them.
pub(super) fn print_conditions(conditions: &[Value]) -> String {
    array(conditions.iter().map(|condition| ordered(condition, &CONDITION)))
}

/// Metrics of v2 from those of an annotation. The type of a target follows from what is there. What is no map stays what
/// it is: the schema tells.
pub(super) fn read(text: &Value, sources: &[Source]) -> Option<Vec<Value>> {
    let metric = |metric: &Value| {
        if !metric.is_object() {
            return metric.clone();
        }
        let mut read = json!({ "type": field(metric, "type").cloned().unwrap_or_else(|| "".into()) });
        for (name, fields) in sources {
            if let Some(source) = field(metric, name) {
                read[*name] = read_source(name, source, fields);
            }
        }
        read
    };
    Some(text.as_array()?.iter().map(metric).collect())
}

fn read_source(kind: &str, source: &Value, fields: &[Field]) -> Value {
    if !source.is_object() {
        return source.clone();
    }
    let mut read = json!({});
    let has = |name: &str| field(source, name).is_some();
    // The older form cannot leave out the value of an object; beside an average, none at all is what its zero means.
    let averaged = kind == "object" && has("averageValue");
    for (name, pointer, missing) in fields {
        let zero = || missing.and_then(|text| serde_json::from_str(text).ok());
        let value = field(source, name).cloned().or_else(zero);
        if let Some(value) = value.filter(|value| !(averaged && *name == "targetValue" && is_nothing(value)))
        {
            put(&mut read, pointer, value);
        }
    }
    let target = match kind {
        _ if fields.iter().all(|(_, pointer, _)| !pointer.starts_with("/target/")) => return read,
        "object" if !has("averageValue") => "Value",
        "external" if has("targetValue") => "Value",
        "resource" | "containerResource" if has("targetAverageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    put(&mut read, "/target/type", target.into());
    read
}

fn is_nothing(amount: &Value) -> bool {
    Quantity::from_json(amount).is_ok_and(|amount| amount.is_zero())
}

/// Scaling rules of v2 from those of an annotation; `None` when there are none.
pub(super) fn read_behavior(text: &Value) -> Option<Value> {
    let directions = renamed(text, &DIRECTIONS, |rules| {
        renamed(rules, &RULES, |value| match value.as_array() {
            Some(policies) => policies.iter().map(|policy| renamed(policy, &POLICY, Value::clone)).collect(),
            None => value.clone(),
        })
    });
    directions.as_object().is_some_and(|map| !map.is_empty()).then_some(directions)
}

/// A map's fields of these Go names, with the names of JSON. What is no map stays what it is.
fn renamed(value: &Value, names: &[&str], below: impl Fn(&Value) -> Value) -> Value {
    if !value.is_object() {
        return value.clone();
    }
    let entry = |name: &&str| Some((lower_first(name), below(field(value, name)?)));
    Value::Object(names.iter().filter_map(entry).collect())
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// A field that is there, its name in any case, as Go's decoder finds it.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    let found = map
        .get(name)
        .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for key in pointer.split('/').skip(1) {
        at = &mut at[key];
    }
    *at = value;
}

/// A struct as Go prints it: the fields that have a text, in this order.
fn record<'a>(fields: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let texts: Vec<String> =
        fields.into_iter().filter_map(|(name, text)| Some(format!("{}:{}", go_quote(name), text?))).collect();
    format!("{{{}}}", texts.join(","))
}

fn ordered(value: &Value, names: &[&str]) -> String {
    record(names.iter().map(|name| (*name, field(value, name).map(go_json))))
}

fn array(texts: impl Iterator<Item = String>) -> String {
    format!("[{}]", texts.collect::<Vec<_>>().join(","))
}

/// The metric of an autoscaler that names none.
pub(super) fn default_metric() -> Value {
    utilization(80)
}

/// A metric that aims at so many percent of the requested CPU.
pub(super) fn utilization(percent: impl Into<Value>) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent.into()});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// The same, measured.
pub(super) fn current_utilization(percent: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
}

/// What is aimed at or measured of CPU, in percent.
pub(super) fn cpu_percent<'a>(metric: &'a Value, below: &str) -> Option<&'a Value> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric["resource"][below].get("averageUtilization").filter(|percent| is_cpu && !percent.is_null())
}
