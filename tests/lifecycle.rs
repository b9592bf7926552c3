//! The life of clusters beside the main job: starts that cannot succeed, several clusters on one host, the README's tour,
//! images from archives, manifests that are refused, and who may ask for what.

#![expect(clippy::unwrap_used, reason = "a test")]

mod controllers;
mod linearizable;
mod pods;
mod server;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testkit::{Cluster, Host, busybox, eventually, get, request, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_knarr");
const TOUR: &str = include_str!("../examples/tour/demo.yaml");
const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 6443;
const DEMO_PORT: u16 = 8080;

/// Runs `work` with a cluster on a host of its own, then takes the cluster down and compares the host with what it was.
fn on_a_cluster(name: &str, work: impl FnOnce(&Cluster<'_>) -> anyhow::Result<()>) {
    let host = Host::new(name).unwrap();
    let cluster = Cluster::new(&host, Path::new(PROGRAM)).unwrap();
    let before = host.left().unwrap();
    if let Err(error) = cluster.knarr(&["up", "-d"]).and_then(|_| work(&cluster)) {
        panic!("{error:#}\n{}", cluster.state());
    }
    cluster.knarr(&["down"]).unwrap();
    assert_eq!(host.left().unwrap(), before, "knarr down leaves the host as it found it");
}

/// Runs a command that must fail with one line on standard error, which holds `expected`.
fn refused(command: &mut Command, expected: &str) -> anyhow::Result<()> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&stderr);
    let context = || format!("{command:?}: {status}\n{}{said}", String::from_utf8_lossy(&stdout));
    ensure!(status.code() == Some(1), "exit code 1 expected: {}", context());
    ensure!(said.lines().count() == 1 && said.starts_with("knarr: "), "one line expected: {}", context());
    ensure!(said.contains(expected), "{expected:?} expected: {}", context());
    Ok(())
}

/// A `knarr` command that cannot hang the test when it is not refused.
fn limited(host: &Host, args: &[&str]) -> Command {
    let mut command = host.command("timeout");
    command.args(["20", PROGRAM]).args(args);
    command
}

// --- starts that cannot succeed

#[test]
fn a_start_that_cannot_succeed_is_one_clear_line_and_leaves_nothing() {
    let host = Host::new("badstart").unwrap();
    // Reachable for any user, wherever the program was built.
    host.run("sh", &["-c", &format!("touch /run/program && mount --bind {PROGRAM} /run/program")]).unwrap();
    let files =
        |host: &Host| host.run("find", &["/var/lib", "/run", &host.home().display().to_string()]).unwrap();
    let (left, kept) = (host.left().unwrap(), files(&host));
    bad_starts(&host).unwrap();
    assert_eq!(host.left().unwrap(), left, "a refused start leaves the host as it found it");
    assert_eq!(files(&host), kept, "a refused start leaves no file");
}

fn bad_starts(host: &Host) -> anyhow::Result<()> {
    for name in ["Bad_Name", "", "../elsewhere"] {
        refused(&mut limited(host, &["up", "--name", name]), "cannot be used: a lowercase RFC 1123 label")?;
    }
    let held = host.in_network(|| Ok(TcpListener::bind(("0.0.0.0", PORT))?))?;
    for args in [&["up"][..], &["up", "-d"]] {
        refused(
            &mut limited(host, args),
            "port 6443 cannot be used for the API server; choose another with --port",
        )?;
    }
    drop(held);
    let mut unprivileged = host.command("setpriv");
    unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/run/program", "up"]);
    refused(&mut unprivileged, "knarr up needs root")?;
    let hidden = format!("mount -t tmpfs none /usr/sbin && PATH=/usr/bin exec {PROGRAM} up");
    refused(host.command("unshare").args(["--mount", "sh", "-c", &hidden]), "the program nft is missing")?;
    refused(&mut limited(host, &["down"]), "there is no cluster")?;
    refused(&mut limited(host, &["logs"]), "there is no log of cluster")?;
    for args in [&["image", "list"][..], &["image", "remove", "web"], &["image", "import", PROGRAM]] {
        refused(&mut limited(host, args), "is not running; start it with: knarr up --name badstart-")?;
    }
    refused(&mut limited(host, &["image", "import", "/absent.tar"]), "failed to read /absent.tar")
}

