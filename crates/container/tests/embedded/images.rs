//! Test images, made from Debian's busybox-static.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use sha2::{Digest, Sha256};

pub const NAME: &str = "docker.io/library/busybox:test";

/// A blob and its digest.
pub struct Blob {
    pub digest: String,
    pub bytes: Vec<u8>,
}

impl Blob {
    pub fn new(bytes: Vec<u8>) -> Self {
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digest: format!("sha256:{hex}"), bytes }
    }
}

pub struct TestImage {
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
}

fn header(path: &str, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).unwrap();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn base_layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = header(path, tar::EntryType::Regular, mode, bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    file("bin/busybox", 0o755, &std::fs::read("/bin/busybox").expect("the package busybox-static"));
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\n");
    file("etc/group", 0o644, b"root:x:0:\nweb:x:1001:\nlogs:x:50:web\n");
    file("etc/removed", 0o644, b"gone in the next layer");
    file("bin/script", 0o755, b"not a program\n");
    for directory in ["tmp/", "home/web/", "root/"] {
        let mut header =
            header(directory, tar::EntryType::Directory, if directory == "tmp/" { 0o1777 } else { 0o755 }, 0);
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    for applet in [
        "sh", "cat", "echo", "env", "id", "ls", "sleep", "stty", "tty", "touch", "tail", "ps", "nc",
        "hostname", "mkdir", "head", "true", "false", "kill", "wc", "grep", "mount", "mknod", "unshare",
        "test", "httpd", "ip", "yes", "seq", "dd", "pwd", "readlink", "stat", "printf", "tr", "chown",
    ] {
        let mut header = header(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, 0);
        header.set_link_name("busybox").unwrap();
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn upper_layer(marker: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in [("etc/.wh.removed", ""), ("etc/marker", marker)] {
        let mut header = header(path, tar::EntryType::Regular, 0o644, bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image whose `/etc/marker` holds `marker`: one layer gzip, one zstd.
pub fn image(marker: &str) -> TestImage {
    let plain = [base_layer(), upper_layer(marker)];
    let diff_ids: Vec<String> = plain.iter().map(|layer| Blob::new(layer.clone()).digest).collect();
    let layers =
        vec![Blob::new(gzip(&plain[0])), Blob::new(zstd::encode_all(plain[1].as_slice(), 1).unwrap())];
    let config = Blob::new(
        json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Env": ["PATH=/bin", "FROM=image"], "Cmd": ["sh"], "WorkingDir": "/home/web", "User": "" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes(),
    );
    let types =
        ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"];
    let descriptor = |blob: &Blob, kind: &str| json!({ "mediaType": kind, "digest": blob.digest, "size": blob.bytes.len() });
    let manifest = Blob::new(
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().zip(types).map(|(blob, kind)| descriptor(blob, kind)).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes(),
    );
    TestImage { manifest, config, layers }
}

fn append(tar: &mut tar::Builder<std::fs::File>, path: &str, bytes: &[u8]) {
    let mut header = header(path, tar::EntryType::Regular, 0o644, bytes.len() as u64);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

/// Writes the image as a tar of an OCI layout with an index inside an index.
pub fn oci_archive(image: &TestImage, name: &str, directory: &Path) -> PathBuf {
    let path = directory.join("image.oci.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let inner = Blob::new(
        json!({ "schemaVersion": 2, "manifests": [
            { "digest": format!("sha256:{}", "0".repeat(64)), "size": 1, "platform": { "os": "linux", "architecture": "s390x" } },
            { "digest": image.manifest.digest, "size": image.manifest.bytes.len(), "platform": { "os": "linux", "architecture": "amd64" } },
        ]})
        .to_string()
        .into_bytes(),
    );
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "digest": inner.digest, "size": inner.bytes.len(), "annotations": { "org.opencontainers.image.ref.name": name } },
    ]});
    append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    append(&mut tar, "index.json", index.to_string().as_bytes());
    for blob in [&image.manifest, &image.config, &inner].into_iter().chain(&image.layers) {
        append(&mut tar, &format!("blobs/{}", blob.digest.replacen(':', "/", 1)), &blob.bytes);
    }
    tar.finish().unwrap();
    path
}

/// Writes the image as `docker save` does.
pub fn docker_archive(image: &TestImage, name: &str, directory: &Path) -> PathBuf {
    let path = directory.join("image.docker.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let layers: Vec<String> = (0..image.layers.len()).map(|index| format!("l{index}/layer.tar")).collect();
    for (path, blob) in layers.iter().zip(&image.layers) {
        append(&mut tar, path, &blob.bytes);
    }
    append(&mut tar, "config.json", &image.config.bytes);
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": layers }]);
    append(&mut tar, "manifest.json", manifest.to_string().as_bytes());
    tar.finish().unwrap();
    path
}

/// What the program does as the process of a container of its built-in image.
pub fn hello() -> ExitCode {
    println!(
        "hello tag={} cwd={}",
        std::env::var("KNARR_IMAGE_TAG").unwrap(),
        std::env::current_dir().unwrap().display()
    );
    ExitCode::from(4)
}
