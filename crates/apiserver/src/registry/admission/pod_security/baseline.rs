//! What the baseline standard forbids: known ways out of a container. Functions are given the specification of a pod, its
//! annotations, and the minor version whose standard it is.

use std::collections::BTreeSet;

use machinery::text::go_quote;
use serde_json::Value;

use super::checks::Pod;
use super::words::{Violation, containers, context, has_own_users, named, names, plural, quoted, sayers};
use crate::registry::kinds::value::{flag, has, int, list, strings, text};

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Settings of the kernel that are the pod's own, each with the version that found so.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) fn app_armor(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let bad = |place: &Value| {
        let kind = context(place, "appArmorProfile").map(|profile| text(profile, "type"))?;
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let of_containers = names(pod.spec, |container| bad(container).is_some());
    let values: BTreeSet<String> =
        std::iter::once(pod.spec).chain(containers(pod.spec)).filter_map(bad).collect();
    let harmless =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !harmless(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    let said = sayers(bad(pod.spec).is_some(), &of_containers);
    let annotated = match annotations.len() {
        0 => None,
        count => Some(plural("annotation", "annotations", count).to_owned()),
    };
    let who: Vec<String> = said.into_iter().chain(annotated).collect();
    let what: Vec<String> = values.into_iter().chain(annotations).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", what.len());
    (!who.is_empty()).then(|| {
        let who = who.join(" and ");
        Violation::new(reason, format!("{who} must not set AppArmor profile type to {}", quoted(&what)))
    })
}

pub(super) fn capabilities(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let added = |container: &Value| -> BTreeSet<String> {
        let all = context(container, "capabilities").map(|all| strings(all, "add")).unwrap_or_default();
        all.into_iter().filter(|name| !CAPABILITIES.contains(name)).map(str::to_owned).collect()
    };
    let bad = names(pod.spec, |container| !added(container).is_empty());
    let all: BTreeSet<String> = containers(pod.spec).flat_map(added).collect();
    (!bad.is_empty()).then(|| {
        let (who, what) = (named(&bad), quoted(&all));
        let detail = format!("{who} must not include {what} in securityContext.capabilities.add");
        Violation::new("non-default capabilities", detail)
    })
}

pub(super) fn host_namespaces(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| flag(pod.spec, field))
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

pub(super) fn host_paths(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let volumes = list(pod.spec, "volumes").iter().filter(|volume| has(volume, "hostPath"));
    let volumes: Vec<&str> = volumes.map(|volume| text(volume, "name")).collect();
    let word = plural("volume", "volumes", volumes.len());
    (!volumes.is_empty()).then(|| Violation::new("hostPath volumes", format!("{word} {}", quoted(&volumes))))
}

pub(super) fn host_ports(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let taken = |container: &Value| -> Vec<String> {
        let ports = list(container, "ports").iter().filter_map(|port| int(port, "hostPort"));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let bad = names(pod.spec, |container| !taken(container).is_empty());
    // Upstream sorts them as text.
    let ports: Vec<String> =
        containers(pod.spec).flat_map(taken).collect::<BTreeSet<_>>().into_iter().collect();
    (!bad.is_empty()).then(|| {
        let uses = plural("uses", "use", bad.len());
        let word = plural("hostPort", "hostPorts", ports.len());
        Violation::new("hostPort", format!("{} {uses} {word} {}", named(&bad), ports.join(", ")))
    })
}

/// Probes and hooks of other hosts than the pod's own.
pub(super) fn hosts(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    const HANDLERS: [&str; 5] =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let asked = |container: &Value| -> Vec<String> {
        let handlers = HANDLERS.into_iter().filter_map(|pointer| container.pointer(pointer));
        let hosts =
            handlers.flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| text(&handler[kind], "host")));
        hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let bad: BTreeSet<&str> = names(pod.spec, |container| !asked(container).is_empty()).into_iter().collect();
    let bad: Vec<&str> = bad.into_iter().collect();
    let hosts: BTreeSet<String> = containers(pod.spec).flat_map(asked).collect();
    (!bad.is_empty()).then(|| {
        let uses = plural("uses", "use", bad.len());
        let word = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
        Violation::new("probe or lifecycle host", format!("{} {uses} {word} {}", named(&bad), quoted(&hosts)))
    })
}

