//! Requests and what is answered, kept in `golden/`: see the README there.

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};

/// The rows of a table: JSON, one a line.
fn rows(table: &str) -> Vec<Value> {
    table
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// A difference that is stated needs its reason, and a reason its difference.
fn check_reasons(row: &Value) {
    assert_eq!(row.get("was").is_some(), row.get("why").is_some(), "{row}");
}

async fn ask(h: &Harness, row: &Value) -> (u16, Value) {
    let body = match &row["send"] {
        Value::Null => Bytes::new(),
        Value::String(text) => text.clone().into(),
        value => value.to_string().into(),
    };
    let ask = Ask { content_type: row["type"].as_str(), ..Ask::default() };
    h.raw(text(row, "method"), text(row, "path"), ask, body).await
}

/// Differences between two documents as (pointer, wanted, had); missing and null are the same, `*` is anything.
fn compare(path: &str, want: &Value, have: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (want, have) {
        (Value::String(any), have) if any == "*" && !have.is_null() => {}
        (Value::Object(w), Value::Object(h)) => {
            for key in w.keys().chain(h.keys().filter(|key| !w.contains_key(*key))) {
                let at = format!("{path}/{}", key.replace('/', "~1"));
                compare(&at, &want[key.as_str()], &have[key.as_str()], found);
            }
        }
        (Value::Array(w), Value::Array(h)) if w.len() == h.len() => {
            for (i, (w, h)) in w.iter().zip(h).enumerate() {
                compare(&format!("{path}/{i}"), w, h, found);
            }
        }
        _ if want != have => found.push((path.to_owned(), want.clone(), have.clone())),
        _ => {}
    }
}

/// What an answer refuses: code, reason, message, and field and reason of each cause.
fn refusal(code: u16, answer: &Value) -> Value {
    let causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
    let causes: Vec<Value> = causes.iter().map(|cause| json!([cause["field"], cause["reason"]])).collect();
    json!({"code": code, "reason": answer["reason"].as_str().unwrap_or_default(), "message": answer["message"], "causes": causes})
}

#[tokio::test]
async fn what_is_refused() {
    let h = Harness::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "golden"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    h.must(201, "POST", deployments, deployment).await;
    h.must(201, "POST", "/api/v1/namespaces/default/configmaps", config_map("golden", json!({}))).await;
    let mut wrong = Vec::new();
    for row in rows(include_str!("../../../golden/refusals.jsonl")) {
        check_reasons(&row);
        let (code, answer) = ask(&h, &row).await;
        let have = refusal(code, &answer);
        let causes = row.get("causes").cloned().unwrap_or_else(|| json!([]));
        let want = json!({"code": row["code"], "reason": row["reason"], "message": row["message"], "causes": causes});
        if have != want {
            wrong.push(format!(
                "{} {} {}\n  want {want}\n  have {have}",
                row["method"], row["path"], row["send"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whether a document has what a part of it says: objects by their fields, lists by their items; null is not there.
fn has(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(fields), _) => fields.iter().all(|(key, value)| has(value, &whole[key.as_str()])),
        (Value::Array(parts), Value::Array(items)) => {
            parts.len() == items.len() && parts.iter().zip(items).all(|(part, item)| has(part, item))
        }
        _ => part == whole,
    }
}

#[tokio::test]
async fn what_an_update_does() {
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for row in rows(include_str!("../../../golden/updates.jsonl")) {
        let (path, name) = (text(&row, "path"), text(&row["object"]["metadata"], "name"));
        h.must(201, "POST", path, row["object"].clone()).await;
        let (mut code, mut answer) = (200, Value::Null);
        for step in row["steps"].as_array().into_iter().flatten() {
            assert_eq!(code, 200, "a step before the last: {row}: {answer}");
            let target = format!("{path}/{name}/{}", step[0].as_str().unwrap_or_default());
            (code, answer) = h.patch("merge-patch+json", target.trim_end_matches('/'), step[1].clone()).await;
        }
        let says =
            answer["message"].as_str().and_then(|all| all.split_once(" is invalid: ")).map(|(_, all)| all);
        let as_wanted = match row["message"].as_str() {
            Some(message) => code == 422 && says == Some(message),
            None => code == 200 && has(&row["has"], &answer),
        };
        if !as_wanted {
            wrong.push(format!("{row}\n  {code} {}", says.map_or_else(|| answer.to_string(), str::to_owned)));
        }
        // Volumes and claims wait for a controller to let them go.
        let free = json!({"metadata": {"finalizers": null}});
        h.patch("merge-patch+json", &format!("{path}/{name}"), free).await;
        h.send(
            "DELETE",
            &format!("{path}/{name}?gracePeriodSeconds=0&propagationPolicy=Background"),
            Value::Null,
        )
        .await;
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn what_is_filled_in() {
    let h = Harness::start().await;
    let mut wrong = Vec::new();
    for row in rows(include_str!("../../../golden/defaults.jsonl")) {
        let target = format!("{}?dryRun=All", text(&row, "post"));
        let (_, mut answer) = h.send("POST", &target, row["send"].clone()).await;
        // Who owns which field has tests of its own.
        if let Some(metadata) = answer["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        for change in row["changed"].as_array().into_iter().flatten() {
            let parts = change.as_array().map_or(0, Vec::len);
            assert!(parts == 3 && change[2].is_string(), "field, what it was, why: {change}");
        }
        let mut found = Vec::new();
        compare("", &row["answer"], &answer, &mut found);
        if !found.is_empty() {
            wrong.push(format!("{target} {}: {found:?}", row["send"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A resource as its row has it, without what is empty.
fn described(resource: &machinery::resources::Resource) -> Value {
    let columns: Vec<String> = resource
        .columns
        .iter()
        .map(|column| format!("{}|{}|{}|{}", column.name, column.ty, column.format, column.priority))
        .collect();
    let mut row = json!({
        "group": resource.group, "version": resource.version, "resource": resource.plural, "singular": resource.singular,
        "kind": resource.kind, "namespaced": resource.namespaced, "verbs": resource.verbs, "short": resource.short_names,
        "categories": resource.categories, "columns": columns,
    });
    if let Some(map) = row.as_object_mut() {
        map.retain(|key, value| key == "group" || !matches!(value, Value::Array(items) if items.is_empty()));
    }
    row
}

#[test]
fn what_is_served() {
    let resources = machinery::resources::Resources::builtin();
    for mut row in rows(include_str!("../../../golden/resources.jsonl")) {
        check_reasons(&row);
        if let Some(map) = row.as_object_mut() {
            map.remove("was");
            map.remove("why");
        }
        let served = resources.lookup(text(&row, "group"), text(&row, "version"), text(&row, "resource"));
        assert_eq!(served.map(described), Some(row));
    }
}
