//! Endpoints: the older form of a Service's addresses, in one object (upstream `pkg/controller/endpoint`).

use super::{services_of_pod, targets};
use crate::context::{Context, Outcome, objects, synced};
use crate::written::Written;
use api::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Key, Labels, ObjectMeta, Pod, Service,
    is_terminating, object_reference, pod_ready, selector_labels,
};
use client::{ChangeKind, EventType, Informer, Recorder, Rest, WorkQueue};
use kube::api::DeleteParams;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "endpoint-controller";
const WORKERS: usize = 3;
/// Addresses an object may have; more are left out.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";

/// Addresses of one list of ports: ready and not ready.
type Subsets = BTreeMap<String, (Vec<EndpointPort>, Vec<EndpointAddress>, Vec<EndpointAddress>)>;

/// The object as it should be, on top of what is there.
pub(crate) fn plan(service: &Service, pods: &[Arc<Pod>], existing: Option<&Endpoints>) -> Endpoints {
    let tolerant = targets::publishes_not_ready(service);
    let ipv6 = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    let ipv6 = ipv6.as_deref() == Some("IPv6");
    let mut subsets = Subsets::new();
    for pod in pods.iter().filter(|pod| targets::is_candidate(pod, tolerant)) {
        let Some(ip) = targets::address(pod, ipv6) else { continue };
        let address = EndpointAddress {
            ip,
            hostname: targets::hostname(pod, service),
            node_name: targets::node_name(pod),
            target_ref: Some(targets::reference(pod)),
        };
        add(&mut subsets, service, pod, address, tolerant || pod_ready(pod));
    }
    let mut subsets: Vec<EndpointSubset> = subsets.into_values().map(subset).collect();
    let truncated = truncate(&mut subsets);
    let mut wanted = existing.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    wanted.subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
    wanted.metadata.labels = Some(labels(service));
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    wanted.metadata.annotations = wanted.metadata.annotations.take().filter(|all| !all.is_empty());
    wanted
}

fn add(subsets: &mut Subsets, service: &Service, pod: &Pod, address: EndpointAddress, ready: bool) {
    let given = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let port = |port: &api::ServicePort| {
        Some(EndpointPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: targets::target_port(pod, port)?,
            protocol: Some(port.protocol.clone().unwrap_or("TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let ports: Vec<EndpointPort> = given.into_iter().flatten().filter_map(port).collect();
    // No port of the Service exists in this pod; only a headless Service may be without ports.
    if ports.is_empty() && (given.is_some_and(|given| !given.is_empty()) || !targets::is_headless(service)) {
        return;
    }
    let key = serde_json::to_string(&ports).unwrap_or_default();
    let (_, up, down) = subsets.entry(key).or_insert_with(|| (ports, Vec::new(), Vec::new()));
    if ready { up.push(address) } else { down.push(address) }
}

fn subset(
    (ports, mut up, mut down): (Vec<EndpointPort>, Vec<EndpointAddress>, Vec<EndpointAddress>),
) -> EndpointSubset {
    up.sort_by(|a, b| a.ip.cmp(&b.ip));
    down.sort_by(|a, b| a.ip.cmp(&b.ip));
    EndpointSubset {
        addresses: Some(up).filter(|all| !all.is_empty()),
        not_ready_addresses: Some(down).filter(|all| !all.is_empty()),
        ports: Some(ports).filter(|all| !all.is_empty()),
    }
}

/// Drops addresses beyond the limit, ones that are not ready first. Returns whether any was dropped.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let mut room = ADDRESSES_MAX;
    let mut dropped = false;
    let mut cut = |list: &mut Option<Vec<EndpointAddress>>| {
        if let Some(all) = list {
            dropped |= all.len() > room;
            all.truncate(room);
            room -= all.len();
        }
        *list = list.take().filter(|all| !all.is_empty());
    };
    subsets.iter_mut().for_each(|subset| cut(&mut subset.addresses));
    subsets.iter_mut().for_each(|subset| cut(&mut subset.not_ready_addresses));
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    dropped
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if targets::is_headless(service) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    } else {
        labels.remove(HEADLESS_LABEL);
    }
    labels.insert(MANAGED_BY_LABEL.into(), NAME.into());
    labels
}

#[derive(Clone)]
struct Controller {
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
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
        endpoints: context.informers.of(),
        recorder: context.recorder(&rest, NAME),
        rest,
        written: Written::default(),
    };
    let queue = WorkQueue::new();
    let keys = queue.clone();
    controller.services.on_change(move |change| keys.add(Key::of(&*change.object)));
    let (services, keys) = (controller.services.clone(), queue.clone());
    controller.pods.on_change(move |change| services_of_pod(&services, change, &keys));
    let (keys, shown) = (queue.clone(), controller.written.clone());
    controller.endpoints.on_change(move |change| {
        let key = Key::of(&*change.object);
        if change.kind == ChangeKind::Deleted {
            shown.forget(&key);
        }
        keys.add(key);
    });
    let ready = vec![synced(&controller.services), synced(&controller.pods), synced(&controller.endpoints)];
    context.workers(NAME, queue, WORKERS, ready, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    });
}