pub(super) fn privileged(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let bad = names(pod.spec, |container| context(container, "privileged") == Some(&Value::Bool(true)));
    let detail = || format!("{} must not set securityContext.privileged=true", named(&bad));
    (!bad.is_empty()).then(|| Violation::new("privileged", detail()))
}

/// Since 1.35, users that are not those of the host may see all of `/proc`.
pub(super) fn proc_mount(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= 35 && has_own_users(pod.spec) {
        return None;
    }
    unmasked(pod, minor)
}

pub(super) fn unmasked(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mount = |container: &Value| {
        let kind = context(container, "procMount").and_then(Value::as_str).filter(|kind| *kind != "Default");
        kind.map(str::to_owned)
    };
    let bad = names(pod.spec, |container| mount(container).is_some());
    let kinds: BTreeSet<String> = containers(pod.spec).filter_map(mount).collect();
    (!bad.is_empty()).then(|| {
        let (who, what) = (named(&bad), quoted(&kinds));
        Violation::new("procMount", format!("{who} must not set securityContext.procMount to {what}"))
    })
}

pub(super) fn se_linux(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    const TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];
    let known = |kind: &str| TYPES.contains(&kind) || (minor >= 31 && kind == "container_engine_t");
    let sets = |place: &Value, field: &str| {
        context(place, "seLinuxOptions").is_some_and(|options| !text(options, field).is_empty())
    };
    let bad_type = |place: &Value| {
        let kind = context(place, "seLinuxOptions").map(|options| text(options, "type"))?;
        (!known(kind)).then(|| kind.to_owned())
    };
    let bad = |place: &Value| bad_type(place).is_some() || sets(place, "user") || sets(place, "role");
    let who = sayers(bad(pod.spec), &names(pod.spec, bad))?;
    let places = || std::iter::once(pod.spec).chain(containers(pod.spec));
    let types: BTreeSet<String> = places().filter_map(bad_type).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    for field in ["user", "role"].into_iter().filter(|field| places().any(|place| sets(place, field))) {
        what.push(format!("{field} may not be set"));
    }
    let what = what.join("; ");
    Some(Violation::new(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    ))
}

/// A profile that is not one of those that confine.
pub(super) fn bad_seccomp(place: &Value) -> Option<String> {
    let kind = context(place, "seccompProfile").map(|profile| text(profile, "type"))?;
    (!matches!(kind, "Localhost" | "RuntimeDefault")).then(|| kind.to_owned())
}

pub(super) fn seccomp(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor < 19 { seccomp_annotations(pod) } else { seccomp_fields(pod) }
}

pub(super) fn seccomp_fields(pod: &Pod<'_>) -> Option<Violation> {
    let bad = names(pod.spec, |container| bad_seccomp(container).is_some());
    let who = sayers(bad_seccomp(pod.spec).is_some(), &bad)?;
    let places = std::iter::once(pod.spec).chain(containers(pod.spec));
    let values: BTreeSet<String> = places.filter_map(bad_seccomp).collect();
    let what = quoted(&values);
    Some(Violation::new(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {what}"),
    ))
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let harmless = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let of_containers = containers(pod.spec).map(|container| format!("{SECCOMP}{}", text(container, "name")));
    let keys: BTreeSet<String> = of_containers.chain([SECCOMP_POD.to_owned()]).collect();
    let bad: Vec<String> = pod
        .annotations()
        .filter(|(key, value)| keys.contains(*key) && !harmless(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    let word = plural("annotation", "annotations", bad.len());
    (!bad.is_empty())
        .then(|| Violation::new("seccompProfile", format!("forbidden {word} {}", bad.join(", "))))
}

pub(super) fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let known = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    let set = context(pod.spec, "sysctls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let bad: Vec<&str> = set.iter().map(|sysctl| text(sysctl, "name")).filter(|name| !known(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

pub(super) fn host_process(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let bad =
        |place: &Value| context(place, "windowsOptions").is_some_and(|options| flag(options, "hostProcess"));
    let who = sayers(bad(pod.spec), &names(pod.spec, bad))?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation::new("hostProcess", detail))
}
