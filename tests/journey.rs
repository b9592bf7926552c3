//! The main job, end to end: start a cluster, deploy, look, reach, scale, roll, break, restart, delete, stop; with upstream's
//! kubectl and real containers, on a host of the test's own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use testkit::{Cluster, Host, Registry, busybox, eventually, get, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_knarr");
const MANIFEST: &str = include_str!("journey/shop.yaml");
const PAGE: &str = "<html><a href=\"/version.txt\">the version</a></html>";
const LIMIT: Duration = Duration::from_secs(60);
const NODE_PORT: u16 = 30080;

#[test]
fn the_main_job_from_up_to_down() {
    let host = Host::new("journey").unwrap();
    let cluster = Cluster::new(&host, Path::new(PROGRAM)).unwrap();
    let before = host.left().unwrap();
    if let Err(error) = journey(&cluster) {
        panic!("{error:#}\n{}", cluster.state());
    }
    cluster.knarr(&["down"]).unwrap();
    assert_eq!(host.left().unwrap(), before, "knarr down leaves the host as it found it");
}

fn journey(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let step = |what: &str, outcome: anyhow::Result<()>| {
        eprintln!("journey: {what}");
        outcome.with_context(|| format!("step {what:?}"))
    };
    step("start", start(cluster))?;
    let registry = Registry::start(cluster.host)?;
    for version in ["v1", "v2"] {
        let files = [("/www/version.txt", version), ("/www/index.html", PAGE)];
        registry.push(&busybox(&files)?, "web", version)?;
    }
    step("deploy", deploy(cluster))?;
    step("look", look(cluster))?;
    step("logs", logs(cluster))?;
    step("exec", exec(cluster))?;
    step("port-forward", port_forward(cluster))?;
    step("proxy", proxy(cluster))?;
    step("reach", reach(cluster))?;
    step("scale", scale(cluster))?;
    step("roll", roll(cluster))?;
    step("break a container", break_container(cluster))?;
    step("kill -9 and start again", crash(cluster))?;
    step("delete", delete(cluster))
}

fn start(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let said = cluster.knarr(&["up", "-d"])?;
    ensure!(said.contains("node ready") && said.contains("export KUBECONFIG="), "{said}");
    let nodes = cluster.kubectl("get nodes")?;
    ensure!(nodes.contains(" Ready ") && nodes.contains("v1.37.0"), "{nodes}");
    ensure!(cluster.kubectl("version")?.contains("Server Version: v1.37.0"));
    ensure!(cluster.kubectl("get --raw /readyz")? == "ok");
    Ok(())
}

fn deploy(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    cluster.kubectl("create namespace shop")?;
    let said = cluster.apply(MANIFEST)?;
    ensure!(said.contains("deployment.apps/web created"), "{said}");
    let said = cluster.kubectl("-n shop rollout status deployment/web --timeout=60s")?;
    ensure!(said.contains("successfully rolled out"), "{said}");
    cluster.kubectl("-n shop wait --for=condition=Ready pod/client --timeout=60s")?;
    let again = cluster.apply(MANIFEST)?;
    ensure!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    Ok(())
}

fn look(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let pods = cluster.kubectl("-n shop get pods -l app=web -o wide")?;
    ensure!(
        pods.lines().filter(|l| l.contains("1/1") && l.contains("Running") && l.contains("10.")).count() == 3,
        "{pods}"
    );
    let deployment = cluster.kubectl("-n shop get deployment web")?;
    ensure!(deployment.contains("3/3"), "{deployment}");
    let described = cluster.kubectl("-n shop describe deployment web")?;
    ensure!(
        described.contains("3 desired | 3 updated | 3 total | 3 available | 0 unavailable"),
        "{described}"
    );
    let described = cluster.kubectl("-n shop describe pod client")?;
    for event in ["Scheduled", "Pulled", "Created", "Started"] {
        ensure!(described.contains(event), "no {event} in {described}");
    }
    ensure!(cluster.kubectl("explain deployment.spec.strategy")?.contains("rollingUpdate"));
    Ok(())
}

