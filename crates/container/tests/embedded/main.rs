//! The embedded runtime with real containers, in namespaces of the test's own.
//!
//! Run as root. The program starts itself again: under `unshare`, as that namespace's init, as monitors, as a daemon
//! that is killed, and as a container's process.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cases;
mod images;
mod registry;
mod world;

use std::process::{Command, ExitCode};

const STAGE: &str = "KNARR_TEST_STAGE";

fn main() -> ExitCode {
    if let Some(code) = container::reexec() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        Some("hello-from-the-program") => return images::hello(),
        Some("daemon-to-be-killed") => return cases::daemon(),
        _ => {}
    }
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    match std::env::var(STAGE).as_deref() {
        Err(_) => enter_namespaces(),
        Ok("init") => init(),
        _ => cases::run_all(),
    }
}

fn again() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args().skip(1));
    command
}

fn enter_namespaces() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: containers need root");
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]).arg(program);
    let status = command.args(std::env::args().skip(1)).env(STAGE, "init").status().unwrap();
    ExitCode::from(u8::from(!status.success()))
}

/// Process 1 of the namespace: reaps what is left to it, as a real machine's does.
#[expect(clippy::zombie_processes, reason = "waited for below, among all others")]
fn init() -> ExitCode {
    use nix::sys::wait::{WaitStatus, waitpid};
    let child = again().env(STAGE, "run").spawn().unwrap();
    let child = i32::try_from(child.id()).unwrap();
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == child => {
                return ExitCode::from(u8::try_from(code).unwrap_or(1));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw() == child => return ExitCode::FAILURE,
            Err(nix::errno::Errno::ECHILD) => return ExitCode::FAILURE,
            _ => {}
        }
    }
}
