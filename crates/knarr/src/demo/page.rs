//! What the demonstration server shows.

use std::fmt::Write;
use std::io;
use std::path::Path;

use super::state::State;

/// Longest file shown.
const FILE_BYTES_MAX: usize = 1024 * 1024;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#1b2a38}\
h1{font-weight:600;border-left:.4rem solid COLOUR;padding-left:.8rem}table{border-collapse:collapse;width:100%}\
th{text-align:left;font-weight:600;padding:.35rem 1rem .35rem 0;width:9rem}td{padding:.35rem 0}\
button{font:inherit;margin-right:.5rem;padding:.2rem .8rem;border:1px solid #9ab;border-radius:.3rem;background:#f4f7fa;cursor:pointer}\
a{color:#0b5c8a}code{background:#eef2f5;padding:.1rem .3rem;border-radius:.2rem}";

/// The page at `/`.
pub(super) fn overview(state: &State) -> String {
    let mut rows = String::new();
    for (label, value) in [
        ("Pod", Some(state.pod.as_str())),
        ("Namespace", state.namespace.as_deref()),
        ("Node", state.node.as_deref()),
        ("Address", state.address.as_deref()),
        ("Version", Some(state.version.as_str())),
    ] {
        if let Some(value) = value {
            let _ = write!(rows, "<tr><th>{label}</th><td><code>{}</code></td></tr>", escape(value));
        }
    }
    for (label, path, probe) in
        [("Liveness", "/healthy", &state.healthy), ("Readiness", "/ready", &state.ready)]
    {
        let _ = write!(rows, "<tr><th>{label}</th><td>{} {}</td></tr>", probe.describe(), buttons(path));
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{pod}</title>\
         <meta name=viewport content='width=device-width'><style>{style}</style>\
         <h1>{pod}</h1><table>{rows}</table>\
         <p><a href=/env>Environment</a> · <a href='/files?path=/'>Files</a> · <a href='/load?ms=1000'>A second of load</a></p>",
        pod = escape(&state.pod),
        style = STYLE.replace("COLOUR", &colour(&state.version)),
    )
}

/// Buttons that make a probe fail and recover.
fn buttons(path: &str) -> String {
    ["always", "3", "never"].iter().fold(String::new(), |mut out, fail| {
        let _ = write!(
            out,
            "<button onclick=\"fetch('{path}?fail={fail}',{{method:'POST'}}).then(()=>location.reload())\">fail {fail}</button>"
        );
        out
    })
}

/// Another version has another colour, so that a rolling update can be seen.
fn colour(version: &str) -> String {
    let hue = version.bytes().fold(210_u32, |hue, byte| (hue * 31 + u32::from(byte)) % 360);
    format!("hsl({hue} 60% 45%)")
}

/// One variable a line, sorted.
pub(super) fn environment() -> String {
    let mut lines: Vec<String> = std::env::vars_os()
        .map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()))
        .collect();
    lines.sort();
    lines.join("\n")
}

/// A file's text, or a directory's entries one a line.
pub(super) fn file_or_directory(path: &Path) -> io::Result<String> {
    if path.is_dir() {
        let mut names = std::fs::read_dir(path)?
            .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        return Ok(names.join("\n"));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(std::fs::File::open(path)?, FILE_BYTES_MAX as u64),
        &mut bytes,
    )?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
