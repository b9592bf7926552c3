//! In which versions each server reads and writes a resource (upstream: `pkg/apis/apiserverinternal/validation`).

use std::collections::HashMap;

use machinery::field::{Errors, FieldError, Path};
use machinery::text::go_print;
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::{age, or_unset, shortened};
use super::check;
use super::plain::Plain;
use super::value::{has, list, strings, text};

/// The strategy of StorageVersions.
pub(super) fn plain(base: Plain) -> Plain {
    Plain { names: Some(name), validate_status: status, row: Some(row), ..base }
}

/// `<group>.<resource>`.
fn name(name: &str) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let mut reasons = prefixed("the group segment ", names::dns1123_subdomain(group));
    reasons.extend(prefixed("the resource segment ", names::dns1035_label(resource)));
    reasons
}

fn prefixed(prefix: &str, reasons: Vec<String>) -> Vec<String> {
    reasons.into_iter().map(|reason| format!("{prefix}{reason}")).collect()
}

fn status(object: &Value, _old: &Value) -> Errors {
    let (status, path) = (&object["status"], Path::new("status"));
    let servers = list(status, "storageVersions");
    let mut errors = Errors::new();
    for (i, one) in servers.iter().enumerate() {
        let at = path.child("storageVersions").index(i);
        if servers[..i].iter().any(|earlier| text(earlier, "apiServerID") == text(one, "apiServerID")) {
            errors.push(FieldError::duplicate(&at.child("apiServerID"), text(one, "apiServerID")));
        }
        errors.extend(server(one, &at));
    }
    errors.extend(common(status, servers, &path.child("commonEncodingVersion")));
    errors.extend(conditions(list(status, "conditions"), &path));
    errors
}

/// What one server says: it reads what it writes, and it serves what it reads.
fn server(server: &Value, path: &Path) -> Errors {
    let id = text(server, "apiServerID");
    let mut errors = check::named(&path.child("apiServerID"), id, names::dns1123_subdomain(id));
    let written = text(server, "encodingVersion");
    errors.extend(version(written, &path.child("encodingVersion")));
    let (readable, at) = (strings(server, "decodableVersions"), path.child("decodableVersions"));
    errors.extend(readable.iter().enumerate().filter_map(|(i, one)| version(one, &at.index(i))));
    let shown = server.get("decodableVersions").cloned().unwrap_or_default();
    if !readable.contains(&written) {
        let detail = format!("decodableVersions must include encodingVersion {written}");
        errors.push(FieldError::invalid(&at, shown, detail));
    }
    for (i, served) in strings(server, "servedVersions").into_iter().enumerate() {
        let at = path.child("servedVersions").index(i);
        errors.extend(version(served, &at));
        if !readable.contains(&served) {
            let readable = go_print(&json!(readable));
            let detail = format!(
                "individual served version : {served} must be included in decodableVersions : {readable}"
            );
            errors.push(FieldError::invalid(&at, served, detail));
        }
    }
    errors
}

fn version(version: &str, path: &Path) -> Option<FieldError> {
    let reasons = version_reasons(version);
    (!reasons.is_empty()).then(|| FieldError::invalid(path, version, reasons.join(",")))
}

/// A version, perhaps with its group.
fn version_reasons(text: &str) -> Vec<String> {
    const LABEL: &str = "an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', \
                         start with an alphabetic character, and end with an alphanumeric character";
    let part = |what: &str, text: &str, check: fn(&str) -> Vec<String>| match text {
        "" => vec![format!("{what} part: must be non-empty")],
        text => prefixed(&format!("{what} part: "), check(text)),
    };
    let (group, version) =
        text.split_once('/').map_or((None, text), |(group, version)| (Some(group), version));
    if version.contains('/') {
        let error = names::regex_error(LABEL, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]);
        return vec![format!(
            "{error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"
        )];
    }
    let mut reasons = group.map_or_else(Vec::new, |group| part("group", group, names::dns1123_subdomain));
    reasons.extend(part("version", version, names::dns1035_label));
    reasons
}

/// The version that all servers write.
fn common(status: &Value, servers: &[Value], path: &Path) -> Option<FieldError> {
    let written = |server| text(server, "encodingVersion");
    let actual =
        servers.first().map(written).filter(|first| servers.iter().all(|one| written(one) == *first));
    let said = has(status, "commonEncodingVersion").then(|| text(status, "commonEncodingVersion"));
    let (value, detail) = match (actual, said) {
        (None, Some(said)) => (
            json!(said),
            "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the \
             supported versions yet"
                .to_owned(),
        ),
        (Some(actual), None) => (Value::Null, format!("the common encoding version is {actual}")),
        (Some(actual), Some(said)) if actual != said => {
            (json!(said), format!("the actual common encoding version is {actual}"))
        }
        _ => return None,
    };
    Some(FieldError::invalid(path, value, detail))
}

/// Conditions of any type and status. Upstream leaves the field's name out of the path.
fn conditions(conditions: &[Value], path: &Path) -> Errors {
    let (mut seen, mut errors) = (HashMap::new(), Errors::new());
    for (i, condition) in conditions.iter().enumerate() {
        let (kind, at) = (text(condition, "type"), path.index(i));
        if let Some(earlier) = seen.insert(kind, i) {
            let detail =
                format!("the type of the condition is not unique, it also appears in conditions[{earlier}]");
            errors.push(FieldError::invalid(&at.child("type"), kind, detail));
        }
        for field in ["type", "status"] {
            let name = text(condition, field);
            errors.extend(check::named(&at.child(field), name, names::qualified_name(name)));
        }
        errors.extend(
            ["reason", "message"].into_iter().filter_map(|field| check::required(condition, field, &at)),
        );
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    let status = &object["status"];
    let versions: Vec<String> = list(status, "storageVersions")
        .iter()
        .map(|one| format!("{}={}", text(one, "apiServerID"), text(one, "encodingVersion")))
        .collect();
    vec![
        json!(meta::name(object)),
        or_unset(status.get("commonEncodingVersion")),
        json!(shortened(&versions, "")),
        age(object, now),
    ]
}
