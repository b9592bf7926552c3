//! A host of a test's own: a network namespace, with a neighbour outside it.

use std::fs::File;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use network::cni::{Bridge, Config};
use nix::sched::{CloneFlags, unshare};

/// The host's own address towards the neighbour, and the neighbour's.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const DEADLINE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);

/// Runs a test on a thread in a network namespace of its own, under a runtime whose threads are in it too.
pub fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("NOT RUN: this test makes network namespaces and needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        run("ip link set lo up");
        // One thread: those for blocking work are started from it and inherit the namespace.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command line and returns what it prints.
pub fn run(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let output = Command::new(words.next().expect("program")).args(words).output().expect(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

pub fn config(state: &Path) -> Config {
    Config {
        bridge: "knarr0".to_owned(),
        pod_cidr: "10.42.0.0/24".parse().expect("range"),
        cluster_pod_cidr: "10.42.0.0/16".parse().expect("range"),
        service_cidr: "10.43.0.0/16".parse().expect("range"),
        mtu: None,
        state_dir: state.to_owned(),
    }
}

/// A host with a default route to a neighbour, and the pods' bridge.
pub struct Host {
    pub neighbour: Namespace,
    pub bridge: Bridge,
    pub state: tempfile::TempDir,
}

impl Host {
    pub async fn new() -> Self {
        let neighbour = uplink();
        let state = tempfile::tempdir().expect("directory");
        let bridge = Bridge::new(config(state.path())).await.expect("bridge");
        Self { neighbour, bridge, state }
    }

    /// A pod of that sandbox id with its address.
    pub async fn pod(&self, sandbox: &str) -> Pod {
        use container::PodNetwork as _;
        let namespace = Namespace::new();
        let config = container::SandboxConfig::default();
        let ips = self.bridge.setup(sandbox, &namespace.path, &config).await.expect("set up");
        let [std::net::IpAddr::V4(ip)] = ips[..] else { panic!("one IPv4 address, not {ips:?}") };
        Pod { namespace, ip }
    }
}

/// Connects this namespace to a neighbour by a default route.
pub fn uplink() -> Namespace {
    let neighbour = Namespace::new();
    run(&format!("ip link add name uplink mtu 1400 type veth peer name eth0 netns {}", neighbour.thread));
    run(&format!("ip address add {HOST}/24 dev uplink"));
    run("ip link set uplink up");
    run(&format!("ip route add default via {NEIGHBOUR}"));
    neighbour.run(|| {
        run(&format!("ip address add {NEIGHBOUR}/24 dev eth0"));
        run("ip link set eth0 up");
        run("ip link set lo up");
    });
    neighbour
}

pub struct Pod {
    pub namespace: Namespace,
    pub ip: Ipv4Addr,
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, kept by a thread that does work inside it. It ends with this.
pub struct Namespace {
    pub path: PathBuf,
    thread: i32,
    jobs: Option<mpsc::Sender<Job>>,
    keeper: Option<std::thread::JoinHandle<()>>,
}

impl Namespace {
    pub fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (told, id) = mpsc::channel();
        let keeper = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            told.send(nix::unistd::gettid().as_raw()).expect("told");
            queue.iter().for_each(|job| job());
        });
        let thread = id.recv().expect("thread");
        let path = PathBuf::from(format!("/proc/self/task/{thread}/ns/net"));
        File::open(&path).expect("namespace");
        Self { path, thread, jobs: Some(jobs), keeper: Some(keeper) }
    }

    /// Runs work inside; threads and sockets it makes stay there.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || drop(done.send(work())));
        self.jobs.as_ref().expect("alive").send(job).expect("thread in the namespace");
        result.recv().expect("work in the namespace panicked")
    }

    /// Answers every TCP connection with `name` and the client's address, then echoes what it reads.
    pub fn serve_tcp(&self, address: impl Into<SocketAddr>, name: &str) {
        let (address, name) = (address.into(), name.to_owned());
        self.run(move || serve_tcp(address, name));
    }

    /// Answers every datagram with `name` and the client's address.
    pub fn serve_udp(&self, address: impl Into<SocketAddr>, name: &str) {
        let (address, name) = (address.into(), name.to_owned());
        self.run(move || {
            let socket = UdpSocket::bind(address).expect("bind");
            std::thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                    drop(socket.send_to(format!("{name} {}", client.ip()).as_bytes(), client));
                }
            });
        });
    }

    pub fn get(&self, address: impl Into<SocketAddr>) -> Result<String, std::io::ErrorKind> {
        let address = address.into();
        self.run(move || get(address))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(keeper) = self.keeper.take() {
            drop(keeper.join());
        }
    }
}

pub fn serve_tcp(address: SocketAddr, name: String) {
    let listener = TcpListener::bind(address).expect("bind");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), name) = (stream, name.clone()) else { return };
            std::thread::spawn(move || {
                let client = stream.peer_addr().expect("peer").ip();
                drop(stream.write_all(format!("{name} {client}\n").as_bytes()));
                let mut buffer = [0; 512];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Connects and reads the line a server says first.
pub fn get(address: SocketAddr) -> Result<String, std::io::ErrorKind> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).map_err(|error| error.kind())?;
    read_line(&stream).map_err(|error| error.kind())
}

pub fn read_line(stream: &TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(ANSWER))?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Sends a datagram from `socket` and returns the answer.
pub fn ask_udp(socket: &UdpSocket, address: SocketAddr) -> Result<String, std::io::ErrorKind> {
    socket.set_read_timeout(Some(ANSWER)).expect("timeout");
    socket.send_to(b"?", address).map_err(|error| error.kind())?;
    let mut buffer = [0; 512];
    let (length, _) = socket.recv_from(&mut buffer).map_err(|error| error.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Waits until `probe` gives something.
pub async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn at(address: impl Into<std::net::IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}
