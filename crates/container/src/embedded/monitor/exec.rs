//! Running a command inside a running container.
//!
//! Done here and not by libcontainer's tenant builder: that one drops the container's seccomp profile, and this way
//! an exec probe costs two forks instead of a dozen round trips.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use libcontainer::syscall::syscall::SyscallType;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid};

use super::create::ChildStreams;
use super::executable;
use super::protocol::{ExecStart, MonitorConfig, Report};
use super::sys::{self, Fork};
use super::wire;

/// Starts the command. What becomes of it is read from the returned socket: reports, then its end when the
/// program executes.
pub fn start(
    config: &MonitorConfig,
    container_pid: i32,
    request: &ExecStart,
    streams: ChildStreams,
) -> std::io::Result<OwnedFd> {
    let (ours, theirs) = wire::pair()?;
    match sys::fork()? {
        Fork::Parent(_) => Ok(ours),
        Fork::Child => {
            drop(ours);
            sys::reset_signals();
            let reason = match enter(config, container_pid, request, streams, &theirs) {
                Err(reason) => reason,
                Ok(never) => match never {},
            };
            let _ = wire::send(theirs.as_fd(), &Report::Failed(reason), &[]);
            sys::exit_now(127);
        }
    }
}

type Never = std::convert::Infallible;

fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("failed to {what}: {error}")
}

/// Joins the container's cgroup and namespaces; its PID namespace takes another fork.
fn enter(
    config: &MonitorConfig,
    container_pid: i32,
    request: &ExecStart,
    streams: ChildStreams,
    reports: &OwnedFd,
) -> Result<Never, String> {
    let spec = Spec::load(config.bundle.join("config.json")).map_err(because("read the specification"))?;
    if let Ok(score) = std::fs::read(format!("/proc/{container_pid}/oom_score_adj")) {
        let _ = std::fs::write("/proc/self/oom_score_adj", score);
    }
    for directory in &config.cgroups {
        std::fs::write(directory.join("cgroup.procs"), "0")
            .map_err(because("join the container's cgroup"))?;
    }
    // Nothing in the container may look into this process before it has become the container's own.
    let _ = nix::sys::prctl::set_dumpable(false);
    let target = sys::pidfd_open(container_pid).map_err(because("find the container's process"))?;
    setns(target, namespaces(&spec)).map_err(because("enter the container's namespaces"))?;
    match sys::fork_sibling().map_err(because("fork"))? {
        Fork::Parent(pid) => {
            let _ = wire::send(reports.as_fd(), &Report::Pid(pid.as_raw()), &[]);
            sys::exit_now(0);
        }
        Fork::Child => become_command(&spec, request, streams, reports),
    }
}

fn namespaces(spec: &Spec) -> CloneFlags {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    listed.iter().fold(CloneFlags::CLONE_NEWNS, |flags, namespace| {
        flags
            | match namespace.typ() {
                LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
                LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
                LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
                LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
                LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
                _ => CloneFlags::empty(),
            }
    })
}

fn become_command(
    spec: &Spec,
    request: &ExecStart,
    streams: ChildStreams,
    reports: &OwnedFd,
) -> Result<Never, String> {
    let process = spec.process().as_ref().ok_or("the specification names no process")?;
    nix::unistd::setsid().map_err(because("start a session"))?;
    if request.tty {
        open_terminal(reports)?;
    } else {
        connect(streams)?;
    }
    let mut environment = process.env().clone().unwrap_or_default();
    if request.tty && executable::variable(&environment, "TERM").is_none() {
        environment.push("TERM=xterm".to_owned());
    }
    take_identity(spec, process, &mut environment)?;
    sys::close_on_exec_from(3);
    Err(executable::execute(&request.args, &environment))
}

fn connect(streams: ChildStreams) -> Result<(), String> {
    let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    for (number, stream) in [(0, streams.stdin), (1, streams.stdout), (2, streams.stderr)] {
        let fd = match stream {
            Some(fd) => fd,
            None => null().map_err(because("open /dev/null"))?,
        };
        sys::redirect(fd.as_fd(), number).map_err(because("connect a stream"))?;
    }
    Ok(())
}

/// A terminal of the container's own devpts, so that its name means something inside.
fn open_terminal(reports: &OwnedFd) -> Result<(), String> {
    let pty = nix::pty::openpty(None, None).map_err(because("open a terminal"))?;
    wire::send(reports.as_fd(), &Report::Terminal, &[pty.master.as_fd()])
        .map_err(because("pass the terminal"))?;
    sys::take_terminal(pty.slave.as_fd()).map_err(because("take the terminal"))?;
    for number in 0..3 {
        sys::redirect(pty.slave.as_fd(), number).map_err(because("connect the terminal"))?;
    }
    Ok(())
}

/// Becomes the user the container runs as, with its limits, capabilities and system call filter.
fn take_identity(spec: &Spec, process: &Process, environment: &mut Vec<String>) -> Result<(), String> {
    let syscall = SyscallType::Linux.create_syscall();
    let user = process.user();
    let in_directory = nix::unistd::chdir(process.cwd());
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups).map_err(because("set groups"))?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    set_id(Uid::from_raw(user.uid()), Gid::from_raw(user.gid()))?;
    if no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(because("forbid new privileges"))?;
    } else if let Some(profile) = seccomp {
        libcontainer::seccomp::initialize_seccomp(profile).map_err(because("load the seccomp profile"))?;
    }
    libcontainer::capabilities::reset_effective(syscall.as_ref()).map_err(because("reset capabilities"))?;
    if let Some(capabilities) = process.capabilities() {
        libcontainer::capabilities::drop_privileges(capabilities, syscall.as_ref())
            .map_err(because("drop capabilities"))?;
    }
    if in_directory.is_err() {
        // As the user it may be allowed where root without capabilities over a network file system is not.
        nix::unistd::chdir(process.cwd())
            .map_err(|error| format!("failed to enter {}: {error}", process.cwd().display()))?;
    }
    if no_new_privileges && let Some(profile) = seccomp {
        libcontainer::seccomp::initialize_seccomp(profile).map_err(because("load the seccomp profile"))?;
    }
    if executable::variable(environment, "HOME").is_none() {
        environment.push(format!("HOME={}", home(user.uid())));
    }
    Ok(())
}

fn home(uid: u32) -> String {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let field = |line: &str, index: usize| line.split(':').nth(index).map(str::to_owned);
    let entry = passwd.lines().find(|line| field(line, 2).as_deref() == Some(uid.to_string().as_str()));
    entry.and_then(|line| field(line, 5)).filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned())
}

/// Changes the user without losing the capabilities that are to be chosen afterwards.
fn set_id(uid: Uid, gid: Gid) -> Result<(), String> {
    nix::sys::prctl::set_keepcaps(true).map_err(because("keep capabilities"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(because("set the group"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(because("set the user"))?;
    nix::sys::prctl::set_keepcaps(false).map_err(because("stop keeping capabilities"))
}
