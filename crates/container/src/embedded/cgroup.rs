//! Control groups on version 1, hybrid and version 2 hosts.
//!
//! libcontainer makes a container's own group and sets its limits; this module makes the groups above it, reads usage,
//! changes limits of what runs, and kills and removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Resources, Usage};

const ROOT: &str = "/sys/fs/cgroup";
/// How long killed processes may take to leave a group.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// Controllers that pods need, as version 2 names them.
const V2_CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "cpuset"];

/// How the host mounts its control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy.
    V2(PathBuf),
    /// A hierarchy for each controller (also with a hybrid's empty version 2 beside them).
    V1(Vec<PathBuf>),
}

impl Layout {
    /// Finds out from the mounts of this process.
    ///
    /// # Errors
    /// When no control groups are mounted at `/sys/fs/cgroup`.
    pub fn detect() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo")?)
            .ok_or_else(|| io::Error::other(format!("no control groups are mounted at {ROOT}")))
    }

    fn parse(mountinfo: &str) -> Option<Self> {
        let mut v1 = Vec::new();
        for line in mountinfo.lines() {
            let (before, after) = line.split_once(" - ")?;
            let point = PathBuf::from(before.split(' ').nth(4)?);
            let mut filesystem = after.split(' ');
            let (kind, options) = (filesystem.next()?, filesystem.nth(1).unwrap_or(""));
            match kind {
                "cgroup2" if point == Path::new(ROOT) => return Some(Self::V2(point)),
                "cgroup" if point.starts_with(ROOT) && !options.contains("name=") => v1.push(point),
                _ => {}
            }
        }
        (!v1.is_empty()).then_some(Self::V1(v1))
    }

    /// The directories of the group `path`, one for each hierarchy.
    pub fn directories(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        match self {
            Self::V2(root) => vec![root.join(path)],
            Self::V1(roots) => roots.iter().map(|root| root.join(path)).collect(),
        }
    }

    /// Makes a group and those above it; what exists stays as it is.
    pub fn create(&self, path: &str) -> io::Result<()> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match self {
            Self::V2(root) => create_v2(root, &parts),
            Self::V1(roots) => roots.iter().try_for_each(|root| create_v1(root, &parts)),
        }
    }

    /// Sets limits of a group. `None` fields are left as they are.
    pub fn apply(&self, path: &str, resources: &Resources) -> io::Result<()> {
        for directory in self.directories(path) {
            let settings = match self {
                Self::V2(_) => v2_settings(resources),
                Self::V1(_) => v1_settings(&directory, resources),
            };
            for (file, value) in settings {
                let file = directory.join(file);
                if file.exists() {
                    fs::write(&file, &value).map_err(|error| {
                        io::Error::new(error.kind(), format!("write {value} to {}: {error}", file.display()))
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Called a little before a process is put into a group: the kernel's lock for that is slow to take (it waits for
    /// all processors) but fast again shortly after. Moving this process to where it is does nothing else.
    pub fn expect_process(&self) {
        let root = match self {
            Self::V2(root) => Some(root),
            Self::V1(roots) => roots.first(),
        };
        let own = root.and_then(|root| own_group(root));
        if let Some(directory) = own {
            let _ = fs::write(directory.join("cgroup.procs"), "0");
        }
    }

    /// What the processes of a group use.
    pub fn usage(&self, path: &str) -> Usage {
        let directories = self.directories(path);
        let number = |file: &str| number_in(&directories, file);
        let field = |file: &str, name: &str| field_in(&directories, file, name);
        match self {
            Self::V2(_) => Usage {
                cpu_usage_ns: field("cpu.stat", "usage_usec").saturating_mul(1000),
                memory_working_set_bytes: number("memory.current")
                    .saturating_sub(field("memory.stat", "inactive_file")),
                memory_rss_bytes: field("memory.stat", "anon"),
                pids: number("pids.current"),
            },
            Self::V1(_) => Usage {
                cpu_usage_ns: number("cpuacct.usage"),
                memory_working_set_bytes: number("memory.usage_in_bytes")
                    .saturating_sub(field("memory.stat", "total_inactive_file")),
                memory_rss_bytes: field("memory.stat", "total_rss"),
                pids: number("pids.current"),
            },
        }
    }

    /// Kills every process of a group and of those below it, then removes them all.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let directories = self.directories(path);
        kill_in(&directories);
        directories.iter().try_for_each(|directory| remove_tree(directory))
    }

    /// Removes a group if nothing is in it.
    pub fn remove_if_empty(&self, path: &str) {
        for directory in self.directories(path) {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// The group this process is in, in the hierarchy mounted at `root`.
fn own_group(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let name = root.file_name()?.to_str()?;
    let path = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let wanted = if root == Path::new(ROOT) { controllers.is_empty() } else { controllers == name };
        wanted.then_some(path)
    })?;
    Some(root.join(path.trim_start_matches('/')))
}

fn create_v1(root: &Path, parts: &[&str]) -> io::Result<()> {
    let mut at = root.to_owned();
    for part in parts {
        let parent = at.clone();
        at.push(part);
        make_directory(&at)?;
        // A cpuset group takes no process before these are set.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = at.join(file);
            if fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty()) {
                fs::write(&own, fs::read(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

fn create_v2(root: &Path, parts: &[&str]) -> io::Result<()> {
    let mut at = root.to_owned();
    for part in parts {
        enable_controllers(&at)?;
        at.push(part);
        make_directory(&at)?;
    }
    enable_controllers(&at)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(error.kind(), format!("create control group {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Lets the groups below `directory` use its controllers.
fn enable_controllers(directory: &Path) -> io::Result<()> {
    let offered = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    let enabled = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
    let has = |list: &str, name: &str| list.split_whitespace().any(|entry| entry == name);
    for controller in V2_CONTROLLERS {
        if !has(&offered, controller) || has(&enabled, controller) {
            continue;
        }
        let enable = || fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        match enable() {
            // Processes may only live in leaves: inside a container the root of the hierarchy holds this program.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                move_processes(directory, &directory.join("init"))?;
                enable()?;
            }
            other => other?,
        }
    }
    Ok(())
}

fn move_processes(from: &Path, to: &Path) -> io::Result<()> {
    make_directory(to)?;
    for pid in processes(from) {
        let _ = fs::write(to.join("cgroup.procs"), pid.to_string());
    }
    Ok(())
}

fn v2_settings(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        settings.push(("cpu.weight", weight(shares).to_string()));
    }
    if resources.cpu_quota_us.is_some() || resources.cpu_period_us.is_some() {
        let quota = resources.cpu_quota_us.filter(|quota| *quota > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        settings.push(("cpu.max", format!("{quota} {}", resources.cpu_period_us.unwrap_or(100_000))));
    }
    let or_max = |value: i64| if value > 0 { value.to_string() } else { "max".to_owned() };
    settings.extend(resources.memory_limit_bytes.map(|limit| ("memory.max", or_max(limit))));
    settings.extend(resources.pids_limit.map(|limit| ("pids.max", or_max(limit))));
    settings
}

/// Version 1's shares as version 2's weight, by the formula all runtimes share.
fn weight(shares: u64) -> u64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142
}

fn v1_settings(directory: &Path, resources: &Resources) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    settings.extend(
        resources.cpu_shares.filter(|shares| *shares > 0).map(|shares| ("cpu.shares", shares.to_string())),
    );
    settings.extend(resources.cpu_period_us.map(|period| ("cpu.cfs_period_us", period.to_string())));
    settings.extend(resources.cpu_quota_us.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
    if let Some(limit) = resources.memory_limit_bytes {
        let limit = if limit > 0 { limit } else { -1 };
        let pair = [
            ("memory.limit_in_bytes", limit.to_string()),
            ("memory.memsw.limit_in_bytes", limit.to_string()),
        ];
        // Memory with swap may never be below memory alone, so growing starts with the former.
        let now = fs::read_to_string(directory.join("memory.limit_in_bytes")).unwrap_or_default();
        let grows = limit < 0 || now.trim().parse::<i64>().is_ok_and(|now| limit > now);
        let [memory, swap] = pair;
        settings.extend(if grows { [swap, memory] } else { [memory, swap] });
    }
    settings.extend(
        resources
            .pids_limit
            .map(|limit| ("pids.max", if limit > 0 { limit.to_string() } else { "max".to_owned() })),
    );
    settings
}

fn number_in(directories: &[PathBuf], file: &str) -> u64 {
    let read = |directory: &PathBuf| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok();
    directories.iter().find_map(read).unwrap_or(0)
}

fn field_in(directories: &[PathBuf], file: &str, name: &str) -> u64 {
    let read = |directory: &PathBuf| {
        let text = fs::read_to_string(directory.join(file)).ok()?;
        text.lines().find_map(|line| {
            line.strip_prefix(name)?.trim().parse().ok().filter(|_| line[name.len()..].starts_with(' '))
        })
    };
    directories.iter().find_map(read).unwrap_or(0)
}

/// How often the kernel has killed for lack of memory in the group with these directories.
pub fn oom_kills_in(directories: &[PathBuf]) -> u64 {
    let v2 = field_in(directories, "memory.events", "oom_kill");
    v2.max(field_in(directories, "memory.oom_control", "oom_kill"))
}

fn processes(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn subgroups(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).map(|entry| entry.path()).collect()
}

fn all_processes(directory: &Path) -> Vec<i32> {
    let mut all = processes(directory);
    for below in subgroups(directory) {
        all.extend(all_processes(&below));
    }
    all
}

/// Kills every process in the group with these directories and waits until they are gone.
pub fn kill_in(directories: &[PathBuf]) {
    let until = Instant::now() + SETTLE_LIMIT;
    loop {
        let mut left = false;
        for directory in directories {
            if fs::write(directory.join("cgroup.kill"), "1").is_err() {
                for pid in all_processes(directory).into_iter().filter(|pid| *pid > 0) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            left |= all_processes(directory).into_iter().any(is_alive);
        }
        if !left || Instant::now() >= until {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Zombies stay listed until their parent, perhaps the caller, reaps them.
pub fn is_alive(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for below in subgroups(directory) {
        remove_tree(&below)?;
    }
    let until = Instant::now() + SETTLE_LIMIT;
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_told_apart() {
        let hybrid = "24 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            25 24 0:21 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            26 24 0:22 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            27 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Layout::parse(hybrid), Some(Layout::V1(vec!["/sys/fs/cgroup/memory".into()])));
        let v2 = "25 24 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(Layout::parse(v2), Some(Layout::V2("/sys/fs/cgroup".into())));
        assert_eq!(Layout::parse("1 0 8:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn weights_span_the_range() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn version_2_settings() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_limit_bytes: Some(1 << 20),
            pids_limit: Some(-1),
            oom_score_adj: None,
        };
        let expected = [
            ("cpu.weight", "39"),
            ("cpu.max", "50000 100000"),
            ("memory.max", "1048576"),
            ("pids.max", "max"),
        ];
        let settings = v2_settings(&resources);
        assert_eq!(
            settings.iter().map(|(file, value)| (*file, value.as_str())).collect::<Vec<_>>(),
            expected
        );
    }
}
