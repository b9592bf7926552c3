//! Forks monitors on the daemon's request.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::protocol::{MonitorConfig, Reply, SpawnRequest};
use super::sys::{self, Fork};
use super::{REEXEC, process, wire};

/// Serves requests from standard input, a message socket, until the daemon closes it.
pub fn run() -> ExitCode {
    // Monitors that end are reaped by the kernel; those that outlive this process never were its concern.
    sys::ignore_signal(Signal::SIGCHLD);
    sys::ignore_signal(Signal::SIGINT);
    let Ok(requests) = sys::take_stdin() else { return ExitCode::FAILURE };
    let _ = prctl::set_name(c"knarr-spawner");
    loop {
        match wire::receive::<SpawnRequest>(requests.as_fd()) {
            Ok(Some((request, fds))) => serve(&requests, request, fds),
            Ok(None) => return ExitCode::SUCCESS,
            Err(error) => tracing::warn!(%error, "failed to read a spawn request"),
        }
    }
}

fn serve(requests: &OwnedFd, request: SpawnRequest, fds: Vec<OwnedFd>) {
    let Some(reply_to) = fds.into_iter().next() else { return };
    match sys::fork() {
        Ok(Fork::Parent(_)) => {}
        Ok(Fork::Child) => {
            let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(requests));
            sys::reset_signals();
            let code = match request {
                SpawnRequest::Monitor { config } => monitor(&config, reply_to),
                SpawnRequest::Pause { program, cgroups, pin } => pause(&program, &cgroups, &pin, &reply_to),
            };
            sys::exit_now(code);
        }
        Err(error) => fail(&reply_to, &format!("failed to fork: {error}")),
    }
}

fn fail(reply_to: &OwnedFd, message: &str) {
    let _ = wire::send(reply_to.as_fd(), &Reply::Failed { message: message.to_owned() }, &[]);
}

fn monitor(path: &Path, reply_to: OwnedFd) -> i32 {
    match super::super::state::read_json::<MonitorConfig>(path) {
        Ok(Some(config)) => process::run(config, reply_to),
        Ok(None) => {
            fail(&reply_to, &format!("{} does not exist", path.display()));
            1
        }
        Err(error) => {
            fail(&reply_to, &error.to_string());
            1
        }
    }
}

fn pause(program: &Path, cgroups: &[PathBuf], pin: &Path, reply_to: &OwnedFd) -> i32 {
    match start_pause(program, cgroups, pin) {
        Ok(pid) => {
            let _ = wire::send(reply_to.as_fd(), &Reply::Paused { pid }, &[]);
            0
        }
        Err(error) => {
            fail(reply_to, &format!("failed to start the pod's first process: {error}"));
            1
        }
    }
}

fn start_pause(program: &Path, cgroups: &[PathBuf], pin: &Path) -> io::Result<i32> {
    for directory in cgroups {
        std::fs::write(directory.join("cgroup.procs"), "0")?;
    }
    unshare(CloneFlags::CLONE_NEWPID)?;
    let pid = match sys::fork()? {
        Fork::Parent(pid) => pid.as_raw(),
        Fork::Child => {
            let _ = nix::unistd::setsid();
            let null = std::fs::File::open("/dev/null");
            if let Ok(null) = null {
                for stream in 0..3 {
                    let _ = sys::redirect(null.as_fd(), stream);
                }
            }
            sys::close_on_exec_from(3);
            let arguments = [program.to_string_lossy().into_owned(), REEXEC.to_owned(), "pause".to_owned()];
            super::executable::execute(&arguments, &[]);
            sys::exit_now(127);
        }
    };
    mount(
        Some(&PathBuf::from(format!("/proc/{pid}/ns/pid"))),
        pin,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(pid)
}