/// Name of a directory, the files in it (path, contents), and why it is refused.
type ForeignDirectory<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn a_foreign_data_directory_is_refused_and_not_touched() {
    let host = Host::new("foreign").unwrap();
    let left = host.left().unwrap();
    let settings = |name: &str| {
        let ranges = ("10.90.0.0/16", "10.90.0.0/24", "10.91.0.0/16", "10.91.0.10");
        json!({"name": name, "port": PORT, "clusterDomain": "cluster.local", "clusterPodCidr": ranges.0,
            "podCidr": ranges.1, "serviceCidr": ranges.2, "clusterDns": ranges.3, "bridge": "kn0", "nodeName": "node"})
        .to_string()
    };
    let (ours, theirs, pages) = (settings(host.name()), settings("another"), "a page\n".repeat(4096));
    let cases: &[ForeignDirectory<'_>] = &[
        ("noise", &[("cluster.json", "\u{1}\u{2}not JSON")], "is not a cluster's settings"),
        ("empty", &[("cluster.json", "")], "is not a cluster's settings"),
        (
            "elsewhere",
            &[("cluster.json", r#"{"name": "foreign", "nodes": 3}"#)],
            "is not a cluster's settings",
        ),
        ("another", &[("cluster.json", &theirs)], "holds cluster \"another\", not \"foreign-"),
        ("photos", &[("2026/ship.jpg", "a photo")], "holds other files (2026) and no cluster"),
        ("plain", &[("cluster.json", &ours), ("store", "a file")], "store"),
        (
            "strange",
            &[("cluster.json", &ours), ("store/ship.jpg", "a photo")],
            "is not a store: it has the entry \"ship.jpg\"",
        ),
        ("damaged", &[("cluster.json", &ours), ("store/v2/base-00000000000000000001", &pages)], "is damaged"),
        (
            "keyless",
            &[("cluster.json", &ours), ("pki/ca.key", "no key"), ("pki/ca.crt", "no cert")],
            "is not a private key",
        ),
    ];
    for (name, files, expected) in cases {
        let dir = host.home().join(name);
        for (file, contents) in *files {
            let file = dir.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, contents).unwrap();
        }
        let before = tree(&dir);
        for detach in [&[][..], &["-d"]] {
            let args = [&["up", "--data-dir", dir.to_str().unwrap()], detach].concat();
            refused(&mut limited(&host, &args), expected).unwrap();
        }
        let mut after = tree(&dir);
        after.retain(|file, _| before.contains_key(file));
        assert_eq!(after, before, "{name}: the files are as they were");
    }
    assert!(!host.home().join(".kube").exists(), "no kubeconfig of a cluster that did not start");
    assert_eq!(host.left().unwrap(), left, "a refused start leaves the host as it found it");
}

#[test]
fn a_damaged_store_is_refused_as_it_is_and_goes_on_once_mended() {
    let host = Host::new("damaged").unwrap();
    let cluster = Cluster::new(&host, Path::new(PROGRAM)).unwrap();
    let data = host.home().join("data");
    let knarr =
        |args: &[&str]| cluster.knarr(&[args, &["--data-dir", data.to_str().unwrap()]].concat()).unwrap();
    knarr(&["up", "-d"]);
    cluster.kubectl("create configmap kept --from-literal=a=b").unwrap();
    knarr(&["down"]);
    let file = data.join("store/v2/log-00000000000000000001");
    let whole = std::fs::read(&file).unwrap();
    let cut = whole[..whole.len() / 2].to_vec();
    let overwritten = [&[0x5a; 64 * 1024][..], &whole[64 * 1024..]].concat();
    for damaged in [cut, overwritten] {
        std::fs::write(&file, &damaged).unwrap();
        let args = ["up", "-d", "--data-dir", data.to_str().unwrap()];
        refused(&mut limited(&host, &args), "data/store is damaged: log-00000000000000000001: ").unwrap();
        assert!(std::fs::read(&file).unwrap() == damaged, "the damaged file is as it was");
    }
    std::fs::write(&file, &whole).unwrap();
    knarr(&["up", "-d"]);
    assert_eq!(cluster.get("configmap kept").unwrap()["data"], json!({"a": "b"}));
    knarr(&["down", "--purge"]);
    assert!(!data.exists(), "--purge deletes the data directory");
}

/// The contents of all files below `dir`.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.append(&mut tree(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap_or_default());
        }
    }
    found
}

