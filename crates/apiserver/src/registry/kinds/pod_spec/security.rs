//! Refusals of security contexts, of containers and of the pod as a whole.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{internal, names};
use serde_json::Value;

use super::super::check::MAX_INT32;
use super::super::value::{flag, has, list, strings, text};
use super::volumes::descending;
use super::{every_container, shares_users_with_host, windows};

/// In the order upstream names them.
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const PROFILE_PATH_MAX: usize = 4095;
const SYSCTL_MAX: usize = 253;

/// What a container may do. `shares_users`: its users are those of the host.
pub(super) fn of_container(container: &Value, shares_users: bool, path: &Path) -> Errors {
    let (context, path) = (&container["securityContext"], path.child("securityContext"));
    if !context.is_object() {
        return Errors::new();
    }
    let mut errors = Errors::new();
    for field in ["runAsUser", "runAsGroup"] {
        errors.extend(id_in_range(&context[field], &path.child(field)));
    }
    if has(context, "procMount") {
        let (kind, at) = (text(context, "procMount"), path.child("procMount"));
        if !matches!(kind, "Default" | "Unmasked") {
            errors.push(FieldError::not_supported(&at, kind, &["Default", "Unmasked"]));
        }
        if shares_users && kind == "Unmasked" {
            errors.push(FieldError::invalid(&at, kind, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    errors.extend(seccomp(context, &path));
    let shown = || internal::compact("SecurityContext", context);
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if flag(context, "privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(&path, Value::Null, detail).showing(shown()));
        }
        if strings(&context["capabilities"], "add").contains(&"CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(&path, Value::Null, detail).showing(shown()));
        }
    }
    errors.extend(windows::options(context, &path));
    errors.extend(app_armor(context, &path));
    errors
}

/// What holds for all containers of the pod.
pub(super) fn of_pod(spec: &Value, path: &Path) -> Errors {
    let (context, path) = (&spec["securityContext"], path.child("securityContext"));
    if context.as_object().is_none_or(serde_json::Map::is_empty) {
        return sharing_processes(spec, &path).into_iter().collect();
    }
    let mut errors = Errors::new();
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.extend(id_in_range(&context[field], &path.child(field)));
    }
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        errors.extend(id_in_range(group, &path.child("supplementalGroups").index(i)));
    }
    errors.extend(sharing_processes(spec, &path));
    errors.extend(sysctls(spec, &path.child("sysctls")));
    errors.extend(policy(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path));
    errors.extend(seccomp(context, &path));
    errors.extend(windows::options(context, &path));
    errors.extend(app_armor(context, &path));
    errors.extend(policy(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path));
    errors.extend(policy(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], &path));
    errors
}

fn sharing_processes(spec: &Value, path: &Path) -> Option<FieldError> {
    let both = flag(spec, "shareProcessNamespace") && flag(spec, "hostPID");
    let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
    both.then(|| FieldError::invalid(&path.child("shareProcessNamespace"), true, detail))
}

fn policy(context: &Value, field: &str, known: &[&str], path: &Path) -> Option<FieldError> {
    let policy = text(context, field);
    let fits = !has(context, field) || known.contains(&policy);
    (!fits).then(|| FieldError::not_supported(&path.child(field), policy, known))
}

/// User and group ids are 31-bit.
fn id_in_range(id: &Value, path: &Path) -> Option<FieldError> {
    let id = id.as_i64()?;
    (!(0..=MAX_INT32).contains(&id)).then(|| FieldError::invalid(path, id, names::range_error(0, MAX_INT32)))
}

/// The profile of a field, and that a file is named for `Localhost` and for nothing else.
fn profile(
    profile: &Value,
    (field, kind): (&str, &str),
    path: &Path,
    of_file: fn(&str, &Path) -> Errors,
) -> Errors {
    let (name, file) = (text(profile, "type"), path.child("localhostProfile"));
    let mut errors = Errors::new();
    match name {
        "" => {
            let detail = format!("type is required when {field} is set");
            errors.push(FieldError::required(&path.child("type"), detail));
        }
        name if PROFILES.contains(&name) => {}
        name => errors.push(FieldError::not_supported(&path.child("type"), name, &PROFILES)),
    }
    let given = profile.get("localhostProfile").and_then(Value::as_str);
    match given {
        None if name == "Localhost" => {
            errors.push(FieldError::required(&file, format!("must be set when {kind} type is Localhost")));
        }
        Some(given) if name == "Localhost" => errors.extend(of_file(given, &file)),
        Some(given) if kind == "seccomp" || PROFILES.contains(&name) => {
            let error =
                FieldError::invalid(&file, given, format!("can only be set when {kind} type is Localhost"));
            let whole = || internal::compact("SeccompProfile", profile);
            errors.push(if kind == "seccomp" { error.showing(whole()) } else { error });
        }
        _ => {}
    }
    errors
}

