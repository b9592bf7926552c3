//! EndpointSlice: the addresses of a Service's pods in slices of a hundred (upstream `pkg/controller/endpointslice`).

use super::{services_of_pod, targets};
use crate::context::{Context, Failure, Outcome, objects, synced};
use crate::written::Written;
use api::{
    Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForZone, Key, Labels, Node, ObjectMeta, Pod,
    Service, SlicePort, controller_ref, is_terminating, object_reference, pod_ready, selector_labels,
};
use client::{ChangeKind, EventType, Informer, Recorder, Rest, WorkQueue};
use kube::api::DeleteParams;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const NAME: &str = "endpointslice-controller";
const WORKERS: usize = 5;
/// Endpoints a slice.
const SLICE_MAX: usize = 100;
/// Pause while another Service's write in the namespace is not in the cache yet.
const CATCH_UP: std::time::Duration = std::time::Duration::from_millis(5);
const MANAGED_BY: &str = "endpointslice-controller.k8s.io";
const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// What to write.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<EndpointSlice>),
    Update(Box<EndpointSlice>),
    Delete(Arc<EndpointSlice>),
}

/// Endpoints that share a slice: one address family, one list of ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    family: String,
    /// JSON of the ports; serves as a key.
    ports: String,
}

/// Slices as they should be, changing as few of the existing ones as possible.
pub(crate) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    zones: &HashMap<String, String>,
    existing: &[Arc<EndpointSlice>],
) -> Vec<Action> {
    let mut wanted = wanted(service, pods, zones);
    let labels = labels(service);
    let mut by_group: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    let mut actions = Vec::new();
    for slice in existing {
        by_group.entry(group_of(slice)).or_default().push(slice.clone());
    }
    for family in families(service) {
        // A Service without endpoints has one empty slice, so that readers can tell it from one not yet looked at.
        if !wanted.keys().any(|(group, _)| group.family == family) {
            wanted.insert((Group { family, ports: "[]".into() }, Vec::new().into()), Vec::new());
        }
    }
    for ((group, ports), endpoints) in wanted {
        let slices = by_group.remove(&group).unwrap_or_default();
        reconcile_group(service, &labels, &group, &ports.0, endpoints, slices, &mut actions);
    }
    actions.extend(by_group.into_values().flatten().map(Action::Delete));
    actions
}

/// Ports in a map's key: compared by the group beside it.
#[derive(Clone, Debug)]
struct Ports(Vec<SlicePort>);

impl From<Vec<SlicePort>> for Ports {
    fn from(ports: Vec<SlicePort>) -> Self {
        Self(ports)
    }
}

