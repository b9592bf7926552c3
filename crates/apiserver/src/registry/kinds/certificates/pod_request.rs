//! PodCertificateRequests: what a kubelet asks a signer for, on behalf of a pod.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Map, Value, json};

use super::super::cells::labels;
use super::super::plain::Plain;
use super::super::value::{int, list, map, text};
use super::super::{check, conditions, signers};
use crate::registry::strategy::Generic;

const OUTCOMES: [&str; 3] = ["Issued", "Denied", "Failed"];
const UID_MAX: usize = 128;
const SECONDS_MIN: i64 = 3600;
/// 91 days.
const SECONDS_MAX: i64 = 7_862_400;
/// The longest that signers of Kubernetes itself give: a day.
const SECONDS_MAX_KUBERNETES: i64 = 86_400;
const REQUEST_MAX: usize = 10 << 10;
const CHAIN_MAX: usize = 100 << 10;
const ANNOTATIONS_MAX: usize = 256 << 10;
const TEN_MINUTES: i64 = 600;

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: "spec.maxExpirationSeconds = 86400",
        checks: "spec struct\nspec.signerName struct",
        validate_create,
        immutable: &["/spec"],
        validate_status,
        row: Some(row),
        selectable: &["spec.signerName", "spec.podName", "spec.nodeName"],
        ..Plain::new(generic)
    }
}

fn validate_create(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = signers::name(text(spec, "signerName"), &path.child("signerName"));
    for who in ["pod", "serviceAccount", "node"] {
        errors.extend(named(spec, &format!("{who}Name"), &path));
        errors.extend(uid(spec, &format!("{who}UID"), &path));
    }
    errors.extend(lifetime(spec, &path));
    errors.extend(annotations(spec, &path.child("unverifiedUserAnnotations")));
    let request = text(spec, "stubPKCS10Request");
    let at = path.child("stubPKCS10Request");
    if request.is_empty() {
        errors.push(FieldError::required(&at, "must not be empty"));
        return errors;
    }
    let der = STANDARD.decode(request).unwrap_or_default();
    if der.len() > REQUEST_MAX {
        errors.push(FieldError::too_long(&at, REQUEST_MAX));
        return errors;
    }
    if let Err(error) = auth::signing_request_der(&der) {
        let detail = format!("must be a valid DER-serialized PKCS#10 CertificateSigningRequest: {error}");
        errors.push(FieldError::invalid(&at, request, detail));
    }
    errors
}

fn named(spec: &Value, field: &str, path: &Path) -> Errors {
    let name = text(spec, field);
    check::named(&path.child(field), name, names::dns1123_subdomain(name))
}

fn uid(spec: &Value, field: &str, path: &Path) -> Option<FieldError> {
    let (uid, at) = (text(spec, field), path.child(field));
    match uid.len() {
        0 => Some(FieldError::invalid(&at, uid, "must not be empty")),
        length => (length > UID_MAX).then(|| FieldError::too_long(&at, UID_MAX)),
    }
}

