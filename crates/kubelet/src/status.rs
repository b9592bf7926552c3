//! The pod's status computed from what the worker knows: phase, conditions and container states as upstream words them.

use api::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, PodCondition, PodIP, PodStatus, Time,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::backoff::go_seconds;
use crate::pod::Role;
use crate::resources::qos_class;
use crate::worker::decide::{PULL_ERROR_SHOWN, crash_blocked};
use crate::worker::state::{ContainerView, ImageState, Observed, Phase, State, should_restart};

/// Conditions that this kubelet owns; others in the list belong to someone else and are left alone.
const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// The status the API should have now.
pub(crate) fn compute(state: &State, now: Timestamp) -> PodStatus {
    let existing = state.pod.pod.status.clone().unwrap_or_default();
    let init = statuses(state, now, existing.init_container_statuses.as_deref(), |role| {
        matches!(role, Role::Init | Role::Sidecar)
    });
    let regular = statuses(state, now, existing.container_statuses.as_deref(), |role| role == Role::Regular);
    let ephemeral = statuses(state, now, existing.ephemeral_container_statuses.as_deref(), |role| {
        role == Role::Ephemeral
    });
    let phase = phase(state, &existing, &init, &regular);
    let mut status = PodStatus {
        observed_generation: state.pod.pod.metadata.generation,
        qos_class: Some(qos_class(&state.pod).as_str().to_owned()),
        start_time: existing.start_time.clone().or_else(|| Some(whole_seconds(state.accepted_at))),
        host_ip: state.node.host_ips.first().cloned(),
        host_ips: some(state.node.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        ..PodStatus::default()
    };
    addresses(state, &existing, &mut status);
    if let Some(verdict) = &state.verdict {
        status.reason = Some(verdict.reason.clone());
        status.message = some_text(&verdict.message);
    } else if is_terminal(existing.phase.as_deref()) {
        status.reason.clone_from(&existing.reason);
        status.message.clone_from(&existing.message);
    }
    status.conditions = Some(conditions(state, &existing, phase, &init, &regular, now));
    status.phase = Some(phase.to_owned());
    status.init_container_statuses = some(init);
    status.container_statuses = some(regular);
    status.ephemeral_container_statuses = some(ephemeral);
    status
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The API keeps seconds only; comparing more would find a difference for ever.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn addresses(state: &State, existing: &PodStatus, status: &mut PodStatus) {
    let ips = state.pod_ips();
    if ips.is_empty() {
        status.pod_ip.clone_from(&existing.pod_ip);
        status.pod_ips.clone_from(&existing.pod_ips);
        return;
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn statuses(
    state: &State,
    now: Timestamp,
    existing: Option<&[ContainerStatus]>,
    wanted: impl Fn(Role) -> bool,
) -> Vec<ContainerStatus> {
    state
        .pod
        .containers()
        .filter(|(role, _)| wanted(*role))
        .map(|(role, container)| {
            let known = existing.unwrap_or_default().iter().find(|known| known.name == container.name);
            container_status(state, role, container, known, now)
        })
        .collect()
}

fn container_status(
    state: &State,
    role: Role,
    container: &Container,
    known: Option<&ContainerStatus>,
    now: Timestamp,
) -> ContainerStatus {
    let unseen = ContainerView::default();
    let view = state.view(&container.name).unwrap_or(&unseen);
    let Some(current) = &view.current else {
        return unseen_status(state, role, container, view, known, now);
    };
    let scheme = &state.node.scheme;
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: if current.image.is_empty() { image_of(container) } else { current.image.clone() },
        image_id: current.image_id.clone(),
        container_id: Some(format!("{scheme}://{}", current.id)),
        restart_count: i32::try_from(current.attempt).unwrap_or(i32::MAX),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let last = view.previous.as_ref().map(|previous| terminated(previous, scheme));
    match current.phase {
        Phase::Running => {
            status.state = Some(running(current));
            status.last_state = last;
            status.started = Some(view.is_started());
            status.ready = match role {
                Role::Ephemeral | Role::Init => false,
                _ => view.is_ready(),
            };
            describe_running(container, &mut status);
        }
        Phase::Created => {
            status.state = Some(waiting(default_waiting(state, role), ""));
            status.last_state = last;
        }
        Phase::Exited => match restart_wait(state, role, container, view, current, now) {
            Some((reason, message)) => {
                status.state = Some(waiting(&reason, &message));
                status.last_state = Some(terminated(current, scheme));
            }
            None => {
                status.state = Some(terminated(current, scheme));
                status.last_state = last;
                status.ready = role == Role::Init && current.exit_code == 0;
            }
        },
    }
    if status.last_state.is_none() {
        status.last_state = known.and_then(|known| recalled(known, current, scheme));
    }
    status.last_state.get_or_insert_default();
    status
}

/// The attempt before, as an earlier run of the program reported it.
fn recalled(known: &ContainerStatus, current: &Observed, scheme: &str) -> Option<ContainerState> {
    let id = format!("{scheme}://{}", current.id);
    let last = known.last_state.clone().filter(|last| last.terminated.is_some());
    last.filter(|last| last.terminated.as_ref().is_some_and(|last| last.container_id.as_deref() != Some(&id)))
}

/// Why a container that ended is waiting to be started again; `None` when it just ended.
fn restart_wait(
    state: &State,
    role: Role,
    container: &Container,
    view: &ContainerView,
    current: &Observed,
    now: Timestamp,
) -> Option<(String, String)> {
    let again = view.forced || should_restart(&state.pod, role, container, current.exit_code);
    if state.must_stop() || !again {
        return None;
    }
    if let Some((reason, message)) = trouble(container, view, now) {
        return Some((reason, message));
    }
    crash_blocked(view, now)?;
    let delay = view.backoff.map(|backoff| go_seconds(backoff.delay)).unwrap_or_default();
    let message = format!(
        "back-off {delay} restarting failed container={} pod={}",
        container.name,
        state.pod.formatted()
    );
    Some(("CrashLoopBackOff".to_owned(), message))
}

/// What keeps the next start from succeeding.
fn trouble(container: &Container, view: &ContainerView, now: Timestamp) -> Option<(String, String)> {
    if let ImageState::Failed { reason, message, at, .. } = &view.image {
        let shown = at.checked_add(PULL_ERROR_SHOWN).is_ok_and(|until| now < until);
        if reason != "ErrImagePull" || shown {
            return Some((reason.clone(), message.clone()));
        }
        let image = image_of(container);
        return Some((
            "ImagePullBackOff".to_owned(),
            format!("Back-off pulling image {image:?}: {reason}: {message}"),
        ));
    }
    view.waiting.as_ref().map(|waiting| (waiting.reason.clone(), waiting.message.clone()))
}

/// A container of which the runtime knows nothing.
fn unseen_status(
    state: &State,
    role: Role,
    container: &Container,
    view: &ContainerView,
    known: Option<&ContainerStatus>,
    now: Timestamp,
) -> ContainerStatus {
    let ended = known.filter(|known| known.state.as_ref().is_some_and(|state| state.terminated.is_some()));
    if let Some(known) = ended.filter(|_| state.must_stop() || role == Role::Init) {
        return known.clone();
    }
    let was_running = known.filter(|known| known.state.as_ref().is_some_and(|state| state.running.is_some()));
    if let Some(known) = was_running.filter(|_| state.must_stop()) {
        return lost(known);
    }
    let (reason, message) = trouble(container, view, now)
        .unwrap_or_else(|| (default_waiting(state, role).to_owned(), String::new()));
    ContainerStatus {
        name: container.name.clone(),
        image: image_of(container),
        image_id: String::new(),
        restart_count: known.map_or(0, |known| known.restart_count),
        started: Some(false),
        state: Some(waiting(&reason, &message)),
        last_state: known
            .and_then(|known| {
                known.state.clone().filter(|state| state.terminated.is_some()).or(known.last_state.clone())
            })
            .or_else(|| Some(ContainerState::default())),
        ..ContainerStatus::default()
    }
}

/// A container that was running when last heard of and that the runtime no longer has.
fn lost(known: &ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        ready: false,
        started: Some(false),
        state: Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: known.container_id.clone(),
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        }),
        ..known.clone()
    }
}

fn image_of(container: &Container) -> String {
    container.image.clone().unwrap_or_default()
}

/// `PodInitializing` while init containers have yet to finish before this one.
fn default_waiting(state: &State, role: Role) -> &'static str {
    let has_init = state.pod.init_containers().next().is_some();
    if has_init && (role != Role::Regular || !state.initialized()) {
        "PodInitializing"
    } else {
        "ContainerCreating"
    }
}

