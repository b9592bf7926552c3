//! What the restricted standard asks for in addition: pods that are hardened as far as it is known how.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{bad_seccomp, seccomp_fields};
use super::checks::Pod;
use super::words::{
    Violation, containers, context, has_own_users, is_windows, named, names, plural, quoted, sayers,
};
use crate::registry::kinds::value::{has, list, strings, text};

/// Since 1.25, pods for Windows need not say what means nothing there.
const WINDOWS_SINCE: u32 = 25;
/// Since 1.35, users that are not those of the host may be root.
const OWN_USERS_SINCE: u32 = 35;
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// In upstream's order: the first one names the volume.
const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn exempts_windows(pod: &Pod<'_>, minor: u32) -> bool {
    minor >= WINDOWS_SINCE && is_windows(pod.spec)
}

pub(super) fn escalation(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if exempts_windows(pod, minor) {
        return None;
    }
    let denied =
        |container: &Value| context(container, "allowPrivilegeEscalation") == Some(&Value::Bool(false));
    let bad = names(pod.spec, |container| !denied(container));
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad));
    (!bad.is_empty()).then(|| Violation::new("allowPrivilegeEscalation != false", detail()))
}

pub(super) fn capabilities(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if exempts_windows(pod, minor) {
        return None;
    }
    let listed = |container: &Value, field: &str| -> Vec<String> {
        let all = context(container, "capabilities").map(|all| strings(all, field)).unwrap_or_default();
        all.into_iter().map(str::to_owned).collect()
    };
    let added = |container: &Value| -> Vec<String> {
        listed(container, "add").into_iter().filter(|name| name != "NET_BIND_SERVICE").collect()
    };
    let mut details = Vec::new();
    let keeping = names(pod.spec, |container| !listed(container, "drop").iter().any(|name| name == "ALL"));
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeping)));
    }
    let adding = names(pod.spec, |container| !added(container).is_empty());
    if !adding.is_empty() {
        let all: BTreeSet<String> = containers(pod.spec).flat_map(added).collect();
        let (who, what) = (named(&adding), quoted(&all));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

pub(super) fn volumes(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let bad: Vec<&Value> = list(pod.spec, "volumes")
        .iter()
        .filter(|volume| !VOLUMES.iter().any(|kind| has(volume, kind)))
        .collect();
    let kind_of =
        |volume: &Value| OTHER_VOLUMES.into_iter().find(|kind| has(volume, kind)).unwrap_or("unknown");
    let kinds: BTreeSet<&str> = bad.iter().map(|volume| kind_of(volume)).collect();
    (!bad.is_empty()).then(|| {
        let (volume, uses) = (plural("volume", "volumes", bad.len()), plural("uses", "use", bad.len()));
        let word = plural("restricted volume type", "restricted volume types", kinds.len());
        let names = quoted(bad.iter().map(|volume| text(volume, "name")));
        let detail = format!("{volume} {names} {uses} {word} {}", quoted(&kinds));
        Violation::new("restricted volume types", detail)
    })
}

pub(super) fn non_root(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if minor >= OWN_USERS_SINCE && has_own_users(pod.spec) {
        return None;
    }
    let said = |place: &Value| context(place, "runAsNonRoot").and_then(Value::as_bool);
    let root = names(pod.spec, |container| said(container) == Some(false));
    if let Some(who) = sayers(said(pod.spec) == Some(false), &root) {
        return Some(Violation::new(
            REASON,
            format!("{who} must not set securityContext.runAsNonRoot=false"),
        ));
    }
    let silent = names(pod.spec, |container| said(container).is_none());
    let missing = said(pod.spec).is_none() && !silent.is_empty();
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", named(&silent));
    missing.then(|| Violation::new(REASON, detail()))
}

pub(super) fn user(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= OWN_USERS_SINCE && has_own_users(pod.spec) {
        return None;
    }
    let root = |place: &Value| context(place, "runAsUser").and_then(Value::as_i64) == Some(0);
    let who = sayers(root(pod.spec), &names(pod.spec, root))?;
    Some(Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

pub(super) fn seccomp(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if exempts_windows(pod, minor) {
        return None;
    }
    if let Some(violation) = seccomp_fields(pod) {
        return Some(violation);
    }
    let set = |place: &Value| context(place, "seccompProfile").is_some();
    let silent = names(pod.spec, |container| !set(container));
    let covered = set(pod.spec) && bad_seccomp(pod.spec).is_none();
    let missing = !covered && !silent.is_empty();
    missing.then(|| {
        let who = named(&silent);
        let detail = format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        );
        Violation::new("seccompProfile", detail)
    })
}
