//! What works but is likely a mistake (upstream `pkg/api/pod/warnings.go`).

use std::collections::BTreeSet;
use std::fmt::Display;

use machinery::field::Path;
use machinery::quantity::Quantity;
use machinery::text::go_quote;
use machinery::{meta, names};
use serde_json::Value;

use super::super::value::{has, int, list, map, strings, text};
use super::super::{addresses, node_labels};
use super::{annotations, every_container, overlaps, port_warnings};

/// Annotations that do nothing any more.
const DEAD_ANNOTATIONS: [(&str, &str); 3] = [
    ("scheduler.alpha.kubernetes.io/critical-pod", "1.16+; use the \"priorityClassName\" field instead"),
    ("security.alpha.kubernetes.io/sysctls", "1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "1.11+; use the \"sysctls\" field instead"),
];
/// Kinds of volumes that are not mounted any more.
const DEAD_VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Warnings, each with where it belongs.
#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, path: &Path, what: impl Display) {
        self.0.push(format!("{path}: {what}"));
    }
}

/// Of a new pod.
pub(in super::super) fn of_pod(pod: &Value) -> Vec<String> {
    let mut warnings = Warnings::default();
    let name = meta::name(pod);
    if !name.is_empty() && !names::dns1123_label(name).is_empty() {
        let path = Path::new("metadata").child("name");
        let reasons = names::dns1123_label(name).join(" ");
        let what = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
        warnings.add(&path, format!("{what}: [{reasons}]"));
    }
    of(pod, &Path::root(), &mut warnings);
    for (container, _) in every_container(&pod["spec"], &Path::root()) {
        app_armor(pod, container, &Path::root(), &mut warnings);
    }
    warnings.0
}

/// Of a template.
pub(in super::super) fn of_template(template: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Warnings::default();
    of(template, path, &mut warnings);
    let spec = &template["spec"];
    for (container, _) in every_container(spec, path) {
        let own = has(&container["securityContext"], "appArmorProfile");
        if !own
            && !annotations::says_app_armor(
                template,
                container,
                spec.pointer("/securityContext/appArmorProfile"),
            )
        {
            app_armor(template, container, path, &mut warnings);
        }
    }
    warnings.0
}

/// Kinds of this volume that are not mounted any more, and since when.
pub(in super::super) fn dead_volume(volume: &Value) -> impl Iterator<Item = (&'static str, &'static str)> {
    let dead = DEAD_VOLUMES.into_iter().filter(|(field, ..)| has(volume, field));
    dead.map(|(_, shown, since)| (shown, since))
}

fn app_armor(object: &Value, container: &Value, path: &Path, warnings: &mut Warnings) {
    let Some(given) = meta::annotations(object).filter(|given| !given.is_empty()) else { return };
    let key = format!("{}{}", annotations::APP_ARMOR, text(container, "name"));
    if given.contains_key(&key) {
        let at = path.child("metadata").child("annotations").key(&key);
        warnings.add(&at, "deprecated since v1.30; use the \"appArmorProfile\" field instead");
    }
}

fn of(object: &Value, path: &Path, warnings: &mut Warnings) {
    let (spec, at) = (&object["spec"], path.child("spec"));
    old_labels(spec, &at, warnings);
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let at = at.child("topologySpreadConstraints").index(i);
        let key = text(constraint, "topologyKey");
        if let Some(since) = node_labels::old(key) {
            warnings.add(&at.child("topologyKey"), format!("{key} is {since}"));
        }
        if !has(constraint, "labelSelector") {
            warnings.add(&at.child("labelSelector"), NO_SELECTOR);
        }
    }
    dead_annotations(object, path, warnings);
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let at = at.child("volumes").index(i);
        for (shown, since) in dead_volume(volume) {
            warnings.add(&at.child(shown), since);
        }
        if let Some(claim) = volume.pointer("/ephemeral/volumeClaimTemplate/spec") {
            let at = at.child("ephemeral").child("volumeClaimTemplate").child("spec");
            claim_amounts(claim, &at, warnings);
        }
    }
    warnings.0.extend(overlaps::warnings(list(spec, "volumes")));
    twice(spec, "hostAliases", "ip", &at, warnings);
    twice(spec, "imagePullSecrets", "name", &at, warnings);
    for (i, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.add(&at.child("imagePullSecrets").index(i).child("name"), "invalid empty name \"\"");
        }
    }
    fractions(&spec["overhead"], &at.child("overhead"), warnings);
    for (container, at) in every_container(spec, &at) {
        let resources = &container["resources"];
        for field in ["limits", "requests"].into_iter().filter(|field| has(resources, field)) {
            fractions(&resources[field], &at.child("resources").child(field), warnings);
        }
        hidden_variables(container, &at, warnings);
    }
    warnings.0.extend(port_warnings::of(spec, &at));
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let what = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.add(&at.child("terminationGracePeriodSeconds"), what);
    }
    neighbours(spec, &at, warnings);
    odd_addresses(spec, &at, warnings);
}

