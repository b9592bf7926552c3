//! Creating a container: a short-lived child of the monitor mounts the root file system in a mount namespace of its
//! own and lets libcontainer make the container's first process, as a child of the monitor.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::SockType;

use super::super::state;
use super::executable;
use super::protocol::{MonitorConfig, Overlay, Report};
use super::sys::{self, Fork};
use super::{user, wire};

/// The container's ends of its streams; with a terminal libcontainer makes them itself.
#[derive(Debug, Default)]
pub struct ChildStreams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A container that has been started.
pub struct Started {
    pub pid: i32,
    pub terminal: Option<OwnedFd>,
}

/// Creates and starts the container. Returns when its program is executing.
pub fn start(config: &MonitorConfig, streams: ChildStreams) -> Result<Started, String> {
    let (ours, theirs) = wire::pair().map_err(|error| format!("failed to make a socket pair: {error}"))?;
    match sys::fork() {
        Ok(Fork::Parent(_)) => {}
        Ok(Fork::Child) => {
            drop(ours);
            sys::reset_signals();
            if let Err(message) = create(config, streams, &theirs) {
                let _ = wire::send(theirs.as_fd(), &Report::Failed(message), &[]);
                sys::exit_now(1);
            }
            sys::exit_now(0);
        }
        Err(error) => return Err(format!("failed to fork: {error}")),
    }
    drop(theirs);
    drop(streams);
    collect(&ours)
}

/// Reads reports until the program executes: then the last copy of the other end is closed.
fn collect(reports: &OwnedFd) -> Result<Started, String> {
    let (mut pid, mut terminal, mut failure, mut detail) = (None, None, None, None);
    loop {
        match wire::receive::<Report>(reports.as_fd()) {
            Ok(Some((Report::Pid(id), _))) => pid = Some(id),
            Ok(Some((Report::Terminal, fds))) => terminal = fds.into_iter().next(),
            Ok(Some((Report::Failed(message), _))) => failure = failure.or(Some(message)),
            // The first is the closest to the cause.
            Ok(Some((Report::Detail(text), _))) => detail = detail.or(Some(text)),
            Ok(None) => break,
            Err(error) => return Err(format!("failed to read the creator's report: {error}")),
        }
    }
    match (failure, detail, pid) {
        (Some(message), Some(detail), _) if !message.starts_with("exec: ") => {
            Err(format!("{message}: {detail}"))
        }
        (Some(message), ..) => Err(message),
        (None, _, Some(pid)) => Ok(Started { pid, terminal }),
        (None, detail, None) => {
            Err(detail.unwrap_or_else(|| "the container's creator ended unexpectedly".to_owned()))
        }
    }
}

fn create(config: &MonitorConfig, streams: ChildStreams, reports: &OwnedFd) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("failed to unshare mounts: {error}"))?;
    mount_overlay(&config.overlay)?;
    complete_spec(config)?;
    adjust_oom_score(config.oom_score_adj);
    let _ = std::fs::create_dir_all(&config.oci_root);
    let console = config.tty.then(|| config.oci_root.join(format!("{}.tty", short(&config.id))));
    let listener = match &console {
        Some(path) => Some(
            wire::bind_at(path, SockType::Stream)
                .map_err(|error| format!("failed to listen for the terminal: {error}"))?,
        ),
        None => None,
    };
    let _ = tracing::subscriber::set_global_default(super::details::Details::new(reports.as_raw_fd()));
    let executor =
        ContainerExecutor { reports: reports.as_raw_fd(), environment: std::cell::RefCell::default() };
    let mut builder = ContainerBuilder::new(config.id.clone(), SyscallType::Linux)
        .with_root_path(config.oci_root.clone())
        .map_err(|error| describe(&error))?
        .with_console_socket(console.clone())
        .with_executor(executor);
    builder.stdin = streams.stdin;
    builder.stdout = streams.stdout;
    builder.stderr = streams.stderr;
    let mut container = builder
        .as_init(&config.bundle)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build()
        .map_err(|error| describe(&error))?;
    let pid = container.pid().map_or(0, |pid| pid.as_raw());
    wire::send(reports.as_fd(), &Report::Pid(pid), &[]).map_err(|error| error.to_string())?;
    if let (Some(listener), Some(path)) = (&listener, &console) {
        forward_terminal(listener, reports.as_fd())?;
        let _ = std::fs::remove_file(path);
    }
    container.start().map_err(|error| describe(&error))
}

