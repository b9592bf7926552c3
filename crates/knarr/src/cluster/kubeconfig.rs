//! The kubeconfig of a cluster, on its own and merged into the user's `~/.kube/config`.
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::pki::{Identity, write_secret};

const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// How the administrator reaches one cluster.
pub(crate) struct Kubeconfig {
    name: String,
    server: String,
    ca_pem: String,
    admin: Identity,
}

impl Kubeconfig {
    pub(crate) fn new(name: &str, server: String, ca_pem: &str, admin: Identity) -> Self {
        Self { name: name.to_owned(), server, ca_pem: ca_pem.to_owned(), admin }
    }

    /// Writes a file with this cluster alone.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut config = empty();
        self.insert(&mut config);
        write_config(file, &config)
    }

    /// Adds the cluster to `~/.kube/config` and makes it the current context. Everything else in the file stays.
    pub(crate) fn merge(&self) -> anyhow::Result<PathBuf> {
        let file = user_file()?;
        let mut config = read_config(&file)?.unwrap_or_else(empty);
        self.insert(&mut config);
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
        }
        write_config(&file, &config)?;
        Ok(file)
    }

    /// Takes the cluster `name` out of `~/.kube/config` again.
    pub(crate) fn unmerge(name: &str) -> anyhow::Result<()> {
        let file = user_file()?;
        let Some(mut config) = read_config(&file)? else { return Ok(()) };
        remove(&mut config, name);
        if LISTS.iter().all(|list| config[*list].as_array().is_none_or(Vec::is_empty)) {
            return std::fs::remove_file(&file)
                .with_context(|| format!("failed to remove {}", file.display()));
        }
        write_config(&file, &config)
    }

    fn insert(&self, config: &mut Value) {
        remove(config, &self.name);
        let encode = |pem: &str| STANDARD.encode(pem);
        let entries = [
            json!({"name": self.name, "cluster": {"server": self.server, "certificate-authority-data": encode(&self.ca_pem)}}),
            json!({"name": self.name, "context": {"cluster": self.name, "user": self.name}}),
            json!({"name": self.name, "user": {
                "client-certificate-data": encode(&self.admin.cert_pem), "client-key-data": encode(&self.admin.key_pem)}}),
        ];
        for (list, entry) in LISTS.into_iter().zip(entries) {
            match config[list].as_array_mut() {
                Some(items) => items.push(entry),
                None => config[list] = json!([entry]),
            }
        }
        config["current-context"] = json!(self.name);
    }
}

fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "preferences": {}})
}

fn remove(config: &mut Value, name: &str) {
    for list in LISTS {
        if let Some(items) = config[list].as_array_mut() {
            items.retain(|item| item["name"] != name);
        }
    }
    if config["current-context"] == name {
        config["current-context"] = json!("");
    }
}

fn user_file() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set: cannot find ~/.kube/config")?;
    Ok(Path::new(&home).join(".kube/config"))
}

fn read_config(file: &Path) -> anyhow::Result<Option<Value>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => return Ok(None),
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", file.display())),
    };
    let config: Map<String, Value> = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is not a kubeconfig; it was left as it is", file.display()))?;
    for list in LISTS {
        if config.get(list).is_some_and(|v| !v.is_array() && !v.is_null()) {
            bail!("{} is not a kubeconfig: {list} is not a list; it was left as it is", file.display());
        }
    }
    Ok(Some(Value::Object(config)))
}

fn write_config(file: &Path, config: &Value) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(config).context("failed to write the kubeconfig as YAML")?;
    write_secret(file, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(name: &str) -> Kubeconfig {
        let admin = Identity { cert_pem: "C".into(), key_pem: "K".into() };
        Kubeconfig::new(name, "https://127.0.0.1:6443".into(), "CA", admin)
    }

    #[test]
    fn other_clusters_stay_and_taking_out_restores() {
        let theirs = json!({"apiVersion": "v1", "kind": "Config", "preferences": {},
            "clusters": [{"name": "prod", "cluster": {"server": "https://prod"}}],
            "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "prod"}}],
            "users": [{"name": "prod", "user": {"token": "t"}}], "current-context": "prod"});
        let mut config = theirs.clone();
        kubeconfig("knarr").insert(&mut config);
        kubeconfig("knarr").insert(&mut config);
        assert_eq!(config["clusters"].as_array().map(Vec::len), Some(2));
        assert_eq!(config["current-context"], "knarr");
        remove(&mut config, "knarr");
        for list in LISTS {
            assert_eq!(config[list], theirs[list]);
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut config = empty();
        kubeconfig("knarr").insert(&mut config);
        let text = serde_saphyr::to_string(&config).unwrap_or_default();
        let back: Value = serde_saphyr::from_str(&text).unwrap_or_default();
        assert_eq!(back, config);
    }
}
