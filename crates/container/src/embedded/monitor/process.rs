//! The monitor: one poll loop over a container's streams, its children and its socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::SockType;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::{cgroup, state};
use super::create::ChildStreams;
use super::log::{LogFile, Source, timestamp};
use super::protocol::{ExecStart, ExitRecord, MonitorConfig, MonitorState, Reply, Report, Request};
use super::streams::{CHUNK_BYTES, Chunk, Output, Sink, pipes, read_chunk};
use super::{create, exec, sys, wire};

/// How long output is still read after the container's process has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Most connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Exit statuses kept for children whose process id is not known yet.
const STRAYS_MAX: usize = 64;
/// Exit code of a container that could not be started, as containerd reports it.
const START_ERROR_CODE: i32 = 128;

struct Connection {
    id: u64,
    socket: OwnedFd,
    watching: bool,
    attached: Option<Attached>,
}

#[derive(Default)]
struct Attached {
    stdin: Option<OwnedFd>,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Attached {
    fn sink(&mut self, source: Source) -> &mut Option<Sink> {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }
}

struct Exec {
    connection: u64,
    reports: Option<OwnedFd>,
    pid: Option<i32>,
    terminal: Option<OwnedFd>,
    failure: Option<String>,
    code: Option<i32>,
}

struct Ended {
    status: Exit,
    at_ns: i64,
    drain_until: Instant,
}

#[derive(Clone, Copy)]
struct Exit {
    code: i32,
    signal: Option<i32>,
}

struct Monitor {
    config: MonitorConfig,
    state: MonitorState,
    signals: SignalFd,
    listener: OwnedFd,
    log: LogFile,
    outputs: Vec<Output>,
    input: Option<Sink>,
    terminal: Option<OwnedFd>,
    connections: Vec<Connection>,
    next_connection: u64,
    execs: Vec<Exec>,
    strays: VecDeque<(i32, Exit)>,
    ended: Option<Ended>,
}

/// What a ready descriptor belongs to.
#[derive(Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Output(Source),
    Input,
    Connection(u64),
    AttachedStdin(u64),
    AttachedOutput(u64, Source),
    ExecReports(u64),
}

/// Starts the container, answers on `first`, and watches until it has ended. Returns the process' exit code.
pub fn run(config: MonitorConfig, first: OwnedFd) -> i32 {
    let failed = |first: &OwnedFd, message: String| {
        let _ = wire::send(first.as_fd(), &Reply::Failed { message }, &[]);
        1
    };
    if let Err(error) = detach(&config) {
        return failed(&first, format!("failed to set up the monitor: {error}"));
    }
    match start(&config) {
        Ok(parts) => {
            let mut monitor = parts.into_monitor(config);
            monitor.adopt_first(first);
            monitor.watch_to_the_end();
            0
        }
        Err(message) => {
            record_start_error(&config, &message);
            failed(&first, message)
        }
    }
}

fn record_start_error(config: &MonitorConfig, message: &str) {
    let exit = ExitRecord {
        code: START_ERROR_CODE,
        signal: None,
        finished_at_ns: sys::now_ns(),
        oom_killed: false,
        start_error: Some(message.to_owned()),
    };
    let state = MonitorState { exit: Some(exit), ..MonitorState::default() };
    let _ = state::write_json(&config.state, &state);
}

/// Makes the process independent of the daemon: own session, no terminal, nothing of the daemon's open.
fn detach(config: &MonitorConfig) -> io::Result<()> {
    nix::unistd::setsid()?;
    let _ = nix::sys::prctl::set_name(c"knarr-monitor");
    nix::sys::prctl::set_child_subreaper(true)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    nix::unistd::chdir("/")?;
    sys::ignore_signal(Signal::SIGPIPE);
    sys::ignore_signal(Signal::SIGHUP);
    sys::ignore_signal(Signal::SIGINT);
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    sys::redirect(null.as_fd(), 0)?;
    sys::redirect(null.as_fd(), 1)?;
    // A panic's message would land here.
    let errors =
        std::fs::OpenOptions::new().append(true).create(true).open(config.state.with_extension("err"))?;
    sys::redirect(errors.as_fd(), 2)
}

struct Parts {
    state: MonitorState,
    signals: SignalFd,
    listener: OwnedFd,
    log: LogFile,
    outputs: Vec<Output>,
    input: Option<Sink>,
    terminal: Option<OwnedFd>,
}

