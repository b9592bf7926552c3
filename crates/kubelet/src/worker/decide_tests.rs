use super::*;
use crate::pod::PodInfo;
use crate::pod::testing::{pod, whole};
use crate::probes::{ProbeKind, ProbeReport};
use crate::volumes::SetUp;
use crate::worker::outcome::Outcome;
use crate::worker::state::{NodeFacts, Phase, Sandbox, Verdict, Waiting};
use serde_json::{Value, json};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

/// A worker's state under a clock of the test's own.
struct Scene {
    state: State,
    now: i64,
}

fn scene(spec: Value) -> Scene {
    of(pod(spec))
}

fn of(pod: PodInfo) -> Scene {
    let node = NodeFacts { host_ips: vec!["192.0.2.1".into()], scheme: "knarr".into() };
    Scene { state: State::new(pod, node, at(0)), now: 0 }
}

impl Scene {
    /// The next actions without status writes, as short words; all of them are begun.
    fn step(&mut self) -> Vec<String> {
        let now = at(self.now);
        self.state.arm_probes();
        self.state.settle(now);
        let decision = decide(&self.state, now);
        let mut words = Vec::new();
        for action in decision.actions {
            if matches!(action, Action::WriteStatus(_)) {
                continue;
            }
            words.push(word(&action));
            self.state.begin(&action, now);
        }
        words
    }

    fn wake(&mut self) -> Option<i64> {
        self.state.settle(at(self.now));
        decide(&self.state, at(self.now)).wake_at.map(|time| time.as_second() - 1_700_000_000)
    }

    fn done(&mut self, slot: Slot, outcome: Outcome) -> &mut Self {
        self.state.apply(&slot, outcome, at(self.now));
        self
    }

    /// Volumes, sandbox and the images of these containers are there.
    fn prepared(&mut self, images: &[&str]) -> &mut Self {
        self.done(
            Slot::Volumes,
            Outcome::VolumesReady(SetUp { mounts: std::sync::Arc::default(), refresh_at: None }),
        );
        self.sandbox("s0", 0);
        for name in images {
            self.image(name);
        }
        self
    }

    fn sandbox(&mut self, id: &str, attempt: u32) -> &mut Self {
        let sandbox =
            Sandbox { id: id.into(), ready: true, ips: vec!["10.42.0.5".parse().expect("ip")], attempt };
        self.done(Slot::Sandbox, Outcome::SandboxRunning(sandbox))
    }

    fn image(&mut self, name: &str) -> &mut Self {
        let image = container::Image {
            id: "sha256:1".into(),
            repo_tags: vec![],
            repo_digests: vec![],
            size_bytes: 1,
            user: String::new(),
        };
        self.done(Slot::Image(name.into()), Outcome::ImageReady { container: name.into(), image })
    }

    fn running(&mut self, name: &str, attempt: u32) -> &mut Self {
        let seen = self.seen(name, attempt);
        self.done(Slot::Container(name.into()), Outcome::Started { container: name.into(), seen })
    }

    fn seen(&self, name: &str, attempt: u32) -> Observed {
        let sandbox_id = self.state.sandbox_id().unwrap_or("s0").to_owned();
        let container = self.state.pod.container(name).expect("container").1;
        Observed {
            id: format!("{name}{attempt}@{sandbox_id}"),
            sandbox_id,
            attempt,
            phase: Phase::Running,
            created_at: Some(at(self.now)),
            started_at: Some(at(self.now)),
            hash: container_hash(container),
            ..Observed::default()
        }
    }

    fn exits(&mut self, name: &str, exit_code: i32) -> &mut Self {
        let now = at(self.now);
        let current = self.state.view(name).and_then(|view| view.current.clone()).expect("a container");
        let seen = Observed {
            phase: Phase::Exited,
            exit_code,
            finished_at: Some(now),
            reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
            ..current
        };
        self.state.view_mut(name).observe(seen);
        self
    }

    fn killed(&mut self, name: &str) -> &mut Self {
        self.exits(name, 137);
        let seen = self.state.view(name).and_then(|view| view.current.clone()).expect("a container");
        let id = seen.id.clone();
        self.done(
            Slot::Container(name.into()),
            Outcome::Killed { container: name.into(), id, seen: Some(seen) },
        )
    }

    fn probe(&mut self, name: &str, kind: ProbeKind, success: bool) -> &mut Self {
        let id =
            self.state.view(name).and_then(|view| view.current.as_ref()).expect("a container").id.clone();
        self.state.hear(&ProbeReport { container: name.into(), container_id: id, kind, success });
        self
    }

