use super::*;
use crate::pod::PodInfo;
use crate::pod::testing::{pod, whole};
use crate::worker::state::{NodeFacts, Sandbox};

fn state(pod: PodInfo) -> State {
    let node = NodeFacts { host_ips: vec!["192.0.2.1".into()], scheme: "knarr".into() };
    let mut state = State::new(pod, node, time(0));
    state.sandbox = Some(Sandbox {
        id: "s0".into(),
        ready: true,
        ips: vec!["10.42.0.5".parse().expect("ip")],
        attempt: 0,
    });
    state
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_250 + seconds * 1000).expect("in range")
}

fn run(state: &mut State, name: &str) {
    state.view_mut(name).observe(Observed {
        id: format!("{name}0"),
        sandbox_id: "s0".into(),
        phase: Phase::Running,
        started_at: Some(time(1)),
        ..Observed::default()
    });
}

fn condition<'a>(status: &'a PodStatus, type_: &str) -> &'a PodCondition {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_).expect("condition")
}

#[test]
fn a_pod_being_started() {
    let state = state(pod(json!({"initContainers": [{"name": "init", "image": "i"}]})));
    let status = compute(&state, time(2));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.5"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(status.observed_generation, Some(1));
    let initialized = condition(&status, "Initialized");
    assert_eq!(initialized.reason.as_deref(), Some("ContainersNotInitialized"));
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [init]"));
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [web]"));
    assert_eq!(condition(&status, "PodReadyToStartContainers").status, "True");
    assert_eq!(condition(&status, "PodScheduled").status, "True");
    let web = &status.container_statuses.as_ref().expect("list")[0];
    let waiting = web.state.as_ref().and_then(|state| state.waiting.as_ref()).expect("waiting");
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn a_running_pod() {
    let mut state = state(pod(json!({})));
    run(&mut state, "web");
    let status = compute(&state, time(2));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    for type_ in ["Initialized", "Ready", "ContainersReady"] {
        assert_eq!(condition(&status, type_).status, "True", "{type_}");
    }
    let web = &status.container_statuses.as_ref().expect("list")[0];
    assert_eq!(web.container_id.as_deref(), Some("knarr://web0"));
    assert!(web.ready && web.started == Some(true));
}

#[test]
fn readiness_gates() {
    let mut state = state(pod(json!({"readinessGates": [{"conditionType": "x.example/lb"}]})));
    run(&mut state, "web");
    let status = compute(&state, time(2));
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    assert_eq!(
        ready.message.as_deref(),
        Some("corresponding condition of pod readiness gate \"x.example/lb\" does not exist.")
    );
    assert_eq!(condition(&status, "ContainersReady").status, "True");
}

#[test]
fn what_the_api_has_is_not_written_again() {
    let mut state = state(pod(json!({})));
    run(&mut state, "web");
    let first = compute(&state, time(2));
    assert!(!is_same(None, &first));
    // As the API gives it back: times in seconds, absent fields absent.
    let stored: PodStatus =
        serde_json::from_value(serde_json::to_value(&first).expect("json")).expect("status");
    let mut object = (*state.pod.pod).clone();
    object.status = Some(stored.clone());
    state.pod = PodInfo::new(std::sync::Arc::new(object));
    let later = compute(&state, time(60));
    assert!(is_same(Some(&stored), &later), "{:#?}", patch("u1", Some(&stored), &later));
}

#[test]
fn patches_are_small_and_respect_others() {
    let object = |conditions: Value| {
        whole(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
            "spec": {"containers": [{"name": "web", "image": "img"}]},
            "status": {"phase": "Pending", "podIP": "10.42.0.9", "podIPs": [{"ip": "10.42.0.9"}],
                       "nominatedNodeName": "other", "conditions": conditions, "message": "old"},
        }))
    };
    let mut state = state(object(json!([
        {"type": "x.example/lb", "status": "True"},
        {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "m",
         "lastTransitionTime": "2023-11-14T00:00:00Z"},
    ])));
    run(&mut state, "web");
    let status = compute(&state, time(2));
    let patch = patch("u1", state.pod.pod.status.as_ref(), &status);
    assert_eq!(patch["metadata"]["uid"], "u1");
    let status = &patch["status"];
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["message"], Value::Null);
    assert!(status.get("nominatedNodeName").is_none());
    assert_eq!(status["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.42.0.5"}]));
    let conditions = status["conditions"].as_array().expect("list");
    assert!(conditions.iter().all(|condition| condition["type"] != "x.example/lb"));
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("ready");
    assert_eq!((&ready["reason"], &ready["message"]), (&Value::Null, &Value::Null));
}

#[test]
fn ends_are_final() {
    let pod = whole(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "spec": {"containers": [{"name": "web", "image": "img"}]},
        "status": {"phase": "Failed", "reason": "Evicted", "message": "too big"},
    }));
    let status = compute(&state(pod), time(2));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Evicted"), Some("too big")));
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("PodFailed"));
}

#[test]
fn the_attempt_before_is_remembered() {
    let pod = whole(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "spec": {"containers": [{"name": "web", "image": "img"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "web", "image": "img", "imageID": "", "ready": true, "restartCount": 1,
            "containerID": "knarr://web0", "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 3, "containerID": "knarr://older"}}}]},
    }));
    let mut state = state(pod);
    run(&mut state, "web");
    let status = compute(&state, time(2));
    let last = status.container_statuses.expect("list")[0].last_state.clone().expect("last");
    assert_eq!(last.terminated.expect("terminated").exit_code, 3);
}
