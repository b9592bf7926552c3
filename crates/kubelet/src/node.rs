//! The Node object: registration and status.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, NodeSystemInfo, ObjectMeta, Quantity, Time,
};
use client::Objects;
use container::{Image, Runtime};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::resources::{Amounts, amount};

/// How often the status is worked out.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
/// A status that did not change is still written this often.
const REPORT_PERIOD: SignedDuration = SignedDuration::from_mins(5);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Images that a status lists, the largest first.
const IMAGES_MAX: usize = 50;
const IMAGE_NAMES_MAX: usize = 5;
const MEMORY_AVAILABLE_MIN: i64 = 100 * 1024 * 1024;
/// Share of the file system that has to be free, in percent.
const DISK_AVAILABLE_MIN: u64 = 5;

/// Facts of the machine that do not change while it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    /// Pages by size as resources are named: `hugepages-2Mi`, in bytes.
    pub hugepages: BTreeMap<String, i64>,
    pub disk_bytes: i64,
    info: NodeSystemInfo,
}

impl Machine {
    /// Reads `/proc`, `/sys` and the file system of the root directory.
    pub fn read(root_dir: &Path, runtime_version: &str) -> Self {
        let (disk_bytes, _) = disk(root_dir);
        Self {
            cpus: std::thread::available_parallelism()
                .map_or(1, |count| i64::try_from(count.get()).unwrap_or(1)),
            memory_bytes: meminfo("MemTotal").unwrap_or(0),
            hugepages: hugepages(),
            disk_bytes,
            info: system_info(runtime_version),
        }
    }
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A field of `/proc/meminfo` in bytes.
fn meminfo(field: &str) -> Option<i64> {
    let table = text("/proc/meminfo");
    let line = table.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

/// Size and available bytes of the file system of a path.
fn disk(path: &Path) -> (i64, i64) {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return (0, 0) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.fragment_size())).unwrap_or(i64::MAX);
    (bytes(stat.blocks()), bytes(stat.blocks_available()))
}

fn hugepages() -> BTreeMap<String, i64> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kib: i64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count: i64 = text(entry.path().join("nr_hugepages").to_str()?).parse().ok()?;
            Some((format!("hugepages-{}", binary(kib * 1024)), count * kib * 1024))
        })
        .collect()
}

/// Bytes with the largest binary suffix that leaves no rest.
fn binary(bytes: i64) -> String {
    let suffixes = ["", "Ki", "Mi", "Gi", "Ti"];
    let mut value = bytes;
    let mut index = 0;
    while value != 0 && value % 1024 == 0 && index + 1 < suffixes.len() {
        value /= 1024;
        index += 1;
    }
    format!("{value}{}", suffixes[index])
}

fn system_info(runtime_version: &str) -> NodeSystemInfo {
    let release = text("/etc/os-release");
    let os_image = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux", |name| name.trim_matches('"'));
    let machine_id = text("/etc/machine-id");
    let system_uuid = text("/sys/class/dmi/id/product_uuid");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: text("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime_version.to_owned(),
        kernel_version: text("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: "v1.37.0+knarr".to_owned(),
        operating_system: "linux".to_owned(),
        os_image: os_image.to_owned(),
        system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
        machine_id,
        ..NodeSystemInfo::default()
    }
}

/// The machine's architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn quantities(list: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Quantity> {
    list.into_iter().map(|(name, text)| (name, Quantity(text))).collect()
}

fn capacity(config: &Config, machine: &Machine) -> BTreeMap<String, Quantity> {
    let mut list = quantities([
        ("cpu".to_owned(), machine.cpus.to_string()),
        ("memory".to_owned(), format!("{}Ki", machine.memory_bytes / 1024)),
        ("ephemeral-storage".to_owned(), format!("{}Ki", machine.disk_bytes / 1024)),
        ("pods".to_owned(), config.max_pods.to_string()),
    ]);
    list.extend(quantities(machine.hugepages.iter().map(|(name, bytes)| (name.clone(), binary(*bytes)))));
    list
}

fn allocatable(config: &Config, machine: &Machine) -> BTreeMap<String, Quantity> {
    let mut list = capacity(config, machine);
    let reserved = &config.reserved;
    let milli = machine.cpus * 1000 - reserved.cpu_milli;
    let cpu = if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") };
    let huge: i64 = machine.hugepages.values().sum();
    let memory = (machine.memory_bytes - reserved.memory_bytes - huge).max(0);
    let disk = (machine.disk_bytes - reserved.ephemeral_storage_bytes).max(0);
    list.extend(quantities([
        ("cpu".to_owned(), cpu),
        ("memory".to_owned(), format!("{}Ki", memory / 1024)),
        ("ephemeral-storage".to_owned(), format!("{}Ki", disk / 1024)),
    ]));
    list
}

