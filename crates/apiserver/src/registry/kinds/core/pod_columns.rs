//! The row of `kubectl get pods` (upstream `pkg/printers/internalversion`).

use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, or_none, since};
use super::super::value::{flag, has, int, list, text};

/// Cells: Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates.
pub(super) fn row(pod: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let statuses = list(status, "containerStatuses");
    let sidecars: Vec<&Value> = sidecar_statuses(pod);
    let ready = statuses.iter().chain(sidecars.iter().copied()).filter(|s| flag(s, "ready")).count();
    let total = list(spec, "containers").len()
        + list(spec, "initContainers").iter().filter(|c| is_sidecar(c)).count();
    let nominated = text(status, "nominatedNodeName");
    vec![
        json!(meta::name(pod)),
        json!(format!("{ready}/{total}")),
        json!(reason(pod)),
        json!(restarts(pod, now)),
        age(pod, now),
        json!(or_none(text(status, "podIP"))),
        json!(or_none(text(spec, "nodeName"))),
        json!(or_none(nominated)),
        json!(readiness_gates(pod)),
    ]
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

fn sidecar_statuses(pod: &Value) -> Vec<&Value> {
    let sidecars: Vec<&str> = list(&pod["spec"], "initContainers")
        .iter()
        .filter(|c| is_sidecar(c))
        .map(|c| text(c, "name"))
        .collect();
    list(&pod["status"], "initContainerStatuses")
        .iter()
        .filter(|s| sidecars.contains(&text(s, "name")))
        .collect()
}

/// What the Status column says: the phase, or what is more telling.
fn reason(pod: &Value) -> String {
    let status = &pod["status"];
    let mut reason = match text(status, "reason") {
        "" => text(status, "phase").to_owned(),
        reason => reason.to_owned(),
    };
    let gated = |c: &Value| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated";
    if list(status, "conditions").iter().any(gated) {
        "SchedulingGated".clone_into(&mut reason);
    }
    match initializing(pod) {
        Some(init) => reason = init,
        None => container_reason(status, &mut reason),
    }
    if meta::deletion_timestamp(pod).is_some() {
        return match text(status, "reason") {
            "NodeLost" => "Unknown".to_owned(),
            _ if matches!(text(status, "phase"), "Succeeded" | "Failed") => reason,
            _ => "Terminating".to_owned(),
        };
    }
    reason
}

/// `Init:…` while init containers run or fail.
fn initializing(pod: &Value) -> Option<String> {
    let spec = list(&pod["spec"], "initContainers");
    for (i, status) in list(&pod["status"], "initContainerStatuses").iter().enumerate() {
        let state = &status["state"];
        let terminated = &state["terminated"];
        let sidecar = spec.iter().any(|c| text(c, "name") == text(status, "name") && is_sidecar(c));
        if int(terminated, "exitCode") == Some(0) || (sidecar && flag(status, "started")) {
            continue;
        }
        if has(state, "terminated") {
            return Some(match (text(terminated, "reason"), int(terminated, "signal").unwrap_or_default()) {
                ("", 0) => format!("Init:ExitCode:{}", int(terminated, "exitCode").unwrap_or_default()),
                ("", signal) => format!("Init:Signal:{signal}"),
                (reason, _) => format!("Init:{reason}"),
            });
        }
        let waiting = text(&state["waiting"], "reason");
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{i}/{}", spec.len()));
    }
    None
}

fn container_reason(status: &Value, reason: &mut String) {
    let mut running = false;
    for container in list(status, "containerStatuses").iter().rev() {
        let (waiting, terminated) =
            (text(&container["state"]["waiting"], "reason"), &container["state"]["terminated"]);
        if !waiting.is_empty() {
            waiting.clone_into(reason);
        } else if !text(terminated, "reason").is_empty() {
            text(terminated, "reason").clone_into(reason);
        } else if terminated.is_object() {
            *reason = match int(terminated, "signal").unwrap_or_default() {
                0 => format!("ExitCode:{}", int(terminated, "exitCode").unwrap_or_default()),
                signal => format!("Signal:{signal}"),
            };
        } else if flag(container, "ready") && has(&container["state"], "running") {
            running = true;
        }
    }
    if reason == "Completed" && running {
        let ready = list(status, "conditions")
            .iter()
            .any(|c| text(c, "type") == "Ready" && text(c, "status") == "True");
        *reason = if ready { "Running".to_owned() } else { "NotReady".to_owned() };
    }
}

/// The number of restarts, and how long ago the last one was.
fn restarts(pod: &Value, now: i64) -> String {
    let status = &pod["status"];
    let mut all: Vec<&Value> = list(status, "containerStatuses").iter().collect();
    if initializing(pod).is_some() {
        all = list(status, "initContainerStatuses").iter().collect();
    } else {
        all.extend(sidecar_statuses(pod));
    }
    let total: i64 = all.iter().filter_map(|s| int(s, "restartCount")).sum();
    let last =
        all.iter().map(|s| text(&s["lastState"]["terminated"], "finishedAt")).max().unwrap_or_default();
    if total == 0 || last.is_empty() {
        total.to_string()
    } else {
        format!("{total} ({} ago)", since(last, now))
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = list(&pod["status"], "conditions");
    let met = |gate: &&Value| {
        conditions
            .iter()
            .any(|c| text(c, "type") == text(gate, "conditionType") && text(c, "status") == "True")
    };
    format!("{}/{}", gates.iter().filter(met).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_column_says_what_is_most_telling() {
        let status = |status: Value| json!({"spec": {"containers": [{"name": "c"}]}, "status": status});
        let container = |state: Value| {
            status(json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": state}]}))
        };
        for (pod, printed) in [
            (status(json!({"phase": "Pending"})), "Pending"),
            (status(json!({"phase": "Failed", "reason": "Evicted"})), "Evicted"),
            (container(json!({"waiting": {"reason": "CrashLoopBackOff"}})), "CrashLoopBackOff"),
            (container(json!({"terminated": {"exitCode": 3}})), "ExitCode:3"),
            (container(json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), "Completed"),
            (container(json!({"running": {}})), "Running"),
        ] {
            assert_eq!(reason(&pod), printed, "{pod}");
        }
        let mut pod = container(json!({"running": {}}));
        pod["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(reason(&pod), "Terminating");
    }
}
