//! The row of `kubectl get pods` (upstream `pkg/printers/internalversion`).

use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, or_none, since};
use super::super::value::{flag, has, int, list, text};

/// Cells: Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates.
pub(super) fn row(pod: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let seen = Seen::of(pod);
    let total = list(spec, "containers").len()
        + list(spec, "initContainers").iter().filter(|c| is_sidecar(c)).count();
    vec![
        json!(meta::name(pod)),
        json!(format!("{}/{total}", seen.ready)),
        json!(on_the_way_out(pod).unwrap_or(&seen.reason)),
        json!(seen.restarts.shown(now)),
        age(pod, now),
        json!(or_none(text(status, "podIP"))),
        json!(or_none(text(spec, "nodeName"))),
        json!(or_none(text(status, "nominatedNodeName"))),
        json!(readiness_gates(pod)),
    ]
}

/// What a row says of itself: that its pod is through, which `kubectl get` may leave out then.
pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let phase = text(&pod["status"], "phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// How often containers were started again, and when the last one before that ended.
#[derive(Default, Clone, Copy)]
struct Restarts<'a> {
    count: i64,
    last: &'a str,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, container: &'a Value) {
        self.count += int(container, "restartCount").unwrap_or_default();
        self.last = self.last.max(text(&container["lastState"]["terminated"], "finishedAt"));
    }

    fn shown(&self, now: i64) -> String {
        if self.count == 0 || self.last.is_empty() {
            self.count.to_string()
        } else {
            format!("{} ({} ago)", self.count, since(self.last, now))
        }
    }
}

/// What the containers tell together.
struct Seen<'a> {
    ready: usize,
    /// The phase, or what is more telling.
    reason: String,
    restarts: Restarts<'a>,
}

impl<'a> Seen<'a> {
    fn of(pod: &'a Value) -> Self {
        let status = &pod["status"];
        let mut seen = Seen { ready: 0, reason: pod_reason(status), restarts: Restarts::default() };
        let mut sidecars = Restarts::default();
        let initializing = seen.add_init_containers(pod, &mut sidecars);
        if !initializing || has_condition(status, "Initialized") {
            seen.restarts = sidecars;
            seen.add_containers(status);
        }
        seen
    }

    /// Looks at init containers up to the first that is not done; says whether there is one. Restarts of sidecars are counted
    /// apart as well.
    fn add_init_containers(&mut self, pod: &'a Value, sidecars: &mut Restarts<'a>) -> bool {
        let spec = list(&pod["spec"], "initContainers");
        for (i, container) in list(&pod["status"], "initContainerStatuses").iter().enumerate() {
            let sidecar = spec.iter().any(|c| text(c, "name") == text(container, "name") && is_sidecar(c));
            self.restarts.add(container);
            if sidecar {
                sidecars.add(container);
            }
            if int(&container["state"]["terminated"], "exitCode") == Some(0) {
                continue;
            }
            if sidecar && flag(container, "started") {
                self.ready += usize::from(flag(container, "ready"));
                continue;
            }
            self.reason = format!("Init:{}", init_reason(&container["state"], i, spec.len()));
            return true;
        }
        false
    }

    fn add_containers(&mut self, status: &'a Value) {
        let (mut running, mut failure) = (false, None);
        for container in list(status, "containerStatuses").iter().rev() {
            self.restarts.add(container);
            let state = &container["state"];
            if !text(&state["waiting"], "reason").is_empty() {
                text(&state["waiting"], "reason").clone_into(&mut self.reason);
            } else if has(state, "terminated") {
                self.reason = end_reason(&state["terminated"]);
                if int(&state["terminated"], "exitCode").unwrap_or_default() != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if flag(container, "ready") && has(state, "running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            self.reason = match failure {
                _ if running && has_condition(status, "Ready") => "Running".to_owned(),
                Some(failure) => failure,
                None if running => "NotReady".to_owned(),
                None => return,
            };
        }
    }
}

/// What the pod as a whole says, before its containers are looked at.
fn pod_reason(status: &Value) -> String {
    let gated = |c: &Value| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated";
    if list(status, "conditions").iter().any(gated) {
        return "SchedulingGated".to_owned();
    }
    match text(status, "reason") {
        "" => text(status, "phase").to_owned(),
        reason => reason.to_owned(),
    }
}

/// What is shown instead of everything else once a pod is being deleted.
fn on_the_way_out(pod: &Value) -> Option<&'static str> {
    meta::deletion_timestamp(pod)?;
    let status = &pod["status"];
    if text(status, "reason") == "NodeLost" {
        return Some("Unknown");
    }
    (!matches!(text(status, "phase"), "Succeeded" | "Failed")).then_some("Terminating")
}

/// Why the init container at this place of so many is not done.
fn init_reason(state: &Value, at: usize, all: usize) -> String {
    if has(state, "terminated") {
        return end_reason(&state["terminated"]);
    }
    match text(&state["waiting"], "reason") {
        "" | "PodInitializing" => format!("{at}/{all}"),
        reason => reason.to_owned(),
    }
}