/// Addresses that are written in an unusual way.
fn odd_addresses(spec: &Value, path: &Path, warnings: &mut Warnings) {
    let at = path.child("dnsConfig").child("nameservers");
    for (i, server) in strings(&spec["dnsConfig"], "nameservers").into_iter().enumerate() {
        warnings.0.extend(addresses::ip_warning(server, &at.index(i)));
    }
    let at = path.child("hostAliases");
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        warnings.0.extend(addresses::ip_warning(text(alias, "ip"), &at.index(i).child("ip")));
    }
}

fn old_labels(spec: &Value, path: &Path, warnings: &mut Warnings) {
    for (key, _) in map(spec, "nodeSelector").into_iter().flatten() {
        if let Some(since) = node_labels::old(key) {
            warnings.add(&path.child("nodeSelector").key(key), since);
        }
    }
    let (affinity, at) = (&spec["affinity"]["nodeAffinity"], path.child("affinity").child("nodeAffinity"));
    let required = list(&affinity[REQUIRED], "nodeSelectorTerms").iter().enumerate();
    let required_at = at.child(REQUIRED).child("nodeSelectorTerms");
    for (i, term) in required {
        warnings.0.extend(node_labels::of_term(term, false, &required_at.index(i)));
    }
    for (i, term) in list(affinity, PREFERRED).iter().enumerate() {
        let at = at.child(PREFERRED).index(i).child("preference");
        warnings.0.extend(node_labels::of_term(&term["preference"], true, &at));
    }
}

fn dead_annotations(object: &Value, path: &Path, warnings: &mut Warnings) {
    let Some(given) = meta::annotations(object).filter(|given| !given.is_empty()) else { return };
    let at = path.child("metadata").child("annotations");
    for (key, since) in DEAD_ANNOTATIONS.into_iter().filter(|(key, _)| given.contains_key(*key)) {
        warnings.add(&at.key(key), format!("non-functional in v{since}"));
    }
    let mut seccomp = |place: &Value, key: &str| {
        if given.contains_key(key) && !has(&place["securityContext"], "seccompProfile") {
            let what = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
            warnings.add(&at.key(key), what);
        }
    };
    let spec = &object["spec"];
    seccomp(spec, annotations::SECCOMP_POD);
    for (container, _) in every_container(spec, path) {
        seccomp(container, &format!("{}{}", annotations::SECCOMP, text(container, "name")));
    }
}

fn twice(spec: &Value, field: &str, key: &str, path: &Path, warnings: &mut Warnings) {
    let mut seen = BTreeSet::new();
    for (i, item) in list(spec, field).iter().enumerate() {
        let value = text(item, key);
        if !seen.insert(value) {
            let at = path.child(field).index(i).child(key);
            warnings.add(&at, format!("duplicate {key} {}", go_quote(value)));
        }
    }
}

/// Amounts of which there are no parts.
fn fractions(amounts: &Value, path: &Path, warnings: &mut Warnings) {
    for name in ["memory", "ephemeral-storage", "storage"] {
        let Some(amount) = amounts.get(name).and_then(|amount| Quantity::from_json(amount).ok()) else {
            continue;
        };
        if amount.millis() % 1000 != 0 {
            let what = format!(
                "fractional byte value {} is invalid, must be an integer",
                go_quote(&amount.to_string())
            );
            warnings.add(&path.key(name), what);
        }
    }
}

/// Of a claim to a volume, wherever it stands.
pub(in super::super) fn of_claim(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Warnings::default();
    claim_amounts(spec, path, &mut warnings);
    warnings.0
}

fn claim_amounts(spec: &Value, path: &Path, warnings: &mut Warnings) {
    for field in ["requests", "limits"] {
        fractions(&spec["resources"][field], &path.child("resources").child(field), warnings);
    }
}

/// A variable that is there twice, unless the second is made of the first.
fn hidden_variables(container: &Value, path: &Path, warnings: &mut Warnings) {
    let variables = list(container, "env");
    let mut seen = BTreeSet::new();
    for (i, variable) in variables.iter().enumerate() {
        let name = text(variable, "name");
        if seen.insert(name) {
            continue;
        }
        let (reference, value) = (format!("$({name})"), text(variable, "value"));
        if has(variable, "valueFrom") || value == reference || !value.contains(&reference) {
            let what = format!(
                "hides previous definition of {}, which may be dropped when using apply",
                go_quote(name)
            );
            warnings.add(&path.child("env").index(i), what);
        }
    }
}

fn neighbours(spec: &Value, path: &Path, warnings: &mut Warnings) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, at) = (&spec["affinity"][kind], path.child("affinity").child(kind));
        for (i, term) in list(affinity, REQUIRED).iter().enumerate() {
            if !has(term, "labelSelector") {
                warnings.add(&at.child(REQUIRED).index(i).child("labelSelector"), NO_SELECTOR);
            }
        }
        for (i, term) in list(affinity, PREFERRED).iter().enumerate() {
            if !has(&term["podAffinityTerm"], "labelSelector") {
                let at = at.child(PREFERRED).index(i).child("podAffinityTerm").child("labelSelector");
                warnings.add(&at, NO_SELECTOR);
            }
        }
    }
}