fn running(current: &Observed) -> ContainerState {
    let started_at = current.started_at.or(current.created_at).map(whole_seconds);
    ContainerState { running: Some(ContainerStateRunning { started_at }), ..ContainerState::default() }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: some_text(reason), message: some_text(message) };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(seen: &Observed, scheme: &str) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: Some(format!("{scheme}://{}", seen.id)),
        exit_code: seen.exit_code,
        signal: None,
        reason: some_text(&seen.reason),
        message: some_text(&seen.message),
        started_at: seen.started_at.map(whole_seconds),
        finished_at: seen.finished_at.map(whole_seconds),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// What only a running container's status says.
fn describe_running(container: &Container, status: &mut ContainerStatus) {
    if let Some(resources) = &container.resources {
        status.allocated_resources = resources.requests.clone().filter(|requests| !requests.is_empty());
        status.resources = Some(api::ResourceRequirements { claims: None, ..resources.clone() });
    }
    let mounts = container.volume_mounts.iter().flatten().map(|mount| {
        let read_only = mount.read_only == Some(true);
        api::VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: read_only.then_some(true),
            recursive_read_only: read_only.then(|| "Disabled".to_owned()),
            ..api::VolumeMountStatus::default()
        }
    });
    status.volume_mounts = some(mounts.collect());
}