impl Controller {
    async fn reconcile(self, key: Key) -> Outcome {
        let access = objects::<Endpoints>(&self.rest);
        let existing = self.endpoints.get(&key.namespace, &key.name);
        if existing.as_ref().is_some_and(|existing| !self.written.is_shown(&**existing)) {
            return Ok(None);
        }
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            if existing.is_some_and(|existing| is_ours(&existing)) {
                let options = DeleteParams::default();
                match access.delete(&key.namespace, &key.name, &options).await {
                    Err(error) if !client::is_not_found(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            return Ok(None);
        };
        let spec = service.spec.clone().unwrap_or_default();
        let external = spec.type_.as_deref() == Some("ExternalName");
        let Some(selector) = spec.selector.filter(|selector| !selector.is_empty() && !external) else {
            return Ok(None);
        };
        if is_terminating(&service.metadata) {
            return Ok(None);
        }
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selector_labels(&selector, pod.metadata.labels.as_ref()));
        let wanted = plan(&service, &pods, existing.as_deref());
        let result = match existing.as_deref() {
            None => access.create(&wanted).await,
            Some(existing) if *existing == wanted => return Ok(None),
            Some(_) => access.replace(&wanted).await,
        };
        if let Err(error) = &result
            && !client::is_conflict(error)
            && !client::is_already_exists(error)
        {
            let verb = if existing.is_some() { "update" } else { "create" };
            let reason = if existing.is_some() { "FailedToUpdateEndpoint" } else { "FailedToCreateEndpoint" };
            let message = format!("Failed to {verb} endpoint {key}: {error}");
            self.recorder.event(&object_reference(&wanted), EventType::Warning, reason, message);
        }
        self.written.note(&result?);
        Ok(None)
    }
}

/// Endpoints that users made for a Service without selector are left alone.
fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY_LABEL)).is_some_and(|by| by == NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    fn service(extra: Value) -> Service {
        let mut spec = json!({"clusterIP": "10.43.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Service::from_value(json!({"metadata": {"name": "web", "namespace": "a"}, "spec": spec})).unwrap()
    }

    fn pod(index: usize, ready: bool) -> Arc<Pod> {
        let value = json!({
            "metadata": {"name": format!("p{index}"), "namespace": "a"},
            "spec": {"containers": []},
            "status": {"podIP": format!("10.42.{}.{}", index / 250, index % 250),
                "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]},
        });
        Arc::new(Pod::from_value(value).unwrap())
    }

    fn counts(endpoints: &Endpoints) -> Vec<(usize, usize)> {
        let len = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
        let subsets = endpoints.subsets.iter().flatten();
        subsets.map(|subset| (len(&subset.addresses), len(&subset.not_ready_addresses))).collect()
    }

    #[test]
    fn readiness_sorts_addresses() {
        let pods = [pod(1, true), pod(2, false)];
        let cases = [
            (json!({}), vec![(1, 1)]),
            (json!({"publishNotReadyAddresses": true}), vec![(2, 0)]),
            (json!({"ports": [{"port": 80, "targetPort": "missing"}]}), vec![]),
            (json!({"ports": [], "clusterIP": "None"}), vec![(1, 1)]),
        ];
        for (extra, want) in cases {
            assert_eq!(counts(&plan(&service(extra.clone()), &pods, None)), want, "{extra}");
        }
    }

    #[test]
    fn too_many_addresses_are_cut_and_said_so() {
        let pods: Vec<Arc<Pod>> = (0..1100).map(|index| pod(index, index % 2 == 0)).collect();
        let endpoints = plan(&service(json!({})), &pods, None);
        assert_eq!(counts(&endpoints), [(550, 450)]);
        let annotations = endpoints.metadata.annotations.clone().unwrap();
        assert_eq!(annotations.get(OVER_CAPACITY).map(String::as_str), Some("truncated"));
        let fewer = plan(&service(json!({})), &pods[..2], Some(&endpoints));
        assert_eq!(fewer.metadata.annotations, None);
    }
}
