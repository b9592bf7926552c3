//! Files of a volume that get into each other's way: the same place twice, or one below the other.

use machinery::text::go_quote;
use serde_json::Value;

use super::super::value::{has, list, text};

/// A file, and what it is made from when the volume has several sources.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }

    fn shown(&self) -> String {
        let path = go_quote(&self.path);
        if self.source.is_empty() { path } else { format!("{path} ({})", self.source) }
    }

    fn collides(&self, other: &Self) -> bool {
        let below = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (below(&self.path, &other.path) || below(&other.path, &self.path))
    }
}

/// Warnings of a pod's volumes.
pub(super) fn warnings(volumes: &[Value]) -> Vec<String> {
    let mut warnings = Vec::new();
    for volume in volumes {
        for (kind, shown, name) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
            let source = &volume[kind];
            let what = format!("{shown} {}", go_quote(text(source, name)));
            warn(volume, &what, &items(source, ""), &mut warnings);
        }
        warn(volume, "DownwardAPI", &items(&volume["downwardAPI"], ""), &mut warnings);
        if has(volume, "projected") {
            projected(volume, &mut warnings);
        }
    }
    warnings
}

fn projected(volume: &Value, warnings: &mut Vec<String>) {
    let mut all = Vec::new();
    for source in list(&volume["projected"], "sources") {
        if source.as_object().is_none_or(serde_json::Map::is_empty) {
            let name = go_quote(text(volume, "name"));
            warnings.push(format!("volume {name} (Projected) has no sources provided"));
        }
        all.extend(of_source(source));
    }
    warn(volume, "Projected", &all, warnings);
}

fn warn(volume: &Value, what: &str, files: &[File], warnings: &mut Vec<String>) {
    let name = go_quote(text(volume, "name"));
    for (i, file) in files.iter().enumerate() {
        for other in files[..i].iter().filter(|other| file.collides(other)) {
            let (file, other) = (file.shown(), other.shown());
            warnings.push(format!("volume {name} ({what}): overlapping paths: {file} with {other}"));
        }
    }
}

fn items(source: &Value, shown: &str) -> Vec<File> {
    list(source, "items").iter().map(|item| File::new(text(item, "path"), shown)).collect()
}

/// Files of a part of a projected volume; only the first of its kinds counts.
fn of_source(source: &Value) -> Vec<File> {
    for (kind, shown) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if !list(&source[kind], "items").is_empty() {
            let what = format!("{shown} {}", go_quote(text(&source[kind], "name")));
            return items(&source[kind], &what);
        }
    }
    if !list(&source["downwardAPI"], "items").is_empty() {
        return items(&source["downwardAPI"], "DownwardAPI");
    }
    if has(source, "serviceAccountToken") {
        return vec![File::new(text(&source["serviceAccountToken"], "path"), "ServiceAccountToken")];
    }
    if has(source, "clusterTrustBundle") {
        let bundle = &source["clusterTrustBundle"];
        let named = if has(bundle, "name") { "name" } else { "signerName" };
        let what = format!("ClusterTrustBundle {}", go_quote(text(bundle, named)));
        return vec![File::new(text(bundle, "path"), &what)];
    }
    let certificate = &source["podCertificate"];
    let files = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    files
        .into_iter()
        .filter(|(field, _)| !text(certificate, field).is_empty())
        .map(|(field, what)| File::new(text(certificate, field), what))
        .collect()
}