/// The phase, as upstream's `getPhase` and its rule for pods that are over.
fn phase(
    state: &State,
    existing: &PodStatus,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> &'static str {
    match existing.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    if state.verdict.is_some() {
        return "Failed";
    }
    let stopped = state.must_stop() && !state.containers.values().any(ContainerView::is_running);
    let over =
        stopped && state.busy.iter().all(|slot| !matches!(slot, crate::worker::state::Slot::Container(_)));
    if let Some(succeeded) = state.outcome() {
        // Sidecars may still be running; the pod is over when the regular containers are.
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    let count = Count::of(regular);
    if over {
        let all = count.stopped > 0 && count.stopped == count.succeeded && count.waiting == 0;
        return if all { "Succeeded" } else { "Failed" };
    }
    if !state.initialized() && pending_init(state, init) {
        return "Pending";
    }
    if count.waiting > 0 { "Pending" } else { "Running" }
}

fn pending_init(state: &State, init: &[ContainerStatus]) -> bool {
    state.pod.init_containers().zip(init).any(|((role, _), status)| match role {
        Role::Sidecar => status.started != Some(true),
        _ => !status.ready,
    })
}

#[derive(Default)]
struct Count {
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

impl Count {
    fn of(list: &[ContainerStatus]) -> Self {
        let mut count = Self::default();
        for status in list {
            let Some(state) = &status.state else { continue };
            if let Some(ended) = &state.terminated {
                count.stopped += 1;
                count.succeeded += usize::from(ended.exit_code == 0);
            } else if state.waiting.is_some() {
                // One that ran before is between two attempts, not waiting for its first.
                let before = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
                if before.is_some() {
                    count.stopped += 1;
                } else {
                    count.waiting += 1;
                }
            }
        }
        count
    }
}

fn conditions(
    state: &State,
    existing: &PodStatus,
    phase: &str,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    now: Timestamp,
) -> Vec<PodCondition> {
    let mut list: Vec<PodCondition> = existing.conditions.clone().unwrap_or_default();
    let generation = state.pod.pod.metadata.generation;
    let containers_ready = containers_ready(state, phase, init, regular);
    let made = [
        Judgement::plain("PodReadyToStartContainers", state.ready_sandbox().is_some()),
        initialized(state, phase, init),
        pod_ready(state, &list, &containers_ready),
        containers_ready,
        Judgement::plain("PodScheduled", true),
    ];
    for judgement in made {
        let condition = PodCondition {
            type_: judgement.type_.to_owned(),
            status: if judgement.is_true { "True" } else { "False" }.to_owned(),
            reason: some_text(judgement.reason),
            message: some_text(&judgement.message),
            observed_generation: generation,
            last_transition_time: Some(whole_seconds(now)),
            last_probe_time: None,
        };
        put(&mut list, condition);
    }
    list
}

/// Puts a condition into the list; its transition time moves only with its status.
fn put(list: &mut Vec<PodCondition>, mut new: PodCondition) {
    match list.iter_mut().find(|old| old.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone().or(new.last_transition_time);
            }
            *old = new;
        }
        None => list.push(new),
    }
}

#[derive(Clone)]
struct Judgement {
    type_: &'static str,
    is_true: bool,
    reason: &'static str,
    message: String,
}

impl Judgement {
    fn plain(type_: &'static str, is_true: bool) -> Self {
        Self { type_, is_true, reason: "", message: String::new() }
    }

    fn no(type_: &'static str, reason: &'static str, message: String) -> Self {
        Self { type_, is_true: false, reason, message }
    }
}

/// Names as Go prints a list: `[a b]`.
fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(state: &State, phase: &str, init: &[ContainerStatus]) -> Judgement {
    let type_ = "Initialized";
    if phase == "Succeeded" {
        return Judgement { reason: "PodCompleted", ..Judgement::plain(type_, true) };
    }
    let regular_started = state.pod.regular().any(|container| {
        state
            .view(&container.name)
            .is_some_and(|view| view.current.as_ref().is_some_and(|c| c.started_at.is_some()))
    });
    if regular_started {
        return Judgement::plain(type_, true);
    }
    let incomplete: Vec<&str> = state
        .pod
        .init_containers()
        .zip(init)
        .filter(|((role, _), status)| match role {
            Role::Sidecar => status.started != Some(true),
            _ => !status.ready,
        })
        .map(|((_, container), _)| container.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Judgement::plain(type_, true);
    }
    let message = format!("containers with incomplete status: {}", listed(&incomplete));
    Judgement::no(type_, "ContainersNotInitialized", message)
}

