//! The processes that live beside containers, all of them this same program started again.
//!
//! - The **spawner** is single-threaded and lives as long as the daemon. It forks monitors, so that these share its
//!   memory pages and start without loading the program anew.
//! - A **monitor** per container owns its streams, log, exit status and a socket. It survives the daemon.
//! - A short-lived **creator** per start runs libcontainer (never in the threaded daemon: it uses raw `clone3`).
//! - **pause** holds the PID namespace of pods that share one.

mod create;
mod details;
mod exec;
mod executable;
mod log;
mod pause;
mod process;
pub mod protocol;
mod spawner;
mod streams;
pub mod sys;
pub mod user;
pub mod wire;

pub use create::short;
pub use executable::DEFAULT_PATH;

use std::process::ExitCode;

/// First argument that marks a start of the program as one of the runtime's own processes.
pub const REEXEC: &str = "knarr-internal";

/// Runs one of the runtime's own processes if the program was started as one.
///
/// To be called first thing in `main`, before any thread exists. `None` means: an ordinary start, go on.
pub fn reexec() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != REEXEC {
        return None;
    }
    let code = match arguments.next()?.to_str() {
        Some("spawner") => spawner::run(),
        Some("pause") => pause::run(),
        _ => ExitCode::from(64),
    };
    Some(code)
}
