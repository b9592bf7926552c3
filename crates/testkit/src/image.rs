//! Images for tests, built from Debian's `busybox-static`.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const BUSYBOX: &str = "/bin/busybox";
/// The commands of busybox that tests call by name.
const APPLETS: &[&str] = &[
    "cat", "date", "env", "echo", "false", "grep", "hostname", "httpd", "id", "kill", "ls", "mkdir", "mount",
    "nc", "nslookup", "printf", "ps", "pwd", "rm", "seq", "sh", "sleep", "stat", "stty", "tail", "test",
    "touch", "tr", "true", "tty", "wget", "wc",
];

/// An image of one layer: its blobs and what names them.
pub struct Image {
    /// (digest, contents): layer, configuration.
    pub blobs: Vec<(String, Vec<u8>)>,
    pub manifest: Vec<u8>,
    pub manifest_digest: String,
}

/// An image with busybox under `/bin`, `files` (path, contents) added, and a command that serves `/www` over HTTP on 8080.
///
/// # Errors
/// When busybox is not installed.
pub fn busybox(files: &[(&str, &str)]) -> anyhow::Result<Image> {
    let binary =
        std::fs::read(BUSYBOX).with_context(|| format!("{BUSYBOX} is missing: install busybox-static"))?;
    let layer = layer(&binary, files)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer)?;
    let compressed = gzip.finish()?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "MADE_BY=testkit"],
            "Cmd": ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = serde_json::to_vec(&config)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &compressed)],
    });
    let manifest = serde_json::to_vec(&manifest)?;
    Ok(Image {
        manifest_digest: digest(&manifest),
        blobs: vec![(digest(&compressed), compressed), (digest(&config), config)],
        manifest,
    })
}

impl Image {
    /// Writes the image as an OCI archive under the name `reference`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_archive(&self, file: &Path, reference: &str) -> anyhow::Result<()> {
        let mut archive = tar::Builder::new(std::fs::File::create(file)?);
        let mut put = |name: &str, contents: &[u8]| append(&mut archive, name, contents, 0o644);
        put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &self.manifest);
        entry["annotations"] =
            json!({"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference});
        put("index.json", &serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?)?;
        for (digest, contents) in &self.blobs {
            put(&format!("blobs/{}", digest.replace(':', "/")), contents)?;
        }
        put(&format!("blobs/{}", self.manifest_digest.replace(':', "/")), &self.manifest)?;
        archive.finish().context("failed to write the archive")
    }
}

fn layer(busybox: &[u8], files: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "proc/", "sys/", "dev/", "tmp/", "www/", "root/", "home/"] {
        let mut header = header(if dir == "tmp/" { 0o1777 } else { 0o755 }, 0);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, dir, std::io::empty())?;
    }
    append(&mut tar, "bin/busybox", busybox, 0o755)?;
    for applet in APPLETS {
        let mut header = header(0o777, 0);
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    append(
        &mut tar,
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home:/bin/sh\n",
        0o644,
    )?;
    append(&mut tar, "etc/group", b"root:x:0:\nweb:x:1000:\nextra:x:2000:web\n", 0o644)?;
    for (path, contents) in files {
        append(&mut tar, path.trim_start_matches('/'), contents.as_bytes(), 0o755)?;
    }
    Ok(tar.into_inner()?)
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut header = header(mode, contents.len() as u64);
    tar.append_data(&mut header, path, contents).with_context(|| format!("failed to add {path}"))
}

/// A file of root's.
fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, contents: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(contents), "size": contents.len()})
}

fn digest(contents: &[u8]) -> String {
    let hash = Sha256::digest(contents);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
