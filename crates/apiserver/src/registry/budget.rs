//! What a PodDisruptionBudget allows, and how one disruption is taken from it (upstream: `checkAndDecrement` in
//! `pkg/registry/core/pod/storage/eviction.go`).

use machinery::meta;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use serde_json::{Value, json};

/// Pods that a budget remembers as being disrupted at most.
const DISRUPTED_MAX: usize = 2000;
const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// After so many seconds what is going on with a budget should have ended.
const RETRY_SECONDS: u32 = 10;
const CONDITION: &str = "DisruptionAllowed";

pub(super) fn selects(budget: &Value, pod: &Value) -> bool {
    let selector = budget.pointer("/spec/selector").unwrap_or(&Value::Null);
    LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches_map(meta::labels(pod)))
}

/// A pod that is not ready may go when the budget says so, or when it is healthy without the pod.
pub(super) fn allows_unready(budget: &Value) -> bool {
    if budget.pointer("/spec/unhealthyPodEvictionPolicy").and_then(Value::as_str) == Some("AlwaysAllow") {
        return true;
    }
    let desired = number(budget, "desiredHealthy");
    desired > 0 && number(budget, "currentHealthy") >= desired
}

/// The 429 while the budget's status is not of its present specification.
pub(super) fn still_processed(name: &str) -> Status {
    let why = format!("The disruption budget {name} is still being processed by the server.");
    violated(RETRY_SECONDS, why)
}

fn violated(retry_seconds: u32, why: String) -> Status {
    Status::too_many_requests(VIOLATED, retry_seconds).with_cause("DisruptionBudget", why, "")
}

fn number(budget: &Value, key: &str) -> i64 {
    budget.pointer(&format!("/status/{key}")).and_then(Value::as_i64).unwrap_or_default()
}

/// Takes one disruption, for the pod of this name, or says why there is none.
pub(super) fn spend(budget: &mut Value, pod: &str) -> Result<(), Status> {
    let name = meta::name(budget);
    // Upstream names one of the kind here.
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", name, why));
    if number(budget, "observedGeneration") < meta::generation(budget) {
        return Err(still_processed(name));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let disrupted = budget.pointer("/status/disruptedPods").and_then(Value::as_object);
    if disrupted.map_or(0, serde_json::Map::len) > DISRUPTED_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(violated(0, why_none(budget)));
    }
    let now = machinery::time::rfc3339(jiff::Timestamp::now());
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        say_insufficient(status, &now);
    }
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = now.into();
    Ok(())
}

/// Why no disruption is allowed. Counts of a status whose making failed are not to be trusted.
fn why_none(budget: &Value) -> String {
    let name = meta::name(budget);
    let conditions = budget.pointer("/status/conditions").and_then(Value::as_array);
    let said = conditions.into_iter().flatten().find(|condition| condition["type"] == CONDITION);
    let text = |field: &str| said.and_then(|said| said[field].as_str()).unwrap_or_default();
    let (reason, message) = (text("reason"), text("message"));
    let refused = text("status") == "False" && !message.is_empty();
    let (desired, current) = (number(budget, "desiredHealthy"), number(budget, "currentHealthy"));
    let no = format!("The disruption budget {name} does not allow evicting pods currently");
    match refused {
        true if reason == "SyncFailed" => format!("{no} because it failed sync: {message}"),
        _ if current <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
        }
        true => format!("{no} ({reason}): {message}"),
        false => no,
    }
}