fn end_reason(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal").unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode").unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn has_condition(status: &Value, ty: &str) -> bool {
    list(status, "conditions").iter().any(|c| text(c, "type") == ty && text(c, "status") == "True")
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

    const NOW: i64 = 1_000_000;

    /// A container that runs and is ready.
    fn runs(name: &str) -> Value {
        json!({"name": name, "ready": true, "started": true, "state": {"running": {}}})
    }

    fn ended(name: &str, code: i64, reason: &str) -> Value {
        json!({"name": name, "ready": false, "state": {"terminated": {"exitCode": code, "reason": reason}}})
    }

    fn waits(name: &str, reason: &str) -> Value {
        json!({"name": name, "ready": false, "state": {"waiting": {"reason": reason}}})
    }

    /// The same, restarted so often, the last time so many seconds ago.
    fn again(mut container: Value, count: i64, ago: i64) -> Value {
        let finished = jiff::Timestamp::from_second(NOW - ago).unwrap().to_string();
        container["restartCount"] = count.into();
        container["lastState"] = json!({"terminated": {"exitCode": 1, "finishedAt": finished}});
        container
    }

    /// Ready, Status and Restarts of a pod with containers `a` and `b`, an init container `i` and a sidecar `s`.
    fn printed(phase: &str, init: Value, containers: Value, conditions: &[(&str, &str)]) -> [String; 3] {
        let conditions: Vec<Value> =
            conditions.iter().map(|(t, s)| json!({"type": t, "status": s})).collect();
        let pod = json!({
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]},
            "status": {"phase": phase, "initContainerStatuses": init, "containerStatuses": containers, "conditions": conditions},
        });
        let row = row(&pod, NOW);
        [1, 2, 3].map(|at| row[at].as_str().unwrap().to_owned())
    }

    #[test]
    fn cells_add_up_what_containers_tell() {
        let both = || json!([runs("a"), runs("b")]);
        let done = || json!([ended("i", 0, "Completed"), runs("s")]);
        let (initialized, ready) = (("Initialized", "True"), ("Ready", "True"));
        let signal = json!({"name": "b", "state": {"terminated": {"exitCode": 137, "signal": 9}}});
        for (phase, init, containers, conditions, want) in [
            ("Pending", json!([]), json!([]), vec![], ["0/3", "Pending", "0"]),
            ("Running", done(), both(), vec![ready], ["3/3", "Running", "0"]),
            // Sidecars count, init containers that are done do not.
            (
                "Running",
                json!([again(ended("i", 0, ""), 5, 9), again(runs("s"), 2, 33)]),
                both(),
                vec![],
                ["3/3", "Running", "2 (33s ago)"],
            ),
            (
                "Running",
                done(),
                json!([again(waits("a", "CrashLoopBackOff"), 7, 65), again(runs("b"), 3, 4000)]),
                vec![],
                ["2/3", "CrashLoopBackOff", "10 (65s ago)"],
            ),
            // Who is ready without running is not counted.
            (
                "Running",
                done(),
                json!([{"name": "a", "ready": true, "state": {}}, runs("b")]),
                vec![],
                ["2/3", "Running", "0"],
            ),
            // Those after the first that is not done do not count.
            (
                "Pending",
                json!([again(waits("i", ""), 2, 300), again(runs("s"), 3, 20)]),
                json!([waits("a", "PodInitializing")]),
                vec![],
                ["0/3", "Init:0/2", "2 (5m ago)"],
            ),
            (
                "Pending",
                json!([again(ended("i", 4, ""), 1, 70)]),
                json!([]),
                vec![],
                ["0/3", "Init:ExitCode:4", "1 (70s ago)"],
            ),
            (
                "Pending",
                json!([waits("i", "CrashLoopBackOff")]),
                json!([]),
                vec![],
                ["0/3", "Init:CrashLoopBackOff", "0"],
            ),
            // Once initialized, containers tell more.
            (
                "Running",
                json!([again(waits("i", ""), 5, 50)]),
                both(),
                vec![initialized],
                ["2/3", "Init:0/2", "0"],
            ),
            (
                "Succeeded",
                json!([ended("i", 0, ""), ended("s", 137, "Error")]),
                json!([ended("a", 0, "Completed"), ended("b", 0, "Completed")]),
                vec![initialized],
                ["0/3", "Completed", "0"],
            ),
            (
                "Running",
                done(),
                json!([ended("a", 0, "Completed"), runs("b")]),
                vec![ready],
                ["2/3", "Running", "0"],
            ),
            (
                "Running",
                done(),
                json!([ended("a", 0, "Completed"), runs("b")]),
                vec![],
                ["2/3", "NotReady", "0"],
            ),
            (
                "Failed",
                done(),
                json!([ended("a", 0, "Completed"), ended("b", 3, "Error")]),
                vec![],
                ["1/3", "Error", "0"],
            ),
            ("Failed", done(), json!([ended("a", 0, "Completed"), signal]), vec![], ["1/3", "Signal:9", "0"]),
        ] {
            let what = format!("{phase} {init} {containers}");
            assert_eq!(printed(phase, init, containers, &conditions), want, "{what}");
        }
    }

    #[test]
    fn the_end_of_a_pod_tells_most() {
        let deleted = |status: Value| {
            let row = row(
                &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status}),
                NOW,
            );
            row[2].as_str().unwrap().to_owned()
        };
        assert_eq!(deleted(json!({"phase": "Running"})), "Terminating");
        assert_eq!(deleted(json!({"phase": "Failed", "reason": "Evicted"})), "Evicted");
        assert_eq!(deleted(json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
    }

    #[test]
    fn gates_hold_a_pod_whatever_else_it_says() {
        let gated = json!({"phase": "Pending", "reason": "Other", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
        assert_eq!(pod_reason(&gated), "SchedulingGated");
        let gates = json!({"spec": {"readinessGates": [{"conditionType": "a/b"}, {"conditionType": "c/d"}]},
            "status": {"conditions": [{"type": "a/b", "status": "True"}, {"type": "c/d", "status": "False"}]}});
        assert_eq!(readiness_gates(&gates), "1/2");
    }
}