impl Parts {
    fn into_monitor(self, config: MonitorConfig) -> Monitor {
        Monitor {
            config,
            state: self.state,
            signals: self.signals,
            listener: self.listener,
            log: self.log,
            outputs: self.outputs,
            input: self.input,
            terminal: self.terminal,
            connections: Vec::new(),
            next_connection: 0,
            execs: Vec::new(),
            strays: VecDeque::new(),
            ended: None,
        }
    }
}

fn start(config: &MonitorConfig) -> Result<Parts, String> {
    let fail = |what: &str, error: io::Error| format!("failed to {what}: {error}");
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(|error| fail("block signals", error.into()))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| fail("listen for signals", error.into()))?;
    let listener = wire::bind_at(&config.socket, SockType::SeqPacket)
        .map_err(|error| fail(&format!("listen at {}", config.socket.display()), error))?;
    let _ = wire::set_nonblocking(listener.as_fd());
    let log = LogFile::open(&config.log).map_err(|error| fail("open the log", error))?;
    let made = pipes(config).map_err(|error| fail("make the container's pipes", error))?;
    let started = create::start(config, made.child)?;
    let (mut outputs, mut input, mut terminal) = (made.outputs, made.input, None);
    if let Some(master) = started.terminal {
        let take = || -> io::Result<(Output, Sink)> {
            wire::set_nonblocking(master.as_fd())?;
            Ok((Output::new(master.try_clone()?, Source::Stdout), Sink::new(master.try_clone()?)?))
        };
        let (output, sink) = take().map_err(|error| fail("use the terminal", error))?;
        outputs.push(output);
        input = config.stdin.then_some(sink);
        terminal = Some(master);
    }
    let state = MonitorState {
        monitor_pid: Pid::this().as_raw(),
        pid: Some(started.pid),
        started_at_ns: sys::now_ns(),
        exit: None,
    };
    state::write_json_unsynced(&config.state, &state)
        .map_err(|error| fail("record the container's state", error))?;
    Ok(Parts { state, signals, listener, log, outputs, input, terminal })
}

impl Monitor {
    fn adopt_first(&mut self, socket: OwnedFd) {
        let running = self.running();
        let _ = wire::send(socket.as_fd(), &running, &[]);
        let _ = wire::set_nonblocking(socket.as_fd());
        let id = self.add_connection(socket);
        if let Some(connection) = self.connection(id) {
            connection.watching = true;
        }
    }

    fn running(&self) -> Reply {
        Reply::Running { pid: self.state.pid.unwrap_or(0), started_at_ns: self.state.started_at_ns }
    }

    fn add_connection(&mut self, socket: OwnedFd) -> u64 {
        self.next_connection += 1;
        let id = self.next_connection;
        self.connections.push(Connection { id, socket, watching: false, attached: None });
        id
    }

