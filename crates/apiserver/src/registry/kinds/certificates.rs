//! CertificateSigningRequests: who asks is recorded, approving is apart from signing.

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::cells::{age, duration, or_none};
use super::value::{int, text};
use crate::registry::admission::AdmissionContext;
use crate::registry::strategy::Strategy;

/// Conditions that are set through `/approval` only.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// The strategy of CertificateSigningRequests.
pub struct CertificateSigningRequest;

#[async_trait::async_trait]
impl Strategy for CertificateSigningRequest {
    fn name_errors(&self, name: &str) -> Vec<String> {
        machinery::names::path_segment(name)
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        object["spec"] = old.get("spec").cloned().unwrap_or_else(|| json!({}));
    }

    /// A signer gives the certificate and its own conditions; the decision is not its to change.
    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        let is_decision =
            |condition: &&Value| DECISIONS.iter().any(|decision| condition["type"] == *decision);
        let mut merged: Vec<Value> = conditions(old).iter().filter(is_decision).cloned().collect();
        merged.extend(conditions(object).iter().filter(|condition| !is_decision(condition)).cloned());
        set_conditions(object, merged, old);
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
        spec["uid"] = context.user.uid.as_str().into();
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

/// What became of the request.
fn state(request: &Value) -> String {
    let kinds = conditions(request).iter().map(|condition| text(condition, "type"));
    let mut state: Vec<&str> = kinds.filter(|kind| ["Approved", "Denied", "Failed"].contains(kind)).collect();
    if state.is_empty() {
        state.push("Pending");
    }
    if !text(&request["status"], "certificate").is_empty() {
        state.push("Issued");
    }
    state.join(",")
}

fn conditions(request: &Value) -> &[Value] {
    request.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Sets the conditions; new ones get their times.
fn set_conditions(object: &mut Value, mut wanted: Vec<Value>, old: &Value) {
    let now = machinery::time::rfc3339(jiff::Timestamp::now());
    for condition in wanted.iter_mut().filter(|condition| !conditions(old).contains(condition)) {
        for key in ["lastUpdateTime", "lastTransitionTime"] {
            if condition.get(key).is_none_or(Value::is_null) {
                condition[key] = now.as_str().into();
            }
        }
        if condition.get("status").is_none() {
            condition["status"] = "True".into();
        }
    }
    if !wanted.is_empty() {
        object["status"]["conditions"] = wanted.into();
    } else if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("conditions");
    }
}
