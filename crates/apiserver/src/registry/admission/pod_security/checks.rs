//! Which checks a standard has, by version.

use serde_json::Value;

use super::policy::{Level, Standard};
use super::words::Violation;
use super::{baseline, restricted};

/// The last version in which a standard was changed; later ones are the same.
const LATEST: u32 = 35;

/// What is checked of a pod, or of the template of one.
pub(super) struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// A pod, or a template.
    pub(super) fn of(object: &'a Value) -> Self {
        Self { metadata: &object["metadata"], spec: &object["spec"] }
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a String, &'a str)> {
        let all = self.metadata.get("annotations").and_then(Value::as_object).into_iter().flatten();
        all.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
    }
}

struct Check {
    id: &'static str,
    level: Level,
    /// The version that began with it.
    since: u32,
    /// A check of the baseline that this one is stricter than.
    instead: &'static str,
    find: fn(&Pod<'_>, u32) -> Option<Violation>,
}

const fn base(id: &'static str, find: fn(&Pod<'_>, u32) -> Option<Violation>) -> Check {
    Check { id, level: Level::Baseline, since: 0, instead: "", find }
}

const fn strict(
    id: &'static str,
    since: u32,
    instead: &'static str,
    find: fn(&Pod<'_>, u32) -> Option<Violation>,
) -> Check {
    Check { id, level: Level::Restricted, since, instead, find }
}

/// In the order in which violations are told.
const CHECKS: [Check; 19] = [
    base("appArmorProfile", baseline::app_armor),
    base("capabilities_baseline", baseline::capabilities),
    base("hostNamespaces", baseline::host_namespaces),
    base("hostPathVolumes", baseline::host_paths),
    base("hostPorts", baseline::host_ports),
    Check { since: 34, ..base("hostProbesAndHostLifecycle", baseline::hosts) },
    base("privileged", baseline::privileged),
    base("procMount", baseline::proc_mount),
    base("seLinuxOptions", baseline::se_linux),
    base("seccompProfile_baseline", baseline::seccomp),
    base("sysctls", baseline::sysctls),
    base("windowsHostProcess", baseline::host_process),
    strict("allowPrivilegeEscalation", 8, "", restricted::escalation),
    strict("capabilities_restricted", 22, "capabilities_baseline", restricted::capabilities),
    strict("procMount_restricted", 35, "procMount", baseline::unmasked),
    strict("restrictedVolumes", 0, "hostPathVolumes", restricted::volumes),
    strict("runAsNonRoot", 0, "", restricted::non_root),
    strict("runAsUser", 23, "", restricted::user),
    strict("seccompProfile_restricted", 19, "seccompProfile_baseline", restricted::seccomp),
];

/// What of a pod is against a standard.
pub(super) fn violations(standard: Standard, pod: &Pod<'_>) -> Vec<Violation> {
    let minor = standard.minor.unwrap_or(LATEST).min(LATEST);
    let applies = |check: &&Check| check.level <= standard.level && check.since <= minor;
    let overridden = |id: &str| CHECKS.iter().filter(applies).any(|check| check.instead == id);
    let checks = CHECKS.iter().filter(applies).filter(|check| !overridden(check.id));
    checks.filter_map(|check| (check.find)(pod, minor)).collect()
}

/// Violations in one sentence.
pub(super) fn details(violations: &[Violation]) -> String {
    let all: Vec<String> =
        violations.iter().map(|violation| format!("{} ({})", violation.reason, violation.detail)).collect();
    all.join(", ")
}

/// The same without what it is about.
pub(super) fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
}
