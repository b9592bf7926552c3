//! Removing what a cluster left on the host, with or without its daemon.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::monitor::protocol::MonitorState;
use super::paths::Paths;
use super::{EmbeddedConfig, cgroup, mounts, state};

/// How long monitors may take to see that their containers are gone.
const MONITORS_LIMIT: Duration = Duration::from_secs(3);

/// Removes processes, mounts, control groups, sockets and records of the cluster's pods. Images stay.
///
/// To be called when no daemon runs. The pod network's devices and rules are the network's own to remove.
///
/// # Errors
/// When something is left behind, with what it was; the rest has been removed nevertheless.
pub fn cleanup(config: &EmbeddedConfig) -> io::Result<()> {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let paths = Paths::new(&canonical(&config.root), &canonical(&config.run));
    let monitors = monitors(&paths);
    let mut result = Ok(());
    let mut attempt = |done: io::Result<()>| {
        if result.is_ok() {
            result = done;
        }
    };
    attempt(cgroup::Layout::detect().and_then(|layout| {
        layout.remove(&config.cgroup_root)?;
        if let Some((parent, _)) = config.cgroup_root.rsplit_once('/') {
            layout.remove_if_empty(parent);
        }
        Ok(())
    }));
    end_monitors(&monitors);
    mounts::unmount_below(&paths.run);
    mounts::unmount_below(&paths.containers());
    for path in [&paths.run, &paths.sandboxes(), &paths.containers()] {
        attempt(state::remove_all(path));
    }
    let _ = state::remove_all(&paths.root.join("runtime.lock"));
    result
}

/// Process ids of monitors, as recorded.
fn monitors(paths: &Paths) -> Vec<i32> {
    let entries = std::fs::read_dir(paths.containers()).into_iter().flatten().flatten();
    let read = |entry: std::fs::DirEntry| {
        let kept: MonitorState = state::read_json(&entry.path().join("state.json")).ok()??;
        (kept.monitor_pid > 0).then_some(kept.monitor_pid)
    };
    entries.filter_map(read).collect()
}

/// Monitors end by themselves after their containers; those that do not are killed.
fn end_monitors(pids: &[i32]) {
    let until = Instant::now() + MONITORS_LIMIT;
    let alive = |pid: &&i32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "knarr-monitor") && cgroup::is_alive(**pid)
    };
    while pids.iter().any(|pid| alive(&pid)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    for pid in pids.iter().filter(alive) {
        let _ = super::monitor::sys::kill_raw(*pid, libc::SIGKILL);
    }
}
