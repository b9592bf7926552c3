//! Arithmetic over requests and limits: pod totals, quality of service class.

use std::collections::BTreeMap;

use api::{Container, Quantity, ResourceRequirements};

use crate::pod::{PodInfo, Role};

/// Amounts by resource name in base units: thousandths for `cpu`, whole units for everything else.
pub(crate) type Amounts = BTreeMap<String, i64>;

/// Quality of service class of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    /// As `status.qosClass` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The quantity in thousandths, rounded up; 0 when it cannot be read.
pub(crate) fn milli_value(quantity: &Quantity) -> i64 {
    machinery::quantity::Quantity::parse(&quantity.0)
        .map_or(0, |quantity| i64::try_from(quantity.millis()).unwrap_or(i64::MAX))
}

/// The quantity in whole units, rounded up; 0 when it cannot be read.
pub(crate) fn value(quantity: &Quantity) -> i64 {
    let milli = machinery::quantity::Quantity::parse(&quantity.0).map_or(0, |quantity| quantity.millis());
    i64::try_from(milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) != 0)).unwrap_or(i64::MAX)
}

/// The amount of one resource in the unit of [`Amounts`].
pub(crate) fn amount(name: &str, quantity: &Quantity) -> i64 {
    if name == "cpu" { milli_value(quantity) } else { value(quantity) }
}

fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

/// One request of a container, falling back to its limit as API defaulting does.
pub(crate) fn request(container: &Container, name: &str) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    find(&resources.requests, name).or_else(|| find(&resources.limits, name))
}

/// One limit of a container.
pub(crate) fn limit(container: &Container, name: &str) -> Option<i64> {
    find(&container.resources.as_ref()?.limits, name)
}

/// One limit of the pod as a whole: of `spec.resources`, else the sum when every container has one.
pub(crate) fn pod_limit(pod: &PodInfo, name: &str) -> Option<i64> {
    if let Some(amount) = pod.spec().resources.as_ref().and_then(|resources| find(&resources.limits, name)) {
        return Some(amount);
    }
    let mut complete = true;
    let total = aggregate(pod, |container| match limit(container, name) {
        Some(amount) => Amounts::from([(name.to_owned(), amount)]),
        None => {
            complete = false;
            Amounts::new()
        }
    });
    complete.then(|| total.get(name).copied().unwrap_or(0))
}

/// Requests of the pod as a whole, as the scheduler counts them.
pub(crate) fn pod_requests(pod: &PodInfo) -> Amounts {
    let mut total = aggregate(pod, |container| {
        let resources = container.resources.as_ref();
        let mut requests = amounts(resources.and_then(|resources| resources.limits.as_ref()));
        requests.extend(amounts(resources.and_then(|resources| resources.requests.as_ref())));
        requests
    });
    if let Some(pod_level) = pod.spec().resources.as_ref() {
        total.extend(amounts(pod_level.requests.as_ref()));
    }
    add(&mut total, &amounts(pod.spec().overhead.as_ref()));
    total
}

/// Sum of regular containers and sidecars, or the largest moment of initialisation if that needs more.
fn aggregate(pod: &PodInfo, mut of: impl FnMut(&Container) -> Amounts) -> Amounts {
    let mut total = Amounts::new();
    for container in pod.regular() {
        add(&mut total, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for (role, container) in pod.init_containers() {
        let mut now = of(container);
        if role == Role::Sidecar {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    total
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = total.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*amount);
    }
}

fn raise(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = total.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

fn find(list: &Option<BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    list.as_ref()?.get(name).map(|quantity| amount(name, quantity))
}

/// The pod's class, as upstream's `v1/helper/qos` computes it.
pub(crate) fn qos_class(pod: &PodInfo) -> QosClass {
    let pod_level = pod.spec().resources.as_ref();
    let each: Vec<Option<&ResourceRequirements>> = match pod_level {
        Some(resources) => vec![Some(resources)],
        None => pod
            .init_containers()
            .map(|(_, container)| container)
            .chain(pod.regular())
            .map(|container| container.resources.as_ref())
            .collect(),
    };
    let mut any = false;
    let mut guaranteed = true;
    for resources in each {
        for name in ["cpu", "memory"] {
            let limit = resources.and_then(|resources| find(&resources.limits, name)).unwrap_or(0);
            let request = resources.and_then(|resources| find(&resources.requests, name)).unwrap_or(0);
            any |= limit > 0 || request > 0;
            guaranteed &= limit > 0 && (request == limit || request == 0);
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use serde_json::json;

    fn container(requests: serde_json::Value, limits: serde_json::Value) -> serde_json::Value {
        json!({"name": "c", "image": "i", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn class_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let cases = [
            (vec![container(json!({}), json!({}))], "BestEffort"),
            (vec![container(both.clone(), both.clone())], "Guaranteed"),
            (vec![container(json!({}), both.clone())], "Guaranteed"),
            (vec![container(json!({"cpu": "500m"}), json!({}))], "Burstable"),
            (vec![container(both.clone(), both.clone()), container(json!({}), json!({}))], "Burstable"),
            (vec![container(json!({"cpu": "1", "memory": "1Mi"}), both)], "Burstable"),
        ];
        for (index, (containers, want)) in cases.into_iter().enumerate() {
            let pod = pod(json!({"containers": containers}));
            assert_eq!(qos_class(&pod).as_str(), want, "case {index}");
        }
    }

    #[test]
    fn requests_count_the_largest_moment() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let pod = pod(json!({
            "initContainers": [
                {"name": "side", "image": "i", "restartPolicy": "Always", "resources": cpu("100m")},
                {"name": "init", "image": "i", "resources": cpu("2")},
            ],
            "containers": [
                {"name": "a", "image": "i", "resources": cpu("1")},
                {"name": "b", "image": "i", "resources": cpu("500m")},
            ],
            "overhead": {"cpu": "10m"},
        }));
        assert_eq!(pod_requests(&pod)["cpu"], 2110);
    }

    #[test]
    fn pod_limits_need_every_container() {
        let whole = pod(json!({"containers": [container(json!({}), json!({"memory": "1Mi"}))]}));
        assert_eq!(pod_limit(&whole, "memory"), Some(1 << 20));
        assert_eq!(pod_limit(&whole, "cpu"), None);
    }
}
