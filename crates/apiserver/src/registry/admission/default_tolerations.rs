//! DefaultTolerationSeconds: pods stay five minutes on a node that went away (upstream:
//! `plugin/pkg/admission/defaulttolerationseconds`).

use machinery::status::Status;
use serde_json::{Value, json};

use super::{AdmissionContext, Plugin};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) struct DefaultTolerationSeconds;

#[async_trait::async_trait]
impl Plugin for DefaultTolerationSeconds {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if context.is("", "pods") {
            add(pod);
        }
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let tolerations =
        pod.pointer("/spec/tolerations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let missing: Vec<Value> = TAINTS
        .iter()
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .map(|taint| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}))
        .collect();
    if missing.is_empty() {
        return;
    }
    match pod.pointer_mut("/spec/tolerations").and_then(Value::as_array_mut) {
        Some(tolerations) => tolerations.extend(missing),
        None => pod["spec"]["tolerations"] = missing.into(),
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let text = |key: &str| toleration.get(key).and_then(Value::as_str).unwrap_or_default();
    matches!(text("key"), "" | "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
        && (text("key").is_empty() || text("key") == taint)
        && matches!(text("effect"), "" | "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        for (given, added) in [
            (json!([]), 2),
            (json!([{"operator": "Exists"}]), 0),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]),
                1,
            ),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}]),
                2,
            ),
        ] {
            let mut pod = json!({"spec": {"tolerations": given}});
            add(&mut pod);
            let before = given.as_array().map_or(0, Vec::len);
            assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(before + added));
        }
    }
}