#[test]
fn a_running_cluster_refuses_what_it_cannot_do_and_goes_on() {
    on_a_cluster("running", |cluster| {
        let host = cluster.host;
        let pid = cluster.pid()?;
        for args in [&["up"][..], &["up", "-d"], &["up", "--port", "7000"]] {
            refused(&mut limited(host, args), &format!("is already running (process {pid})"))?;
        }
        let data = format!("/var/lib/knarr/{}", host.name());
        for command in ["up", "down"] {
            refused(
                &mut limited(host, &[command, "--name", "other", "--data-dir", &data]),
                "holds cluster \"running-",
            )?;
        }
        host.run("sh", &["-c", &format!("touch /run/program && mount --bind {PROGRAM} /run/program")])?;
        for command in ["up", "down", "status"] {
            let mut unprivileged = host.command("setpriv");
            unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/run/program", command]);
            refused(&mut unprivileged, "root")?;
        }
        host.run("umount", &["/run/program"])?;
        let garbage = host.home().join("garbage.tar");
        for contents in [&b"this is no archive"[..], b"", &[0; 4096], &[0xff; 4096]] {
            std::fs::write(&garbage, contents)?;
            refused(
                &mut limited(host, &["image", "import", garbage.to_str().context("path")?]),
                "failed to import /",
            )?;
        }
        let absent = "registry.example/absent:1";
        refused(
            &mut limited(host, &["image", "remove", absent]),
            "image \"registry.example/absent:1\" not found",
        )?;
        let nodes = cluster.kubectl("get nodes")?;
        ensure!(nodes.contains(" Ready ") && cluster.pid()? == pid, "{nodes}");
        Ok(())
    });
}

// --- several clusters

#[test]
fn two_clusters_live_side_by_side_and_go_one_by_one() {
    let host = Host::new("pair").unwrap();
    let cluster = Cluster::new(&host, Path::new(PROGRAM)).unwrap();
    let before = host.left().unwrap();
    let names = ["one", "two"].map(|which| format!("{}-{which}", host.name()));
    let outcome = (|| {
        for (name, port) in names.iter().zip(["7001", "7002"]) {
            cluster.knarr(&["up", "-d", "--name", name, "--port", port])?;
        }
        for name in &names {
            cluster.kubectl(&format!("--context {name} run demo --image=knarr.local/demo:1"))?;
        }
        for name in &names {
            ensure!(cluster.kubectl(&format!("--context {name} get nodes"))?.contains(" Ready "));
            answers(&cluster, name)?;
        }
        cluster.knarr(&["down", "--name", &names[0]])?;
        answers(&cluster, &names[1])?;
        cluster.kubectl(&format!("--context {} delete pod demo --now", names[1]))?;
        cluster.knarr(&["down", "--name", &names[1]])?;
        ensure!(!host.home().join(".kube/config").exists(), "the kubeconfig is left");
        Ok(())
    })();
    if let Err(error) = outcome {
        let logs = names.map(|name| cluster.knarr(&["logs", "--name", &name]).unwrap_or_default());
        panic!("{error:#}\n{}", logs.join("\n---\n"));
    }
    assert_eq!(host.left().unwrap(), before, "both clusters leave the host as they found it");
}