    fn delete(&mut self, grace: i64) -> &mut Self {
        let mut object = (*self.state.pod.pod).clone();
        object.metadata.deletion_timestamp = Some(api::Time(at(self.now)));
        object.metadata.deletion_grace_period_seconds = Some(grace);
        self.state.pod = PodInfo::new(std::sync::Arc::new(object));
        self
    }

    /// The API has the status that would be written.
    fn synced(&mut self) -> &mut Self {
        self.state.settle(at(self.now));
        let mut object = (*self.state.pod.pod).clone();
        object.status = Some(status::compute(&self.state, at(self.now)));
        self.state.pod = PodInfo::new(std::sync::Arc::new(object));
        self
    }

    fn status(&self) -> PodStatus {
        status::compute(&self.state, at(self.now))
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::MountVolumes => "mount".into(),
        Action::UnmountVolumes => "unmount".into(),
        Action::RunSandbox { attempt } => format!("sandbox {attempt}"),
        Action::DropSandbox { id } => format!("drop {id}"),
        Action::StopSandbox { id } => format!("stop {id}"),
        Action::CleanUp => "clean".into(),
        Action::PullImage { container } => format!("pull {container}"),
        Action::StartContainer { container, attempt } => format!("start {container} {attempt}"),
        Action::KillContainer { container, grace, why, .. } => format!("kill {container} {grace} {why:?}"),
        Action::HastenKill { container, grace, .. } => format!("hasten {container} {grace}"),
        Action::RemoveContainer { id, .. } => format!("remove {id}"),
        Action::WriteStatus(_) => "status".into(),
        Action::DeletePod => "delete".into(),
        Action::Finish => "finish".into(),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_new_pod_gets_everything_at_once() {
    let mut scene = scene(json!({}));
    assert_eq!(scene.step(), ["mount", "sandbox 0", "pull web"]);
    assert_eq!(scene.step(), NOTHING, "what is under way is not begun again");
    scene.image("web");
    assert_eq!(scene.step(), NOTHING, "a container needs sandbox and volumes");
    scene.prepared(&[]);
    assert_eq!(scene.step(), ["start web 0"]);
    scene.running("web", 0);
    assert_eq!(scene.step(), NOTHING);
    assert_eq!(scene.status().phase.as_deref(), Some("Running"));
}

#[test]
fn the_first_status_waits_for_a_quick_start() {
    let scene = scene(json!({}));
    let early = decide(&scene.state, at(0));
    assert!(!early.actions.iter().any(|action| matches!(action, Action::WriteStatus(_))));
    assert!(early.wake_at.is_some());
    let late = decide(&scene.state, at(1));
    assert!(late.actions.iter().any(|action| matches!(action, Action::WriteStatus(_))));
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut scene =
        scene(json!({"initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}));
    assert_eq!(scene.step(), ["mount", "sandbox 0", "pull a"]);
    scene.prepared(&["a"]);
    assert_eq!(scene.step(), ["start a 0"]);
    scene.running("a", 0);
    assert_eq!(scene.step(), NOTHING);
    assert_eq!(scene.status().phase.as_deref(), Some("Pending"));
    scene.exits("a", 0);
    assert_eq!(scene.step(), ["pull b"]);
    scene.image("b");
    assert_eq!(scene.step(), ["start b 0"]);
    scene.running("b", 0).exits("b", 0);
    assert_eq!(scene.step(), ["pull web"]);
}

#[test]
fn a_failed_init_container_is_tried_again_or_ends_the_pod() {
    let spec =
        |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "a", "image": "i"}]});
    let mut again = scene(spec("Always"));
    again.step();
    again.prepared(&["a"]).step();
    again.running("a", 0).exits("a", 1);
    assert_eq!(again.step(), ["pull a"]);
    let mut never = scene(spec("Never"));
    never.step();
    never.prepared(&["a"]).step();
    never.running("a", 0).exits("a", 1);
    assert_eq!(never.step(), ["stop s0", "unmount"]);
    assert_eq!(never.status().phase.as_deref(), Some("Failed"));
}

#[test]
fn sidecars_start_in_turn_and_end_last() {
    let mut scene = scene(json!({
        "initContainers": [
            {"name": "side", "image": "i", "restartPolicy": "Always",
             "startupProbe": {"exec": {"command": ["x"]}}},
            {"name": "init", "image": "i"},
        ],
    }));
    scene.step();
    scene.prepared(&["side"]).step();
    scene.running("side", 0);
    assert_eq!(scene.step(), NOTHING, "the next one waits for the startup probe");
    scene.probe("side", ProbeKind::Startup, true);
    assert_eq!(scene.step(), ["pull init"]);
    scene.image("init").step();
    scene.running("init", 0).exits("side", 1);
    assert_eq!(scene.step(), ["pull side"], "a sidecar is restarted while others initialise");
    scene.image("side").step();
    scene.running("side", 1).exits("init", 0);
    assert_eq!(scene.step(), ["pull web"]);
    scene.image("web").step();
    scene.running("web", 0);
    assert_eq!(scene.step(), NOTHING);
    scene.delete(30);
    assert_eq!(scene.step(), ["kill web 30 PodStopping"]);
    assert_eq!(scene.step(), NOTHING);
    scene.now = 29;
    scene.killed("web");
    assert_eq!(scene.step(), ["kill side 2 PodStopping"]);
}

#[test]
fn restart_policies() {
    let cases = [
        ("Always", 0, "pull web", "Running"),
        ("Always", 1, "pull web", "Running"),
        ("OnFailure", 1, "pull web", "Running"),
        ("OnFailure", 0, "stop s0", "Succeeded"),
        ("Never", 0, "stop s0", "Succeeded"),
        ("Never", 1, "stop s0", "Failed"),
    ];
    for (policy, code, action, phase) in cases {
        let mut scene = scene(json!({"restartPolicy": policy}));
        scene.step();
        scene.prepared(&["web"]).step();
        scene.running("web", 0).exits("web", code);
        let status = scene.status();
        assert_eq!(scene.step().first().map(String::as_str), Some(action), "{policy} {code}");
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {code}");
    }
}

#[test]
fn restart_rules_by_exit_code() {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    for (code, want) in [(42, "pull web"), (1, "stop s0")] {
        let mut scene = scene(json!({
            "restartPolicy": "Never",
            "containers": [{"name": "web", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules}],
        }));
        scene.step();
        scene.prepared(&["web"]).step();
        scene.running("web", 0).exits("web", code);
        assert_eq!(scene.step().first().map(String::as_str), Some(want), "{code}");
    }
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut scene = scene(json!({}));
    scene.step();
    scene.prepared(&["web"]).step();
    scene.running("web", 0).exits("web", 1);
    // The first restart is immediate.
    assert_eq!(scene.step(), ["pull web"]);
    for (attempt, wait) in [(1, 10), (2, 20), (3, 40)] {
        scene.image("web");
        let started = scene.step();
        assert_eq!(started.first(), Some(&format!("start web {attempt}")));
        scene.running("web", attempt).exits("web", 1);
        assert!(!scene.step().iter().any(|word| word.starts_with("pull")), "attempt {attempt}");
        assert_eq!(scene.wake(), Some(scene.now + wait));
        let waiting =
            scene.status().container_statuses.expect("list")[0].state.clone().expect("state").waiting;
        let waiting = waiting.expect("waiting");
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        let message = format!("back-off {wait}s restarting failed container=web pod=p_ns(u1)");
        assert_eq!(waiting.message, Some(message));
        scene.now += wait;
        assert!(scene.step().contains(&"pull web".to_owned()));
    }
    assert_eq!(scene.status().container_statuses.expect("list")[0].restart_count, 3);
}

#[test]
fn attempts_before_the_last_two_are_removed() {
    let mut scene = scene(json!({}));
    scene.step();
    scene.prepared(&["web"]).step();
    for attempt in 0..3 {
        scene.running("web", attempt).exits("web", 0);
    }
    assert!(scene.step().contains(&"remove web0@s0".to_owned()));
}

#[test]
fn failing_probes_restart_a_container() {
    let mut scene = scene(json!({"containers": [{"name": "web", "image": "i",
        "livenessProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 5},
        "readinessProbe": {"exec": {"command": ["x"]}}}]}));
    scene.step();
    scene.prepared(&["web"]).step();
    scene.running("web", 0);
    scene.state.arm_probes();
    let ready = |scene: &Scene| scene.status().container_statuses.expect("list")[0].ready;
    assert!(!ready(&scene));
    scene.probe("web", ProbeKind::Readiness, true);
    assert!(ready(&scene));
    assert_eq!(scene.step(), NOTHING);
    scene.probe("web", ProbeKind::Liveness, false);
    assert_eq!(scene.step(), ["kill web 5 Liveness"]);
    scene.killed("web");
    assert_eq!(scene.step(), ["pull web"]);
    scene.image("web").step();
    scene.running("web", 1);
    scene.state.arm_probes();
    assert!(!ready(&scene), "what was said of the former attempt does not hold");
    assert_eq!(scene.step(), NOTHING);
}

#[test]
fn a_changed_image_replaces_the_container() {
    let mut scene = scene(json!({"restartPolicy": "Never"}));
    scene.step();
    scene.prepared(&["web"]).step();
    scene.running("web", 0);
    scene.state.pod =
        pod(json!({"restartPolicy": "Never", "containers": [{"name": "web", "image": "other"}]}));
    assert_eq!(scene.step(), ["kill web 30 DefinitionChanged"]);
    scene.killed("web");
    assert_eq!(scene.step(), ["pull web"], "whatever the restart policy says");
}

#[test]
fn deletion_in_order() {
    let mut scene = scene(json!({}));
    scene.step();
    scene.prepared(&["web"]).step();
    scene.running("web", 0);
    scene.delete(30);
    assert_eq!(scene.step(), ["kill web 30 PodStopping"]);
    scene.now = 5;
    scene.delete(30);
    assert_eq!(scene.step(), NOTHING);
    scene.delete(1);
    assert_eq!(scene.step(), ["hasten web 0"], "a shorter grace counts from the beginning");
    scene.killed("web");
    assert_eq!(scene.step(), ["stop s0", "unmount"]);
    scene.done(Slot::Sandbox, Outcome::SandboxStopped { id: "s0".into() });
    scene.done(Slot::Volumes, Outcome::VolumesGone);
    assert_eq!(scene.step(), ["clean"]);
    scene.done(Slot::Sandbox, Outcome::CleanedUp);
    assert_eq!(scene.step(), NOTHING, "the object stays until its last status is written");
    assert_eq!(scene.status().phase.as_deref(), Some("Failed"));
    scene.synced();
    assert_eq!(scene.step(), ["delete"]);
    scene.done(Slot::Delete, Outcome::DeleteSent);
    assert_eq!(scene.step(), NOTHING);
    scene.state.busy.clear();
    scene.state.vanished = true;
    assert_eq!(scene.step(), ["finish"]);
}

#[test]
fn a_vanished_pod_is_killed() {
    let mut scene = scene(json!({"terminationGracePeriodSeconds": 7}));
    scene.step();
    scene.prepared(&["web"]).step();
    scene.running("web", 0);
    scene.state.vanished = true;
    assert_eq!(scene.step(), ["kill web 7 PodStopping"]);
}

#[test]
fn a_start_under_way_is_waited_for() {
    let mut scene = scene(json!({}));
    scene.step();
    scene.prepared(&["web"]);
    assert_eq!(scene.step(), ["start web 0"]);
    scene.delete(30);
    assert_eq!(scene.step(), NOTHING);
    scene.running("web", 0);
    assert_eq!(scene.step(), ["kill web 30 PodStopping"]);
}

#[test]
fn the_deadline_fails_the_pod() {
    let mut scene = scene(json!({"activeDeadlineSeconds": 60}));
    scene.step();
    scene.prepared(&["web"]).step();
    scene.running("web", 0);
    assert_eq!(scene.wake(), Some(60));
    scene.now = 60;
    assert_eq!(scene.step(), ["kill web 30 PodStopping"]);
    let status = scene.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_refused_pod_starts_nothing() {
    let mut scene = scene(json!({}));
    scene.state.verdict = Some(Verdict { reason: "OutOfcpu".into(), message: "no".into() });
    assert_eq!(scene.step(), ["unmount"]);
    let status = scene.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
}

#[test]
fn a_dead_sandbox_is_replaced() {
    let mut scene = scene(json!({"initContainers": [{"name": "init", "image": "i"}]}));
    scene.step();
    scene.prepared(&["init"]).step();
    scene.running("init", 0).exits("init", 0);
    scene.step();
    scene.image("web").step();
    scene.running("web", 0).exits("web", 137);
    if let Some(sandbox) = scene.state.sandbox.as_mut() {
        sandbox.ready = false;
    }
    assert_eq!(scene.step(), ["sandbox 1", "pull web", "drop s0"]);
    scene.sandbox("s1", 1);
    assert!(scene.step().contains(&"pull init".to_owned()), "initialisation begins again");
    let mut never = scene;
    never.state.pod = pod(json!({"restartPolicy": "Never"}));
    assert!(never.state.outcome().is_none() || never.state.must_stop());
}

#[test]
fn failures_are_tried_again_later() {
    let mut scene = scene(json!({}));
    scene.step();
    let error = crate::images::ImageError { reason: "ErrImagePull", message: "no such host".into() };
    scene.done(Slot::Image("web".into()), Outcome::ImageFailed { container: "web".into(), error });
    let waiting = |scene: &Scene| {
        let state = scene.status().container_statuses.expect("list")[0].state.clone();
        state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason).expect("a reason")
    };
    assert_eq!(waiting(&scene), "ErrImagePull");
    assert_eq!(scene.wake(), Some(2));
    scene.now = 2;
    assert_eq!(waiting(&scene), "ImagePullBackOff");
    assert_eq!(scene.wake(), Some(10));
    scene.now = 10;
    assert_eq!(scene.step(), ["pull web"]);
    scene.done(Slot::Sandbox, Outcome::SandboxFailed);
    scene.done(Slot::Volumes, Outcome::VolumesFailed);
    assert_eq!(scene.step(), NOTHING);
    scene.now = 11;
    assert_eq!(scene.step(), ["mount", "sandbox 1"]);
    scene.prepared(&["web"]).step();
    let waiting_for = Waiting { reason: "CreateContainerConfigError".into(), message: "no".into() };
    let failed = Outcome::StartFailed { container: "web".into(), waiting: waiting_for, seen: None };
    scene.done(Slot::Container("web".into()), failed);
    assert_eq!(waiting(&scene), "CreateContainerConfigError");
    assert_eq!(scene.step(), NOTHING);
    scene.now = 21;
    assert_eq!(scene.step(), ["start web 0"]);
}

#[test]
fn a_container_that_cannot_start_backs_off() {
    let mut scene = scene(json!({}));
    scene.step();
    scene.prepared(&["web"]).step();
    let mut seen = scene.seen("web", 0);
    seen.phase = Phase::Created;
    seen.started_at = None;
    let waiting = Waiting { reason: "RunContainerError".into(), message: "no such file".into() };
    let failed = Outcome::StartFailed { container: "web".into(), waiting, seen: Some(seen) };
    scene.done(Slot::Container("web".into()), failed);
    let state = scene.status().container_statuses.expect("list")[0].clone();
    let ended = state.state.and_then(|state| state.terminated).expect("terminated");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (128, Some("StartError")));
    assert_eq!(scene.step(), ["pull web"]);
}

