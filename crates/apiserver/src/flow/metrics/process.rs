//! What the kernel says about this process.

use machinery::metrics::Kind;

use super::page::Gauge;

/// Ticks of the kernel's clock in `/proc/<pid>/stat` a second: fixed for user space on every architecture.
const TICKS: f64 = 100.0;

/// The metrics that every Prometheus client library has. Those that `/proc` does not tell are left out.
pub(crate) fn gauges() -> Vec<Gauge> {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may hold anything, and ends with the last parenthesis.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|part| part.parse().unwrap_or_default()).collect())
        .unwrap_or_default();
    // Numbers of proc(5), which begin after the name with 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as f64);
    let rows = [
        (
            "process_cpu_seconds_total",
            Kind::Counter,
            "Total user and system CPU time spent in seconds.",
            cpu(field(14), field(15)),
        ),
        ("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.", limit("Max open files")),
        (
            "process_network_receive_bytes_total",
            Kind::Counter,
            "Number of bytes received by the process over the network.",
            network("InOctets"),
        ),
        (
            "process_network_transmit_bytes_total",
            Kind::Counter,
            "Number of bytes sent by the process over the network.",
            network("OutOctets"),
        ),
        ("process_open_fds", Kind::Gauge, "Number of open file descriptors.", open),
        ("process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes.", resident()),
        (
            "process_start_time_seconds",
            Kind::Gauge,
            "[ALPHA] Start time of the process since unix epoch in seconds.",
            started(field(22)),
        ),
        ("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory size in bytes.", field(23)),
        (
            "process_virtual_memory_max_bytes",
            Kind::Gauge,
            "Maximum amount of virtual memory available in bytes.",
            limit("Max address space"),
        ),
    ];
    let known = rows.into_iter().filter_map(|(name, kind, help, value)| {
        Some(Gauge { name, kind, help, values: vec![(String::new(), value?)] })
    });
    known.collect()
}

/// When the process began, in seconds since 1970.
pub(crate) fn start() -> Option<i64> {
    let gauges = gauges();
    let gauge = gauges.iter().find(|gauge| gauge.name == "process_start_time_seconds")?;
    gauge.values.first().map(|(_, at)| *at as i64)
}

fn cpu(user: Option<f64>, system: Option<f64>) -> Option<f64> {
    Some((user? + system?) / TICKS)
}

fn limit(name: &str) -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let value = |line: &str| match line.strip_prefix(name)?.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        value => value.parse().ok(),
    };
    limits.lines().find_map(value)
}

/// A number of the IP layer. As in upstream's library, it is that of the network namespace.
fn network(name: &str) -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = stat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    names.zip(values).find_map(|(have, value)| if have == name { value.parse().ok() } else { None })
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())?;
    Some(kilobytes * 1024.0)
}

/// `since_boot` is in ticks.
fn started(since_boot: Option<f64>) -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    Some(boot + since_boot? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_described() {
        let gauges = gauges();
        assert_eq!(gauges.len(), 9);
        assert!(network("InOctets").is_some() && network("Nothing").is_none());
        let value = |name: &str| gauges.iter().find(|gauge| gauge.name == name).unwrap().values[0].1;
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_start_time_seconds") > 1.6e9 && start().is_some_and(|at| at > 1_600_000_000));
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    }
}
