//! Ingresses.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::age;
use super::super::plain::Plain;
use super::super::value::{has, int, list, strings, text};
use super::super::{addresses, check};
use crate::registry::strategy::Generic;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        status: r#"{"loadBalancer":{}}"#,
        validate,
        validate_create,
        validate_status,
        status_warnings,
        row: Some(row),
        warnings,
        ..Plain::new(generic)
    }
}

/// A class was an annotation once.
fn warnings(ingress: &Value) -> Vec<String> {
    let old =
        meta::annotation(ingress, CLASS_ANNOTATION).is_some() && !has(&ingress["spec"], "ingressClassName");
    let what = format!(
        "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
    );
    old.then_some(what).into_iter().collect()
}

fn validate(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, spec["rules"].clone(), detail));
    }
    if has(spec, "defaultBackend") {
        errors.extend(backend(&spec["defaultBackend"], &path.child("defaultBackend")));
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        errors.extend(one_rule(rule, &path.child("rules").index(i)));
    }
    for (i, one) in list(spec, "tls").iter().enumerate() {
        errors.extend(tls(one, &path.child("tls").index(i)));
    }
    let class = text(spec, "ingressClassName");
    if has(spec, "ingressClassName") {
        let reasons = names::dns1123_subdomain(class);
        errors.extend(check::named(&path.child("ingressClassName"), class, reasons));
    }
    errors
}

fn tls(tls: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (i, host) in strings(tls, "hosts").into_iter().enumerate() {
        errors.extend(check::named(&path.child("hosts").index(i), host, host_name(host)));
    }
    let secret = text(tls, "secretName");
    if !secret.is_empty() {
        errors.extend(check::named(&path.child("secretName"), secret, names::dns1123_subdomain(secret)));
    }
    errors
}

/// The annotation and the field, both of which name the class, may not disagree.
fn validate_create(object: &Value) -> Errors {
    let class = object.pointer("/spec/ingressClassName").and_then(Value::as_str);
    let annotated = meta::annotation(object, CLASS_ANNOTATION);
    let Some(annotated) = annotated.filter(|annotated| class.is_some_and(|class| class != *annotated)) else {
        return Errors::new();
    };
    let path = Path::new("annotations").child(CLASS_ANNOTATION);
    vec![FieldError::invalid(&path, annotated, "must match `ingressClassName` when both are specified")]
}

fn status_warnings(object: &Value, _old: &Value) -> Vec<String> {
    let points = list(&object["status"]["loadBalancer"], "ingress").iter().enumerate();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let unusual = |(i, point)| addresses::ip_warning(text(point, "ip"), &path.index(i));
    points.filter_map(unusual).collect()
}

/// What a balancer says of itself; addresses that stood there before may stay.
fn validate_status(object: &Value, old: &Value) -> Errors {
    let points = |object: &Value| list(&object["status"]["loadBalancer"], "ingress").to_vec();
    let before = points(old);
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let mut errors = Errors::new();
    for (i, point) in points(object).iter().enumerate() {
        let (ip, host, at) = (text(point, "ip"), text(point, "hostname"), path.index(i));
        if !ip.is_empty() && !before.iter().any(|old| text(old, "ip") == ip) {
            errors.extend(addresses::ip(ip, &at.child("ip")).err());
        }
        if host.is_empty() {
            continue;
        }
        let at = at.child("hostname");
        errors.extend(check::named(&at, host, names::dns1123_subdomain(host)));
        if host.parse::<std::net::IpAddr>().is_ok() {
            errors.push(FieldError::invalid(&at, host, "must be a DNS name, not an IP address"));
        }
    }
    errors
}

fn host_name(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_dns1123_subdomain(host) } else { names::dns1123_subdomain(host) }
}

fn one_rule(rule: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (host, at) = (text(rule, "host"), path.child("host"));
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid(&at, host, "must be a DNS name, not an IP address"));
    }
    if !host.is_empty() {
        errors.extend(check::named(&at, host, host_name(host)));
    }
    let (paths, at) = (list(&rule["http"], "paths"), path.child("http").child("paths"));
    if has(rule, "http") && paths.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    for (i, one) in paths.iter().enumerate() {
        errors.extend(one_path(one, &at.index(i)));
    }
    errors
}