    fn connection(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    fn reply(&mut self, id: u64, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        if let Some(connection) = self.connection(id)
            && wire::send(connection.socket.as_fd(), reply, fds).is_err()
        {
            self.drop_connection(id);
        }
    }

    fn drop_connection(&mut self, id: u64) {
        let attached_stdin = self.connection(id).and_then(|connection| connection.attached.take());
        if attached_stdin.is_some_and(|attached| attached.stdin.is_some()) {
            self.input_ended();
        }
        self.connections.retain(|connection| connection.id != id);
        for exec in self.execs.iter().filter(|exec| exec.connection == id && exec.code.is_none()) {
            if let Some(pid) = exec.pid {
                signal_group(pid, Signal::SIGHUP as i32);
            }
        }
    }

    fn watch_to_the_end(&mut self) {
        loop {
            if let Some(ended) = &self.ended {
                let settled = self.outputs.is_empty() && self.execs.is_empty();
                if settled || Instant::now() >= ended.drain_until {
                    break;
                }
            }
            for (token, flags) in self.wait() {
                self.dispatch(token, flags);
            }
        }
        self.conclude();
    }

    /// Waits until something is ready.
    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let (tokens, mut fds) = self.interests();
        let timeout = self.ended.as_ref().map_or(PollTimeout::NONE, |ended| {
            let left = ended.drain_until.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let ready = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        tokens.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn interests(&self) -> (Vec<Token>, Vec<PollFd<'_>>) {
        let (mut tokens, mut fds) = (Vec::new(), Vec::new());
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::new(fd, flags));
        };
        add(Token::Signals, self.signals.as_fd(), PollFlags::POLLIN);
        if self.connections.len() < CONNECTIONS_MAX {
            add(Token::Listener, self.listener.as_fd(), PollFlags::POLLIN);
        }
        for output in &self.outputs {
            add(Token::Output(output.source), output.fd.as_fd(), PollFlags::POLLIN);
        }
        let mut input_ready = true;
        if let Some(input) = &self.input
            && !input.is_empty()
        {
            input_ready = false;
            add(Token::Input, input.fd.as_fd(), PollFlags::POLLOUT);
        }
        for connection in &self.connections {
            add(Token::Connection(connection.id), connection.socket.as_fd(), PollFlags::POLLIN);
            let Some(attached) = &connection.attached else { continue };
            if let Some(stdin) = attached.stdin.as_ref().filter(|_| input_ready) {
                add(Token::AttachedStdin(connection.id), stdin.as_fd(), PollFlags::POLLIN);
            }
            for (source, sink) in [(Source::Stdout, &attached.stdout), (Source::Stderr, &attached.stderr)] {
                if let Some(sink) = sink.as_ref().filter(|sink| !sink.is_empty()) {
                    add(Token::AttachedOutput(connection.id, source), sink.fd.as_fd(), PollFlags::POLLOUT);
                }
            }
        }
        for exec in &self.execs {
            if let Some(reports) = &exec.reports {
                add(Token::ExecReports(exec.connection), reports.as_fd(), PollFlags::POLLIN);
            }
        }
        (tokens, fds)
    }

    fn dispatch(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => self.reap(),
            Token::Listener => self.accept(),
            Token::Output(source) => self.pump_output(source),
            Token::Input => self.flush_input(),
            Token::Connection(id) => self.serve(id),
            Token::AttachedStdin(id) => self.pump_input(id),
            Token::AttachedOutput(id, source) => self.flush_attached(id, source, flags),
            Token::ExecReports(id) => self.read_exec_report(id),
        }
    }

    fn accept(&mut self) {
        let listener = std::os::fd::AsRawFd::as_raw_fd(&self.listener);
        let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC | nix::sys::socket::SockFlag::SOCK_NONBLOCK;
        if let Ok(raw) = nix::sys::socket::accept4(listener, flags) {
            self.add_connection(sys::own(raw));
        }
    }