fn containers_ready(
    state: &State,
    phase: &str,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> Judgement {
    let type_ = "ContainersReady";
    match phase {
        "Succeeded" => return Judgement::no(type_, "PodCompleted", String::new()),
        "Failed" => return Judgement::no(type_, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = state.pod.init_containers().zip(init).filter(|((role, _), _)| *role == Role::Sidecar);
    let unready: Vec<&str> = sidecars
        .map(|(_, status)| status)
        .chain(regular)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Judgement::plain(type_, true);
    }
    Judgement::no(
        type_,
        "ContainersNotReady",
        format!("containers with unready status: {}", listed(&unready)),
    )
}

fn pod_ready(state: &State, list: &[PodCondition], containers_ready: &Judgement) -> Judgement {
    if !containers_ready.is_true {
        return Judgement { type_: "Ready", ..containers_ready.clone() };
    }
    let mut missing = Vec::new();
    for gate in state.pod.spec().readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match list.iter().find(|condition| condition.type_ == *type_) {
            None => missing
                .push(format!("corresponding condition of pod readiness gate {type_:?} does not exist.")),
            Some(condition) if condition.status != "True" => missing.push(format!(
                "the status of pod readiness gate {type_:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Judgement::plain("Ready", true);
    }
    Judgement::no("Ready", "ReadinessGatesNotReady", missing.join(", "))
}

/// Whether the API's status already says what `new` says, as far as this kubelet is concerned.
pub(crate) fn is_same(existing: Option<&PodStatus>, new: &PodStatus) -> bool {
    existing.is_some_and(|existing| merged(existing, new) == *existing)
}

/// `existing` with everything this kubelet owns taken from `new`.
fn merged(existing: &PodStatus, new: &PodStatus) -> PodStatus {
    let new = new.clone();
    PodStatus {
        conditions: new.conditions,
        container_statuses: new.container_statuses,
        ephemeral_container_statuses: new.ephemeral_container_statuses,
        init_container_statuses: new.init_container_statuses,
        host_ip: new.host_ip,
        host_ips: new.host_ips,
        message: new.message,
        observed_generation: new.observed_generation,
        phase: new.phase,
        pod_ip: new.pod_ip,
        pod_ips: new.pod_ips,
        qos_class: new.qos_class,
        reason: new.reason,
        start_time: new.start_time,
        ..existing.clone()
    }
}

/// Whether a container waits for something that is not just under way.
pub(crate) fn has_trouble(status: &PodStatus) -> bool {
    [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
        .any(|reason| !matches!(reason, "ContainerCreating" | "PodInitializing"))
}

/// The strategic merge patch that turns the API's status into `new`; the uid guards against a namesake.
pub(crate) fn patch(uid: &str, existing: Option<&PodStatus>, new: &PodStatus) -> Value {
    let empty = PodStatus::default();
    let existing = existing.unwrap_or(&empty);
    let old = to_map(existing);
    let mut new_map = to_map(&merged(existing, new));
    let mut changes = Map::new();
    for name in old.keys() {
        if !new_map.contains_key(name) {
            changes.insert(name.clone(), Value::Null);
        }
    }
    new_map.retain(|name, value| old.get(name) != Some(value));
    for (name, value) in new_map {
        let value = match name.as_str() {
            "conditions" => changed_conditions(old.get("conditions"), value),
            "podIPs" | "hostIPs" if old.contains_key(&name) => replaced(value),
            _ => value,
        };
        changes.insert(name, value);
    }
    json!({"metadata": {"uid": uid}, "status": changes})
}

fn to_map(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Lists that merge by key would keep old entries.
fn replaced(value: Value) -> Value {
    let mut list = vec![json!({"$patch": "replace"})];
    if let Value::Array(items) = value {
        list.extend(items);
    }
    Value::Array(list)
}

/// Own conditions that differ, each whole: keys that went away are set to null, since the patch merges by type.
fn changed_conditions(old: Option<&Value>, new: Value) -> Value {
    let old = old.and_then(Value::as_array).cloned().unwrap_or_default();
    let Value::Array(new) = new else { return new };
    let changed = new.into_iter().filter(|condition| {
        let own = condition["type"].as_str().is_some_and(|type_| OWN_CONDITIONS.contains(&type_));
        own && !old.contains(condition)
    });
    let whole = changed.map(|mut condition| {
        let before = old.iter().find(|old| old["type"] == condition["type"]);
        if let (Some(map), Some(Value::Object(before))) = (condition.as_object_mut(), before) {
            for key in before.keys() {
                map.entry(key.clone()).or_insert(Value::Null);
            }
        }
        condition
    });
    Value::Array(whole.collect())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
