//! `knarr server`: a control plane as an ordinary user's process, on loopback and with nothing but a directory; several on one
//! etcd; a whole cluster on etcd; datastores that cannot be used.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Cluster, Etcd, Host, eventually, kubectl, until};

use crate::{PROGRAM, limited, refused};

/// Longer than a lease and a start of etcd on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The last line of a start.
const STARTED: &str = "Ctrl-C stops the server.";
const NOBODY: u32 = 65_534;

/// A server in a process of its own. Killed when dropped.
pub struct Server<'a> {
    child: Child,
    data: &'a Path,
    port: u16,
}

impl<'a> Server<'a> {
    /// Starts a server on an ephemeral port of the loopback interface, and waits until it serves.
    pub fn start(program: Command, data: &'a Path, args: &[&str]) -> anyhow::Result<Self> {
        Self::start_on(program, data, 0, args)
    }

    fn start_on(mut program: Command, data: &'a Path, port: u16, args: &[&str]) -> anyhow::Result<Self> {
        program.args(["server", "--bind-address", "127.0.0.1", "--data-dir"]).arg(data);
        program.args(["--port", &port.to_string()]).args(args);
        program.env("HOME", data.join("home")).env_remove("KNARR_NAME");
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("piped")?;
        let mut server = Self { child, data, port };
        for line in BufReader::new(output).lines() {
            let line = line?;
            if let Some((_, port)) = line.split_once(" at https://127.0.0.1:") {
                server.port = port.parse()?;
            }
            if line == STARTED {
                return Ok(server);
            }
        }
        bail!("the server ended before it served")
    }

    /// `kill -9`, and a new start at the same place.
    pub fn kill_and_restart(self, args: &[&str]) -> anyhow::Result<Self> {
        let (data, port) = (self.data, self.port);
        drop(self);
        Self::start_on(Command::new(PROGRAM), data, port, args)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    pub fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        let mut command = Command::new(kubectl()?);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(line.split_whitespace());
        let output = command.env("HOME", self.data).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {line}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn get(&self, what: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&format!("get {what} -o json"))?)?)
    }

    /// Waits until so many pods of the deployment are there, which controllers have to make.
    fn pods(&self, deployment: &str, count: usize) {
        eventually("pods", PATIENCE, || {
            let pods = self.get(&format!("pods -l app={deployment}"))?;
            Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == count))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("knarr.log")).unwrap_or_default()
    }

    /// Asks it to end, and waits until it has.
    fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let status = until("the end", PATIENCE, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "{status}\n{}", self.log());
        Ok(())
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a second server one of the first one's cluster.
pub fn share_authority(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to.join("pki"))?;
    for file in ["ca.crt", "ca.key", "sa.key"] {
        std::fs::copy(from.join("pki").join(file), to.join("pki").join(file))?;
    }
    Ok(())
}

#[test]
fn a_control_plane_needs_no_root_and_keeps_its_objects() {
    // Where any user may read the program, wherever it was built.
    let directory = TempDir::new().unwrap();
    let (program, data) = (directory.path().join("knarr"), directory.path().join("data"));
    std::fs::copy(PROGRAM, &program).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let unprivileged = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command
    };
    let server = Server::start(unprivileged(), &data, &[]).unwrap();
    server.kubectl("create deployment web --image=example.com/web --replicas=2").unwrap();
    server.pods("web", 2);
    eventually("healthy components", PATIENCE, || {
        let told = server.kubectl("get componentstatuses --no-headers")?;
        let words: Vec<&str> = told.split_whitespace().collect();
        let names = ["controller-manager", "etcd-0", "scheduler"];
        Ok(words == names.map(|name| [name, "Healthy", "ok"]).concat())
    })
    .unwrap();
    assert!(!data.join("home").exists(), "the user's kubeconfig is left alone");
    server.stop().unwrap();

    let again = Server::start(unprivileged(), &data, &[]).unwrap();
    assert_eq!(again.get("deployment web").unwrap()["spec"]["replicas"], 2);
    again.kubectl("scale deployment web --replicas=3").unwrap();
    again.pods("web", 3);
    again.stop().unwrap();

    let mut nowhere = Command::new("setpriv");
    nowhere.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
    refused(
        nowhere.args(["server", "--port", "0", "--data-dir", "/proc/knarr"]),
        "failed to create /proc/knarr",
    )
    .unwrap();
}

