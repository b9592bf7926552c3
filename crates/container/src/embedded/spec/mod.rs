//! The OCI runtime specification of a container, from its configuration, its image and its pod.

mod capabilities;
mod seccomp;

use std::path::Path;

use serde_json::{Value, json};

use super::images::ImageConfig;
use super::monitor::DEFAULT_PATH;
use crate::{ContainerConfig, Mount, Propagation, Resources, SandboxConfig};

/// Hidden from containers unless they ask for an unmasked `/proc`.
const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the specification is made from.
pub struct Parts<'a> {
    pub config: &'a ContainerConfig,
    pub image: &'a ImageConfig,
    pub sandbox: &'a SandboxConfig,
    /// Where the pod's namespaces and shared memory are.
    pub sandbox_run: &'a Path,
    /// File with the pod's host name.
    pub hostname_file: &'a Path,
    pub rootfs: &'a Path,
    pub cgroup: &'a str,
    /// Devices can be limited by the cgroup; without that no container may make device nodes.
    pub device_limits: bool,
}

/// Builds the specification; the user is filled in when the root file system is mounted.
///
/// # Errors
/// A sentence saying what in the configuration cannot be carried out.
pub fn build(parts: &Parts<'_>) -> Result<Value, String> {
    let security = &parts.config.security;
    let args = command(parts.config, parts.image)?;
    let mut process = json!({
        "terminal": parts.config.tty,
        "user": { "uid": 0, "gid": 0 },
        "args": args,
        "env": environment(parts),
        "cwd": working_directory(parts)?,
        "capabilities": capabilities::sets(security, parts.device_limits)?,
    });
    if security.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    let mut linux = json!({
        "cgroupsPath": format!("/{}", parts.cgroup.trim_start_matches('/')),
        "namespaces": namespaces(parts),
        "resources": resources(parts),
    });
    if !security.privileged && security.mask_proc {
        linux["maskedPaths"] = json!(MASKED_PATHS);
        linux["readonlyPaths"] = json!(READONLY_PATHS);
    } else {
        linux["maskedPaths"] = json!([]);
        linux["readonlyPaths"] = json!([]);
    }
    if parts.config.mounts.iter().any(|mount| mount.propagation == Propagation::Bidirectional) {
        linux["rootfsPropagation"] = json!("shared");
    }
    if let Some(profile) = security.seccomp.as_deref().filter(|_| !security.privileged) {
        linux["seccomp"] = seccomp::profile(profile, &capabilities::names(security, parts.device_limits)?)?;
    }
    Ok(json!({
        "ociVersion": "1.1.0",
        "process": process,
        "root": { "path": parts.rootfs, "readonly": security.read_only_rootfs },
        "mounts": mounts(parts)?,
        "linux": linux,
    }))
}