/// The condition that goes with the last disruption.
fn say_insufficient(status: &mut Value, now: &str) {
    let mut condition = json!({"type": CONDITION, "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": now});
    if let Some(generation) = status.get("observedGeneration") {
        condition["observedGeneration"] = generation.clone();
    }
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else {
        status["conditions"] = json!([condition]);
        return;
    };
    match conditions.iter_mut().find(|have| have["type"] == CONDITION) {
        Some(have) => {
            if have["status"] == "False" {
                condition["lastTransitionTime"] = have["lastTransitionTime"].take();
            }
            *have = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": {}, "status": status})
    }

    fn cause(status: &Status) -> String {
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        causes.first().map(|cause| cause.message.clone()).unwrap_or_default()
    }

    #[test]
    fn an_empty_selector_selects_all_and_none_nothing() {
        let pod = json!({"metadata": {"labels": {"a": "b"}}});
        for (selector, selected) in [
            (json!({}), true),
            (Value::Null, false),
            (json!({"matchLabels": {"a": "b"}}), true),
            (json!({"matchLabels": {"a": "c"}}), false),
        ] {
            assert_eq!(selects(&json!({"spec": {"selector": selector}}), &pod), selected, "{selector}");
        }
    }

    #[test]
    fn unready_pods_may_leave_healthy_budgets() {
        for (policy, desired, current, allowed) in [
            (Value::Null, 1, 1, true),
            (json!("IfHealthyBudget"), 2, 1, false),
            (json!("IfHealthyBudget"), 0, 0, false),
            (json!("AlwaysAllow"), 2, 1, true),
        ] {
            let mut budget = budget(json!({"desiredHealthy": desired, "currentHealthy": current}));
            budget["spec"]["unhealthyPodEvictionPolicy"] = policy;
            assert_eq!(allows_unready(&budget), allowed, "{budget}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let said = |reason: &str, message: &str| json!([{"type": CONDITION, "status": "False", "reason": reason, "message": message}]);
        let full: serde_json::Map<String, Value> =
            (0..=DISRUPTED_MAX).map(|n| (format!("p{n}"), Value::Null)).collect();
        for (status, code, seconds, why) in [
            (
                json!({"observedGeneration": 1}),
                429,
                Some(10),
                "The disruption budget b is still being processed by the server.",
            ),
            (json!({"observedGeneration": 2, "disruptionsAllowed": -1}), 403, None, ""),
            (json!({"observedGeneration": 2, "disruptionsAllowed": 1, "disruptedPods": full}), 403, None, ""),
            (
                json!({"observedGeneration": 2, "desiredHealthy": 3, "currentHealthy": 3}),
                429,
                Some(0),
                "The disruption budget b needs 3 healthy pods and has 3 currently",
            ),
            (
                json!({"observedGeneration": 2, "conditions": said("SyncFailed", "found no scale")}),
                429,
                Some(0),
                "The disruption budget b does not allow evicting pods currently because it failed sync: found no scale",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 4, "conditions": said("Why", "m")}),
                429,
                Some(0),
                "The disruption budget b does not allow evicting pods currently (Why): m",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 4}),
                429,
                Some(0),
                "The disruption budget b does not allow evicting pods currently",
            ),
        ] {
            let refused = spend(&mut budget(status), "p").expect_err("no disruption is allowed");
            let retry = refused.details.as_ref().and_then(|details| details.retry_after_seconds);
            assert_eq!((refused.code, retry, cause(&refused).as_str()), (code, seconds, why));
        }
        let negative = budget(json!({"observedGeneration": 2, "disruptionsAllowed": -1}));
        let refused = spend(&mut negative.clone(), "p").expect_err("it is negative");
        assert_eq!(
            refused.message,
            "poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative"
        );
    }

    #[test]
    fn the_last_disruption_changes_the_condition() {
        let before = json!([{"type": CONDITION, "status": "True", "reason": "SufficientPods", "message": "",
            "lastTransitionTime": "2020-01-01T00:00:00Z", "observedGeneration": 1}]);
        let mut two = budget(json!({"observedGeneration": 2, "disruptionsAllowed": 2, "conditions": before}));
        assert!(spend(&mut two, "p").is_ok());
        assert_eq!(two["status"]["conditions"], before);
        assert!(spend(&mut two, "q").is_ok());
        let said = &two["status"]["conditions"][0];
        assert_eq!((&said["status"], &said["reason"]), (&json!("False"), &json!("InsufficientPods")));
        assert_eq!(said["observedGeneration"], 2);
        assert_ne!(said["lastTransitionTime"], before[0]["lastTransitionTime"]);
        let pods = two["status"]["disruptedPods"].as_object().map(|pods| pods.keys().cloned().collect());
        assert_eq!(pods, Some(vec!["p".to_owned(), "q".to_owned()]));
    }
}
