//! `admissionregistration.k8s.io`: who else is asked about writes.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::age;
use super::plain::Plain;
use super::value::{each, fill, has, int, list, strings, text};
use super::{admission_policy, check, match_rules};
use crate::registry::strategy::Generic;

const WEBHOOKS: &str = r#"
webhooks[].failurePolicy = "Fail"
webhooks[].matchPolicy = "Equivalent"
webhooks[].namespaceSelector = {}
webhooks[].objectSelector = {}
webhooks[].timeoutSeconds = 10
webhooks[].clientConfig.service.port = 443
webhooks[].rules[].scope = "*"
"#;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => Plain {
            defaults: WEBHOOKS,
            complete: if plural.starts_with("mutating") { reinvocation } else { |_| {} },
            validate,
            validate_create: admission_policy::reserved_name,
            update_warnings: |object, _| admission_policy::reserved_warning(object),
            row: Some(row),
            ..base
        },
        _ => return admission_policy::plain(plural, generic),
    })
}

fn reinvocation(object: &mut Value) {
    each(object, "webhooks").for_each(|webhook| fill(webhook, "reinvocationPolicy", "Never"));
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, webhook) in list(object, "webhooks").iter().enumerate() {
        let at = Path::new("webhooks").index(i);
        errors.extend(one(webhook, &at));
        errors.extend(review_versions(webhook, &at.child("admissionReviewVersions")));
        let name = text(webhook, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
    }
    errors
}

fn one(webhook: &Value, path: &Path) -> Errors {
    let mut errors = full_name(text(webhook, "name"), &path.child("name"));
    for (i, rule) in list(webhook, "rules").iter().enumerate() {
        errors.extend(match_rules::rule(rule, &path.child("rules").index(i)));
    }
    errors.extend(check::known(webhook, "failurePolicy", &["Fail", "Ignore"], path));
    errors.extend(check::known(webhook, "matchPolicy", &["Equivalent", "Exact"], path));
    let effects = ["None", "NoneOnDryRun"];
    if has(webhook, "sideEffects") {
        errors.extend(check::known(webhook, "sideEffects", &effects, path));
    } else {
        let detail = "must specify one of None, NoneOnDryRun";
        errors.push(FieldError::required(&path.child("sideEffects"), detail));
    }
    if let Some(seconds) = int(webhook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        errors.extend(check::selector(&webhook[field], &path.child(field)));
    }
    errors.extend(check::known(webhook, "reinvocationPolicy", &["IfNeeded", "Never"], path));
    errors.extend(client_config(&webhook["clientConfig"], &path.child("clientConfig")));
    errors.extend(match_rules::conditions(webhook, path));
    errors
}

/// A name as `a.example.com`.
fn full_name(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let reasons = names::dns1123_subdomain(name);
    if !reasons.is_empty() {
        return vec![FieldError::invalid(path, name, reasons.join(","))];
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        return vec![FieldError::invalid(path, name, detail)];
    }
    Errors::new()
}

/// Where a webhook is: one of two ways to say it.
pub(super) fn client_config(config: &Value, path: &Path) -> Errors {
    match (has(config, "url"), has(config, "service")) {
        (true, false) => url(text(config, "url"), &path.child("url")),
        (false, true) => service(&config["service"], &path.child("service")),
        _ => vec![FieldError::required(path, "exactly one of url or service is required")],
    }
}

fn url(url: &str, path: &Path) -> Errors {
    const FORM: &str = "; desired format: https://host[/path]";
    // Without a scheme all of it is a path.
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let mut errors = Errors::new();
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, detail));
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        errors.push(FieldError::invalid(path, host, format!("host must be specified{FORM}")));
    }
    if host.contains('@') {
        let detail = "user information is not permitted in the URL";
        errors.push(FieldError::invalid(path, host.split('@').next().unwrap_or_default(), detail));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (_, query) = rest.split_once('?').unwrap_or((rest, ""));
    for (found, part) in [(fragment, "fragments"), (query, "query parameters")] {
        if !found.is_empty() {
            let detail = format!("{part} are not permitted in the URL");
            errors.push(FieldError::invalid(path, found, detail));
        }
    }
    errors
}

fn service(service: &Value, path: &Path) -> Errors {
    // Upstream mixes the two up: it is the missing namespace that it calls a missing name.
    let fields = [("name", "namespace"), ("namespace", "name")].into_iter();
    let mut errors: Errors = fields
        .filter(|(_, missing)| text(service, missing).is_empty())
        .map(|(called, _)| FieldError::required(&path.child(called), ""))
        .collect();
    let port = int(service, "port").unwrap_or(443);
    for reason in names::port_number(port) {
        errors.push(FieldError::invalid(&path.child("port"), port, format!("port is not valid: {reason}")));
    }
    errors.extend(url_path(text(service, "path"), &path.child("path")));
    errors
}

fn url_path(place: &str, path: &Path) -> Errors {
    let refuse = |detail: String| FieldError::invalid(path, place, detail);
    if matches!(place, "" | "/") {
        return Errors::new();
    }
    if place == "//" {
        return vec![refuse("segment[0] may not be empty".to_owned())];
    }
    let mut errors = Errors::new();
    if !place.starts_with('/') {
        errors.push(refuse("must start with a '/'".to_owned()));
    }
    let steps = place.get(1..).unwrap_or_default();
    for (i, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.push(refuse(format!("segment[{i}] may not be empty")));
            continue;
        }
        let reasons = names::dns1123_subdomain(step).into_iter();
        errors.extend(reasons.map(|reason| refuse(format!("segment[{i}]: {reason}"))));
    }
    errors
}

/// At least one version has to be one that the server speaks.
fn review_versions(webhook: &Value, path: &Path) -> Errors {
    let versions = strings(webhook, "admissionReviewVersions");
    if versions.is_empty() {
        return vec![FieldError::required(path, "must specify one of v1, v1beta1")];
    }
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        if seen.insert(version) {
            errors.extend(check::named(&path.index(i), version, names::dns1035_label(version)));
        } else {
            errors.push(FieldError::invalid(&path.index(i), *version, "duplicate version"));
        }
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, webhook["admissionReviewVersions"].clone(), detail));
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(list(object, "webhooks").len()), age(object, now)]
}