#[test]
fn what_runs_is_adopted() {
    let mut scene = of(whole(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "spec": {"containers": [{"name": "web", "image": "img", "readinessProbe": {"exec": {"command": ["x"]}}}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "web", "image": "img", "imageID": "", "ready": true, "restartCount": 3,
            "containerID": "knarr://web3@s0", "started": true, "state": {"running": {}}}]},
    })));
    let seen = scene.seen("web", 3);
    scene.state.view_mut("web").observe(seen);
    scene.state.sandbox = Some(Sandbox { id: "s0".into(), ready: true, ips: vec![], attempt: 0 });
    assert_eq!(scene.step(), ["mount"]);
    let status = scene.status().container_statuses.expect("list")[0].clone();
    assert!(status.ready, "it stays ready until a probe says otherwise");
    assert_eq!(status.restart_count, 3);
}

#[test]
fn ephemeral_containers_run_once() {
    let mut scene = of(whole(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "spec": {"containers": [{"name": "web", "image": "img"}],
                 "ephemeralContainers": [{"name": "debug", "image": "img"}]},
    })));
    assert_eq!(scene.step(), ["mount", "sandbox 0", "pull debug", "pull web"]);
    scene.prepared(&["debug", "web"]);
    assert_eq!(scene.step(), ["start debug 0", "start web 0"]);
    scene.running("debug", 0).running("web", 0).exits("debug", 1);
    assert_eq!(scene.step(), NOTHING);
    assert_eq!(scene.status().phase.as_deref(), Some("Running"));
}

/// Whatever happens, a pod that must stop starts nothing.
#[test]
fn nothing_starts_in_a_pod_that_ends() {
    for grace in [0, 1, 30] {
        for exit in [0, 1, 137] {
            let mut scene = scene(json!({"initContainers": [{"name": "a", "image": "i"}]}));
            scene.step();
            scene.prepared(&["a", "web"]).step();
            scene.running("a", 0).exits("a", exit).delete(grace);
            for second in 0..40 {
                scene.now = second;
                let words = scene.step();
                let starts =
                    words.iter().any(|word| word.starts_with("start") || word.starts_with("sandbox"));
                assert!(!starts, "grace {grace} exit {exit}: {words:?}");
            }
        }
    }
}
