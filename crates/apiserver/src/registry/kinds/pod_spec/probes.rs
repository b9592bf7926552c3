//! Refusals of probes and lifecycle hooks.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};

const SCHEMES: [&str; 2] = ["HTTP", "HTTPS"];

/// Probes and hooks of one container. Init containers that are no sidecars may have none.
pub(super) fn of_container(container: &Value, init: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let sidecar = text(container, "restartPolicy") == "Always";
    for hook in ["postStart", "preStop"].into_iter().filter(|hook| has(&container["lifecycle"], hook)) {
        errors.extend(handler(&container["lifecycle"][hook], &path.child("lifecycle").child(hook)));
    }
    if init && has(container, "lifecycle") && !sidecar {
        errors.push(FieldError::forbidden(
            &path.child("lifecycle"),
            "may not be set for init containers without restartPolicy=Always",
        ));
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|f| has(container, f))
    {
        let at = path.child(field);
        if init && !sidecar {
            errors.push(FieldError::forbidden(
                &at,
                "may not be set for init containers without restartPolicy=Always",
            ));
            continue;
        }
        errors.extend(probe(&container[field], &at));
        let once = int(&container[field], "successThreshold").is_some_and(|n| n != 1);
        if field != "readinessProbe" && once {
            errors.push(FieldError::invalid(
                &at.child("successThreshold"),
                container[field]["successThreshold"].clone(),
                "must be 1",
            ));
        }
    }
    errors
}

fn probe(probe: &Value, path: &Path) -> Errors {
    let mut errors = handler(probe, path);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.extend(check::non_negative(probe, field, path));
    }
    if let Some(grace) = int(probe, "terminationGracePeriodSeconds").filter(|s| *s <= 0) {
        errors.push(FieldError::invalid(
            &path.child("terminationGracePeriodSeconds"),
            grace,
            "must be greater than 0",
        ));
    }
    errors
}

/// Exactly one way to ask.
fn handler(handler: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut given = 0;
    for kind in
        ["exec", "httpGet", "tcpSocket", "grpc", "sleep"].into_iter().filter(|kind| has(handler, kind))
    {
        let at = path.child(kind);
        given += 1;
        if given > 1 {
            errors.push(FieldError::forbidden(&at, "may not specify more than 1 handler type"));
        } else {
            errors.extend(one(kind, &handler[kind], &at));
        }
    }
    if given == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    errors
}

fn one(kind: &str, action: &Value, path: &Path) -> Errors {
    match kind {
        "exec" if list(action, "command").is_empty() => {
            vec![FieldError::required(&path.child("command"), "")]
        }
        "httpGet" => http_get(action, path),
        "tcpSocket" => check::port_or_name(&action["port"], &path.child("port")),
        "grpc" => check::port(int(action, "port").unwrap_or_default(), &path.child("port")),
        _ => Errors::new(),
    }
}

fn http_get(action: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if text(action, "path").is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    }
    errors.extend(check::port_or_name(&action["port"], &path.child("port")));
    let scheme = text(action, "scheme");
    if !SCHEMES.contains(&scheme) {
        errors.push(FieldError::not_supported(&path.child("scheme"), scheme, &SCHEMES));
    }
    for (i, header) in list(action, "httpHeaders").iter().enumerate() {
        let (name, at) = (text(header, "name"), path.child("httpHeaders").index(i).child("name"));
        errors.extend(check::named(&at, name, names::http_header_name(name)));
    }
    errors
}
