//! `nfs`: an export mounted by the kernel's own client.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::{VolumeError, mounts};

/// Mounts `server:export` at `path`.
pub(crate) async fn set_up(
    path: &Path,
    server: &str,
    export: &str,
    read_only: bool,
) -> Result<(), VolumeError> {
    std::fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
    if mounts::is_mount_point(path) {
        return Ok(());
    }
    let address = resolve(server).await.map_err(VolumeError::io("resolve the server of", path))?;
    let source = if address.is_ipv6() && server.contains(':') {
        format!("[{server}]:{export}")
    } else {
        format!("{server}:{export}")
    };
    let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    let options = format!("vers=4.2,addr={address}");
    let target = path.to_owned();
    let mounted = tokio::task::spawn_blocking(move || {
        mount(Some(source.as_str()), &target, Some("nfs4"), flags, Some(options.as_str()))
    });
    match mounted.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Errno::ENODEV)) => {
            Err(VolumeError::Refused("mount failed: this node's kernel has no NFS client".to_owned()))
        }
        Ok(Err(errno)) => Err(VolumeError::io("mount an NFS export at", path)(io::Error::from(errno))),
        Err(error) => Err(VolumeError::Refused(format!("mounting was interrupted: {error}"))),
    }
}

async fn resolve(server: &str) -> io::Result<IpAddr> {
    if let Ok(address) = server.trim_matches(['[', ']']).parse() {
        return Ok(address);
    }
    let mut found = tokio::net::lookup_host((server, 2049)).await?;
    found.next().map(|address| address.ip()).ok_or_else(|| io::Error::other("no address"))
}