/// Image's entrypoint and arguments, overridden as a pod's `command` and `args` do.
fn command(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, String> {
    let mut all = if config.command.is_empty() { image.entrypoint.clone() } else { config.command.clone() };
    if !config.args.is_empty() {
        all.extend(config.args.iter().cloned());
    } else if config.command.is_empty() {
        all.extend(image.cmd.iter().cloned());
    }
    if all.is_empty() { Err("no command specified".to_owned()) } else { Ok(all) }
}

fn working_directory(parts: &Parts<'_>) -> Result<String, String> {
    let chosen = parts.config.working_dir.as_deref().filter(|path| !path.is_empty());
    let path =
        chosen.unwrap_or(if parts.image.working_dir.is_empty() { "/" } else { &parts.image.working_dir });
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else if chosen.is_none() {
        Ok(format!("/{path}"))
    } else {
        Err(format!("working directory {path:?} is not an absolute path"))
    }
}

/// Later entries override earlier ones: defaults, image, pod.
fn environment(parts: &Parts<'_>) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())];
    let mut set = |name: &str, value: &str| match all.iter_mut().find(|(existing, _)| existing == name) {
        Some((_, existing)) => value.clone_into(existing),
        None => all.push((name.to_owned(), value.to_owned())),
    };
    set("HOSTNAME", &parts.sandbox.hostname);
    if parts.config.tty {
        set("TERM", "xterm");
    }
    for entry in &parts.image.env {
        if let Some((name, value)) = entry.split_once('=') {
            set(name, value);
        }
    }
    for (name, value) in &parts.config.env {
        set(name, value);
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn namespaces(parts: &Parts<'_>) -> Vec<Value> {
    let pinned = |kind: &str, file: &str| json!({ "type": kind, "path": parts.sandbox_run.join(file) });
    let mut all = vec![json!({ "type": "mount" }), json!({ "type": "cgroup" })];
    if !parts.sandbox.host_network {
        all.push(pinned("network", "net"));
        all.push(pinned("uts", "uts"));
    }
    if !parts.sandbox.host_ipc {
        all.push(pinned("ipc", "ipc"));
    }
    if parts.sandbox.share_process_namespace {
        all.push(pinned("pid", "pid"));
    } else if !parts.sandbox.host_pid {
        all.push(json!({ "type": "pid" }));
    }
    all
}

fn resources(parts: &Parts<'_>) -> Value {
    let limits = &parts.config.resources;
    let devices = if parts.config.security.privileged {
        json!([{ "allow": true, "access": "rwm" }])
    } else {
        json!([{ "allow": false, "access": "rwm" }])
    };
    let mut all = json!({ "devices": devices });
    let Resources { cpu_shares, cpu_quota_us, cpu_period_us, memory_limit_bytes, pids_limit, .. } = limits;
    let mut cpu = json!({});
    if let Some(shares) = cpu_shares.filter(|shares| *shares > 0) {
        cpu["shares"] = json!(shares);
    }
    if let Some(quota) = cpu_quota_us.filter(|quota| *quota > 0) {
        cpu["quota"] = json!(quota);
        cpu["period"] = json!(cpu_period_us.unwrap_or(100_000));
    }
    all["cpu"] = cpu;
    if let Some(limit) = memory_limit_bytes.filter(|limit| *limit > 0) {
        all["memory"] = json!({ "limit": limit });
    }
    if let Some(limit) = pids_limit.filter(|limit| *limit > 0) {
        all["pids"] = json!({ "limit": limit });
    }
    all
}

fn mounts(parts: &Parts<'_>) -> Result<Vec<Value>, String> {
    let privileged = parts.config.security.privileged;
    let special = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let read_only = if privileged { "rw" } else { "ro" };
    let safe = ["nosuid", "noexec", "nodev"];
    let mut all = vec![
        special("/proc", "proc", "proc", &safe),
        special("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        special(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        special("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", read_only]),
        special("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", read_only]),
    ];
    let bind = |source: &Path, destination: &str, options: &[&str]| json!({ "destination": destination, "type": "bind", "source": source, "options": options });
    if parts.sandbox.host_ipc {
        all.push(bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "rw"]));
        all.push(bind(Path::new("/dev/mqueue"), "/dev/mqueue", &["rbind", "rw"]));
        all.retain(|mount| {
            mount["source"]
                .as_str()
                .is_none_or(|source| !source.starts_with('/') || Path::new(source).exists())
        });
    } else {
        all.push(special("/dev/mqueue", "mqueue", "mqueue", &safe));
        all.push(bind(
            &parts.sandbox_run.join("shm"),
            "/dev/shm",
            &["rbind", "rw", "nosuid", "nodev", "noexec"],
        ));
    }
    let given = |path: &str| parts.config.mounts.iter().any(|mount| mount.container_path == Path::new(path));
    if !given("/etc/hostname") {
        let access = if parts.config.security.read_only_rootfs { "ro" } else { "rw" };
        all.push(bind(parts.hostname_file, "/etc/hostname", &["rbind", access]));
    }
    let mut own: Vec<&Mount> = parts.config.mounts.iter().collect();
    // What is mounted on top of another mount comes after it.
    own.sort_by_key(|mount| mount.container_path.components().count());
    for mount in own {
        if mount.container_path.is_relative() {
            return Err(format!("mount path {:?} is not absolute", mount.container_path));
        }
        // A mount of the pod replaces the runtime's own at the same place.
        all.retain(|other| {
            other["destination"].as_str().is_none_or(|path| Path::new(path) != mount.container_path)
        });
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        let access = if mount.read_only { "ro" } else { "rw" };
        let destination = mount.container_path.to_string_lossy();
        all.push(bind(&mount.host_path, &destination, &["rbind", propagation, access]));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecurityContext;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn command_and_arguments_override_the_image() {
        let image =
            ImageConfig { entrypoint: strings(&["entry"]), cmd: strings(&["cmd"]), ..ImageConfig::default() };
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["entry", "cmd"]),
            (&["own"], &[], &["own"]),
            (&[], &["arg"], &["entry", "arg"]),
            (&["own"], &["arg"], &["own", "arg"]),
        ];
        for (own, args, expected) in cases {
            let config =
                ContainerConfig { command: strings(own), args: strings(args), ..ContainerConfig::default() };
            assert_eq!(command(&config, &image), Ok(strings(expected)));
        }
        assert_eq!(
            command(&ContainerConfig::default(), &ImageConfig::default()),
            Err("no command specified".to_owned())
        );
    }

    fn spec(config: &ContainerConfig, sandbox: &SandboxConfig) -> Value {
        let image = ImageConfig { env: strings(&["A=image", "B=image"]), ..ImageConfig::default() };
        build(&Parts {
            config,
            image: &image,
            sandbox,
            sandbox_run: Path::new("/run/sb"),
            hostname_file: Path::new("/data/hostname"),
            rootfs: Path::new("/data/rootfs"),
            cgroup: "knarr/pod/c",
            device_limits: true,
        })
        .expect("valid")
    }

    fn config() -> ContainerConfig {
        ContainerConfig {
            command: strings(&["sh"]),
            env: vec![("A".to_owned(), "pod".to_owned())],
            mounts: vec![
                Mount { host_path: "/h/b".into(), container_path: "/a/b".into(), ..Mount::default() },
                Mount {
                    host_path: "/h/a".into(),
                    container_path: "/a".into(),
                    read_only: true,
                    ..Mount::default()
                },
                Mount { host_path: "/h/shm".into(), container_path: "/dev/shm".into(), ..Mount::default() },
            ],
            security: SecurityContext { mask_proc: true, ..SecurityContext::default() },
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn environment_and_mounts_are_layered() {
        let sandbox = SandboxConfig { hostname: "web-0".to_owned(), ..SandboxConfig::default() };
        let spec = spec(&config(), &sandbox);
        let env = spec["process"]["env"].as_array().expect("list");
        assert!(
            env.contains(&json!("A=pod"))
                && env.contains(&json!("B=image"))
                && env.contains(&json!("HOSTNAME=web-0"))
        );
        let destinations: Vec<&str> = spec["mounts"]
            .as_array()
            .expect("list")
            .iter()
            .filter_map(|mount| mount["destination"].as_str())
            .collect();
        let position = |path: &str| destinations.iter().position(|found| *found == path);
        assert!(position("/a") < position("/a/b"));
        assert_eq!(destinations.iter().filter(|path| **path == "/dev/shm").count(), 1);
        assert_eq!(spec["linux"]["cgroupsPath"], "/knarr/pod/c");
        assert!(spec["linux"]["maskedPaths"].as_array().is_some_and(|paths| !paths.is_empty()));
    }

    #[test]
    fn host_namespaces_are_left_out() {
        let kinds = |sandbox: &SandboxConfig| -> Vec<String> {
            let spec = spec(&config(), sandbox);
            let list = spec["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(|entry| entry["type"].as_str().map(str::to_owned)).collect()
        };
        assert_eq!(kinds(&SandboxConfig::default()), ["mount", "cgroup", "network", "uts", "ipc", "pid"]);
        let host =
            SandboxConfig { host_network: true, host_pid: true, host_ipc: true, ..SandboxConfig::default() };
        assert_eq!(kinds(&host), ["mount", "cgroup"]);
    }
}
