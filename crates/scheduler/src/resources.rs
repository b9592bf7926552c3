//! What pods ask for and nodes offer, as integers.

use api::{Container, Node, Pod, PodSpec, Quantity};
use machinery::quantity;
use std::collections::BTreeMap;

/// CPU a container without a request counts with when nodes are compared, in thousandths.
const DEFAULT_CPU_MILLIS: i64 = 100;
/// Memory a container without a request counts with when nodes are compared, in bytes.
const DEFAULT_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Amounts of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Local storage in bytes.
    pub ephemeral_bytes: i64,
    /// Everything else by name: huge pages, devices.
    pub other: BTreeMap<String, i64>,
}

type Amounts = BTreeMap<String, Quantity>;

/// A quantity in units of `1/scale`, saturating. What cannot be parsed counts as nothing: the API server refuses it.
fn amount(quantity: &Quantity, millis: bool) -> i64 {
    let Ok(parsed) = quantity::Quantity::parse(&quantity.0) else { return 0 };
    let value = if millis { parsed.millis() } else { parsed.value() };
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Resources {
    /// From a map of quantities; `pods` is left out.
    #[must_use]
    pub fn from_amounts(amounts: &Amounts) -> Self {
        let mut all = Self::default();
        for (name, quantity) in amounts {
            match name.as_str() {
                "cpu" => all.cpu_millis = amount(quantity, true),
                "memory" => all.memory_bytes = amount(quantity, false),
                "ephemeral-storage" => all.ephemeral_bytes = amount(quantity, false),
                "pods" => {}
                _ => {
                    all.other.insert(name.clone(), amount(quantity, false));
                }
            }
        }
        all
    }

    /// Adds amounts.
    pub fn add(&mut self, more: &Self) {
        self.cpu_millis = self.cpu_millis.saturating_add(more.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_add(more.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.saturating_add(more.ephemeral_bytes);
        for (name, amount) in &more.other {
            let own = self.other.entry(name.clone()).or_default();
            *own = own.saturating_add(*amount);
        }
    }

    /// Takes amounts away.
    pub fn sub(&mut self, less: &Self) {
        self.cpu_millis -= less.cpu_millis;
        self.memory_bytes -= less.memory_bytes;
        self.ephemeral_bytes -= less.ephemeral_bytes;
        for (name, amount) in &less.other {
            *self.other.entry(name.clone()).or_default() -= amount;
        }
    }

    /// Raises each amount to at least the other's.
    fn max(&mut self, other: &Self) {
        self.cpu_millis = self.cpu_millis.max(other.cpu_millis);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.max(other.ephemeral_bytes);
        for (name, amount) in &other.other {
            let own = self.other.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

/// Allocatable amounts of a node and how many pods it takes.
pub(crate) fn allocatable(node: &Node) -> (Resources, usize) {
    let empty = BTreeMap::new();
    let status = node.status.as_ref();
    let amounts = status.and_then(|status| status.allocatable.as_ref()).unwrap_or(&empty);
    let pods = amounts.get("pods").map_or(0, |pods| amount(pods, false));
    (Resources::from_amounts(amounts), usize::try_from(pods).unwrap_or(0))
}

/// What a pod asks for, and the same with defaults for containers that ask for nothing (for comparing nodes).
pub(crate) fn requests(pod: &Pod) -> (Resources, Resources) {
    let Some(spec) = pod.spec.as_ref() else { return Default::default() };
    (total(spec, &requested), total(spec, &requested_or_default))
}

fn requested(container: &Container) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requests.map(Resources::from_amounts).unwrap_or_default()
}

fn requested_or_default(container: &Container) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut all = requests.map(Resources::from_amounts).unwrap_or_default();
    if !requests.is_some_and(|requests| requests.contains_key("cpu")) {
        all.cpu_millis = DEFAULT_CPU_MILLIS;
    }
    if !requests.is_some_and(|requests| requests.contains_key("memory")) {
        all.memory_bytes = DEFAULT_MEMORY_BYTES;
    }
    all
}

/// Containers and sidecars run together; each other init container runs beside the sidecars started before it. A request of
/// the pod as a whole replaces its containers'.
fn total(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&own);
            sidecars.add(&own);
            starting.max(&sidecars);
        } else {
            own.add(&sidecars);
            starting.max(&own);
        }
    }
    running.max(&starting);
    if let Some(whole) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        replace(&mut running, whole);
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::from_amounts(overhead));
    }
    running
}

fn replace(running: &mut Resources, whole: &Amounts) {
    let amounts = Resources::from_amounts(whole);
    if whole.contains_key("cpu") {
        running.cpu_millis = amounts.cpu_millis;
    }
    if whole.contains_key("memory") {
        running.memory_bytes = amounts.memory_bytes;
    }
    running.other.extend(amounts.other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::{Value, json};

    fn cpu_of(spec: Value) -> i64 {
        let pod = Pod::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        requests(&pod).0.cpu_millis
    }

    #[test]
    fn containers_sidecars_and_init_containers_add_up() {
        let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        let cases = [
            (json!({"containers": [container("100m"), container("1")]}), 1100),
            (json!({"containers": [container("1")], "initContainers": [container("2")]}), 2000),
            (json!({"containers": [container("1")], "initContainers": [sidecar("300m")]}), 1300),
            (
                json!({"containers": [container("1")], "initContainers": [sidecar("300m"), container("2")]}),
                2300,
            ),
            (
                json!({"containers": [container("1")], "initContainers": [container("2"), sidecar("300m")]}),
                2000,
            ),
            (json!({"containers": [container("1")], "overhead": {"cpu": "50m"}}), 1050),
            (json!({"containers": [container("1")], "resources": {"requests": {"cpu": "3"}}}), 3000),
        ];
        for (spec, want) in cases {
            assert_eq!(cpu_of(spec.clone()), want, "{spec}");
        }
    }

    #[test]
    fn nothing_asked_counts_with_defaults() {
        let pod = Pod::from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}})).unwrap();
        let (asked, counted) = requests(&pod);
        assert_eq!(asked, Resources::default());
        assert_eq!((counted.cpu_millis, counted.memory_bytes), (100, 200 * 1024 * 1024));
    }
}
