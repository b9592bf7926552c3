#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Sets the name raw, as a hostile archive would.
    fn add(mut self, name: &str, kind: EntryType, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o4711 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(name, EntryType::Regular, "", data)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("knarr-unpack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(path.join("layer")).unwrap();
    path
}

#[test]
fn files_links_and_metadata() {
    let scratch = scratch("plain");
    let bytes = Layer::new()
        .add("./", EntryType::Directory, "", b"")
        .add("bin/", EntryType::Directory, "", b"")
        .file("bin/tool", b"tool")
        .add("bin/hard", EntryType::Link, "bin/tool", b"")
        .add("bin/soft", EntryType::Symlink, "tool", b"")
        .file("deep/er/file", b"x")
        .file("bin/tool2", b"one")
        .file("bin/tool2", b"two")
        .bytes();
    let expected = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
    let layer = scratch.join("layer");
    let unpacked = unpack(bytes.as_slice(), &layer, Whiteouts::Overlay).unwrap();
    assert_eq!(unpacked.diff_id, expected);
    let tool = layer.join("bin/tool").metadata().unwrap();
    assert_eq!(
        (tool.uid(), tool.gid(), tool.permissions().mode() & 0o7777, tool.mtime()),
        (7, 8, 0o4711, 1_000_000_000)
    );
    assert_eq!(tool.ino(), layer.join("bin/hard").metadata().unwrap().ino());
    assert_eq!(std::fs::read_link(layer.join("bin/soft")).unwrap(), Path::new("tool"));
    assert_eq!(layer.join("bin").metadata().unwrap().mtime(), 1_000_000_000);
    assert_eq!(std::fs::read(layer.join("bin/tool2")).unwrap(), b"two");
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn compressed_layers_have_the_same_identity() {
    let scratch = scratch("compressed");
    let bytes = Layer::new().file("a", b"content").bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let variants = [bytes.clone(), gzip.finish().unwrap(), zstd::encode_all(bytes.as_slice(), 1).unwrap()];
    for (index, variant) in variants.iter().enumerate() {
        let target = scratch.join(format!("layer{index}"));
        std::fs::create_dir(&target).unwrap();
        let unpacked = unpack(variant.as_slice(), &target, Whiteouts::Overlay).unwrap();
        assert_eq!(unpacked.diff_id, format!("sha256:{}", hex(&Sha256::digest(&bytes))));
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn deletions_become_overlay_marks() {
    let scratch = scratch("whiteout");
    let layer = scratch.join("layer");
    let bytes = Layer::new()
        .file("etc/.wh.passwd", b"")
        .file("var/.wh..wh..opq", b"")
        .file(".wh..wh.plnk", b"")
        .bytes();
    unpack(bytes.as_slice(), &layer, Whiteouts::Overlay).unwrap();
    let mark = layer.join("etc/passwd").symlink_metadata().unwrap();
    assert!(mark.file_type().is_char_device() && mark.rdev() == 0);
    assert!(layer.join("var").is_dir());
    assert_eq!(std::fs::read_dir(layer.join("var")).unwrap().count(), 0);
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn nothing_is_written_outside() {
    let cases: [(&str, Layer); 6] = [
        ("dots", Layer::new().file("../escaped", b"x")),
        ("inner dots", Layer::new().file("a/../../escaped", b"x")),
        ("link up", Layer::new().add("up", EntryType::Symlink, "..", b"").file("up/escaped", b"x")),
        (
            "absolute link",
            Layer::new().add("abs", EntryType::Symlink, "/tmp", b"").file("abs/knarr-escaped", b"x"),
        ),
        ("hard link", Layer::new().add("passwd", EntryType::Link, "../../etc/passwd", b"")),
        (
            "hard link through link",
            Layer::new().add("etc", EntryType::Symlink, "/etc", b"").add(
                "p",
                EntryType::Link,
                "etc/passwd",
                b"",
            ),
        ),
    ];
    for (name, layer) in cases {
        let scratch = scratch("escape");
        let _ = unpack(layer.bytes().as_slice(), &scratch.join("layer"), Whiteouts::Overlay);
        assert!(!scratch.join("escaped").exists(), "{name}");
        assert!(!Path::new("/tmp/knarr-escaped").exists(), "{name}");
        assert!(!scratch.join("layer/p").exists() && !scratch.join("layer/passwd").exists(), "{name}");
        std::fs::remove_dir_all(scratch).unwrap();
    }
}

#[test]
fn links_inside_the_layer_are_followed() {
    let scratch = scratch("inside");
    let layer = scratch.join("layer");
    let bytes = Layer::new()
        .add("usr/lib/", EntryType::Directory, "", b"")
        .add("lib", EntryType::Symlink, "/usr/lib", b"")
        .file("lib/libx.so", b"x")
        .bytes();
    unpack(bytes.as_slice(), &layer, Whiteouts::Overlay).unwrap();
    assert_eq!(std::fs::read(layer.join("usr/lib/libx.so")).unwrap(), b"x");
    std::fs::remove_dir_all(scratch).unwrap();
}