fn seccomp(context: &Value, path: &Path) -> Errors {
    const FIELD: &str = "seccompProfile";
    if !has(context, FIELD) {
        return Errors::new();
    }
    profile(&context[FIELD], (FIELD, "seccomp"), &path.child(FIELD), descending)
}

fn app_armor(context: &Value, path: &Path) -> Errors {
    const FIELD: &str = "appArmorProfile";
    if !has(context, FIELD) {
        return Errors::new();
    }
    profile(&context[FIELD], (FIELD, "AppArmor"), &path.child(FIELD), |file, path| {
        let mut errors = Errors::new();
        if file.trim() != file {
            errors.push(FieldError::invalid(path, file, "must not be padded with whitespace"));
        } else if file.is_empty() {
            errors.push(FieldError::required(path, "must be set when AppArmor type is Localhost"));
        }
        if file.len() > PROFILE_PATH_MAX {
            errors.push(FieldError::too_long(path, PROFILE_PATH_MAX));
        }
        errors
    })
}

fn sysctls(spec: &Value, path: &Path) -> Errors {
    const FORM: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, sysctl) in list(&spec["securityContext"], "sysctls").iter().enumerate() {
        let (name, at) = (text(sysctl, "name"), path.index(i).child("name"));
        let new = seen.insert(name);
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(&at, name, FORM));
        } else if !new {
            errors.push(FieldError::duplicate(&at, name));
        }
        let shared = match namespace(&with_dots(name)) {
            Some(field) if flag(spec, field) => field,
            _ => continue,
        };
        let detail = format!("may not be specified when '{shared}' is true");
        errors.push(FieldError::invalid(&at, name, detail));
    }
    errors
}

fn is_sysctl(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let segment = |part: &str| {
        let bytes = part.as_bytes();
        outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|b| inner(*b))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(segment)
}

/// The name as it is written with dots, whichever of the two signs comes first in it.
fn with_dots(name: &str) -> String {
    let slashes = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let swap = |c: char| match c {
        '/' if slashes => '.',
        '.' if slashes => '/',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// The field that shares with the host what the setting belongs to.
fn namespace(sysctl: &str) -> Option<&'static str> {
    if sysctl.starts_with("net.") {
        return Some("hostNetwork");
    }
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| sysctl.starts_with(prefix));
    (ipc || sysctl == "kernel.sem").then_some("hostIPC")
}

/// A pod with users of its own shares nothing else with the host.
pub(super) fn own_users(spec: &Value, path: &Path) -> Errors {
    const DETAIL: &str = "when `hostUsers` is false";
    if shares_users_with_host(spec) {
        return Errors::new();
    }
    let shared = [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")];
    let mut errors: Errors = shared
        .iter()
        .filter(|(field, _)| flag(spec, field))
        .map(|(_, shown)| FieldError::forbidden(&path.child(shown), DETAIL))
        .collect();
    for (container, at) in every_container(spec, path) {
        if !list(container, "volumeDevices").is_empty() {
            errors.push(FieldError::forbidden(&at.child("volumeDevices"), DETAIL));
        }
    }
    errors
}

/// Whether a profile in an annotation could be one.
pub(super) fn seccomp_annotation(profile: &str, path: &Path) -> Errors {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return Errors::new();
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => descending(file, path),
        None => vec![FieldError::invalid(path, profile, "must be a valid seccomp profile")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_belong_to_namespaces() {
        for (name, field) in [
            ("net.ipv4.tcp_syncookies", Some("hostNetwork")),
            ("net/ipv4/conf/eth0.1/x", Some("hostNetwork")),
            ("kernel.shmmax", Some("hostIPC")),
            ("kernel.sem", Some("hostIPC")),
            ("kernel.sched", None),
            ("vm.swappiness", None),
        ] {
            assert_eq!(namespace(&with_dots(name)), field, "{name}");
            assert!(is_sysctl(name), "{name}");
        }
        for name in ["", "a..b", "A", "-a", "a.", &"a".repeat(254)] {
            assert!(!is_sysctl(name), "{name}");
        }
    }
}