/// The pod `demo` of a cluster says who it is on its own address.
fn answers(cluster: &Cluster<'_>, context: &str) -> anyhow::Result<()> {
    cluster.kubectl(&format!("--context {context} wait --for=condition=Ready pod/demo --timeout=60s"))?;
    let pod = cluster.get(&format!("--context {context} pod demo"))?;
    let address = format!("{}:{DEMO_PORT}", text(&pod["status"]["podIP"]));
    let answer = cluster.host.in_network(|| get(&address, "/pod", LIMIT))?;
    ensure!(answer.text().trim() == "demo", "{context}: {answer:?}");
    Ok(())
}

// --- the README's tour

#[test]
fn the_tour_of_the_readme() {
    on_a_cluster("tour", |cluster| {
        let ask = |path: &str| {
            let answer = cluster.host.in_network(|| get("127.0.0.1:30080", path, LIMIT))?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
            Ok(answer.text().trim().to_owned())
        };
        cluster.apply(TOUR)?;
        cluster.kubectl("rollout status deployment/demo --timeout=60s")?;
        until("the NodePort", LIMIT, || ask("/pod").map(|pod| pod.starts_with("demo-").then_some(())))?;
        ensure!(ask("/files?path=/config/greeting.txt")? == "Hello from a ConfigMap.");
        ensure!(ask("/version")? == "1");
        cluster.kubectl("scale deployment demo --replicas=5")?;
        cluster.kubectl("wait --for=jsonpath={.status.readyReplicas}=5 deployment/demo --timeout=60s")?;
        break_one(cluster)?;
        cluster.kubectl("set image deployment/demo demo=knarr.local/demo:2")?;
        cluster.kubectl("rollout status deployment/demo --timeout=60s")?;
        eventually("the new version alone", LIMIT, || {
            let versions = (0..8).map(|_| ask("/version")).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(versions.iter().all(|version| version == "2"))
        })?;
        let file = cluster.host.home().join("demo.yaml");
        std::fs::write(&file, TOUR)?;
        cluster.kubectl(&format!("delete -f {}", file.display()))?;
        eventually("no pod", LIMIT, || Ok(cluster.get("pods")?["items"] == json!([])))
    });
}

/// One pod fails its liveness probe, and is restarted; the others are not.
fn break_one(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let broken =
        cluster.host.in_network(|| request("127.0.0.1:30080", "POST", "/healthy?fail=always", &[], LIMIT))?;
    ensure!(broken.status == 200, "{broken:?}");
    until("one restarted pod among five ready ones", LIMIT, || {
        let pods = cluster.get("pods -l app=demo")?;
        let statuses: Vec<&Value> = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pod| &pod["status"]["containerStatuses"][0])
            .collect();
        let ready = statuses.iter().filter(|status| status["ready"] == true).count();
        let restarts: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
        Ok((ready == 5 && restarts == 1).then_some(()))
    })?;
    let events = cluster.kubectl("get events --field-selector reason=Unhealthy")?;
    ensure!(events.contains("Liveness probe failed: HTTP probe failed with statuscode: 500"), "{events}");
    Ok(())
}

// --- images from archives