/// What pods can have, in base units.
pub(crate) fn allocatable_amounts(config: &Config, machine: &Machine) -> Amounts {
    allocatable(config, machine)
        .iter()
        .map(|(name, quantity)| (name.clone(), amount(name, quantity)))
        .collect()
}

/// How the machine is doing.
#[derive(Debug, Clone, Copy, Default)]
struct Health {
    memory_pressure: bool,
    disk_pressure: bool,
}

impl Health {
    fn read(root_dir: &Path) -> Self {
        let (size, available) = disk(root_dir);
        let free = u64::try_from(available).unwrap_or(0).saturating_mul(100);
        Self {
            memory_pressure: meminfo("MemAvailable").is_some_and(|bytes| bytes < MEMORY_AVAILABLE_MIN),
            disk_pressure: free < u64::try_from(size).unwrap_or(0).saturating_mul(DISK_AVAILABLE_MIN),
        }
    }
}

fn conditions(
    old: &[NodeCondition],
    health: Health,
    runtime_error: Option<&str>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let memory = if health.memory_pressure {
        ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
    } else {
        ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
    };
    let disk = if health.disk_pressure {
        ("True", "KubeletHasDiskPressure", "kubelet has disk pressure")
    } else {
        ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
    };
    let not_ready = runtime_error.map(|error| format!("container runtime is down: {error}"));
    let ready = match &not_ready {
        Some(message) => ("False", "KubeletNotReady", message.as_str()),
        None => ("True", "KubeletReady", "kubelet is posting ready status"),
    };
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    [
        ("MemoryPressure", memory),
        ("DiskPressure", disk),
        ("PIDPressure", ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available")),
        ("Ready", ready),
    ]
    .into_iter()
    .map(|(type_, (status, reason, message))| {
        let before = old.iter().find(|old| old.type_ == type_ && old.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: before
                .and_then(|before| before.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
        }
    })
    .collect()
}

fn images(list: Vec<Image>) -> Vec<ContainerImage> {
    let mut list = list;
    list.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
    let named = list.into_iter().take(IMAGES_MAX).map(|image| {
        let names: Vec<String> =
            image.repo_digests.into_iter().chain(image.repo_tags).take(IMAGE_NAMES_MAX).collect();
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size_bytes).ok() }
    });
    named.collect()
}

/// Keeps the Node object of this machine right.
pub(crate) struct Registrar {
    pub config: Config,
    pub machine: Machine,
    pub nodes: Objects<Node>,
    pub runtime: Arc<dyn Runtime>,
}

