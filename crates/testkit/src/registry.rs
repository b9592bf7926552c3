//! A real registry (Debian's `docker-registry`) inside a test host.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::http::{get, request};
use crate::{Host, Image, until};

const LIMIT: Duration = Duration::from_secs(60);
const ADDRESS: &str = "127.0.0.1:5000";

/// A running registry on the host's loopback. Ends when dropped.
pub struct Registry<'a> {
    host: &'a Host,
    child: Child,
}

impl<'a> Registry<'a> {
    /// Starts a registry on 127.0.0.1:5000 of `host`.
    ///
    /// # Errors
    /// When `docker-registry` is not installed or does not answer.
    pub fn start(host: &'a Host) -> anyhow::Result<Self> {
        let root = host.home().join("registry");
        std::fs::create_dir_all(&root)?;
        let config = host.home().join("registry.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {ADDRESS}\n",
                root.display()
            ),
        )?;
        let child = host
            .command("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to run docker-registry: install docker-registry")?;
        let registry = Self { host, child };
        until("the registry", LIMIT, || {
            let answer = registry.host.in_network(|| get(ADDRESS, "/v2/", LIMIT));
            Ok(answer.ok().filter(|a| a.status == 200))
        })?;
        Ok(registry)
    }

    /// Pushes an image; returns the reference to pull it by.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub fn push(&self, image: &Image, name: &str, tag: &str) -> anyhow::Result<String> {
        self.host.in_network(|| {
            for (digest, contents) in &image.blobs {
                let begun = request(ADDRESS, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], LIMIT)?;
                let location = begun.header("location").context("the registry gave no upload location")?;
                let path = location.find("/v2/").map_or(location, |at| &location[at..]);
                let joint = if path.contains('?') { '&' } else { '?' };
                let done =
                    request(ADDRESS, "PUT", &format!("{path}{joint}digest={digest}"), contents, LIMIT)?;
                ensure!(done.status == 201, "blob refused: {} {}", done.status, done.text());
            }
            Ok(())
        })?;
        self.put_manifest(image, name, tag)?;
        Ok(format!("{ADDRESS}/{name}:{tag}"))
    }

    fn put_manifest(&self, image: &Image, name: &str, tag: &str) -> anyhow::Result<()> {
        let file = self.host.home().join("manifest.json");
        std::fs::write(&file, &image.manifest)?;
        let data = format!("@{}", file.display());
        let url = format!("http://{ADDRESS}/v2/{name}/manifests/{tag}");
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        self.host.run("curl", &["-fsS", "-X", "PUT", "-H", kind, "--data-binary", &data, &url]).map(drop)
    }
}

impl Drop for Registry<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