#[test]
fn an_imported_image_runs_without_a_registry() {
    const REFERENCE: &str = "registry.example/tools/web:v7";
    on_a_cluster("import", |cluster| {
        let archive = cluster.host.home().join("web.tar");
        busybox(&[("/www/index.html", "from an archive")])?.write_archive(&archive, REFERENCE)?;
        let said = cluster.knarr(&["image", "import", archive.to_str().context("path")?])?;
        ensure!(said.trim() == REFERENCE, "{said}");
        let list = cluster.knarr(&["image", "list"])?;
        ensure!(list.lines().any(|line| line.starts_with(&format!("{REFERENCE} "))), "{list}");
        cluster.kubectl(&format!("run web --image={REFERENCE} --image-pull-policy=Never"))?;
        cluster.kubectl("wait --for=condition=Ready pod/web --timeout=60s")?;
        let pod = cluster.get("pod web")?;
        ensure!(text(&pod["status"]["containerStatuses"][0]["image"]) == REFERENCE, "{}", pod["status"]);
        let address = format!("{}:8080", text(&pod["status"]["podIP"]));
        let page =
            until("the page", LIMIT, || cluster.host.in_network(|| get(&address, "/", LIMIT)).map(Some))?;
        ensure!(page.text() == "from an archive", "{page:?}");
        cluster.kubectl("delete pod web --now")?;
        cluster.knarr(&["image", "remove", REFERENCE])?;
        let list = cluster.knarr(&["image", "list"])?;
        ensure!(!list.contains(REFERENCE), "{list}");
        cluster.kubectl(&format!("run web --image={REFERENCE} --image-pull-policy=Never"))?;
        until("the reason why it does not run", LIMIT, || {
            let pod = cluster.get("pod web")?;
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
            Ok((waiting == "ErrImageNeverPull").then_some(()))
        })
    });
}

// --- manifests that are refused

/// A manifest, and what kubectl says on standard error.
const REFUSED: &[(&str, &str)] = &[
    (
        r#"{apiVersion: extensions/v1beta1, kind: ReplicaSet, metadata: {name: old}, spec: {template: {}}}"#,
        r#"no matches for kind "ReplicaSet" in version "extensions/v1beta1""#,
    ),
    (
        r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: typo}, spec: {replica: 3, selector: {matchLabels: {a: b}},
            template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}"#,
        r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replica""#,
    ),
    (
        r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: words}, spec: {replicas: three, selector: {matchLabels: {a: b}},
            template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}"#,
        r#"cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#,
    ),
    (
        r#"{apiVersion: apps/v1, kind: Deployment, metadata: {name: other}, spec: {selector: {matchLabels: {a: b}},
            template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}}"#,
        r#"The Deployment "other" is invalid: spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`"#,
    ),
    (
        r#"{apiVersion: v1, kind: Service, metadata: {name: portless}, spec: {selector: {a: b}}}"#,
        r#"The Service "portless" is invalid: spec.ports: Required value"#,
    ),
    (
        r#"{apiVersion: v1, kind: Service, metadata: {name: low}, spec: {type: NodePort, ports: [{port: 80, nodePort: 80}]}}"#,
        r#"The Service "low" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"#,
    ),
    (
        r#"{apiVersion: v1, kind: Pod, metadata: {name: Bad_Name}, spec: {containers: [{name: c, image: i}]}}"#,
        r#"The Pod "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of"#,
    ),
    (
        r#"{apiVersion: v1, kind: Pod, metadata: {name: mount}, spec: {containers: [
            {name: c, image: i, volumeMounts: [{name: absent, mountPath: /data}]}]}}"#,
        r#"The Pod "mount" is invalid: spec.containers[0].volumeMounts[0].name: Not found: "absent""#,
    ),
    (
        r#"{apiVersion: v1, kind: Pod, metadata: {name: greedy}, spec: {containers: [
            {name: c, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}}"#,
        r#"The Pod "greedy" is invalid: spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
    ),
    (
        r#"{apiVersion: v1, kind: ConfigMap, metadata: {name: lost, namespace: nowhere}}"#,
        r#"namespaces "nowhere" not found"#,
    ),
];

