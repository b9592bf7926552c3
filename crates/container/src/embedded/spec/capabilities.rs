//! Capabilities of a container's process.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::SecurityContext;

/// What a container gets unless it asks otherwise: containerd's set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
/// All that exist, in the kernel's order.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Names without `CAP_`, of those this process may itself give.
///
/// # Errors
/// Names a capability that does not exist.
pub fn names(security: &SecurityContext, device_limits: bool) -> Result<BTreeSet<&'static str>, String> {
    let permitted = permitted();
    let available = |name: &&'static str| permitted.is_none_or(|mask| has(mask, name));
    if security.privileged {
        return Ok(ALL.into_iter().filter(available).collect());
    }
    let mut set: BTreeSet<&'static str> = DEFAULT.into();
    if !device_limits {
        set.remove("MKNOD");
    }
    let parse = |list: &[String]| list.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>();
    let (added, dropped) = (parse(&security.add_capabilities)?, parse(&security.drop_capabilities)?);
    // `ALL` first on either side, so that single names refine it.
    if dropped.contains(&None) {
        set.clear();
    }
    if added.contains(&None) {
        set.extend(ALL);
    }
    for name in dropped.into_iter().flatten() {
        set.remove(name);
    }
    set.extend(added.into_iter().flatten());
    set.retain(|name| available(name));
    Ok(set)
}

/// The sets of the specification. Nothing is inheritable or ambient, so that a user other than root has none.
pub fn sets(security: &SecurityContext, device_limits: bool) -> Result<Value, String> {
    let names: Vec<String> =
        names(security, device_limits)?.into_iter().map(|name| format!("CAP_{name}")).collect();
    Ok(json!({ "bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": [] }))
}

/// `None` for `ALL`.
fn find(name: &str) -> Result<Option<&'static str>, String> {
    let upper = name.to_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(None);
    }
    ALL.into_iter()
        .find(|known| *known == bare)
        .map(Some)
        .ok_or_else(|| format!("unknown capability {name:?}"))
}

fn has(mask: u64, name: &str) -> bool {
    ALL.iter().position(|known| *known == name).is_some_and(|bit| mask >> bit & 1 == 1)
}

/// This process' bounding set: asking for more would fail every start.
fn permitted() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str]) -> Result<Vec<&'static str>, String> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = SecurityContext {
            add_capabilities: list(add),
            drop_capabilities: list(drop),
            ..SecurityContext::default()
        };
        names(&security, true).map(|set| set.into_iter().collect())
    }

    #[test]
    fn added_and_dropped() {
        assert_eq!(check(&[], &["ALL"]), Ok(vec![]));
        assert_eq!(check(&["CAP_CHOWN", "kill"], &["all"]), Ok(vec!["CHOWN", "KILL"]));
        assert!(
            check(&[], &["CHOWN"]).is_ok_and(|set| set.len() == DEFAULT.len() - 1 && !set.contains(&"CHOWN"))
        );
        assert!(
            check(&["ALL"], &["KILL"]).is_ok_and(|set| set.contains(&"SYS_ADMIN") && !set.contains(&"KILL"))
        );
        assert_eq!(check(&["FLY"], &[]), Err("unknown capability \"FLY\"".to_owned()));
    }
}