impl Registrar {
    /// Registers the node, trying until it works or the token is cancelled. Its status is right when this returns.
    pub async fn register(&self, token: &CancellationToken) -> Option<Node> {
        let mut pause = RETRY_FIRST;
        loop {
            match self.try_register().await {
                Ok(node) => return Some(node),
                Err(error) => tracing::warn!(%error, "failed to register the node"),
            }
            token.run_until_cancelled(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn try_register(&self) -> Result<Node, client::kube::Error> {
        let name = &self.config.node_name;
        let known = match self.nodes.get_opt("", name).await? {
            Some(node) => node,
            None => match self.nodes.create(&self.new_node().await).await {
                Ok(node) => node,
                Err(error) if client::is_already_exists(&error) => self.nodes.get("", name).await?,
                Err(error) => return Err(error),
            },
        };
        let known = self.reconcile_metadata(known).await?;
        let status = self.status(&known, Timestamp::now()).await;
        self.write(&known, &status).await
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.config.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", self.config.node_name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture()),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture()),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    async fn new_node(&self) -> Node {
        let cidr = Some(self.config.pod_cidr.clone()).filter(|cidr| !cidr.is_empty());
        let mut node = Node {
            metadata: ObjectMeta {
                name: Some(self.config.node_name.clone()),
                labels: Some(self.labels()),
                annotations: Some(BTreeMap::from([(
                    "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                    "true".to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                pod_cidrs: cidr.clone().map(|cidr| vec![cidr]),
                pod_cidr: cidr,
                taints: Some(self.config.taints.clone()).filter(|taints| !taints.is_empty()),
                ..NodeSpec::default()
            }),
            status: None,
        };
        node.status = Some(self.status(&node, Timestamp::now()).await);
        node
    }

    /// Well-known labels and the pod range of a node that was registered before.
    async fn reconcile_metadata(&self, node: Node) -> Result<Node, client::kube::Error> {
        let current = node.metadata.labels.clone().unwrap_or_default();
        let labels: serde_json::Map<String, Value> = self
            .labels()
            .into_iter()
            .filter(|(key, value)| current.get(key) != Some(value))
            .map(|(key, value)| (key, Value::String(value)))
            .collect();
        let has_cidr = node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some());
        let mut patch = json!({});
        if !labels.is_empty() {
            patch["metadata"] = json!({"labels": labels});
        }
        if !has_cidr && !self.config.pod_cidr.is_empty() {
            patch["spec"] = json!({"podCIDR": self.config.pod_cidr, "podCIDRs": [self.config.pod_cidr]});
        }
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(node);
        }
        self.nodes.strategic_patch("", &self.config.node_name, &patch).await
    }

    async fn status(&self, node: &Node, now: Timestamp) -> NodeStatus {
        let old = node.status.clone().unwrap_or_default();
        let (list, error) = match self.runtime.list_images().await {
            Ok(list) => (list, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let health = Health::read(&self.config.root_dir);
        let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
        NodeStatus {
            addresses: Some(vec![
                address("InternalIP", self.config.node_ip.to_string()),
                address("Hostname", self.config.node_name.clone()),
            ]),
            capacity: Some(capacity(&self.config, &self.machine)),
            allocatable: Some(allocatable(&self.config, &self.machine)),
            conditions: Some(conditions(
                old.conditions.as_deref().unwrap_or_default(),
                health,
                error.as_deref(),
                now,
            )),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.config.listen.port()) }),
            }),
            images: Some(images(list)),
            node_info: Some(self.machine.info.clone()),
            ..NodeStatus::default()
        }
    }

    async fn write(&self, node: &Node, status: &NodeStatus) -> Result<Node, client::kube::Error> {
        let mut patch = json!({"status": status});
        if let Some(uid) = &node.metadata.uid {
            patch["metadata"] = json!({"uid": uid});
        }
        // Addresses merge by type; without this a changed list would keep what is no longer true.
        if let Some(list) = patch["status"]["addresses"].as_array_mut() {
            list.insert(0, json!({"$patch": "replace"}));
        }
        self.nodes.patch_status("", &self.config.node_name, &patch).await
    }

    /// Keeps the status current until the token is cancelled.
    pub async fn keep(&self, node: Node, token: CancellationToken) {
        let mut known = node;
        let mut reported = Timestamp::now();
        while token.run_until_cancelled(tokio::time::sleep(CHECK_PERIOD)).await.is_some() {
            let now = Timestamp::now();
            let status = self.status(&known, now).await;
            let unchanged = known.status.as_ref().is_some_and(|old| same(old, &status));
            if unchanged && now.duration_since(reported) < REPORT_PERIOD {
                continue;
            }
            match self.write(&known, &status).await {
                Ok(node) => {
                    known = node;
                    reported = now;
                }
                Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => {
                    tracing::info!("the node's object is gone, registering again");
                    let Some(node) = self.register(&token).await else { return };
                    known = node;
                }
                Err(error) => tracing::warn!(%error, "failed to write the node's status"),
            }
        }
    }
}

/// Whether two statuses differ in nothing but heartbeats.
fn same(old: &NodeStatus, new: &NodeStatus) -> bool {
    let still = |list: &Option<Vec<NodeCondition>>| -> Vec<(String, String, Option<String>, Option<String>)> {
        let own = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
        list.iter()
            .flatten()
            .filter(|condition| own.contains(&condition.type_.as_str()))
            .map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone()))
            .collect()
    };
    still(&old.conditions) == still(&new.conditions)
        && old.capacity == new.capacity
        && old.allocatable == new.allocatable
        && old.addresses == new.addresses
        && old.images == new.images
        && old.node_info == new.node_info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        for (bytes, want) in [(0, "0"), (2 << 20, "2Mi"), (1 << 30, "1Gi"), (1536, "1536"), (3 << 10, "3Ki")]
        {
            assert_eq!(binary(bytes), want);
        }
    }

    #[test]
    fn conditions_keep_their_transition() {
        let early = Timestamp::from_second(1_700_000_000).expect("time");
        let late = Timestamp::from_second(1_700_000_100).expect("time");
        let first = conditions(&[], Health::default(), None, early);
        assert!(first.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
        let second = conditions(&first, Health::default(), Some("no answer"), late);
        let of = |type_: &str| second.iter().find(|c| c.type_ == type_).expect("condition").clone();
        assert_eq!(of("MemoryPressure").last_transition_time, Some(Time(early)));
        assert_eq!(of("MemoryPressure").last_heartbeat_time, Some(Time(late)));
        assert_eq!(of("Ready").last_transition_time, Some(Time(late)));
        assert_eq!(of("Ready").message.as_deref(), Some("container runtime is down: no answer"));
    }
}