impl PartialEq for Ports {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Ports {}
impl PartialOrd for Ports {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ports {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

type Wanted = BTreeMap<(Group, Ports), Vec<Endpoint>>;

fn families(service: &Service) -> Vec<String> {
    let given = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or(&[]);
    if given.is_empty() { vec!["IPv4".to_owned()] } else { given.to_vec() }
}

fn group_of(slice: &EndpointSlice) -> Group {
    Group { family: slice.address_type.clone(), ports: ports_key(slice.ports.as_deref().unwrap_or(&[])) }
}

fn ports_key(ports: &[SlicePort]) -> String {
    let mut keys: Vec<String> =
        ports.iter().map(|port| serde_json::to_string(port).unwrap_or_default()).collect();
    keys.sort();
    format!("[{}]", keys.join(","))
}

fn wanted(service: &Service, pods: &[Arc<Pod>], zones: &HashMap<String, String>) -> Wanted {
    let mut wanted = Wanted::new();
    for family in families(service) {
        for pod in pods.iter().filter(|pod| targets::is_candidate(pod, true)) {
            let Some(address) = targets::address(pod, family == "IPv6") else { continue };
            let ports = ports_of(service, pod);
            let group = Group { family: family.clone(), ports: ports_key(&ports) };
            let endpoint = endpoint(service, pod, address, zones);
            wanted.entry((group, ports.into())).or_default().push(endpoint);
        }
    }
    hint(service, &mut wanted);
    wanted
}

fn ports_of(service: &Service, pod: &Pod) -> Vec<SlicePort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let port = |port: &api::ServicePort| {
        Some(SlicePort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(targets::target_port(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or("TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    ports.into_iter().flatten().filter_map(port).collect()
}

fn endpoint(service: &Service, pod: &Pod, address: String, zones: &HashMap<String, String>) -> Endpoint {
    let (serving, terminating) = (pod_ready(pod), is_terminating(&pod.metadata));
    let node_name = targets::node_name(pod);
    let zone = node_name.as_ref().and_then(|node| zones.get(node)).cloned();
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(targets::publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: targets::hostname(pod, service),
        node_name,
        target_ref: Some(targets::reference(pod)),
        zone,
        ..Endpoint::default()
    }
}

/// A Service that prefers its own zone gets hints, provided every ready endpoint has one.
fn hint(service: &Service, wanted: &mut Wanted) {
    let preference = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
    if !matches!(preference, Some("PreferClose" | "PreferSameZone")) {
        return;
    }
    for endpoint in wanted.values_mut().flatten() {
        let zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
        endpoint.hints =
            zones.map(|zones| EndpointHints { for_zones: Some(zones), ..EndpointHints::default() });
    }
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    labels.insert(SERVICE_LABEL.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    if targets::is_headless(service) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    labels
}

fn identity(endpoint: &Endpoint) -> (String, String) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    (endpoint.addresses.first().cloned().unwrap_or_default(), uid.unwrap_or_default())
}

/// Keeps endpoints where they are, fills slices that change anyway, then the fullest that has room, then new ones.
fn reconcile_group(
    service: &Service,
    labels: &Labels,
    group: &Group,
    ports: &[SlicePort],
    wanted: Vec<Endpoint>,
    existing: Vec<Arc<EndpointSlice>>,
    actions: &mut Vec<Action>,
) {
    let mut wanted: BTreeMap<(String, String), Endpoint> =
        wanted.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let placeholder = wanted.is_empty() && ports.is_empty();
    let mut slices: Vec<(Arc<EndpointSlice>, EndpointSlice)> = Vec::new();
    for slice in existing {
        let mut new = (*slice).clone();
        let old = new.endpoints.take().unwrap_or_default();
        let kept: Vec<Endpoint> =
            old.into_iter().filter_map(|endpoint| wanted.remove(&identity(&endpoint))).collect();
        new.endpoints = Some(kept);
        new.metadata.labels = Some(labels.clone());
        slices.push((slice, new));
    }
    let mut rest: Vec<Endpoint> = wanted.into_values().collect();
    for changed_only in [true, false] {
        slices.sort_by_key(|(_, new)| std::cmp::Reverse(len(new)));
        for (old, new) in &mut slices {
            if !changed_only || differs(old, new) {
                fill(new, &mut rest);
            }
        }
    }
    let mut kept_placeholder = false;
    for (old, mut new) in slices {
        if len(&new) == 0 && (!placeholder || std::mem::replace(&mut kept_placeholder, true)) {
            actions.push(Action::Delete(old));
        } else if differs(&old, &new) {
            new.endpoints = new.endpoints.filter(|endpoints| !endpoints.is_empty());
            actions.push(Action::Update(Box::new(new)));
        }
    }
    while !rest.is_empty() || (placeholder && !kept_placeholder) {
        let mut new = new_slice(service, labels, group, ports);
        fill(&mut new, &mut rest);
        kept_placeholder = true;
        actions.push(Action::Create(Box::new(new)));
    }
}

fn len(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn differs(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints.as_deref().unwrap_or(&[]) != new.endpoints.as_deref().unwrap_or(&[])
        || old.metadata.labels != new.metadata.labels
}

fn fill(slice: &mut EndpointSlice, rest: &mut Vec<Endpoint>) {
    let room = SLICE_MAX.saturating_sub(len(slice)).min(rest.len());
    if room > 0 {
        slice.endpoints.get_or_insert_default().extend(rest.drain(..room));
    }
}

fn new_slice(service: &Service, labels: &Labels, group: &Group, ports: &[SlicePort]) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or("");
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: group.family.clone(),
        ports: Some(ports.to_vec()).filter(|ports| !ports.is_empty()),
        endpoints: None,
    }
}

#[derive(Clone)]
struct Controller {
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    rest: Rest,
    recorder: Recorder,
    written: Written,
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let rest = context.rest(NAME);
    let controller = Controller {
        services: context.informers.of(),
        pods: context.informers.of(),
        nodes: context.informers.of(),
        slices: context.informers.of(),
        recorder: context.recorder(&rest, NAME),
        rest,
        written: Written::default(),
    };
    let queue = WorkQueue::new();
    let keys = queue.clone();
    controller.services.on_change(move |change| keys.add(Key::of(&*change.object)));
    let (services, keys) = (controller.services.clone(), queue.clone());
    controller.pods.on_change(move |change| services_of_pod(&services, change, &keys));
    let (keys, written) = (queue.clone(), controller.written.clone());
    controller.slices.on_change(move |change| {
        if change.kind == ChangeKind::Deleted {
            written.forget(&Key::of(&*change.object));
        }
        if is_ours(&change.object)
            && let Some(key) = service_of(&change.object)
        {
            keys.add(key);
        }
    });
    let (services, keys) = (controller.services.clone(), queue.clone());
    controller.nodes.on_change(move |change| {
        let zone =
            |node: &Node| node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE_LABEL)).cloned();
        let before = change.previous.as_ref().and_then(|old| zone(old));
        if change.kind == ChangeKind::Applied && before != zone(&change.object) {
            services.list().iter().for_each(|service| keys.add(Key::of(&**service)));
        }
    });
    let ready = vec![
        synced(&controller.services),
        synced(&controller.pods),
        synced(&controller.nodes),
        synced(&controller.slices),
    ];
    context.workers(NAME, queue, WORKERS, ready, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    });
}

fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY_LABEL) == Some(MANAGED_BY)
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    Some(Key::new(namespace, label(slice, SERVICE_LABEL)?))
}

impl Controller {
    async fn reconcile(self, key: Key) -> Outcome {
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            return Ok(None);
        };
        let Some(spec) = service.spec.as_ref() else { return Ok(None) };
        let external = spec.type_.as_deref() == Some("ExternalName");
        let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty() && !external)
        else {
            return Ok(None);
        };
        if is_terminating(&service.metadata) {
            return Ok(None);
        }
        let mut slices = self.slices.list_namespace(&key.namespace);
        slices.retain(|slice| is_ours(slice) && service_of(slice).as_ref() == Some(&key));
        slices.retain(|slice| targets::is_owned_by(&slice.metadata, &service.metadata));
        if !self.written.all_shown(&self.slices, &key.namespace) {
            return Ok(Some(CATCH_UP));
        }
        slices.retain(|slice| !is_terminating(&slice.metadata));
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selector_labels(selector, pod.metadata.labels.as_ref()));
        let actions = plan(&service, &pods, &self.zones(), &slices);
        let result = self.carry_out(&key, actions).await;
        if let Err(error) = &result {
            let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
            let about = object_reference(&*service);
            self.recorder.event(&about, EventType::Warning, "FailedToUpdateEndpointSlices", message);
        }
        result.map(|()| None)
    }

    fn zones(&self) -> HashMap<String, String> {
        let zone = |node: &Arc<Node>| {
            let zone = node.metadata.labels.as_ref()?.get(ZONE_LABEL)?.clone();
            Some((node.metadata.name.clone()?, zone))
        };
        self.nodes.list().iter().filter_map(zone).collect()
    }

    async fn carry_out(&self, key: &Key, actions: Vec<Action>) -> Result<(), Failure> {
        let access = objects::<EndpointSlice>(&self.rest);
        for action in actions {
            match action {
                Action::Create(slice) => self.written.note(&access.create(&slice).await?),
                Action::Update(slice) => self.written.note(&access.replace(&slice).await?),
                Action::Delete(slice) => {
                    let name = slice.metadata.name.as_deref().unwrap_or("");
                    match access.delete(&key.namespace, name, &DeleteParams::default()).await {
                        Err(error) if !client::is_not_found(&error) => return Err(error.into()),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    fn service(extra: Value) -> Service {
        let mut spec = json!({
            "clusterIP": "10.43.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        });
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Service::from_value(json!({"metadata": {"name": "web", "namespace": "a", "uid": "s", "labels": {"l": "v"}}, "spec": spec})).unwrap()
    }

    fn pod(index: usize, port: i32, ready: bool, deleting: bool) -> Arc<Pod> {
        let name = format!("p{index:04}");
        let value = json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web"},
                "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": format!("10.42.{}.{}", index / 250, index % 250 + 1),
                "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]},
        });
        Arc::new(Pod::from_value(value).unwrap())
    }

    fn created(actions: Vec<Action>) -> Vec<Arc<EndpointSlice>> {
        let create = |(index, action)| match action {
            Action::Create(mut slice) => {
                slice.metadata.name = Some(format!("web-{index}"));
                Arc::new(*slice)
            }
            other => panic!("unexpected {other:?}"),
        };
        actions.into_iter().enumerate().map(create).collect()
    }

    #[test]
    fn conditions_follow_the_pod() {
        let cases = [
            (true, false, json!({}), [true, true, false]),
            (false, false, json!({}), [false, false, false]),
            (true, true, json!({}), [false, true, true]),
            (false, false, json!({"publishNotReadyAddresses": true}), [true, false, false]),
        ];
        for (ready, deleting, extra, want) in cases {
            let slices =
                created(plan(&service(extra), &[pod(1, 8080, ready, deleting)], &HashMap::new(), &[]));
            let endpoint = &slices[0].endpoints.as_ref().unwrap()[0];
            let conditions = endpoint.conditions.clone().unwrap();
            let got = [conditions.ready, conditions.serving, conditions.terminating].map(|c| c == Some(true));
            assert_eq!(got, want, "ready {ready}, deleting {deleting}");
        }
    }

    #[test]
    fn slices_hold_a_hundred_and_change_little() {
        let pods: Vec<Arc<Pod>> = (0..250).map(|index| pod(index, 8080, true, false)).collect();
        let service = service(json!({}));
        let slices = created(plan(&service, &pods, &HashMap::new(), &[]));
        let sizes: Vec<usize> = slices.iter().map(|slice| len(slice)).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert!(plan(&service, &pods, &HashMap::new(), &slices).is_empty(), "nothing to do twice");
        let actions = plan(&service, &pods[1..], &HashMap::new(), &slices);
        assert!(
            matches!(actions.as_slice(), [Action::Update(slice)] if len(slice) == 99),
            "{}",
            actions.len()
        );
        let actions = plan(&service, &[], &HashMap::new(), &slices);
        let deleted = actions.iter().filter(|action| matches!(action, Action::Delete(_))).count();
        assert_eq!((deleted, actions.len()), (3, 4), "all slices go, a placeholder comes");
    }

    #[test]
    fn different_target_ports_take_different_slices() {
        let pods = [pod(1, 8080, true, false), pod(2, 9090, true, false)];
        let slices = created(plan(&service(json!({})), &pods, &HashMap::new(), &[]));
        let ports: Vec<Option<i32>> =
            slices.iter().map(|slice| slice.ports.as_ref().unwrap()[0].port).collect();
        assert_eq!(ports, [Some(8080), Some(9090)]);
    }

    #[test]
    fn a_service_without_pods_has_a_placeholder() {
        let service = service(json!({"clusterIP": "None"}));
        let slices = created(plan(&service, &[], &HashMap::new(), &[]));
        assert_eq!((slices.len(), len(&slices[0]), slices[0].ports.is_none()), (1, 0, true));
        let labels = slices[0].metadata.labels.as_ref().unwrap();
        assert_eq!(labels.get(HEADLESS_LABEL).map(String::as_str), Some(""));
        assert_eq!(labels.get(SERVICE_LABEL).map(String::as_str), Some("web"));
        assert!(plan(&service, &[], &HashMap::new(), &slices).is_empty());
    }

    #[test]
    fn zones_come_from_nodes_and_make_hints() {
        let zones = HashMap::from([("n1".to_owned(), "z1".to_owned())]);
        let service = service(json!({"trafficDistribution": "PreferClose"}));
        let slices = created(plan(&service, &[pod(1, 80, true, false)], &zones, &[]));
        let endpoint = &slices[0].endpoints.as_ref().unwrap()[0];
        assert_eq!(endpoint.zone.as_deref(), Some("z1"));
        assert_eq!(endpoint.hints.as_ref().unwrap().for_zones.as_ref().unwrap()[0].name, "z1");
    }
}