#[test]
fn manifests_that_upstream_refuses_are_refused_in_its_words() {
    on_a_cluster("refused", |cluster| {
        let mut wrong = Vec::new();
        for (manifest, expected) in REFUSED {
            let said = cluster.apply(manifest).err().map(|e| e.to_string()).unwrap_or_default();
            if !said.contains(expected) {
                wrong.push(format!("expected {expected}\n     got {said}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let made = cluster.kubectl("get deployments,pods,services,configmaps -o name")?;
        ensure!(made.lines().eq(["service/kubernetes", "configmap/kube-root-ca.crt"]), "{made}");
        Ok(())
    });
}

// --- identities

#[test]
fn each_identity_may_do_what_it_is_bound_to() {
    on_a_cluster("identity", |cluster| {
        cluster.kubectl("run demo --image=knarr.local/demo:1")?;
        cluster.kubectl("wait --for=condition=Ready pod/demo --timeout=60s")?;
        anonymous(cluster)?;
        let dir = "/var/run/secrets/kubernetes.io/serviceaccount";
        let pod = cluster.get("pod demo")?;
        let address = format!("{}:{DEMO_PORT}", text(&pod["status"]["podIP"]));
        let mounted = |name: &str| {
            let answer =
                cluster.host.in_network(|| get(&address, &format!("/files?path={dir}/{name}"), LIMIT))?;
            ensure!(answer.status == 200, "{name}: {answer:?}");
            Ok(answer.text().trim().to_owned())
        };
        ensure!(mounted("namespace")? == "default");
        let ca = cluster.host.home().join("ca.crt");
        std::fs::write(&ca, mounted("ca.crt")?)?;
        let given = cluster.kubectl("create token default")?;
        for token in [mounted("token")?, given.trim().to_owned()] {
            let (code, answer) = as_pod(cluster, &ca, &token, "/api/v1/namespaces/default/pods")?;
            let expected = "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
            ensure!(code == "403" && answer["message"] == expected, "{code} {answer}");
        }
        cluster.kubectl("create rolebinding look --clusterrole=view --serviceaccount=default:default")?;
        let token = mounted("token")?;
        until("the binding", LIMIT, || {
            let (code, answer) = as_pod(cluster, &ca, &token, "/api/v1/namespaces/default/pods")?;
            ensure!(code == "200", "{code} {answer}");
            Ok((answer["items"][0]["metadata"]["name"] == "demo").then_some(()))
        })?;
        for path in
            ["/api/v1/namespaces/default/secrets", "/api/v1/namespaces/kube-system/pods", "/api/v1/nodes"]
        {
            let (code, answer) = as_pod(cluster, &ca, &token, path)?;
            ensure!(code == "403", "{path}: {code} {answer}");
        }
        let (code, answer) = as_pod(cluster, &ca, &format!("{token}x"), "/api/v1/namespaces/default/pods")?;
        ensure!(code == "401" && answer["reason"] == "Unauthorized", "{code} {answer}");
        Ok(())
    });
}

fn anonymous(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let cases = [
        ("/healthz", "200", "ok"),
        ("/livez", "200", "ok"),
        ("/readyz", "200", "ok"),
        ("/version", "200", "\"gitVersion\": \"v1.37.0"),
        ("/api", "403", "forbidden: User \\\"system:anonymous\\\" cannot get path \\\"/api\\\""),
        ("/metrics", "403", "forbidden: User \\\"system:anonymous\\\" cannot get path \\\"/metrics\\\""),
        ("/openapi/v2", "403", "system:anonymous"),
        (
            "/api/v1/namespaces/default/pods",
            "403",
            "pods is forbidden: User \\\"system:anonymous\\\" cannot list resource",
        ),
        ("/api/v1/namespaces/kube-system/secrets", "403", "secrets is forbidden"),
        (
            "/apis/apps/v1/deployments?watch=1",
            "403",
            "cannot watch resource \\\"deployments\\\" in API group \\\"apps\\\" at the cluster scope",
        ),
    ];
    for (path, code, expected) in cases {
        let url = format!("https://127.0.0.1:{PORT}{path}");
        let said = cluster.host.run("curl", &["-sSk", "-m", "10", "-w", "\n%{http_code}", &url])?;
        ensure!(said.ends_with(&format!("\n{code}")) && said.contains(expected), "{path}: {said}");
    }
    Ok(())
}

/// Asks the API server as a pod would: by the name and address of the Service `kubernetes`, with the mounted authority.
fn as_pod(cluster: &Cluster<'_>, ca: &Path, token: &str, path: &str) -> anyhow::Result<(String, Value)> {
    let service = cluster.get("service kubernetes")?;
    let resolve = format!("kubernetes.default.svc:443:{}", text(&service["spec"]["clusterIP"]));
    let (ca, bearer) = (ca.display().to_string(), format!("Authorization: Bearer {token}"));
    let url = format!("https://kubernetes.default.svc{path}");
    let args = [
        "-sS",
        "-m",
        "10",
        "--cacert",
        &ca,
        "--resolve",
        &resolve,
        "-H",
        &bearer,
        "-w",
        "\n%{http_code}",
        &url,
    ];
    let said = cluster.host.run("curl", &args)?;
    let (body, code) = said.rsplit_once('\n').context("no code")?;
    Ok((code.to_owned(), serde_json::from_str(body).with_context(|| body.to_owned())?))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

// --- snapshots

#[test]
fn a_snapshot_brings_back_what_was_deleted() {
    let host = Host::new("snapshot").unwrap();
    let cluster = Cluster::new(&host, Path::new(PROGRAM)).unwrap();
    let before = host.left().unwrap();
    if let Err(error) = restored(&cluster) {
        panic!("{error:#}\n{}", cluster.state());
    }
    assert_eq!(host.left().unwrap(), before, "knarr down leaves the host as it found it");
}

fn restored(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let host = cluster.host;
    let file = host.home().join("snapshot");
    let file = file.to_str().context("path")?;
    refused(&mut limited(host, &["snapshot", "save", file]), "there is no cluster")?;
    cluster.knarr(&["up", "-d"])?;
    cluster.kubectl("create configmap kept --from-literal=a=b")?;
    cluster.knarr(&["snapshot", "save", file])?;
    refused(&mut limited(host, &["snapshot", "save", file]), "exists already")?;
    refused(&mut limited(host, &["snapshot", "restore", file]), "stop it first: knarr down")?;
    cluster.kubectl("delete configmap kept")?;
    cluster.kubectl("create configmap later --from-literal=a=b")?;
    let seen = cluster.get("configmap later")?["metadata"]["resourceVersion"].clone();
    cluster.knarr(&["down"])?;

    let torn = host.home().join("torn");
    std::fs::write(&torn, &std::fs::read(file)?[1..])?;
    let torn = torn.to_str().context("path")?;
    refused(&mut limited(host, &["snapshot", "restore", torn]), "is not a whole snapshot")?;
    cluster.knarr(&["snapshot", "restore", file])?;
    cluster.knarr(&["up", "-d"])?;
    ensure!(cluster.get("configmap kept")?["data"] == json!({"a": "b"}), "it is there again");
    ensure!(cluster.kubectl("get configmap later").is_err(), "what came after the snapshot is not");
    // Who saw that must be told to list again.
    let seen = seen.as_str().context("resourceVersion")?;
    let watch = format!("get --raw /api/v1/configmaps?watch=true&timeoutSeconds=5&resourceVersion={seen}");
    let answer = format!("{:?}", cluster.kubectl(&watch));
    ensure!(answer.contains("410") || answer.contains("too old resource version"), "{answer}");
    cluster.kubectl("create configmap next --from-literal=a=b")?;
    cluster.knarr(&["down"])?;
    // The same without the cluster running, into one that never was.
    let (second, data) = (host.home().join("second"), host.home().join("data"));
    let (second, data) = (second.to_str().context("path")?, data.to_str().context("path")?);
    cluster.knarr(&["snapshot", "save", second])?;
    cluster.knarr(&["snapshot", "restore", second, "--data-dir", data])?;
    cluster.knarr(&["up", "-d", "--data-dir", data, "--datastore-quota", "64Mi"])?;
    ensure!(cluster.get("configmap next")?["data"] == json!({"a": "b"}), "it is there, too");
    cluster.knarr(&["down", "--purge", "--data-dir", data])?;
    Ok(())
}
