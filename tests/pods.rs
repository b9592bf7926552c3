//! What containers see: their environment, their volumes, who they are. Each pod says what it sees and ends.

mod environment;
mod files;

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testkit::{Cluster, busybox, until};

use crate::{LIMIT, on_a_cluster};

const IMAGE: &str = "registry.example/tools/shell:v1";

/// A pod with one container, and what it says.
struct Talk {
    name: &'static str,
    /// Fields of the pod's specification beside the container.
    spec: Value,
    /// Fields of the container beside image and command.
    container: Value,
    script: String,
    says: String,
}

impl Talk {
    fn new(name: &'static str, script: &str, says: &str) -> Self {
        Self { name, spec: json!({}), container: json!({}), script: script.to_owned(), says: says.to_owned() }
    }

    fn spec(mut self, spec: Value) -> Self {
        self.spec = spec;
        self
    }

    fn container(mut self, container: Value) -> Self {
        self.container = container;
        self
    }

    fn pod(&self) -> Value {
        let mut container = self.container.clone();
        container["name"] = "c".into();
        container["image"] = IMAGE.into();
        container["imagePullPolicy"] = "Never".into();
        if container.get("command").is_none() {
            container["command"] = json!(["sh", "-c", self.script]);
        }
        let mut spec = self.spec.clone();
        spec["restartPolicy"] = "Never".into();
        spec["containers"] = json!([container]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "labels": {"talk": "yes"}}, "spec": spec})
    }
}

/// Runs `work` on a cluster that has the image and these objects, and compares what pods say.
fn hear(name: &str, objects: &[Value], talks: impl FnOnce(&Cluster<'_>) -> anyhow::Result<Vec<Talk>>) {
    on_a_cluster(name, |cluster| {
        import(cluster)?;
        for object in objects {
            cluster.apply(&object.to_string())?;
        }
        let talks = talks(cluster)?;
        for talk in &talks {
            cluster.apply(&talk.pod().to_string())?;
        }
        for talk in &talks {
            let pod = ended(cluster, talk.name)?;
            let said = cluster.kubectl(&format!("logs {}", talk.name))?;
            let wanted = filled_in(&talk.says, &pod);
            ensure!(said.trim() == wanted.trim(), "{} says:\n{said}\nand not:\n{wanted}", talk.name);
        }
        cluster.kubectl("delete pods -l talk=yes --now").map(drop)
    });
}

fn import(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let archive = cluster.host.home().join("shell.tar");
    busybox(&[])?.write_archive(Path::new(&archive), IMAGE)?;
    cluster.knarr(&["image", "import", archive.to_str().context("path")?]).map(drop)
}

fn ended(cluster: &Cluster<'_>, name: &str) -> anyhow::Result<Value> {
    until(&format!("the end of {name}"), LIMIT, || {
        let pod = cluster.get(&format!("pod {name}"))?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if phase == "Failed" {
            anyhow::bail!("{}\n{}", pod["status"], cluster.kubectl(&format!("logs {name}"))?);
        }
        Ok((phase == "Succeeded").then_some(pod))
    })
}

/// What is known of a pod only when it is there: `{podIP}`, `{hostIP}`, `{uid}`.
fn filled_in(says: &str, pod: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = &pod["status"];
    says.replace("{podIP}", &text(&status["podIP"]))
        .replace("{hostIP}", &text(&status["hostIP"]))
        .replace("{uid}", &text(&pod["metadata"]["uid"]))
}

/// A map and a secret of the same name and with the same data.
fn told() -> [Value; 2] {
    let data = json!({"data-1": "value-1", "data-2": "value-2"});
    [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "told"}, "data": data, "binaryData": {"binary": "3sr+utD+/w=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "told"}, "stringData": data}),
    ]
}

/// What a container has at most and at least.
fn bounds() -> Value {
    json!({"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}})
}

/// Processors, rounded up, and bytes of memory that the node gives to pods.
fn allocatable(cluster: &Cluster<'_>) -> anyhow::Result<(u64, u64)> {
    let nodes = cluster.get("nodes")?;
    let amounts = &nodes["items"][0]["status"]["allocatable"];
    let text = |key: &str| amounts[key].as_str().context("an amount");
    let cpu = match text("cpu")?.strip_suffix('m') {
        Some(milli) => milli.parse::<u64>()?.div_ceil(1000),
        None => text("cpu")?.parse()?,
    };
    let memory = match text("memory")?.strip_suffix("Ki") {
        Some(kibibytes) => kibibytes.parse::<u64>()? * 1024,
        None => text("memory")?.parse()?,
    };
    Ok((cpu, memory))
}
