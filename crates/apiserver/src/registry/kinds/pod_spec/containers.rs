//! Refusals of containers (upstream `validateContainers` and its neighbours).

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, list, text};
use super::{Surroundings, environment, is_sidecar, mounts, ports, probes, resources, security};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const TERMINATION_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
/// Fields that serve a pod, not somebody who looks into it.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// All containers of a specification, in upstream's order.
pub(super) fn validate_all(around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = regular(around, &path.child("containers"));
    errors.extend(init(around, &path.child("initContainers")));
    errors.extend(ephemeral(around, &path.child("ephemeralContainers")));
    errors
}

fn regular(around: &Surroundings<'_>, path: &Path) -> Errors {
    let containers = list(around.spec, "containers");
    if containers.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let at = path.index(i);
        errors.extend(common(container, around, &at));
        if !seen.insert(text(container, "name")) {
            errors.push(FieldError::duplicate(&at.child("name"), text(container, "name")));
        }
        errors.extend(probes::of_container(container, around, &at));
        errors.extend(restart(container, false, &at));
    }
    errors.extend(ports::taken_twice(containers, path));
    errors
}

fn init(around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen: BTreeSet<&str> = names_of(around.spec, "containers").collect();
    for (i, container) in list(around.spec, "initContainers").iter().enumerate() {
        let (at, name) = (path.index(i), text(container, "name"));
        errors.extend(common(container, around, &at));
        errors.extend(restart(container, true, &at));
        if !seen.insert(name) && !name.is_empty() {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
        errors.extend(ports::taken_twice(std::slice::from_ref(container), path));
        if is_sidecar(container) {
            errors.extend(probes::of_container(container, around, &at));
            continue;
        }
        let detail = "may not be set for init containers without restartPolicy=Always";
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if has(container, field) {
                errors.push(FieldError::forbidden(&at.child(field), detail));
            }
        }
        errors.extend(restarted_to_resize(container, &at));
    }
    errors
}

/// An init container that ends cannot be restarted to give it more.
fn restarted_to_resize(container: &Value, path: &Path) -> Errors {
    let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
    let policies = list(container, "resizePolicy").iter().enumerate();
    policies
        .filter(|(_, policy)| text(policy, "restartPolicy") == "RestartContainer")
        .map(|(j, _)| path.child("resizePolicy").index(j).child("restartPolicy"))
        .map(|at| FieldError::invalid(&at, "RestartContainer", detail))
        .collect()
}

fn ephemeral(around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let others: BTreeSet<&str> =
        names_of(around.spec, "containers").chain(names_of(around.spec, "initContainers")).collect();
    let mut seen = others.clone();
    for (i, container) in list(around.spec, "ephemeralContainers").iter().enumerate() {
        let (at, name) = (path.index(i), text(container, "name"));
        errors.extend(common(container, around, &at));
        errors.extend(padded_image(container, &at));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&at.child("targetContainerName"), target));
        }
        let detail = "cannot be set for an Ephemeral Container";
        for field in NOT_EPHEMERAL.into_iter().filter(|field| is_set(container, field)) {
            errors.push(FieldError::forbidden(&at.child(field), detail));
        }
        for (j, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"].into_iter().filter(|f| !text(mount, f).is_empty()) {
                errors.push(FieldError::forbidden(&at.child("volumeMounts").index(j).child(field), detail));
            }
        }
    }
    errors
}

/// Whether a field says anything: an empty list or map does not.
fn is_set(container: &Value, field: &str) -> bool {
    match container.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}

fn names_of<'a>(spec: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    list(spec, field).iter().map(|container| text(container, "name"))
}

/// What holds for every container.
fn common(container: &Value, around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    match text(container, "name") {
        "" => errors.push(FieldError::required(&path.child("name"), "")),
        name => errors.extend(check::named(&path.child("name"), name, names::dns1123_label(name))),
    }
    errors.extend(check::required(container, "image", path));
    errors.extend(check::one_of(container, "terminationMessagePolicy", &TERMINATION_POLICIES, path));
    errors.extend(ports::of_container(container, path));
    errors.extend(environment::validate(container, path));
    errors.extend(mounts::validate(container, around, path));
    errors.extend(check::one_of(container, "imagePullPolicy", &PULL_POLICIES, path));
    errors.extend(resources::of_container(&container["resources"], &around.claims, &path.child("resources")));
    errors.extend(resize_policy(container, around.restart_policy(), path));
    errors.extend(security::of_container(container, around.shares_users_with_host(), path));
    errors
}

/// Only for pods: templates have always been let through with such images.
pub(in super::super) fn padded_image(container: &Value, path: &Path) -> Option<FieldError> {
    let image = text(container, "image");
    let detail = "must not have leading or trailing whitespace";
    (image.trim() != image).then(|| FieldError::invalid(&path.child("image"), image, detail))
}

fn resize_policy(container: &Value, pod_restarts: &str, path: &Path) -> Errors {
    const RESOURCES: [&str; 2] = ["cpu", "memory"];
    const POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, policy) in list(container, "resizePolicy").iter().enumerate() {
        let at = path.child("resizePolicy");
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&at.index(i), resource));
        }
        for (value, known) in [(resource, &RESOURCES), (restart, &POLICIES)] {
            if value.is_empty() {
                errors.push(FieldError::required(&at, ""));
            } else if !known.contains(&value) {
                errors.push(FieldError::not_supported(&at, value, known));
            }
        }
        if pod_restarts == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(&at, restart, detail));
        }
    }
    errors
}

/// When a container is restarted, by itself and by its exit code. `initial`: it is an init container.
fn restart(container: &Value, initial: bool, path: &Path) -> Errors {
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    let rules = list(container, "restartPolicyRules");
    let mut errors = Errors::new();
    if has(container, "restartPolicy") {
        let policy = text(container, "restartPolicy");
        if !RESTART_POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported(&path.child("restartPolicy"), policy, &RESTART_POLICIES));
        }
    } else if !rules.is_empty() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(&path.child("restartPolicy"), detail));
        if initial {
            return errors;
        }
    }
    if rules.len() > RESTART_RULES_MAX {
        let at = path.child("restartPolicyRules");
        errors.push(FieldError::too_many(&at, rules.len(), RESTART_RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = path.child("restartPolicyRules").index(i);
        let action = text(rule, "action");
        if !RESTART_ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(&at.child("action"), action, &RESTART_ACTIONS));
        }
        let at = at.child("exitCodes");
        if !has(rule, "exitCodes") {
            errors.push(FieldError::required(&at, "must be specified"));
            continue;
        }
        let (operator, codes) = (text(&rule["exitCodes"], "operator"), list(&rule["exitCodes"], "values"));
        if !OPERATORS.contains(&operator) {
            errors.push(FieldError::not_supported(&at.child("operator"), operator, &OPERATORS));
        }
        if codes.len() > EXIT_CODES_MAX {
            errors.push(FieldError::too_many(&at.child("values"), codes.len(), EXIT_CODES_MAX));
        }
    }
    errors
}
