//! Refusals of ports of containers.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{flag, int, list, text};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn of_container(container: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let at = path.child("ports").index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = check::named(&at.child("name"), name, names::port_name(name));
            if wrong.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), name));
            }
            errors.extend(wrong);
        }
        match number(port, "containerPort") {
            None => errors.push(FieldError::required(&at.child("containerPort"), "")),
            Some(number) => errors.extend(check::port(number, &at.child("containerPort"))),
        }
        if let Some(number) = number(port, "hostPort") {
            errors.extend(check::port(number, &at.child("hostPort")));
        }
        errors.extend(check::one_of(port, "protocol", &PROTOCOLS, &at));
    }
    errors
}

fn number(port: &Value, field: &str) -> Option<i64> {
    int(port, field).filter(|number| *number != 0)
}

/// A port of the host is given to one container only.
pub(super) fn taken_twice(containers: &[Value], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut taken = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let Some(number) = number(port, "hostPort") else { continue };
            if !taken.insert((text(port, "protocol"), text(port, "hostIP"), number)) {
                let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
                errors.push(FieldError::duplicate(
                    &path.index(i).child("ports").index(j).child("hostPort"),
                    key,
                ));
            }
        }
    }
    errors
}

/// On the network of the host, ports are those of the host. A template may leave that to its pods.
pub(super) fn on_host_network(spec: &Value, is_pod: bool, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if !flag(spec, "hostNetwork") {
        return errors;
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or_default();
            if (is_pod || host != 0) && host != int(port, "containerPort").unwrap_or_default() {
                let at = path.child("containers").index(i).child("ports").index(j).child("hostPort");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&at, host, detail));
            }
        }
    }
    errors
}