/// The part of an id that file names use where paths must be short.
pub fn short(id: &str) -> &str {
    id.get(..20).unwrap_or(id)
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn mount_overlay(overlay: &Overlay) -> Result<(), String> {
    let fail = |what: &str, error: &dyn std::fmt::Display| format!("failed to {what}: {error}");
    nix::unistd::chdir(&overlay.base).map_err(|error| fail("enter the layers' directory", &error))?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        overlay.lower.join(":"),
        overlay.upper.display(),
        overlay.work.display()
    );
    mount(Some("overlay"), &overlay.target, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(
        |error| match error {
            nix::errno::Errno::EINVAL => format!(
                "failed to mount the container's root: {} cannot be used by overlayfs (is it itself on overlayfs? choose a data directory on ext4, xfs, btrfs or tmpfs)",
                overlay.upper.display()
            ),
            nix::errno::Errno::ENODEV => "failed to mount the container's root: the kernel has no overlayfs".to_owned(),
            other => fail("mount the container's root", &other),
        },
    )?;
    nix::unistd::chdir("/").map_err(|error| fail("leave the layers' directory", &error))
}

/// What the daemon could not know before the root file system was mounted: the user's numbers and whether the working
/// directory exists.
fn complete_spec(config: &MonitorConfig) -> Result<(), String> {
    let path = config.bundle.join("config.json");
    let mut spec: serde_json::Value = state::read_json(&path)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("{} does not exist", path.display()))?;
    let root = &config.overlay.target;
    let read = |name: &str| read_in_root(root, name);
    let identity = user::resolve(&config.user, &read("etc/passwd"), &read("etc/group"))?;
    spec["process"]["user"] =
        serde_json::json!({ "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups });
    if let Some(directory) = spec["process"]["cwd"].as_str() {
        make_directory(root, directory).map_err(|error| format!("failed to make {directory}: {error}"))?;
    }
    std::fs::write(&path, spec.to_string())
        .map_err(|error| format!("failed to write the specification: {error}"))
}

/// Opens inside `root`, following symbolic links as the container would.
fn open_in_root(root: &Path, path: &Path, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let root = std::fs::File::open(root)?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    super::super::images::open_beneath(root.as_fd(), relative, flags, mode)
}

fn read_in_root(root: &Path, path: &str) -> String {
    use std::io::Read;
    let mut text = String::new();
    if let Ok(fd) = open_in_root(root, Path::new(path), libc::O_RDONLY | libc::O_NONBLOCK, 0) {
        let _ = std::fs::File::from(fd).take(4 << 20).read_to_string(&mut text);
    }
    text
}

fn make_directory(root: &Path, path: &str) -> io::Result<()> {
    let mut at = PathBuf::from("/");
    for part in Path::new(path).components().skip(1) {
        let parent = open_in_root(root, &at, libc::O_DIRECTORY | libc::O_PATH, 0)?;
        let name = Path::new(part.as_os_str());
        match nix::sys::stat::mkdirat(&parent, name, nix::sys::stat::Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at.push(part);
    }
    Ok(())
}

/// Lowering the value needs a privilege that a containerised node may lack; it is only a preference.
fn adjust_oom_score(value: Option<i32>) {
    if let Some(value) = value {
        let _ = std::fs::write("/proc/self/oom_score_adj", value.to_string());
    }
}

/// Takes the terminal's master side, which libcontainer has sent to `listener`, and hands it to the monitor.
fn forward_terminal(listener: &OwnedFd, reports: BorrowedFd<'_>) -> Result<(), String> {
    let fail = |error: io::Error| format!("failed to receive the terminal: {error}");
    let connection = accept(listener).map_err(fail)?;
    let master = receive_descriptor(&connection).map_err(fail)?;
    wire::send(reports, &Report::Terminal, &[master.as_fd()]).map_err(fail)
}

fn accept(listener: &OwnedFd) -> io::Result<std::os::unix::net::UnixStream> {
    let listener = std::os::unix::net::UnixListener::from(listener.try_clone()?);
    Ok(listener.accept()?.0)
}

#[allow(unsafe_code)] // takes the received descriptor into ownership
fn receive_descriptor(socket: &std::os::unix::net::UnixStream) -> io::Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::FromRawFd;
    let mut bytes = [0_u8; 256];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut slices = [io::IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel has just installed this descriptor for this process; nothing else owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(io::Error::other("no descriptor was sent"))
}

/// Executes the container's program and tells the monitor in plain words when that is not possible.
#[derive(Clone)]
struct ContainerExecutor {
    /// Raw because libcontainer clones the executor across processes; closed by `execve`.
    reports: i32,
    /// As libcontainer has completed it; set in the process that executes.
    environment: std::cell::RefCell<Vec<String>>,
}

impl ContainerExecutor {
    #[allow(unsafe_code)] // borrows the descriptor inherited from the creator
    fn report(&self, message: &str) {
        // SAFETY: the creator holds this descriptor open across the clone and never closes it.
        let socket = unsafe { BorrowedFd::borrow_raw(self.reports) };
        let _ = wire::send(socket, &Report::Failed(message.to_owned()), &[]);
    }
}

impl Executor for ContainerExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (arguments, _) = command(spec);
        let reason = executable::execute(&arguments, &self.environment.borrow());
        self.report(&reason);
        Err(ExecutorError::Other(reason))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (arguments, environment) = command(spec);
        let name = arguments.first().map_or("", String::as_str);
        match executable::find(name, executable::variable(&environment, "PATH")) {
            Ok(_) => Ok(()),
            Err(reason) => {
                self.report(&reason);
                Err(ExecutorValidationError::ArgValidationError(reason))
            }
        }
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let list = envs.into_iter().map(|(name, value)| format!("{name}={value}"));
        self.environment.replace(list.collect());
        Ok(())
    }
}

fn command(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let arguments = process.and_then(|process| process.args().clone()).unwrap_or_default();
    (arguments, process.and_then(|process| process.env().clone()).unwrap_or_default())
}
