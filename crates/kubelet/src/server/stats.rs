//! Numbers: `/stats/summary`, `/metrics/resource` and the kubelet's own `/metrics`.

use std::fmt::Write;

use container::Usage;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Server, json as json_answer, text};

/// What one container uses.
struct Used {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    started: Option<Timestamp>,
    usage: Usage,
}

async fn collect(server: &Server) -> Vec<Used> {
    let mut all = Vec::new();
    for view in server.manager.views() {
        let Some(pod) = &view.pod else { continue };
        for (container, id) in &view.running {
            // A container that has just ended has no numbers.
            let Ok(usage) = server.manager.shared.runtime.usage(id).await else { continue };
            let running = api::container_status(pod, container)
                .and_then(|status| status.state.as_ref()?.running.as_ref()?.started_at.clone());
            all.push(Used {
                namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                pod: pod.metadata.name.clone().unwrap_or_default(),
                uid: pod.metadata.uid.clone().unwrap_or_default(),
                container: container.clone(),
                started: running.map(|time| time.0),
                usage,
            });
        }
    }
    all.sort_by(|a, b| (&a.namespace, &a.pod, &a.container).cmp(&(&b.namespace, &b.pod, &b.container)));
    all
}

/// The node's own use: CPU seconds of all processors and memory that is not available.
fn node_usage() -> (f64, i64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system … irq softirq steal; idle and iowait are not use. USER_HZ is 100 on Linux.
    let busy: u64 =
        ticks.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4 | 8 | 9)).map(|(_, t)| t).sum();
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |field: &str| -> i64 {
        let line = table.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) * 1024
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds of CPU time stay far below 2^53")]
    let seconds = busy as f64 / 100.0;
    (seconds, of("MemTotal:") - of("MemAvailable:"))
}

fn stats(usage: &Usage, now: &str) -> (Value, Value) {
    (
        json!({"time": now, "usageCoreNanoSeconds": usage.cpu_usage_ns}),
        json!({
            "time": now,
            "workingSetBytes": usage.memory_working_set_bytes,
            "usageBytes": usage.memory_working_set_bytes,
            "rssBytes": usage.memory_rss_bytes,
        }),
    )
}

/// Use by node, pod and container.
pub(crate) async fn summary(server: &Server) -> Answer {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut pods: Vec<Value> = Vec::new();
    for used in collect(server).await {
        let (cpu, memory) = stats(&used.usage, &now);
        let container = json!({
            "name": used.container,
            "startTime": used.started.map(|time| time.to_string()),
            "cpu": cpu,
            "memory": memory,
        });
        match pods.last_mut().filter(|pod| pod["podRef"]["uid"] == used.uid.as_str()) {
            Some(pod) => add_container(pod, container, &used.usage),
            None => {
                let (cpu, memory) = stats(&used.usage, &now);
                pods.push(json!({
                    "podRef": {"name": used.pod, "namespace": used.namespace, "uid": used.uid},
                    "containers": [container],
                    "cpu": cpu,
                    "memory": memory,
                    "process_stats": {"process_count": used.usage.pids},
                }));
            }
        }
    }
    let (cpu_seconds, memory) = node_usage();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter of positive seconds"
    )]
    let nanoseconds = (cpu_seconds * 1e9) as u64;
    json_answer(&json!({
        "node": {
            "nodeName": server.manager.shared.config.node_name,
            "cpu": {"time": now, "usageCoreNanoSeconds": nanoseconds},
            "memory": {"time": now, "workingSetBytes": memory, "usageBytes": memory},
        },
        "pods": pods,
    }))
}

fn add_container(pod: &mut Value, container: Value, usage: &Usage) {
    let mut add = |path: &str, amount: u64| {
        if let Some(value) = pod.pointer_mut(path) {
            *value = json!(value.as_u64().unwrap_or(0) + amount);
        }
    };
    add("/cpu/usageCoreNanoSeconds", usage.cpu_usage_ns);
    add("/memory/workingSetBytes", usage.memory_working_set_bytes);
    add("/memory/usageBytes", usage.memory_working_set_bytes);
    add("/memory/rssBytes", usage.memory_rss_bytes);
    add("/process_stats/process_count", usage.pids);
    if let Some(list) = pod["containers"].as_array_mut() {
        list.push(container);
    }
}

/// Use in Prometheus' format, as metrics-server reads it.
pub(crate) async fn resource_metrics(server: &Server) -> Answer {
    let all = collect(server).await;
    let now = Timestamp::now().as_millisecond();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut family = |name: &str, help: &str, kind: &str, lines: Vec<(String, String)>| {
        let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value} {now}");
        }
    };
    let labels = |used: &Used| {
        format!("{{container={:?},namespace={:?},pod={:?}}}", used.container, used.namespace, used.pod)
    };
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    let seconds = |ns: u64| format!("{}", ns as f64 / 1e9);
    family(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        all.iter().map(|used| (labels(used), seconds(used.usage.cpu_usage_ns))).collect(),
    );
    family(
        "container_memory_working_set_bytes",
        "Current working set of the container in bytes",
        "gauge",
        all.iter().map(|used| (labels(used), used.usage.memory_working_set_bytes.to_string())).collect(),
    );
    family(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds",
        "gauge",
        all.iter().filter_map(|used| Some((labels(used), used.started?.as_second().to_string()))).collect(),
    );
    let (cpu, memory) = node_usage();
    let plain = |value: String| vec![(String::new(), value)];
    family(
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
        "counter",
        plain(cpu.to_string()),
    );
    family(
        "node_memory_working_set_bytes",
        "Current working set of the node in bytes",
        "gauge",
        plain(memory.to_string()),
    );
    family(
        "resource_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
        plain("0".to_owned()),
    );
    text(http::StatusCode::OK, out)
}

/// Counts of the kubelet itself.
pub(crate) fn metrics(server: &Server) -> Answer {
    let views = server.manager.views();
    let containers: usize = views.iter().map(|view| view.running.len()).sum();
    let node = &server.manager.shared.config.node_name;
    let mut out = String::new();
    let _ = write!(
        out,
        "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n\
         # TYPE kubelet_node_name gauge\nkubelet_node_name{{node={node:?}}} 1\n\
         # HELP kubelet_running_pods [ALPHA] Number of pods that have a running pod sandbox\n\
         # TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n\
         # HELP kubelet_running_containers [ALPHA] Number of containers currently running\n\
         # TYPE kubelet_running_containers gauge\nkubelet_running_containers{{container_state=\"running\"}} {containers}\n",
        views.iter().filter(|view| view.sandbox.is_some()).count(),
    );
    text(http::StatusCode::OK, out)
}
