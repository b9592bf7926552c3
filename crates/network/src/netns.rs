//! Work inside another network namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns};

/// Runs `action` on a thread of its own inside the network namespace `netns` and returns what it returns.
///
/// The thread ends with the call: a thread that has been in a pod's namespace is never lent to other work.
///
/// # Errors
/// When the thread cannot be started, cannot enter the namespace, or panics.
pub fn inside<T: Send>(netns: &File, action: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(action())
        })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace panicked")))
    })
}
