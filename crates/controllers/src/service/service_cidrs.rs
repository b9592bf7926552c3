//! Ranges of cluster IPs: ready until they are to go, and there as long as addresses need them
//! (upstream `pkg/controller/servicecidrs`).

use crate::context::{Context, Failure, Outcome, objects, synced};
use api::{Condition, IPAddress, ServiceCIDR, is_terminating};
use client::{ChangeKind, EventType, Informer, Recorder, Rest, WorkQueue};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "service-cidrs-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// Until all servers have seen that a range is to go, addresses may still be taken from it.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// What is done about a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Keeps it from going while addresses need it.
    Hold,
    /// Says that it is ready.
    Ready,
    /// Says that it cannot go yet.
    Blocked,
    /// It may go in so much time.
    Wait(Duration),
    /// It may go.
    LetGo,
}

/// The steps for a range, given all of them and the addresses that are in use.
pub(crate) fn plan(
    range: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: &[Arc<IPAddress>],
    now: Timestamp,
) -> Vec<Step> {
    let held = range.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let Some(deleted) = range.metadata.deletion_timestamp.as_ref() else {
        let hold = (!held).then_some(Step::Hold);
        return hold.into_iter().chain((!says(range, &ready())).then_some(Step::Ready)).collect();
    };
    if !may_go(range, all, addresses) {
        return (!says(range, &blocked())).then_some(Step::Blocked).into_iter().collect();
    }
    let left = GRACE - now.duration_since(deleted.0);
    match Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
        Some(left) => vec![Step::Wait(left)],
        None => held.then_some(Step::LetGo).into_iter().collect(),
    }
}

fn prefixes(range: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let texts = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok())
}

/// Whether a Service may have an address because of this range.
fn gives(range: &ServiceCIDR, ip: IpAddr) -> bool {
    prefixes(range)
        .any(|net| net.contains(&ip) && ip != net.network() && (ip.is_ipv6() || ip != net.broadcast()))
}

/// Whether no address is left without a range.
fn may_go(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let others = || all.iter().filter(|other| other.metadata.name != range.metadata.name);
    let within = |net: IpNet| others().any(|other| prefixes(other).any(|outer| outer.contains(&net)));
    prefixes(range).all(within)
        || addresses
            .iter()
            .filter(|address| is_managed(address))
            .filter_map(|address| ip(address))
            .all(|ip| !gives(range, ip) || others().any(|other| gives(other, ip)))
}

fn is_managed(address: &IPAddress) -> bool {
    let labels = address.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == MANAGER)
}

fn ip(address: &IPAddress) -> Option<IpAddr> {
    address.metadata.name.as_deref()?.parse().ok()
}

/// Status, reason and message of the condition.
type Said = (&'static str, &'static str, &'static str);

fn ready() -> Said {
    ("True", "", "Kubernetes Service CIDR is ready")
}

fn blocked() -> Said {
    const MESSAGE: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
    ("False", "Terminating", MESSAGE)
}

fn says(range: &ServiceCIDR, (status, reason, message): &Said) -> bool {
    let conditions = range.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition: &&Condition| condition.type_ == "Ready");
    ready.any(|have| have.status == *status && have.reason == *reason && have.message == *message)
}

