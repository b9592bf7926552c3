//! Refusals of a pod's specification in upstream's order and words (upstream `pkg/apis/core/validation`).

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{internal, meta, names};
use serde_json::Value;

use super::super::addresses;
use super::super::check::{self, MAX_INT32};
use super::super::value::{flag, has, int, list, map, strings, text};
use super::{
    Surroundings, annotations, containers, environment, ports, resources, scheduling, security, volumes,
    windows,
};

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const NAMESERVERS_MAX: usize = 3;
const SEARCH_DOMAINS_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;
const HOSTNAME_MAX: usize = 64;

/// A pod itself: what holds for templates, too, and what has come since and would refuse templates that are there.
pub(in super::super) fn validate_pod(pod: &Value) -> Errors {
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    let mut errors = annotations::validate(pod, &Path::new("metadata").child("annotations"));
    if meta::annotation(pod, annotations::MIRROR).is_some() && !list(spec, "resourceClaims").is_empty() {
        let detail = "static pods do not support resource claims";
        errors.push(FieldError::forbidden(&Path::nameless(), detail));
    }
    errors.extend(validate_spec(spec, Some(meta::name(pod)), &path));
    if text(spec, "serviceAccountName").is_empty() {
        errors.extend(tokens_of_nobody(spec, &path.child("volumes")));
    }
    for field in ["containers", "initContainers"] {
        for (i, container) in list(spec, field).iter().enumerate() {
            errors.extend(containers::padded_image(container, &path.child(field).index(i)));
        }
    }
    errors
}

/// Tokens are those of the pod's service account.
fn tokens_of_nobody(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        for (j, source) in list(&volume["projected"], "sources").iter().enumerate() {
            if has(source, "serviceAccountToken") {
                let at = path.index(i).child("projected").child("sources").index(j);
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(&at.child("serviceAccountToken"), detail));
            }
        }
    }
    errors
}

/// A specification. `pod` is the name of the pod whose it is; `None` for a template.
pub(super) fn validate_spec(spec: &Value, pod: Option<&str>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if !has(spec, "terminationGracePeriodSeconds") {
        errors.push(FieldError::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let (volumes, found) = volumes::validate(list(spec, "volumes"), pod, &path.child("volumes"));
    errors.extend(found);
    let claims = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
    let claims = claims.filter(|name| !name.is_empty()).collect();
    let around = Surroundings { spec, volumes, claims };
    errors.extend(resource_claims(spec, &path.child("resourceClaims")));
    errors.extend(containers::validate_all(&around, path));
    errors.extend(resources::of_pod(spec, &around.claims, path));
    errors.extend(ports::on_host_network(spec, pod.is_some(), path));
    errors.extend(check::one_of(spec, "restartPolicy", &RESTART_POLICIES, path));
    errors.extend(check::one_of(spec, "dnsPolicy", &DNS_POLICIES, path));
    errors.extend(check::labels(map(spec, "nodeSelector"), &path.child("nodeSelector")));
    errors.extend(security::of_pod(spec, path));
    errors.extend(scheduling::affinity(spec, path));
    errors.extend(dns_config(spec, &path.child("dnsConfig")));
    errors.extend(readiness_gates(spec, path));
    errors.extend(scheduling::gates(spec, path));
    errors.extend(scheduling::spreading(spec, path));
    errors.extend(windows::host_process(spec, path));
    errors.extend(security::own_users(spec, path));
    errors.extend(hostname_override(spec, path));
    errors.extend(named(spec, "serviceAccountName", names::dns1123_subdomain, path));
    errors.extend(named(spec, "nodeName", names::dns1123_subdomain, path));
    errors.extend(active_deadline(spec, path));
    errors.extend(named(spec, "hostname", names::dns1123_label, path));
    errors.extend(named(spec, "subdomain", names::dns1123_label, path));
    errors.extend(scheduling::tolerations(spec, path));
    errors.extend(host_aliases(spec, path));
    errors.extend(named(spec, "priorityClassName", names::dns1123_subdomain, path));
    if has(spec, "runtimeClassName") {
        let (name, at) = (text(spec, "runtimeClassName"), path.child("runtimeClassName"));
        errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
    }
    if has(spec, "preemptionPolicy") {
        errors.extend(check::one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path));
    }
    errors.extend(resources::overhead(spec, path));
    errors.extend(windows::os(spec, path));
    errors.extend(environment::file_volumes(&around, path));
    errors
}

/// A field that may hold the name of something.
fn named(spec: &Value, field: &str, rule: fn(&str) -> Vec<String>, path: &Path) -> Errors {
    match text(spec, field) {
        "" => Errors::new(),
        name => check::named(&path.child(field), name, rule(name)),
    }
}

/// Claims to devices, each with a name of its own and one source.
fn resource_claims(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let (at, name) = (path.index(i), text(claim, "name"));
        let at_name = at.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at_name, name));
        } else {
            errors.extend(check::named(&at_name, name, names::dns1123_label(name)));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let detail = match sources.iter().filter(|source| has(claim, source)).count() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => None,
            _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        };
        let shown = || internal::compact("PodResourceClaim", claim);
        errors.extend(detail.map(|why| FieldError::invalid(&at, Value::Null, why).showing(shown())));
        for source in sources.into_iter().filter(|source| has(claim, source)) {
            let name = text(claim, source);
            errors.extend(check::named(&at.child(source), name, names::dns1123_subdomain(name)));
        }
    }
    errors
}

