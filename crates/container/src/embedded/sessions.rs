//! Commands run in containers, attaching to them, and connections into pods.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::client::MessageSocket;
use super::containers::{Container, Phase};
use super::monitor::protocol::{ExecStart, Reply, Request};
use super::monitor::sys;
use super::{Embedded, io_error};
use crate::{ExecOutput, ExecRequest, ExecSession, Reader, RuntimeError, TerminalSize, Writer};

/// Output of a synchronous command kept per stream; more is dropped, as containerd does.
const OUTPUT_MAX_BYTES: usize = 16 << 20;
/// How long output is read on after the command has ended and others still hold its streams.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// Time to connect to a port inside a pod.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// Our ends and the container's ends of the streams of a command.
struct Streams {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    theirs: Vec<OwnedFd>,
}

impl Streams {
    fn make(stdin: bool, stdout: bool, stderr: bool) -> io::Result<Self> {
        let mut all = Self { stdin: None, stdout: None, stderr: None, theirs: Vec::new() };
        if stdin {
            let (sender, receiver) = pipe::pipe()?;
            all.stdin = Some(sender);
            all.theirs.push(receiver.into_blocking_fd()?);
        }
        for (wanted, slot) in [(stdout, &mut all.stdout), (stderr, &mut all.stderr)] {
            if wanted {
                let (sender, receiver) = pipe::pipe()?;
                *slot = Some(receiver);
                all.theirs.push(sender.into_blocking_fd()?);
            }
        }
        Ok(all)
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.theirs.iter().map(AsFd::as_fd).collect()
    }
}

/// The master side of a terminal.
#[derive(Clone)]
struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        super::monitor::wire::set_nonblocking(fd.as_fd())?;
        Ok(Self(Arc::new(super::client::async_fd(fd)?)))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            match ready.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), space)?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The last process with the terminal open has gone: that is its end.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = ready.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A command that has been started.
struct Running {
    socket: MessageSocket,
    streams: Streams,
    terminal: Option<OwnedFd>,
}

