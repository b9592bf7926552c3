//! Refusals of probes and lifecycle hooks.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};
use super::Surroundings;

const SCHEMES: [&str; 2] = ["HTTP", "HTTPS"];

/// Hooks and probes of a container that may have them.
pub(super) fn of_container(container: &Value, around: &Surroundings<'_>, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for hook in ["postStart", "preStop"].into_iter().filter(|hook| has(&container["lifecycle"], hook)) {
        let at = path.child("lifecycle").child(hook);
        errors.extend(handler(&container["lifecycle"][hook], around.grace(), &at));
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|f| has(container, f))
    {
        let (one, at) = (&container[field], path.child(field));
        errors.extend(probe(one, &at));
        let successes = int(one, "successThreshold").unwrap_or_default();
        if field != "readinessProbe" && successes != 1 {
            errors.push(FieldError::invalid(&at.child("successThreshold"), successes, "must be 1"));
        }
        if let Some(grace) = int(one, "terminationGracePeriodSeconds").filter(|_| field == "readinessProbe") {
            let at = at.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&at, grace, "must not be set for readinessProbes"));
        }
    }
    errors
}

fn probe(probe: &Value, path: &Path) -> Errors {
    let mut errors = handler(probe, None, path);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.extend(check::non_negative(probe, field, path));
    }
    if let Some(grace) = int(probe, "terminationGracePeriodSeconds").filter(|s| *s <= 0) {
        let at = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&at, grace, "must be greater than 0"));
    }
    errors
}

/// Exactly one way to ask, or to act. `grace`: how long the pod may take to end.
fn handler(handler: &Value, grace: Option<i64>, path: &Path) -> Errors {
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
            errors.extend(one(kind, &handler[kind], grace, &at));
        }
    }
    if given == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    errors
}

fn one(kind: &str, action: &Value, grace: Option<i64>, path: &Path) -> Errors {
    match kind {
        "exec" if list(action, "command").is_empty() => {
            vec![FieldError::required(&path.child("command"), "")]
        }
        "httpGet" => http_get(action, path),
        "tcpSocket" => check::port_or_name(&action["port"], &path.child("port")),
        "grpc" => check::port(int(action, "port").unwrap_or_default(), &path.child("port")),
        "sleep" => sleep(int(action, "seconds").unwrap_or_default(), grace, path).into_iter().collect(),
        _ => Errors::new(),
    }
}

fn sleep(seconds: i64, grace: Option<i64>, path: &Path) -> Option<FieldError> {
    let grace = grace?;
    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    (seconds < 0 || seconds > grace).then(|| FieldError::invalid(path, seconds, detail))
}

fn http_get(action: &Value, path: &Path) -> Errors {
    let mut errors: Errors = check::required(action, "path", path).into_iter().collect();
    errors.extend(check::port_or_name(&action["port"], &path.child("port")));
    let scheme = text(action, "scheme");
    if !SCHEMES.contains(&scheme) {
        errors.push(FieldError::not_supported(&path.child("scheme"), scheme, &SCHEMES));
    }
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        errors.extend(check::named(&path.child("httpHeaders"), name, names::http_header_name(name)));
    }
    errors
}
