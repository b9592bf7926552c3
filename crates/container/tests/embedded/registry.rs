//! Pulling from Debian's docker-registry on loopback.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use container::{RegistryAuth, Runtime};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth as Secret;
use oci_client::{Reference, RegistryOperation};

use crate::images::{self, TestImage};
use crate::world::{World, eventually};

/// bcrypt of `secret`.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

struct Registry {
    child: Child,
    port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(directory: &Path, auth: bool) -> Registry {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = directory.join(format!("registry-{auth}"));
    std::fs::create_dir_all(home.join("data")).unwrap();
    let mut config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        home.join("data").display()
    );
    if auth {
        std::fs::write(home.join("htpasswd"), HTPASSWD).unwrap();
        config +=
            &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", home.join("htpasswd").display());
    }
    std::fs::write(home.join("config.yml"), config).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(home.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the package docker-registry");
    eventually("the registry", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Registry { child, port }
}

async fn push(image: &TestImage, name: &str, secret: &Secret) {
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let reference: Reference = name.parse().unwrap();
    client.auth(&reference, secret, RegistryOperation::Push).await.unwrap();
    for blob in image.layers.iter().chain([&image.config]) {
        client.push_blob(&reference, blob.bytes.clone(), &blob.digest).await.unwrap();
    }
    let kind = "application/vnd.oci.image.manifest.v1+json".parse().unwrap();
    client.push_manifest_raw(&reference, image.manifest.bytes.clone(), kind).await.unwrap();
}

pub async fn pulls(world: &World) {
    let registry = serve(&world.directory, false);
    let name = format!("127.0.0.1:{}/team/app:v1", registry.port);
    let image = images::image("pulled");
    push(&image, &name, &Secret::Anonymous).await;
    let (first, second) =
        tokio::join!(world.runtime.pull_image(&name, None), world.runtime.pull_image(&name, None));
    assert_eq!(first.unwrap(), image.config.digest);
    assert_eq!(second.unwrap(), image.config.digest);
    let known = world.runtime.image_status(&name).await.unwrap().unwrap();
    assert_eq!(known.repo_tags, [name.as_str()]);
    let by_digest = format!("127.0.0.1:{}/team/app@{}", registry.port, image.manifest.digest);
    assert_eq!(known.repo_digests, [by_digest.as_str()]);
    assert_eq!(world.runtime.pull_image(&by_digest, None).await.unwrap(), image.config.digest);
    let (_, log) =
        world.script("cat /etc/marker; ls /etc/removed 2>&1", |config| config.image.clone_from(&name)).await;
    assert_eq!(log[0], "stdout F pulledls: /etc/removed: No such file or directory");

    let missing = format!("127.0.0.1:{}/team/app:none", registry.port);
    let error = world.runtime.pull_image(&missing, None).await.unwrap_err().to_string();
    assert!(error.contains(&format!("{missing}: not found")), "{error}");
    world.runtime.remove_image(&name).await.unwrap();
    assert!(world.runtime.image_status(&name).await.unwrap().is_none());
    drop(registry);
    let error = world.runtime.pull_image(&name, None).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

pub async fn basic_auth(world: &World) {
    let registry = serve(&world.directory, true);
    let name = format!("localhost:{}/private:1", registry.port);
    let image = images::image("private");
    push(&image, &name, &Secret::Basic("user".to_owned(), "secret".to_owned())).await;
    let auth = |password: &str| {
        Some(RegistryAuth {
            username: "user".to_owned(),
            password: password.to_owned(),
            registry_token: None,
        })
    };
    for wrong in [None, auth("wrong")] {
        let error = world.runtime.pull_image(&name, wrong).await.unwrap_err().to_string();
        assert!(error.contains("pull access denied"), "{error}");
    }
    assert_eq!(world.runtime.pull_image(&name, auth("secret")).await.unwrap(), image.config.digest);
}
