//! A control plane without nodes, and a namespace of it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, until};

use crate::PROGRAM;
use crate::server::Server;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace of a control plane.
pub struct Place<'a> {
    pub server: &'a Server<'a>,
    pub directory: &'a TempDir,
    pub namespace: &'static str,
}

/// Runs `work` in a namespace that is ready for pods.
pub fn in_a_namespace(work: impl FnOnce(&Place<'_>) -> anyhow::Result<()>) {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let server = Server::start(Command::new(PROGRAM), &data, &[]).unwrap();
    let place = Place { server: &server, directory: &directory, namespace: "place" };
    if let Err(error) = place.open().and_then(|()| work(&place)) {
        panic!("{error:#}\n{}", server.log());
    }
}

impl Place<'_> {
    /// Makes the namespace.
    pub fn open(&self) -> anyhow::Result<()> {
        self.server.kubectl(&format!("create namespace {}", self.namespace))?;
        until("the account of pods", PATIENCE, || Ok(self.find("serviceaccount default")?.map(drop)))
    }

    pub fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        self.server.kubectl(&format!("--namespace {} {line}", self.namespace))
    }

    pub fn create(&self, object: &Value) -> anyhow::Result<()> {
        let file = self.directory.path().join("object.json");
        std::fs::write(&file, object.to_string())?;
        self.kubectl(&format!("create -f {}", file.display())).map(drop)
    }

    pub fn get(&self, what: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&format!("get {what} -o json"))?)?)
    }

    pub fn find(&self, what: &str) -> anyhow::Result<Option<Value>> {
        let found = self.kubectl(&format!("get {what} --ignore-not-found -o json"))?;
        Ok(if found.is_empty() { None } else { Some(serde_json::from_str(&found)?) })
    }

    pub fn list(&self, what: &str) -> anyhow::Result<Vec<Value>> {
        Ok(self.get(what)?["items"].as_array().context("items")?.clone())
    }

    pub fn patch(&self, what: &str, patch: &Value) -> anyhow::Result<()> {
        self.kubectl(&format!("patch {what} --type merge -p {patch}")).map(drop)
    }

    pub fn delete(&self, what: &str, cascade: &str) -> anyhow::Result<()> {
        self.kubectl(&format!("delete {what} --wait=false --cascade={cascade}")).map(drop)
    }

    /// Waits until there are so many.
    pub fn has(&self, what: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        until(&format!("{count} {what}"), PATIENCE, || {
            let all = self.list(what)?;
            ensure!(all.len() == count, "{} {what}", all.len());
            Ok(Some(all))
        })
    }

    pub fn is_gone(&self, what: &str) -> anyhow::Result<()> {
        eventually(&format!("no {what}"), PATIENCE, || Ok(self.find(what)?.is_none()))
    }
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn is_ending(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "example.com/none"}]}})
}
