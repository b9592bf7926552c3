//! The first process of a pod's shared PID namespace: reaps orphans and waits to be killed.

use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::sys;

/// Runs until SIGTERM, SIGINT or SIGKILL.
pub fn run() -> ExitCode {
    if let Err(error) = leave_host() {
        tracing::warn!(%error, "failed to leave the host's file system");
    }
    sys::reset_signals();
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => return ExitCode::SUCCESS,
            _ => {
                while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
                {
                }
            }
        }
    }
}

/// The pod's containers see this process; through it they must see neither the host's files nor its powers.
fn leave_host() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let empty = Path::new("/proc");
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_RDONLY;
    mount(Some("tmpfs"), empty, Some("tmpfs"), flags, Some("size=4k"))?;
    nix::unistd::chdir(empty)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(nix::unistd::Gid::from_raw(65535))?;
    nix::unistd::setuid(nix::unistd::Uid::from_raw(65535))
}