fn one_path(one: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (place, at) = (text(one, "path"), path.child("path"));
    match text(one, "pathType") {
        "Exact" | "Prefix" => errors.extend(clean_path(place, &at)),
        "ImplementationSpecific" if !place.is_empty() && !place.starts_with('/') => {
            errors.push(FieldError::invalid(&at, place, "must be an absolute path"));
        }
        "ImplementationSpecific" => {}
        _ if !has(one, "pathType") => {
            return vec![FieldError::required(&path.child("pathType"), "pathType must be specified")];
        }
        other => errors.push(FieldError::not_supported(&path.child("pathType"), other, &PATH_TYPES)),
    }
    errors.extend(backend(&one["backend"], &path.child("backend")));
    errors
}

/// A path that stands for itself.
fn clean_path(place: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if !place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must be an absolute path"));
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| place.contains(part)) {
        errors.push(FieldError::invalid(path, place, format!("must not contain '{part}'")));
    }
    for end in ["/..", "/."].into_iter().filter(|end| place.ends_with(end)) {
        errors.push(FieldError::invalid(path, place, format!("cannot end with '{end}'")));
    }
    errors
}

fn backend(backend: &Value, path: &Path) -> Errors {
    match (has(backend, "resource"), has(backend, "service")) {
        (true, true) => vec![FieldError::invalid(path, "", "cannot set both resource and service backends")],
        (false, false) => vec![FieldError::invalid(path, "", "resource or service backend is required")],
        (true, false) => resource(&backend["resource"], &path.child("resource")),
        (false, true) => service(&backend["service"], path),
    }
}

fn resource(resource: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if has(resource, "apiGroup") {
        let group = text(resource, "apiGroup");
        errors.extend(check::named(&path.child("apiGroup"), group, names::dns1123_subdomain(group)));
    }
    for field in ["kind", "name"] {
        match text(resource, field) {
            "" => errors.push(FieldError::required(&path.child(field), "")),
            value => errors.extend(check::named(&path.child(field), value, names::path_segment(value))),
        }
    }
    errors
}

fn service(service: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (name, at) = (text(service, "name"), path.child("service"));
    if name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), ""));
    } else {
        errors.extend(check::named(&at.child("name"), name, names::dns1123_label(name)));
    }
    let port = &service["port"];
    let at = at.child("port");
    let (name, number) = (text(port, "name"), int(port, "number").unwrap_or_default());
    match (name.is_empty(), number) {
        (true, 0) => errors.push(FieldError::required(path, "port name or number is required")),
        (true, number) => errors.extend(check::port(number, &at.child("number"))),
        (false, 0) => errors.extend(check::named(&at.child("name"), name, names::port_name(name))),
        (false, _) => {
            errors.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
        }
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let class = if has(spec, "ingressClassName") { text(spec, "ingressClassName") } else { "<none>" };
    let points = list(&object["status"]["loadBalancer"], "ingress").iter();
    let addresses: BTreeSet<&str> = points
        .map(|point| if text(point, "ip").is_empty() { text(point, "hostname") } else { text(point, "ip") })
        .filter(|address| !address.is_empty())
        .collect();
    vec![
        json!(meta::name(object)),
        json!(class),
        json!(hosts(list(spec, "rules"))),
        json!(addresses.into_iter().collect::<Vec<_>>().join(",")),
        json!(if list(spec, "tls").is_empty() { "80" } else { "80, 443" }),
        age(object, now),
    ]
}

/// The hosts of at most three rules.
fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == SHOWN;
        let host = text(rule, "host");
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    match hosts.join(",") {
        none if none.is_empty() => "*".to_owned(),
        // Rules without a host count, too.
        shown if more => format!("{shown} + {} more...", rules.len() - SHOWN),
        shown => shown,
    }
}
