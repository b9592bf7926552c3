//! Kernel parameters of the network, and putting them back.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const ROOT: &str = "/proc/sys";

/// Reads a parameter by its path below `/proc/sys`; `None` when the kernel has no such parameter.
pub(crate) fn read(name: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(Path::new(ROOT).join(name)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(name, &error)),
    }
}

/// Sets a parameter if it has another value. Returns the value before, `None` when it was as wished or is unknown to
/// the kernel.
pub(crate) fn set(name: &str, value: &str) -> io::Result<Option<String>> {
    match read(name)? {
        Some(before) if before != value => {
            std::fs::write(Path::new(ROOT).join(name), value).map_err(|error| named(name, &error))?;
            Ok(Some(before))
        }
        _ => Ok(None),
    }
}

/// Forwarding between interfaces, with all that the kernel changes along with it.
///
/// Writing `ip_forward` overwrites every interface's own `forwarding` and `accept_redirects` of `all`; the values from
/// before are returned so that [`restore`] can put exactly those back. Empty when forwarding was on already.
pub(crate) fn enable_forwarding() -> io::Result<BTreeMap<String, String>> {
    let mut before = BTreeMap::new();
    if read("net/ipv4/ip_forward")?.as_deref() == Some("1") {
        return Ok(before);
    }
    let directory = "net/ipv4/conf";
    for entry in std::fs::read_dir(Path::new(ROOT).join(directory))? {
        let interface = entry?.file_name();
        let name = format!("{directory}/{}/forwarding", interface.to_string_lossy());
        if interface != "all"
            && let Some(value) = read(&name)?
        {
            before.insert(name, value);
        }
    }
    let redirects = format!("{directory}/all/accept_redirects");
    if let Some(value) = read(&redirects)? {
        before.insert(redirects, value);
    }
    if let Some(value) = set("net/ipv4/ip_forward", "1")? {
        before.insert("net/ipv4/ip_forward".to_owned(), value);
    }
    Ok(before)
}

/// Puts parameters back. What is gone meanwhile, like a deleted interface, is passed over.
pub(crate) fn restore(before: &BTreeMap<String, String>) -> io::Result<()> {
    // Forwarding first: it overwrites the others.
    let forward = "net/ipv4/ip_forward";
    if let Some(value) = before.get(forward) {
        set(forward, value)?;
    }
    for (name, value) in before.iter().filter(|(name, _)| *name != forward) {
        set(name, value)?;
    }
    Ok(())
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("kernel parameter {}: {error}", name.replace('/', ".")))
}