#[derive(Clone)]
struct Controller {
    ranges: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
    rest: Rest,
    recorder: Recorder,
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let rest = context.rest(NAME);
    let controller = Controller {
        ranges: context.informers.of(),
        addresses: context.informers.of(),
        recorder: context.recorder(&rest, NAME),
        rest,
    };
    let queue = WorkQueue::new();
    let name = |range: &ServiceCIDR| range.metadata.name.clone().unwrap_or_default();
    let (all, keys) = (controller.ranges.clone(), queue.clone());
    // A range that comes may let another one go.
    controller.ranges.on_change(move |change| {
        let new = change.kind == ChangeKind::Deleted || change.previous.is_none();
        keys.add(name(&change.object));
        all.list()
            .iter()
            .filter(|range| new && is_terminating(&range.metadata))
            .for_each(|r| keys.add(name(r)));
    });
    let (all, keys) = (controller.ranges.clone(), queue.clone());
    controller.addresses.on_change(move |change| {
        let Some(ip) = ip(&change.object) else { return };
        let waiting = |range: &&Arc<ServiceCIDR>| is_terminating(&range.metadata) && gives(range, ip);
        all.list().iter().filter(waiting).for_each(|range| keys.add(name(range)));
    });
    let ready = vec![synced(&controller.ranges), synced(&controller.addresses)];
    context.workers(NAME, queue, 1, ready, move |name: String| {
        let controller = controller.clone();
        async move { controller.reconcile(&name).await }
    });
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Outcome {
        let Some(range) = self.ranges.get("", name) else { return Ok(None) };
        for step in plan(&range, &self.ranges.list(), &self.addresses.list(), Timestamp::now()) {
            match step {
                Step::Hold => self.patch(name, &json!({"metadata": {"finalizers": [FINALIZER]}})).await?,
                Step::LetGo => {
                    let gone = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
                    self.patch(name, &gone).await?;
                }
                Step::Wait(time) => return Ok(Some(time)),
                Step::Blocked => self.say(&range, blocked()).await?,
                Step::Ready => {
                    if let Err(error) = self.say(&range, ready()).await {
                        let message = "The ServiceCIDR Status can not be set to Ready=True";
                        let about = api::object_reference(&*range);
                        self.recorder.event(
                            &about,
                            EventType::Warning,
                            "KubernetesServiceCIDRError",
                            message,
                        );
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn patch(&self, name: &str, patch: &serde_json::Value) -> Result<(), Failure> {
        ignore_gone(objects::<ServiceCIDR>(&self.rest).strategic_patch("", name, patch).await)
    }

    async fn say(&self, range: &ServiceCIDR, (status, reason, message): Said) -> Result<(), Failure> {
        let name = range.metadata.name.as_deref().unwrap_or_default();
        let condition = json!({
            "type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": machinery::time::rfc3339(Timestamp::now()),
        });
        let patch = json!({"status": {"conditions": [condition]}});
        ignore_gone(objects::<ServiceCIDR>(&self.rest).patch_status("", name, &patch).await)
    }
}

fn ignore_gone<T>(answer: Result<T, kube::Error>) -> Result<(), Failure> {
    match answer {
        Err(error) if !client::is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    const DELETED: &str = "2026-01-01T00:00:00Z";

    fn range(name: &str, cidr: &str, deleted: bool) -> Arc<ServiceCIDR> {
        let value = json!({
            "metadata": {"name": name, "finalizers": [FINALIZER], "deletionTimestamp": deleted.then_some(DELETED)},
            "spec": {"cidrs": [cidr]},
        });
        Arc::new(ServiceCIDR::from_value(value).unwrap())
    }

    fn address(ip: &str, manager: &str) -> Arc<IPAddress> {
        let value = json!({"metadata": {"name": ip, "labels": {MANAGED_BY: manager}},
            "spec": {"parentRef": {"resource": "services", "name": "s"}}});
        Arc::new(IPAddress::from_value(value).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        DELETED.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_new_range_is_held_and_ready() {
        let mut new = (*range("a", "10.0.0.0/24", false)).clone();
        assert_eq!(plan(&new, &[], &[], at(0)), [Step::Ready]);
        new.metadata.finalizers = None;
        assert_eq!(plan(&new, &[], &[], at(0)), [Step::Hold, Step::Ready]);
        let (status, reason, message) = ready();
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": DELETED});
        let mut value = range("a", "10.0.0.0/24", false).to_value();
        value["status"] = json!({"conditions": [condition]});
        let told = ServiceCIDR::from_value(value).unwrap();
        assert_eq!(plan(&told, &[], &[], at(0)), []);
    }

    #[test]
    fn a_range_goes_when_no_address_needs_it() {
        type Case = (Vec<Arc<ServiceCIDR>>, Arc<IPAddress>, i64, Vec<Step>);
        let going = range("a", "10.0.0.0/24", true);
        let wait = |seconds| vec![Step::Wait(Duration::from_secs(seconds))];
        let used = address("10.0.0.5", MANAGER);
        let outer = range("outer", "10.0.0.0/16", false);
        let inner = range("inner", "10.0.0.0/28", false);
        let same = range("same", "10.0.0.0/24", true);
        let cases: Vec<Case> = vec![
            (vec![], used.clone(), 60, vec![Step::Blocked]),
            (vec![], address("10.0.1.5", MANAGER), 60, vec![Step::LetGo]),
            (vec![], address("10.0.0.5", "other"), 60, vec![Step::LetGo]),
            // Nobody can have got these from it.
            (vec![], address("10.0.0.0", MANAGER), 60, vec![Step::LetGo]),
            (vec![], address("10.0.0.255", MANAGER), 60, vec![Step::LetGo]),
            (vec![outer], used.clone(), 4, wait(6)),
            (vec![inner.clone()], used.clone(), 60, vec![Step::LetGo]),
            (vec![inner], address("10.0.0.77", MANAGER), 60, vec![Step::Blocked]),
            (vec![same], used, 60, vec![Step::LetGo]),
        ];
        for (mut all, address, seconds, want) in cases {
            all.push(going.clone());
            assert_eq!(plan(&going, &all, &[address], at(seconds)), want, "{all:?}");
        }
    }
}