fn dns_config(spec: &Value, path: &Path) -> Errors {
    let config = &spec["dnsConfig"];
    let (nameservers, searches) = (strings(config, "nameservers"), strings(config, "searches"));
    if text(spec, "dnsPolicy") == "None" {
        if !config.is_object() {
            return vec![FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return vec![FieldError::required(&path.child("nameservers"), detail)];
        }
    }
    let mut errors = Errors::new();
    let too_many = |field: &str, max: usize, what: &str| {
        let detail = format!("must not have more than {max} {what}");
        FieldError::invalid(&path.child(field), config[field].clone(), detail)
    };
    if nameservers.len() > NAMESERVERS_MAX {
        errors.push(too_many("nameservers", NAMESERVERS_MAX, "nameservers"));
    }
    for (i, server) in nameservers.into_iter().enumerate() {
        errors.extend(addresses::new_ip(server, &[], &path.child("nameservers").index(i)));
    }
    if searches.len() > SEARCH_DOMAINS_MAX {
        errors.push(too_many("searches", SEARCH_DOMAINS_MAX, "search paths"));
    }
    let characters: usize = searches.iter().map(|search| search.len() + 1).sum();
    if characters > SEARCH_CHARACTERS_MAX + 1 {
        let what = "characters (including spaces) in the search list";
        errors.push(too_many("searches", SEARCH_CHARACTERS_MAX, what));
    }
    for (i, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.extend(check::named(&path.child("searches").index(i), search, search_domain(search)));
    }
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(&path.child("options").index(i), "must not be empty"));
        }
    }
    errors
}

/// A DNS subdomain whose labels may have underscores, also before them.
fn search_domain(name: &str) -> Vec<String> {
    const LABEL: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    const LENGTH_MAX: usize = 253;
    let mut reasons = Vec::new();
    if name.len() > LENGTH_MAX {
        reasons.push(names::max_length_error(LENGTH_MAX));
    }
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = |label: &str| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(inner)
    };
    if !name.split('.').all(fits) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        reasons.push(names::regex_error(message, &format!("{LABEL}(\\.{LABEL})*"), &["example.com"]));
    }
    reasons
}

fn readiness_gates(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        let at = path.child("readinessGates").index(i).child("conditionType");
        errors.extend(check::named(&at, kind, names::qualified_name(kind)));
    }
    errors
}

fn hostname_override(spec: &Value, path: &Path) -> Errors {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return Errors::new() };
    let at = path.child("hostnameOverride");
    let mut errors = Errors::new();
    for field in ["setHostnameAsFQDN", "hostNetwork"].into_iter().filter(|field| flag(spec, field)) {
        let detail = format!("may not be specified when {field} is true");
        errors.push(FieldError::forbidden(&at, detail));
    }
    if name.len() > HOSTNAME_MAX {
        errors.push(FieldError::too_long(&at, HOSTNAME_MAX));
    }
    errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
    errors
}

fn active_deadline(spec: &Value, path: &Path) -> Option<FieldError> {
    let seconds = int(spec, "activeDeadlineSeconds")?;
    let at = path.child("activeDeadlineSeconds");
    (!(1..=MAX_INT32).contains(&seconds))
        .then(|| FieldError::invalid(&at, seconds, names::range_error(1, MAX_INT32)))
}

fn host_aliases(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let at = path.child("hostAliases").index(i);
        errors.extend(addresses::new_ip(text(alias, "ip"), &[], &at.child("ip")));
        for (j, name) in strings(alias, "hostnames").into_iter().enumerate() {
            let at = at.child("hostnames").index(j);
            errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
        }
    }
    errors
}
