//! What this machine must have before a cluster starts. Each check says in one line what is missing and the way out.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, bail};

use super::{Paths, Settings};

/// Refuses to start where a cluster could not run. Changes nothing.
pub(crate) fn check(paths: &Paths, settings: &Settings) -> anyhow::Result<()> {
    root("up")?;
    own_directory(paths)?;
    node_name(&settings.node_name)?;
    programs(std::env::var_os("PATH").unwrap_or_default().as_os_str())?;
    kernel(&std::fs::read_to_string("/proc/filesystems").unwrap_or_default(), Path::new("/sys/fs/cgroup"))?;
    port_is_free(Ipv4Addr::UNSPECIFIED.into(), settings.port)
}

/// Refuses to start where a control plane could not run. Changes nothing.
pub(crate) fn server(paths: &Paths, bind: IpAddr, port: u16) -> anyhow::Result<()> {
    own_directory(paths)?;
    port_is_free(bind, port)
}

/// Refuses a command of an ordinary user where it needs root.
pub(crate) fn root(command: &str) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "knarr {command} needs root, for network namespaces, mounts and cgroups; try: sudo knarr {command}"
        );
    }
    Ok(())
}

/// A directory of somebody else's files is no place for a cluster: `knarr down --purge` would delete them.
pub(crate) fn own_directory(paths: &Paths) -> anyhow::Result<()> {
    /// What a first start that was cut short leaves, the authority that a server may be given, and what a snapshot is restored to.
    const BEFORE_SETTINGS: [&str; 5] = ["knarr.log", "lock", "cluster.tmp", "pki", "store"];
    if paths.settings().exists() {
        return Ok(());
    }
    let entries = match std::fs::read_dir(&paths.data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{} cannot be the data directory", paths.data.display()));
        }
    };
    for entry in entries {
        let name = entry.with_context(|| format!("failed to read {}", paths.data.display()))?.file_name();
        if !BEFORE_SETTINGS.iter().any(|ours| name == *ours) {
            bail!(
                "{} holds other files ({}) and no cluster; choose an empty --data-dir",
                paths.data.display(),
                name.to_string_lossy()
            );
        }
    }
    Ok(())
}

/// The node's name is also the value of a label.
fn node_name(name: &str) -> anyhow::Result<()> {
    let problems = [machinery::names::dns1123_subdomain(name), machinery::names::label_value(name)].concat();
    match problems.first() {
        Some(problem) => {
            bail!("the node cannot be named {name:?}, after this host and the cluster: {problem}")
        }
        None => Ok(()),
    }
}

fn programs(path: &std::ffi::OsStr) -> anyhow::Result<()> {
    let found = std::env::split_paths(path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir: std::path::PathBuf| dir.join("nft").is_file());
    if !found {
        bail!(
            "the program nft is missing, which loads the Service rules into the kernel; try: apt-get install nftables"
        );
    }
    Ok(())
}

fn kernel(filesystems: &str, cgroup: &Path) -> anyhow::Result<()> {
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        bail!(
            "the kernel has no overlayfs, which containers' file systems are made of; try: modprobe overlay"
        );
    }
    if !cgroup.join("cgroup.controllers").exists()
        && !cgroup.join("memory").exists()
        && !cgroup.join("unified").exists()
    {
        bail!("no cgroups are mounted at {}; mount the cgroup file systems first", cgroup.display());
    }
    Ok(())
}

fn port_is_free(bind: IpAddr, port: u16) -> anyhow::Result<()> {
    TcpListener::bind((bind, port))
        .map(drop)
        .with_context(|| format!("port {port} cannot be used for the API server; choose another with --port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_way_out() {
        let Ok(held) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)) else { panic!("no port to hold") };
        let port = held.local_addr().map(|a| a.port()).unwrap_or_default();
        let message =
            port_is_free(Ipv4Addr::UNSPECIFIED.into(), port).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(&port.to_string()) && message.contains("--port"), "{message}");
    }

    #[test]
    fn missing_parts_are_named() {
        let none = Path::new("/nonexistent");
        let overlay = kernel("nodev\tproc\n", none).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(overlay.contains("overlayfs"), "{overlay}");
        let cgroups = kernel("nodev\toverlay\n", none).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(cgroups.contains("cgroups"), "{cgroups}");
    }
}