fn logs(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let pod = one_pod(cluster)?;
    let (name, address) = (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]));
    let mut follower =
        Killed(cluster.kubectl_command(&format!("-n shop logs -f {name}")).stdout(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(follower.0.stdout.take().context("no output")?).lines();
    let first = lines.next().context("no line")??;
    ensure!(first == format!("serving as {name}"), "{first}");
    cluster.host.in_network(|| get(&format!("{address}:8080"), "/made-for-the-log", LIMIT))?;
    until("a request in the followed log", LIMIT, || {
        let line = lines.next().context("the log ended")??;
        Ok(line.contains("response:404").then_some(()))
    })
}

fn exec(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    ensure!(cluster.kubectl("-n shop exec client -- hostname")?.trim() == "client");
    // kubectl sends the size after the command has begun; busybox' stty succeeds also without one.
    let command = "tty; for i in $(seq 300); do stty size | grep 33 && break; sleep 0.1; done; exit 7";
    let terminal = format!(
        "stty cols 91 rows 33; {} -n shop exec -it client -- sh -c '{command}'; echo code=$?",
        cluster.kubectl_path().display()
    );
    let shown = cluster.host.run("script", &["-qec", &terminal, "/dev/null"])?;
    for expected in ["/dev/pts/", "33 91", "code=7"] {
        ensure!(shown.contains(expected), "no {expected:?} in {shown:?}");
    }
    let refused =
        cluster.kubectl("-n shop exec client -- false").err().map(|e| e.to_string()).unwrap_or_default();
    ensure!(refused.contains("command terminated with exit code 1"), "{refused}");
    Ok(())
}

fn port_forward(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let mut forward = Killed(
        cluster
            .kubectl_command("-n shop port-forward service/web 18080:80")
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut line = String::new();
    // Held to the end: kubectl does not survive a closed output.
    let mut output = BufReader::new(forward.0.stdout.take().context("no output")?);
    output.read_line(&mut line)?;
    ensure!(line.contains("Forwarding from 127.0.0.1:18080"), "{line}");
    for _ in 0..3 {
        let answer = cluster.host.in_network(|| get("127.0.0.1:18080", "/version.txt", LIMIT))?;
        ensure!(answer.status == 200 && answer.text() == "v1", "{answer:?}");
    }
    Ok(())
}

fn proxy(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let pod = text(&one_pod(cluster)?["metadata"]["name"]);
    for target in ["services/web:http".to_owned(), "services/web:80".to_owned(), format!("pods/{pod}:8080")] {
        let path = format!("/api/v1/namespaces/shop/{target}/proxy");
        let version = cluster.kubectl(&format!("get --raw {path}/version.txt"))?;
        ensure!(version == "v1", "{path}: {version}");
        let page = cluster.kubectl(&format!("get --raw {path}/"))?;
        ensure!(page.contains(&format!("href=\"{path}/version.txt\"")), "{path}: {page}");
    }
    Ok(())
}

fn reach(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    for name in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        let said = cluster
            .kubectl(&format!("-n shop exec client -- wget -qO- http://{name}/config/greeting.txt"))?;
        ensure!(said.trim() == "hello from a ConfigMap", "{name}: {said}");
    }
    let service = cluster.get("-n shop service web")?;
    let address = text(&service["spec"]["clusterIP"]);
    for target in
        [format!("{address}:80"), format!("{}:{NODE_PORT}", Host::ADDRESS), format!("127.0.0.1:{NODE_PORT}")]
    {
        let answer = cluster
            .host
            .in_network(|| get(&target, "/version.txt", LIMIT))
            .with_context(|| target.clone())?;
        ensure!(answer.status == 200 && answer.text() == "v1", "{target}: {answer:?}");
    }
    Ok(())
}

fn scale(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    for replicas in [5, 1, 3] {
        cluster.kubectl(&format!("-n shop scale deployment web --replicas={replicas}"))?;
        eventually(&format!("{replicas} pods"), LIMIT, || Ok(ready_pods(cluster)?.len() == replicas))?;
        eventually("its endpoints", LIMIT, || {
            let slices = cluster.get("-n shop endpointslices -l kubernetes.io/service-name=web")?;
            let endpoints = slices["items"][0]["endpoints"].as_array().map_or(0, Vec::len);
            Ok(endpoints == replicas)
        })?;
    }
    Ok(())
}

fn roll(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let address = text(&cluster.get("-n shop service web")?["spec"]["clusterIP"]);
    let (done, asked, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cluster.host.in_network(|| {
                while !done.load(Ordering::Relaxed) {
                    let answer = get(&format!("{address}:80"), "/version.txt", Duration::from_secs(5));
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !answer.as_ref().is_ok_and(|a| a.status == 200) {
                        eprintln!("journey: a request failed during the update: {answer:?}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            })
        });
        let rolled = cluster
            .kubectl("-n shop set image deployment/web web=127.0.0.1:5000/web:v2")
            .and_then(|_| cluster.kubectl("-n shop rollout status deployment/web --timeout=90s"))
            .and_then(|_| eventually("only new pods", LIMIT, || Ok(all_pods(cluster)?.len() == 3)));
        done.store(true, Ordering::Relaxed);
        rolled
    })?;
    ensure!(
        failed.load(Ordering::Relaxed) == 0,
        "{failed:?} of {asked:?} requests failed during the rolling update"
    );
    ensure!(
        asked.load(Ordering::Relaxed) > 20,
        "only {asked:?} requests were made during the rolling update"
    );
    let answer = cluster.host.in_network(|| get(&format!("{address}:80"), "/version.txt", LIMIT))?;
    ensure!(answer.text() == "v2", "{answer:?}");
    ensure!(cluster.kubectl("-n shop rollout history deployment/web")?.contains('2'));
    Ok(())
}

fn break_container(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    cluster.host.run("sh", &["-c", "kill -9 $(pgrep -f '^httpd -f' | head -1)"])?;
    until("a restarted container", LIMIT, || {
        let restarted = ready_pods(cluster)?.into_iter().find(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"].as_i64() == Some(1)
                && status["lastState"]["terminated"]["exitCode"].as_i64() == Some(137)
        });
        Ok(restarted.map(drop))
    })?;
    eventually("three ready pods", LIMIT, || Ok(ready_pods(cluster)?.len() == 3))
}

fn crash(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let before = identities(&all_pods(cluster)?);
    let configmap = cluster.get("-n shop configmap greeting")?;
    cluster.host.run("kill", &["-9", &cluster.pid()?])?;
    let said = cluster.knarr(&["up", "-d"])?;
    ensure!(said.contains("node ready"), "{said}");
    ensure!(cluster.get("-n shop configmap greeting")? == configmap, "the ConfigMap is not what it was");
    eventually("three ready pods", LIMIT, || Ok(ready_pods(cluster)?.len() == 3))?;
    let after = identities(&all_pods(cluster)?);
    ensure!(before == after, "containers before {before:?} and after {after:?}");
    ensure!(cluster.kubectl("-n shop exec client -- wget -qO- http://web/version.txt")?.trim() == "v2");
    Ok(())
}

fn delete(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let volumes =
        |cluster: &Cluster<'_>| cluster.host.run("sh", &["-c", "grep -c pods/ /proc/self/mountinfo || true"]);
    cluster.kubectl("delete namespace shop --timeout=60s")?;
    let gone = cluster.kubectl("get namespace shop").err().map(|e| e.to_string()).unwrap_or_default();
    ensure!(gone.contains("namespaces \"shop\" not found"), "{gone}");
    eventually("no process, device, mount, rule or cgroup of a pod", LIMIT, || {
        let left = cluster.host.left()?;
        let rules = cluster.host.run("nft", &["list", "ruleset"])?;
        let processes = cluster.host.run("sh", &["-c", "pgrep -fc '[h]ttpd -f|[s]leep 1$' || true"])?;
        ensure!(processes.trim() == "0", "processes: {processes}");
        ensure!(!left.links.iter().any(|link| link.contains('@')), "links: {:?}", left.links);
        ensure!(
            !left.mounts.iter().any(|mount| mount.contains("overlay")
                || mount.contains("merged")
                || mount.contains("rootfs")),
            "mounts: {:?}",
            left.mounts
        );
        ensure!(volumes(cluster)?.trim() == "0", "volumes are still mounted");
        ensure!(!rules.contains("30080"), "rules: {rules}");
        ensure!(!left.cgroups.iter().any(|cgroup| cgroup.contains("/pod")), "cgroups: {:?}", left.cgroups);
        Ok(true)
    })
}

fn all_pods(cluster: &Cluster<'_>) -> anyhow::Result<Vec<Value>> {
    let list = cluster.get("-n shop pods -l app=web")?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn ready_pods(cluster: &Cluster<'_>) -> anyhow::Result<Vec<Value>> {
    let ready = |pod: &Value| {
        pod["metadata"]["deletionTimestamp"].is_null()
            && pod["status"]["containerStatuses"][0]["ready"] == true
    };
    Ok(all_pods(cluster)?.into_iter().filter(ready).collect())
}

fn one_pod(cluster: &Cluster<'_>) -> anyhow::Result<Value> {
    ready_pods(cluster)?.into_iter().next().context("no ready pod")
}

/// Container ids and restart counts by pod.
fn identities(pods: &[Value]) -> BTreeMap<String, (String, i64)> {
    pods.iter()
        .map(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            let restarts = status["restartCount"].as_i64().unwrap_or(-1);
            (text(&pod["metadata"]["name"]), (text(&status["containerID"]), restarts))
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A child that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
