//! CertificateSigningRequests: who asks is recorded, approving is apart from signing.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::super::cells::{age, duration, or_none};
use super::super::value::{int, strings, text};
use super::super::{check, signers};
use crate::registry::admission::AdmissionContext;
use crate::registry::strategy::Strategy;

/// Conditions that are set through `/approval` only.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// Conditions that are either true or absent, and that stay.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const SECONDS_MIN: i64 = 600;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The strategy of CertificateSigningRequests.
pub struct CertificateSigningRequest;

#[async_trait::async_trait]
impl Strategy for CertificateSigningRequest {
    fn name_errors(&self, name: &str) -> Vec<String> {
        machinery::names::path_segment(name)
    }

    fn prefix_errors(&self, prefix: &str) -> Vec<String> {
        machinery::names::path_segment_prefix(prefix)
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        object["spec"] = old.get("spec").cloned().unwrap_or_else(|| json!({}));
    }

    /// A signer gives the certificate and its own conditions; the decision is not its to change, unless it adds or removes
    /// one, which is refused.
    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        let mut wanted = conditions(object).to_vec();
        for kind in DECISIONS {
            let before = of_kind(old, kind);
            let slots: Vec<&mut Value> = wanted.iter_mut().filter(|c| text(c, "type") == kind).collect();
            if slots.len() == before.len() {
                slots.into_iter().zip(before).for_each(|(slot, before)| *slot = before.clone());
            }
        }
        set_conditions(object, wanted, old);
    }

    /// An approver changes conditions and nothing else.
    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        object: &mut Value,
        wanted: &Value,
        old: &Value,
    ) {
        if subresource == "approval" {
            set_conditions(object, conditions(wanted).to_vec(), old);
        }
    }

    fn validate_create(&self, request: &Value) -> Errors {
        let (spec, path) = (&request["spec"], Path::new("spec"));
        let mut errors: Errors = body(spec, &path).into_iter().collect();
        errors.extend(usages(spec, &path.child("usages")));
        let (signer, at) = (text(spec, "signerName"), path.child("signerName"));
        if signer == LEGACY_SIGNER {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.push(FieldError::invalid(&at, signer, detail));
        } else {
            errors.extend(signers::name(signer, &at));
        }
        if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < SECONDS_MIN) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
        errors
    }

    fn validate_status_update(&self, request: &Value, old: &Value) -> Errors {
        let mut errors = decided(request, old);
        errors.extend(not_removed(request, old));
        errors.extend(DECISIONS.into_iter().filter_map(|kind| not_set(request, old, kind)));
        errors.extend(certificate(request, old));
        errors
    }

    fn validate_subresource_update(&self, subresource: &str, request: &Value, old: &Value) -> Errors {
        if subresource != "approval" {
            return Errors::new();
        }
        let mut errors = decided(request, old);
        errors.extend(not_removed(request, old));
        errors
    }

    /// Who asks is what the request's credentials say, not what the body says.
    async fn admit(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if old.is_some() {
            return Ok(());
        }
        let spec = &mut object["spec"];
        spec["username"] = context.user.name.as_str().into();
        spec["groups"] = context.user.groups.clone().into();
        if !context.user.uid.is_empty() {
            spec["uid"] = context.user.uid.as_str().into();
        }
        if !context.user.extra.is_empty() {
            spec["extra"] = json!(context.user.extra);
        }
        Ok(())
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let signer = object.pointer("/spec/signerName").and_then(Value::as_str).unwrap_or_default();
        vec![("spec.signerName", signer.to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = &object["spec"];
        let lasts = int(spec, "expirationSeconds").map_or("<none>".to_owned(), duration);
        Some(vec![
            json!(meta::name(object)),
            age(object, now),
            json!(or_none(text(spec, "signerName"))),
            json!(text(spec, "username")),
            json!(lasts),
            json!(state(object)),
        ])
    }
}

/// The request itself has to be one, signed by the key that it is for.
fn body(spec: &Value, path: &Path) -> Option<FieldError> {
    let request = text(spec, "request");
    let pem = STANDARD.decode(request).unwrap_or_default();
    let error = auth::signing_request(&pem).err()?;
    let shown = spec.get("request").cloned().unwrap_or_default();
    Some(FieldError::invalid(&path.child("request"), shown, error.to_string()))
}

fn usages(spec: &Value, path: &Path) -> Errors {
    let usages = strings(spec, "usages");
    let mut errors = Errors::new();
    if usages.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    for (i, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.push(FieldError::not_supported(&path.index(i), *usage, &USAGES));
    }
    let mut seen = HashSet::new();
    for (i, usage) in usages.into_iter().enumerate() {
        if !seen.insert(usage) {
            errors.push(FieldError::duplicate(&path.index(i), usage));
        }
    }
    errors
}

/// What is wrong with the conditions; what was wrong before is let be.
fn decided(request: &Value, old: &Value) -> Errors {
    let new = wrong_conditions(request);
    if new.is_empty() {
        return new;
    }
    let before = wrong_conditions(old);
    new.into_iter().filter(|error| !before.contains(error)).collect()
}

fn wrong_conditions(request: &Value) -> Errors {
    let path = Path::new("status").child("conditions");
    let mut seen = HashSet::new();
    let mut errors = Errors::new();
    for (i, condition) in conditions(request).iter().enumerate() {
        let (kind, at) = (text(condition, "type"), path.index(i));
        errors.extend(check::required(condition, "type", &at));
        let allowed: &[&str] = if FINAL.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        errors.extend(check::one_of(condition, "status", allowed, &at));
        let other = if kind == "Approved" { "Denied" } else { "Approved" };
        if DECISIONS.contains(&kind) && seen.contains(other) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path, kind, detail));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&at.child("type"), kind));
        }
    }
    errors
}

