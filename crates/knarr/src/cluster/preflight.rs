//! What this machine must have before a cluster starts. Each check says in one line what is missing and the way out.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, bail};

use super::Settings;

/// Refuses to start where a cluster could not run. Changes nothing.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    root()?;
    programs(std::env::var_os("PATH").unwrap_or_default().as_os_str())?;
    kernel(&std::fs::read_to_string("/proc/filesystems").unwrap_or_default(), Path::new("/sys/fs/cgroup"))?;
    port_is_free(settings.port)
}

fn root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("knarr up needs root, for network namespaces, mounts and cgroups; try: sudo knarr up");
    }
    Ok(())
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

fn port_is_free(port: u16) -> anyhow::Result<()> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
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
        let message = port_is_free(port).err().map(|e| e.to_string()).unwrap_or_default();
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