impl Embedded {
    fn running_container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        let container = self.container(id)?;
        let running = matches!(*container.phase.borrow(), Phase::Running { .. });
        if running {
            Ok(container)
        } else {
            Err(RuntimeError::Invalid(format!("container {id:?} is not running")))
        }
    }

    fn monitor_of(&self, container: &Container) -> Result<MessageSocket, RuntimeError> {
        MessageSocket::connect(&self.paths.monitor_socket(&container.record.id))
            .map_err(io_error("reach the container's monitor"))
    }

    async fn start_command(&self, id: &str, start: ExecStart) -> Result<Running, RuntimeError> {
        let container = self.running_container(id)?;
        let socket = self.monitor_of(&container)?;
        let pipes = !start.tty;
        let streams = Streams::make(start.stdin && pipes, start.stdout && pipes, start.stderr && pipes)
            .map_err(io_error("make pipes"))?;
        socket.send(&Request::Exec(start), &streams.fds()).await.map_err(io_error("start the command"))?;
        let (reply, fds) = socket.receive().await.map_err(io_error("start the command"))?;
        match reply {
            Reply::ExecStarted => Ok(Running {
                socket,
                streams: Streams { theirs: Vec::new(), ..streams },
                terminal: fds.into_iter().next(),
            }),
            Reply::Failed { message } => {
                Err(RuntimeError::Start { name: container.record.config.name.clone(), reason: message })
            }
            _ => Err(RuntimeError::Invalid("unexpected answer from the monitor".to_owned())),
        }
    }

    pub(super) async fn run_command(
        &self,
        id: &str,
        args: Vec<String>,
        limit: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let start = ExecStart { args, tty: false, stdin: false, stdout: true, stderr: true };
        let Running { socket, streams, .. } = self.start_command(id, start).await?;
        let (Some(stdout), Some(stderr)) = (streams.stdout, streams.stderr) else {
            return Err(RuntimeError::Invalid("the command has no output".to_owned()));
        };
        let mut output = ExecOutput::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        {
            let read = async { tokio::join!(collect(stdout, &mut out), collect(stderr, &mut err)) };
            tokio::pin!(read);
            let deadline = tokio::time::sleep(if limit.is_zero() {
                Duration::from_secs(u32::MAX.into())
            } else {
                limit
            });
            tokio::pin!(deadline);
            let mut read_all = false;
            let exit = exit_code(&socket);
            tokio::pin!(exit);
            output.exit_code = loop {
                tokio::select! {
                    code = &mut exit => break code?,
                    _ = &mut read, if !read_all => read_all = true,
                    () = &mut deadline => {
                        let _ = socket.send(&Request::SignalExec { signal: SIGKILL }, &[]).await;
                        return Err(RuntimeError::Timeout(limit));
                    }
                }
            };
            if !read_all {
                let _ = tokio::time::timeout(DRAIN_LIMIT, &mut read).await;
            }
        }
        output.stdout = out;
        output.stderr = err;
        Ok(output)
    }

    pub(super) async fn open_command(
        &self,
        id: &str,
        request: ExecRequest,
    ) -> Result<ExecSession, RuntimeError> {
        let ExecRequest { command, tty, stdin, stdout, stderr } = request;
        let start = ExecStart { args: command, tty, stdin, stdout, stderr: stderr && !tty };
        let Running { socket, streams, terminal } = self.start_command(id, start).await?;
        let exit = Box::pin(async move { exit_code(&socket).await });
        let Some(master) = terminal else {
            return Ok(pipe_session(streams, None, exit));
        };
        let terminal = Terminal::new(master).map_err(io_error("use the terminal"))?;
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(4);
        let resized = terminal.clone();
        self.tasks.spawn(async move {
            while let Some(size) = sizes.recv().await {
                let _ = sys::resize(resized.0.as_fd(), size.width, size.height);
            }
        });
        Ok(ExecSession {
            stdin: stdin.then(|| Box::pin(terminal.clone()) as Writer),
            stdout: Some(Box::pin(terminal) as Reader),
            stderr: None,
            resize: Some(resize),
            exit,
        })
    }

    pub(super) async fn attach_to(
        &self,
        id: &str,
        request: ExecRequest,
    ) -> Result<ExecSession, RuntimeError> {
        let container = self.running_container(id)?;
        let socket = Arc::new(self.monitor_of(&container)?);
        let tty = container.record.config.tty;
        let (stdin, stdout, stderr) =
            (request.stdin && container.record.config.stdin, request.stdout, request.stderr && !tty);
        let streams = Streams::make(stdin, stdout, stderr).map_err(io_error("make pipes"))?;
        socket
            .send(&Request::Attach { stdin, stdout, stderr }, &streams.fds())
            .await
            .map_err(io_error("attach to the container"))?;
        match socket.receive().await.map_err(io_error("attach to the container"))?.0 {
            Reply::Running { .. } => {}
            Reply::Failed { message } => return Err(RuntimeError::Invalid(message)),
            _ => return Err(RuntimeError::Invalid("unexpected answer from the monitor".to_owned())),
        }
        let resize = tty.then(|| {
            let (resize, mut sizes) = mpsc::channel::<TerminalSize>(4);
            let socket = socket.clone();
            self.tasks.spawn(async move {
                while let Some(TerminalSize { width, height }) = sizes.recv().await {
                    if socket.send(&Request::Resize { width, height }, &[]).await.is_err() {
                        break;
                    }
                }
            });
            resize
        });
        let exit = Box::pin(async move { exit_code(&socket).await });
        Ok(pipe_session(Streams { theirs: Vec::new(), ..streams }, resize, exit))
    }

    pub(super) async fn connect_into(
        &self,
        sandbox: &str,
        port: u16,
    ) -> Result<(Reader, Writer), RuntimeError> {
        let record = self.sandbox(sandbox)?.snapshot();
        let netns = (!record.config.host_network).then(|| self.paths.sandbox_run(&record.id).join("net"));
        let (answer, connected) = tokio::sync::oneshot::channel();
        // Entering a network namespace changes the thread for good, so it is one that ends right after.
        let worker = std::thread::Builder::new().name("port-forward".to_owned());
        let spawned = worker.spawn(move || {
            let _ = answer.send(connect_from(netns.as_deref(), port));
        });
        spawned.map_err(io_error("start a thread"))?;
        let stream = connected
            .await
            .map_err(|_| RuntimeError::Invalid("the connecting thread panicked".to_owned()))?
            .map_err(io_error(format!("connect to port {port} inside the pod")))?;
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream))
            .map_err(io_error("use the connection"))?;
        let (reader, writer) = stream.into_split();
        Ok((Box::pin(reader), Box::pin(writer)))
    }
}

type Exit = Pin<Box<dyn Future<Output = Result<i32, RuntimeError>> + Send>>;

fn pipe_session(streams: Streams, resize: Option<mpsc::Sender<TerminalSize>>, exit: Exit) -> ExecSession {
    ExecSession {
        stdin: streams.stdin.map(|pipe| Box::pin(pipe) as Writer),
        stdout: streams.stdout.map(|pipe| Box::pin(pipe) as Reader),
        stderr: streams.stderr.map(|pipe| Box::pin(pipe) as Reader),
        resize,
        exit,
    }
}

async fn exit_code(socket: &MessageSocket) -> Result<i32, RuntimeError> {
    loop {
        match socket.receive().await.map_err(io_error("wait for the command"))?.0 {
            Reply::ExecExited { code } => return Ok(code),
            Reply::Exited(exit) => return Ok(exit.code),
            _ => {}
        }
    }
}

/// Reads to the end, keeping at most [`OUTPUT_MAX_BYTES`].
async fn collect(mut from: pipe::Receiver, into: &mut Vec<u8>) {
    let mut chunk = vec![0_u8; 32 * 1024];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        let space = OUTPUT_MAX_BYTES.saturating_sub(into.len());
        into.extend_from_slice(&chunk[..count.min(space)]);
    }
}

fn connect_from(netns: Option<&std::path::Path>, port: u16) -> io::Result<TcpStream> {
    if let Some(path) = netns {
        nix::sched::setns(std::fs::File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
    }
    let at = |address: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_LIMIT);
    at(Ipv4Addr::LOCALHOST.into()).or_else(|first| at(Ipv6Addr::LOCALHOST.into()).map_err(|_| first))
}