fn not_removed(request: &Value, old: &Value) -> Errors {
    let path = Path::new("status").child("conditions");
    let gone = |kind: &&str| of_kind(request, kind).len() < of_kind(old, kind).len();
    FINAL
        .into_iter()
        .filter(gone)
        .map(|kind| {
            FieldError::forbidden(&path, format!("updates may not remove a condition of type \"{kind}\""))
        })
        .collect()
}

fn not_set(request: &Value, old: &Value, kind: &str) -> Option<FieldError> {
    let path = Path::new("status").child("conditions");
    let (new, before) = (of_kind(request, kind), of_kind(old, kind));
    if new.len() > before.len() {
        return Some(FieldError::forbidden(
            &path,
            format!("updates may not add a condition of type \"{kind}\""),
        ));
    }
    let detail = || format!("updates may not modify a condition of type \"{kind}\"");
    (new.len() == before.len() && new != before).then(|| FieldError::forbidden(&path, detail()))
}

/// A certificate is given once, and is one.
fn certificate(request: &Value, old: &Value) -> Errors {
    let [new, before] = [request, old].map(|object| text(&object["status"], "certificate"));
    if new == before {
        return Errors::new();
    }
    let path = Path::new("status").child("certificate");
    let pem = STANDARD.decode(new).unwrap_or_default();
    let refusal = if new.is_empty() { None } else { not_certificates(&pem) };
    let mut errors: Errors =
        refusal.map(|why| FieldError::invalid(&path, "<certificate data>", why)).into_iter().collect();
    if !before.is_empty() {
        errors.push(FieldError::forbidden(&path, "updates may not modify existing certificate content"));
    }
    errors
}

fn not_certificates(pem: &[u8]) -> Option<String> {
    let blocks = auth::pem_blocks(pem);
    if blocks.is_empty() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    blocks.iter().find_map(|block| match block.label.as_str() {
        "CERTIFICATE" if auth::certificate(&block.der).is_none() => {
            Some("x509: malformed certificate".to_owned())
        }
        "CERTIFICATE" => None,
        other => Some(format!(
            "only CERTIFICATE PEM blocks are allowed, found {}",
            machinery::text::go_quote(other)
        )),
    })
}

/// What became of the request.
fn state(request: &Value) -> String {
    let has = |kind: &str| conditions(request).iter().any(|condition| text(condition, "type") == kind);
    let mut state = vec![["Denied", "Approved"].into_iter().find(|kind| has(kind)).unwrap_or("Pending")];
    if has("Failed") {
        state.push("Failed");
    }
    if !text(&request["status"], "certificate").is_empty() {
        state.push("Issued");
    }
    state.join(",")
}

fn conditions(request: &Value) -> &[Value] {
    request.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn of_kind<'a>(request: &'a Value, kind: &str) -> Vec<&'a Value> {
    conditions(request).iter().filter(|condition| text(condition, "type") == kind).collect()
}

/// Sets the conditions; new ones get their times.
fn set_conditions(object: &mut Value, mut wanted: Vec<Value>, old: &Value) {
    let now = machinery::time::rfc3339(jiff::Timestamp::now());
    for condition in wanted.iter_mut().filter(|condition| condition.is_object()) {
        let since = conditions(old)
            .iter()
            .find(|before| ["type", "status"].iter().all(|key| text(before, key) == text(condition, key)));
        let since = since.map(|before| text(before, "lastTransitionTime")).filter(|time| !time.is_empty());
        let since = since.unwrap_or(&now).to_owned();
        for (key, time) in [("lastUpdateTime", &now), ("lastTransitionTime", &since)] {
            if condition.get(key).is_none_or(Value::is_null) {
                condition[key] = time.as_str().into();
            }
        }
    }
    if !wanted.is_empty() {
        object["status"]["conditions"] = wanted.into();
    } else if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("conditions");
    }
}