    // ---- children ----

    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), Exit { code, signal: None }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid.as_raw(), Exit { code: 128 + signal as i32, signal: Some(signal as i32) })
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if Some(pid) == self.state.pid {
                self.container_ended(exit);
            } else if let Some(exec) = self.execs.iter_mut().find(|exec| exec.pid == Some(pid)) {
                exec.code = Some(exit.code);
                let id = exec.connection;
                self.settle_exec(id);
            } else {
                // Perhaps an exec whose report has not been read yet.
                self.strays.push_back((pid, exit));
                if self.strays.len() > STRAYS_MAX {
                    self.strays.pop_front();
                }
            }
        }
    }

    fn container_ended(&mut self, status: Exit) {
        let now = Instant::now();
        self.ended = Some(Ended { status, at_ns: sys::now_ns(), drain_until: now + DRAIN_LIMIT });
        if !self.config.own_pid_namespace {
            cgroup::kill_in(&self.config.cgroups);
        }
        self.input = None;
    }

    // ---- streams ----

    fn pump_output(&mut self, source: Source) {
        let Some(index) = self.outputs.iter().position(|output| output.source == source) else { return };
        let mut buffer = [0_u8; CHUNK_BYTES];
        let mut text = Vec::new();
        match read_chunk(&self.outputs[index].fd, &mut buffer) {
            Chunk::Later => {}
            Chunk::Data(count) => {
                self.outputs[index].lines.feed(&buffer[..count], &timestamp(), &mut text);
                self.log.append(&text);
                self.copy_to_attached(source, &buffer[..count]);
            }
            Chunk::End => {
                self.outputs[index].lines.finish(&timestamp(), &mut text);
                self.log.append(&text);
                self.outputs.remove(index);
            }
        }
    }

    fn copy_to_attached(&mut self, source: Source, bytes: &[u8]) {
        for attached in self.connections.iter_mut().filter_map(|connection| connection.attached.as_mut()) {
            let sink = attached.sink(source);
            if sink.as_mut().is_some_and(|sink| !sink.push(bytes)) {
                *sink = None;
            }
        }
    }

    fn flush_attached(&mut self, id: u64, source: Source, flags: PollFlags) {
        let Some(attached) = self.connection(id).and_then(|connection| connection.attached.as_mut()) else {
            return;
        };
        let sink = attached.sink(source);
        let broken = flags.contains(PollFlags::POLLERR);
        if broken || sink.as_mut().is_some_and(|sink| !sink.flush()) {
            *sink = None;
        }
    }

    fn pump_input(&mut self, id: u64) {
        let mut buffer = [0_u8; 4096];
        let Some(attached) = self.connection(id).and_then(|connection| connection.attached.as_mut()) else {
            return;
        };
        let Some(stdin) = &attached.stdin else { return };
        match read_chunk(stdin, &mut buffer) {
            Chunk::Later => {}
            Chunk::Data(count) => {
                if self.input.as_mut().is_some_and(|input| !input.push(&buffer[..count])) {
                    self.input = None;
                }
            }
            Chunk::End => {
                attached.stdin = None;
                self.input_ended();
            }
        }
    }

    /// The attached client has no more input; with `stdinOnce` that is the end of the container's input.
    fn input_ended(&mut self) {
        if !self.config.stdin_once || self.config.tty {
            return;
        }
        if let Some(input) = &mut self.input {
            input.closing = true;
        }
        self.flush_input();
    }

    fn flush_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        let open = input.flush();
        if !open || (input.closing && input.is_empty()) {
            self.input = None;
        }
    }

    // ---- requests ----

    fn serve(&mut self, id: u64) {
        let Some(connection) = self.connection(id) else { return };
        match wire::receive::<Request>(connection.socket.as_fd()) {
            Ok(Some((request, fds))) => self.handle(id, request, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.drop_connection(id),
        }
    }

    fn handle(&mut self, id: u64, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Watch => {
                let running = self.running();
                self.reply(id, &running, &[]);
                if let Some(connection) = self.connection(id) {
                    connection.watching = true;
                }
            }
            Request::Signal { signal } => self.signal(id, signal),
            Request::Kill => {
                self.kill_all();
                self.reply(id, &Reply::Done, &[]);
            }
            Request::ReopenLog => {
                let reply = match self.log.reopen() {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::Failed { message: format!("failed to reopen the log: {error}") },
                };
                self.reply(id, &reply, &[]);
            }
            Request::Exec(start) => self.start_exec(id, &start, fds),
            Request::Attach { stdin, stdout, stderr } => self.attach(id, [stdin, stdout, stderr], fds),
            Request::SignalExec { signal } => {
                if let Some(pid) =
                    self.execs.iter().find(|exec| exec.connection == id).and_then(|exec| exec.pid)
                {
                    signal_group(pid, signal);
                }
            }
            Request::Resize { width, height } => {
                if let Some(terminal) = &self.terminal {
                    let _ = sys::resize(terminal.as_fd(), width, height);
                }
            }
        }
    }

    fn signal(&mut self, id: u64, number: i32) {
        let result = match (&self.ended, self.state.pid, Signal::try_from(number)) {
            (Some(_), ..) => Ok(()),
            // Not reaped yet, so the number cannot mean another process.
            (None, Some(pid), Ok(signal)) => {
                kill(Pid::from_raw(pid), signal).map_err(|error| error.to_string())
            }
            (None, Some(pid), Err(_)) => sys::kill_raw(pid, number).map_err(|error| error.to_string()),
            (None, None, _) => Err("the container has no process".to_owned()),
        };
        let reply = match result {
            Ok(()) => Reply::Done,
            Err(message) => Reply::Failed { message },
        };
        self.reply(id, &reply, &[]);
    }

    fn kill_all(&mut self) {
        if let (None, Some(pid)) = (&self.ended, self.state.pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        cgroup::kill_in(&self.config.cgroups);
    }

    fn attach(&mut self, id: u64, wanted: [bool; 3], fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let mut next = |wanted: bool| if wanted { fds.next() } else { None };
        let (stdin, stdout, stderr) = (next(wanted[0]), next(wanted[1]), next(wanted[2]));
        let sink = |fd: Option<OwnedFd>| fd.and_then(|fd| Sink::new(fd).ok());
        let accepts_input = self.input.is_some();
        if let Some(fd) = &stdin {
            let _ = wire::set_nonblocking(fd.as_fd());
        }
        let attached =
            Attached { stdin: stdin.filter(|_| accepts_input), stdout: sink(stdout), stderr: sink(stderr) };
        let running = self.running();
        if let Some(connection) = self.connection(id) {
            connection.attached = Some(attached);
            connection.watching = true;
        }
        self.reply(id, &running, &[]);
    }

    fn start_exec(&mut self, id: u64, request: &ExecStart, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let mut next = |wanted: bool| if wanted { fds.next() } else { None };
        let streams = ChildStreams {
            stdin: next(request.stdin && !request.tty),
            stdout: next(request.stdout && !request.tty),
            stderr: next(request.stderr && !request.tty),
        };
        let started = match (&self.ended, self.state.pid) {
            (None, Some(pid)) => exec::start(&self.config, pid, request, streams),
            _ => Err(io::Error::other("the container is not running")),
        };
        match started {
            Ok(reports) => self.execs.push(Exec {
                connection: id,
                reports: Some(reports),
                pid: None,
                terminal: None,
                failure: None,
                code: None,
            }),
            Err(error) => {
                self.reply(
                    id,
                    &Reply::Failed { message: format!("failed to start the command: {error}") },
                    &[],
                );
            }
        }
    }

    fn read_exec_report(&mut self, id: u64) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.connection == id) else { return };
        let Some(reports) = &exec.reports else { return };
        match wire::receive::<Report>(reports.as_fd()) {
            Ok(Some((Report::Pid(pid), _))) => {
                exec.pid = Some(pid);
                if let Some(index) = self.strays.iter().position(|(stray, _)| *stray == pid) {
                    exec.code = self.strays.remove(index).map(|(_, exit)| exit.code);
                }
            }
            Ok(Some((Report::Terminal, fds))) => exec.terminal = fds.into_iter().next(),
            Ok(Some((Report::Failed(message), _))) => exec.failure = Some(message),
            Ok(Some((Report::Detail(_), _))) => {}
            Ok(None) | Err(_) => {
                exec.reports = None;
                let terminal = exec.terminal.take();
                let reply = match (exec.failure.take(), exec.pid) {
                    (Some(message), _) => Reply::Failed { message },
                    (None, Some(_)) => Reply::ExecStarted,
                    (None, None) => {
                        Reply::Failed { message: "the command's process ended unexpectedly".to_owned() }
                    }
                };
                let failed = matches!(reply, Reply::Failed { .. });
                let fds: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
                self.reply(id, &reply, &fds);
                if failed {
                    self.execs.retain(|exec| exec.connection != id);
                } else {
                    self.settle_exec(id);
                }
            }
        }
    }

    /// Tells the client the exit code once the start was told and the process has ended.
    fn settle_exec(&mut self, id: u64) {
        let Some(index) = self.execs.iter().position(|exec| exec.connection == id) else { return };
        if let (None, Some(code)) = (&self.execs[index].reports, self.execs[index].code) {
            self.execs.remove(index);
            self.reply(id, &Reply::ExecExited { code }, &[]);
        }
    }

    // ---- the end ----

    fn conclude(&mut self) {
        let Some(ended) = self.ended.take() else { return };
        let mut rest = Vec::new();
        for output in &mut self.outputs {
            output.lines.finish(&timestamp(), &mut rest);
        }
        self.log.append(&rest);
        let exit = ExitRecord {
            code: ended.status.code,
            signal: ended.status.signal,
            finished_at_ns: ended.at_ns,
            oom_killed: cgroup::oom_kills_in(&self.config.cgroups) > 0,
            start_error: None,
        };
        self.state.exit = Some(exit.clone());
        let _ = state::write_json(&self.config.state, &self.state);
        self.flush_all_attached();
        let told: Vec<u64> = self
            .connections
            .iter()
            .filter(|connection| connection.watching)
            .map(|connection| connection.id)
            .collect();
        for id in told {
            self.reply(id, &Reply::Exited(exit.clone()), &[]);
        }
        let _ = std::fs::remove_file(Path::new(&self.config.socket));
    }

    fn flush_all_attached(&mut self) {
        let until = Instant::now() + Duration::from_secs(1);
        for connection in &mut self.connections {
            let Some(attached) = connection.attached.as_mut() else { continue };
            for source in [Source::Stdout, Source::Stderr] {
                let Some(sink) = attached.sink(source) else { continue };
                while !sink.is_empty() && Instant::now() < until && sink.flush() {
                    let mut fds = [PollFd::new(sink.fd.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, PollTimeout::from(50_u8));
                }
            }
        }
    }
}

/// Signals a command's whole session, which `setsid` has made a group of its own.
fn signal_group(pid: i32, signal: i32) {
    let _ = sys::kill_raw(-pid, signal);
}