/// What a pod says to its signer, under names with a domain.
fn annotations(spec: &Value, path: &Path) -> Errors {
    const DETAIL: &str = "must be a domain-prefixed key (such as \"acme.io/foo\")";
    let given = map(spec, "unverifiedUserAnnotations");
    let mut errors = Errors::new();
    for key in given.into_iter().flat_map(Map::keys).map(|key| key.to_lowercase()) {
        let reasons = names::qualified_name(&key);
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if reasons.is_empty() && !key.contains('/') {
            errors.push(FieldError::invalid(path, key, DETAIL));
        } else {
            errors.extend(check::named(path, &key, reasons));
        }
    }
    let bytes = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if given.into_iter().flatten().map(bytes).sum::<usize>() > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

fn lifetime(spec: &Value, path: &Path) -> Option<FieldError> {
    let at = path.child("maxExpirationSeconds");
    let Some(seconds) = int(spec, "maxExpirationSeconds") else {
        return Some(FieldError::required(&at, "must be set"));
    };
    let kubernetes = signers::is_kubernetes(text(spec, "signerName"));
    let most = if kubernetes { SECONDS_MAX_KUBERNETES } else { SECONDS_MAX };
    let detail = format!("must be in the range [{SECONDS_MIN}, {most}]");
    (!(SECONDS_MIN..=most).contains(&seconds)).then(|| FieldError::invalid(&at, seconds, detail))
}

fn outcome(object: &Value) -> Option<&str> {
    let decided = list(&object["status"], "conditions")
        .iter()
        .find(|condition| OUTCOMES.contains(&text(condition, "type")) && text(condition, "status") == "True");
    decided.map(|condition| text(condition, "type"))
}

/// A request is decided once.
fn validate_status(object: &Value, old: &Value) -> Errors {
    let path = Path::new("status");
    let mut errors = known_conditions(object, &path.child("conditions"));
    errors.extend(conditions::validate(&object["status"]["conditions"], &path.child("conditions")));
    if !errors.is_empty() {
        return errors;
    }
    let fixed = |detail: &str| FieldError::invalid(&path, Value::Null, detail).without_value();
    let changed = object["status"] != old["status"];
    match outcome(object) {
        _ if outcome(old).is_some() => {
            let detail = "immutable after PodCertificateRequest is issued, denied, or failed";
            changed.then(|| fixed(detail)).into_iter().collect()
        }
        Some("Issued") => issued(object, &path),
        Some(_) => {
            let detail =
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            let only = object["status"].as_object().is_none_or(|status| {
                status.iter().all(|(key, value)| key == "conditions" || value.is_null())
            });
            (!only).then(|| fixed(detail)).into_iter().collect()
        }
        None => {
            let detail = "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
            changed.then(|| fixed(detail)).into_iter().collect()
        }
    }
}

fn known_conditions(object: &Value, path: &Path) -> Errors {
    const ONE: &str = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
    let mut errors = Errors::new();
    let mut known = 0;
    for (i, condition) in list(&object["status"], "conditions").iter().enumerate() {
        // Upstream writes the index as if it were a field.
        let at = path.child(&format!("[{i}]"));
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if !OUTCOMES.contains(&kind) {
            errors.push(FieldError::not_supported(&at.child("type"), kind, &OUTCOMES));
            continue;
        }
        known += 1;
        if known > 1 {
            errors.push(FieldError::invalid(&at.child("type"), kind, ONE));
        }
        if status != "True" {
            errors.push(FieldError::not_supported(&at.child("status"), status, &["True"]));
        }
    }
    errors
}

/// What was issued is what was asked for, and says so truly.
fn issued(object: &Value, path: &Path) -> Errors {
    let (spec, status) = (&object["spec"], &object["status"]);
    let chain = text(status, "certificateChain");
    let at = path.child("certificateChain");
    if chain.len() > CHAIN_MAX {
        return vec![FieldError::too_long(&at, CHAIN_MAX)];
    }
    let refuse = |detail: &str| vec![FieldError::invalid(&at, chain, detail)];
    let blocks = auth::pem_blocks(chain.as_bytes());
    let Some(leaf) = blocks.first() else {
        return refuse("issued certificate chain must contain at least one certificate");
    };
    if blocks.iter().any(|block| block.label != "CERTIFICATE") {
        return refuse("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let Some(facts) = auth::certificate(&leaf.der) else {
        return refuse("leaf certificate does not parse as valid X.509");
    };
    if blocks.iter().skip(1).any(|block| auth::certificate(&block.der).is_none()) {
        return refuse("intermediate certificate does not parse as valid X.509");
    }
    let request = STANDARD.decode(text(spec, "stubPKCS10Request")).unwrap_or_default();
    if auth::signing_request_der(&request).map(|request| request.public_key) != Ok(facts.public_key.clone()) {
        return refuse("leaf certificate was not issued to the requested public key");
    }
    let lifetime = facts.not_after - facts.not_before;
    if lifetime < SECONDS_MIN {
        return refuse("leaf certificate lifetime must be >= 1 hour");
    }
    let most = int(spec, "maxExpirationSeconds").unwrap_or_default();
    if lifetime > most {
        return refuse(&format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})"));
    }
    times(status, &facts, path)
}

fn times(status: &Value, facts: &auth::CertificateFacts, path: &Path) -> Errors {
    let needed = [
        ("notBefore", "must be present and consistent with the issued certificate"),
        ("notAfter", "must be present and consistent with the issued certificate"),
        ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    ];
    let second = |field: &str| machinery::time::parse(text(status, field)).map(jiff::Timestamp::as_second);
    let missing = needed.iter().filter(|(field, _)| second(field).is_none());
    let errors: Errors =
        missing.map(|(field, detail)| FieldError::required(&path.child(field), *detail)).collect();
    if !errors.is_empty() {
        return errors;
    }
    let refresh = second("beginRefreshAt").unwrap_or_default();
    [
        (
            "notBefore",
            second("notBefore") != Some(facts.not_before),
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        (
            "notAfter",
            second("notAfter") != Some(facts.not_after),
            "must be set to the NotAfter time encoded in the leaf certificate",
        ),
        (
            "beginRefreshAt",
            refresh < facts.not_before + TEN_MINUTES,
            "must be at least 10 minutes after status.notBefore",
        ),
        (
            "beginRefreshAt",
            refresh > facts.not_after - TEN_MINUTES,
            "must be at least 10 minutes before status.notAfter",
        ),
    ]
    .into_iter()
    .find(|(_, wrong, _)| *wrong)
    .map(|(field, _, detail)| FieldError::invalid(&path.child(field), text(status, field), detail))
    .into_iter()
    .collect()
}

fn row(object: &Value, _now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let mut cells = vec![json!(meta::name(object))];
    cells.extend(
        ["podName", "serviceAccountName", "nodeName", "signerName"].map(|field| json!(text(spec, field))),
    );
    cells.push(json!(outcome(object).unwrap_or("Pending")));
    cells.push(labels(spec, "unverifiedUserAnnotations"));
    cells
}