#[test]
fn servers_on_one_etcd_serve_the_same_cluster() {
    let mut etcd = Etcd::start().unwrap();
    let url = etcd.url();
    let directories = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
    let data: Vec<&Path> = directories.iter().map(TempDir::path).collect();
    let start = |data| Server::start(Command::new(PROGRAM), data, &["--datastore", &url]).unwrap();
    let first = start(data[0]);
    // The public half of the authority is in the cluster, which tells a stranger.
    first.pods("none", 0);
    eventually("the published authority", PATIENCE, || {
        first.get("configmap kube-root-ca.crt -n kube-system").map(|_| true)
    })
    .unwrap();
    let mut stranger = Command::new(PROGRAM);
    stranger.args([
        "server",
        "--bind-address",
        "127.0.0.1",
        "--port",
        "0",
        "--datastore",
        &url,
        "--data-dir",
    ]);
    refused(stranger.arg(data[2]), "holds a cluster with another certificate authority").unwrap();

    share_authority(data[0], data[1]).unwrap();
    let first_settings: Value =
        serde_json::from_slice(&std::fs::read(data[0].join("cluster.json")).unwrap()).unwrap();
    let second = start(data[1]);
    let second_settings: Value =
        serde_json::from_slice(&std::fs::read(data[1].join("cluster.json")).unwrap()).unwrap();
    assert_eq!(first_settings, second_settings, "servers of one name agree");
    first.kubectl("create configmap shared --from-literal=a=b").unwrap();
    assert_eq!(second.get("configmap shared").unwrap()["data"], json!({"a": "b"}), "at once");
    second.kubectl("create deployment web --image=example.com/web --replicas=2").unwrap();
    first.pods("web", 2);
    second.pods("web", 2);

    services_of_both(&first, &second).unwrap();

    etcd.kill().unwrap();
    etcd.restart().unwrap();
    eventually("a write", PATIENCE, || second.kubectl("scale deployment web --replicas=3").map(|_| true))
        .unwrap();
    first.pods("web", 3);

    // Whichever led, the one that is left leads now.
    let gone = first.port;
    first.stop().unwrap();
    assert_eq!(endpoints(&second).unwrap(), BTreeSet::from([second.port]), "not {gone}");
    second.kubectl("scale deployment web --replicas=4").unwrap();
    second.pods("web", 4);
    let holder = second.get("lease kube-controller-manager -n kube-system").unwrap();
    assert!(holder["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty()), "{holder}");
    second.stop().unwrap();
}

/// Ports of the servers that the Service `kubernetes` leads to, by both kinds of objects.
fn endpoints(server: &Server<'_>) -> anyhow::Result<BTreeSet<u16>> {
    let port = |ports: &Value| ports[0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let all = |items: &Value| -> BTreeSet<u16> {
        items.as_array().into_iter().flatten().filter_map(|item| port(&item["ports"])).collect()
    };
    let said = all(&server.get("endpoints kubernetes")?["subsets"]);
    let slices = server.get("endpointslices -l kubernetes.io/service-name=kubernetes")?;
    ensure!(said == all(&slices["items"]), "{said:?}: {slices}");
    Ok(said)
}

/// Either server makes Services, no address is given twice, and both are behind the Service `kubernetes`.
fn services_of_both(first: &Server<'_>, second: &Server<'_>) -> anyhow::Result<()> {
    ensure!(endpoints(first)? == BTreeSet::from([first.port, second.port]), "{:?}", endpoints(first)?);
    let leases = "leases -n kube-system -l apiserver.kubernetes.io/identity=kube-apiserver";
    // The stranger may have had time for one, which stays for an hour.
    eventually("a lease of each", PATIENCE, || {
        Ok(first.get(leases)?["items"].as_array().is_some_and(|leases| leases.len() >= 2))
    })?;
    eventually("the controller of ranges", PATIENCE, || {
        let range = first.get("servicecidr kubernetes")?;
        let said = &range["status"]["conditions"][0]["message"];
        let held = range["metadata"]["finalizers"][0] == "networking.k8s.io/service-cidr-finalizer";
        Ok(held && said == "Kubernetes Service CIDR is ready")
    })?;
    for (i, server) in [first, second, first, second].into_iter().enumerate() {
        server.kubectl(&format!("create service nodeport s{i} --tcp=80"))?;
    }
    let services = second.get("services")?;
    let items = services["items"].as_array().context("a list")?;
    let ips: BTreeSet<String> = items.iter().map(|s| s["spec"]["clusterIP"].to_string()).collect();
    ensure!(ips.len() == 5, "{ips:?}");
    let taken = items[1]["spec"]["clusterIP"].as_str().context("an address")?;
    let owner = second.get(&format!("ipaddress {taken}"))?;
    ensure!(owner["spec"]["parentRef"]["name"] == items[1]["metadata"]["name"], "{owner}");
    let again = format!("create service clusterip again --tcp=80 --clusterip={taken}");
    let refused = second.kubectl(&again).map(|_| ()).err().map(|error| error.to_string());
    ensure!(
        refused.as_ref().is_some_and(|said| said.contains("provided IP is already allocated")),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_whole_cluster_keeps_its_objects_in_etcd() {
    let host = Host::new("etcd").unwrap();
    let etcd = host.in_network(Etcd::start).unwrap();
    let cluster = Cluster::new(&host, Path::new(PROGRAM)).unwrap();
    let before = host.left().unwrap();
    if let Err(error) = on_etcd(&cluster, &etcd.url()) {
        panic!("{error:#}\n{}", cluster.state());
    }
    assert_eq!(host.left().unwrap(), before, "knarr down leaves the host as it found it");
}

fn on_etcd(cluster: &Cluster<'_>, url: &str) -> anyhow::Result<()> {
    let host = cluster.host;
    let nowhere = ["up", "-d", "--datastore", "etcd://127.0.0.1:1"];
    refused(&mut limited(host, &nowhere), "etcd cannot be used: 127.0.0.1:1: Connection refused")?;
    cluster.knarr(&["up", "-d", "--datastore", url])?;
    cluster.kubectl("run web --image=knarr.local/demo:1")?;
    cluster.kubectl("wait pod web --for=condition=Ready --timeout=60s")?;
    let file = host.home().join("snapshot").display().to_string();
    for snapshot in [["snapshot", "save", &file], ["snapshot", "restore", &file]] {
        let why = if snapshot[1] == "save" { "are in etcd" } else { "is running" };
        refused(&mut limited(host, &snapshot), why)?;
    }
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    let uid = cluster.get("pod web")?["metadata"]["uid"].clone();
    // As after `kill -9`: the next start finds it all in etcd again, and adopts the container. It is not told where.
    let pid = cluster.pid()?;
    host.run("kill", &["-9", &pid])?;
    until("the end of the cluster", PATIENCE, || Ok(cluster.pid().err().map(|_| ())))?;
    cluster.knarr(&["up", "-d"])?;
    ensure!(cluster.get("pod web")?["metadata"]["uid"] == uid, "it is the same pod");
    ensure!(cluster.kubectl(&format!("get pod web -o {restarts}"))? == "0", "its container was adopted");
    ensure!(
        cluster.get("endpoints kubernetes")?["subsets"][0]["addresses"].as_array().map(Vec::len) == Some(1)
    );
    // Another machine's node, as far as the objects tell.
    let renewed = jiff::Timestamp::now() + Duration::from_secs(3600);
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "elsewhere", "namespace": "kube-node-lease"},
        "spec": {"leaseDurationSeconds": 40, "renewTime": format!("{renewed:.6}")}});
    cluster.apply(&lease.to_string())?;
    cluster.knarr(&["down"])?;
    refused(&mut limited(host, &["up", "-d"]), "whose node \"elsewhere\" runs, and a cluster has one node")?;
    refused(&mut limited(host, &["snapshot", "save", &file]), "are in etcd")?;
    Ok(())
}

#[test]
fn a_datastore_that_cannot_be_used_is_one_clear_line() {
    let directory = TempDir::new().unwrap();
    let garbage = directory.path().join("garbage.pem");
    std::fs::write(&garbage, "garbage").unwrap();
    let garbage = garbage.display().to_string();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("etcd://{closed}");
    let at = format!("etcd cannot be used: {}: Connection refused", closed.trim_start_matches("etcd://"));
    let cases: &[(&[&str], &str)] = &[
        (&["--datastore", "postgres://db"], "\"postgres://db\" is not an etcd datastore: etcd://HOST[:PORT]"),
        (&["--datastore", "etcd://a:b"], "is not an etcd datastore"),
        (&["--datastore", &closed, "--datastore-cafile", "/absent.pem"], "failed to read /absent.pem"),
        (
            &["--datastore", &closed, "--datastore-cafile", &garbage],
            "the CA file of the datastore cannot be used: it has no certificate",
        ),
        (&["--datastore", &closed], &at),
    ];
    for (number, (args, expected)) in cases.iter().enumerate() {
        let mut command = Command::new(PROGRAM);
        command.args(["server", "--bind-address", "127.0.0.1", "--port", "0", "--data-dir"]);
        refused(command.arg(directory.path().join(number.to_string())).args(*args), expected).unwrap();
    }
}
