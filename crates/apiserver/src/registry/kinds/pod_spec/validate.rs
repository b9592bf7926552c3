//! Refusals of a pod's specification in upstream's order and words (upstream `pkg/apis/core/validation`).

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check::{self, MAX_INT32};
use super::super::value::{flag, has, int, list, map, text};
use super::{containers, scheduling, volumes};

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const NAMESERVERS_MAX: usize = 3;
const SEARCH_DOMAINS_MAX: usize = 32;

/// A pod template: its labels and annotations, and its specification.
pub(in super::super) fn validate_template(template: &Value, path: &Path) -> Errors {
    let mut errors =
        check::labels(map(&template["metadata"], "labels"), &path.child("metadata").child("labels"));
    errors.extend(check::annotations(
        map(&template["metadata"], "annotations"),
        &path.child("metadata").child("annotations"),
    ));
    errors.extend(validate(&template["spec"], &path.child("spec")));
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let at = path.child("spec").child("ephemeralContainers");
        errors.push(FieldError::forbidden(&at, "ephemeral containers not allowed in pod template"));
    }
    errors
}

/// A pod's specification.
pub(in super::super) fn validate(spec: &Value, path: &Path) -> Errors {
    let (volume_names, mut errors) = volumes::validate(list(spec, "volumes"), &path.child("volumes"));
    errors.extend(containers::validate_all(spec, &volume_names, path));
    errors.extend(check::one_of(spec, "restartPolicy", &RESTART_POLICIES, path));
    errors.extend(check::one_of(spec, "dnsPolicy", &DNS_POLICIES, path));
    errors.extend(check::labels(map(spec, "nodeSelector"), &path.child("nodeSelector")));
    errors.extend(security_context(&spec["securityContext"], &path.child("securityContext")));
    errors.extend(image_pull_secrets(spec, path));
    errors.extend(dns_config(spec, path));
    errors.extend(scheduling::validate(spec, path));
    errors.extend(names_of_others(spec, path));
    errors.extend(active_deadline(spec, path));
    errors.extend(host_names(spec, path));
    errors.extend(host_aliases(spec, path));
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        errors.extend(check::non_negative(spec, "terminationGracePeriodSeconds", path));
    }
    errors.extend(preemption_policy(spec, path));
    errors
}

fn security_context(context: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        errors.extend(id_in_range(context.get(field), &path.child(field)));
    }
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        errors.extend(id_in_range(Some(group), &path.child("supplementalGroups").index(i)));
    }
    errors
}

/// User and group ids are 31-bit.
pub(super) fn id_in_range(id: Option<&Value>, path: &Path) -> Option<FieldError> {
    let id = id?.as_i64()?;
    (!(0..=MAX_INT32).contains(&id)).then(|| FieldError::invalid(path, id, names::range_error(0, MAX_INT32)))
}

fn image_pull_secrets(spec: &Value, path: &Path) -> Errors {
    let nameless = |secret: &Value| text(secret, "name").is_empty();
    list(spec, "imagePullSecrets")
        .iter()
        .enumerate()
        .filter(|(_, secret)| nameless(secret))
        .map(|(i, _)| FieldError::required(&path.child("imagePullSecrets").index(i).child("name"), ""))
        .collect()
}

fn dns_config(spec: &Value, path: &Path) -> Errors {
    let (config, at) = (&spec["dnsConfig"], path.child("dnsConfig"));
    let mut errors = Errors::new();
    let nameservers = list(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" && nameservers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&at.child("nameservers"), detail));
    }
    if nameservers.len() > NAMESERVERS_MAX {
        errors.push(FieldError::invalid(
            &at.child("nameservers"),
            config["nameservers"].clone(),
            "must not have more than 3 nameservers",
        ));
    }
    for (i, server) in nameservers.iter().enumerate() {
        errors.extend(check::ip(server.as_str().unwrap_or_default(), &at.child("nameservers").index(i)));
    }
    let searches = list(config, "searches");
    if searches.len() > SEARCH_DOMAINS_MAX {
        errors.push(FieldError::invalid(
            &at.child("searches"),
            config["searches"].clone(),
            "must not have more than 32 search paths",
        ));
    }
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(&at.child("options").index(i).child("name"), ""));
        }
    }
    errors
}

fn names_of_others(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["serviceAccountName", "nodeName", "runtimeClassName", "priorityClassName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            errors.extend(check::named(&path.child(field), name, names::dns1123_subdomain(name)));
        }
    }
    errors
}

fn active_deadline(spec: &Value, path: &Path) -> Option<FieldError> {
    let seconds = int(spec, "activeDeadlineSeconds")?;
    let at = path.child("activeDeadlineSeconds");
    (!(1..=MAX_INT32).contains(&seconds))
        .then(|| FieldError::invalid(&at, seconds, names::range_error(1, MAX_INT32)))
}

fn host_names(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            errors.extend(check::named(&path.child(field), name, names::dns1123_label(name)));
        }
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    errors
}

fn host_aliases(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let at = path.child("hostAliases").index(i);
        errors.extend(check::ip(text(alias, "ip"), &at.child("ip")));
        for (j, name) in list(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            errors.extend(check::named(
                &at.child("hostnames").index(j),
                name,
                names::dns1123_subdomain(name),
            ));
        }
    }
    errors
}

fn preemption_policy(spec: &Value, path: &Path) -> Option<FieldError> {
    const POLICIES: [&str; 2] = ["Never", "PreemptLowerPriority"];
    let policy = text(spec, "preemptionPolicy");
    (has(spec, "preemptionPolicy") && !POLICIES.contains(&policy))
        .then(|| FieldError::not_supported(&path.child("preemptionPolicy"), policy, &POLICIES))
}
