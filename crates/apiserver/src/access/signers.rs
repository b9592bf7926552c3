//! Who may approve, sign and attest in the name of a signer (upstream: `plugin/pkg/admission/certificates`).

use std::borrow::Cow;

use auth::{Attributes, MASTERS_GROUP};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::status::Status;
use serde_json::Value;

use super::escalation::snapshot;
use crate::registry::admission::{AdmissionContext, Operation, Plugin};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest.
pub(crate) struct CertificateSigners;

#[async_trait::async_trait]
impl Plugin for CertificateSigners {
    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if context.handle.group != GROUP || context.operation == Operation::Delete {
            return Ok(());
        }
        // A signer is what the stored request says, whatever the update says.
        let signer = |object: &Value| text(object, "/spec/signerName").to_owned();
        match (context.handle.plural.as_str(), context.subresource) {
            ("certificatesigningrequests", "") if old.is_none() => restrict_subject(context, object),
            ("certificatesigningrequests", "approval") => {
                demand(context, "approve", &signer(old.unwrap_or(object)), "approve requests with")
            }
            ("certificatesigningrequests", "status") => match old {
                Some(old) if is_unsigned(object, old) => Ok(()),
                old => demand(context, "sign", &signer(old.unwrap_or(object)), "sign requests with"),
            },
            ("clustertrustbundles", "") => {
                let unchanged = old.is_some_and(|old| old.get("spec") == object.get("spec"));
                let name = signer(object);
                if unchanged || name.is_empty() {
                    Ok(())
                } else {
                    demand(context, "attest", &name, "attest for")
                }
            }
            _ => Ok(()),
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a write to `/status` leaves alone what a signer gives.
fn is_unsigned(object: &Value, old: &Value) -> bool {
    ["/status/certificate", "/status/conditions"]
        .iter()
        .all(|pointer| object.pointer(pointer) == old.pointer(pointer))
}

/// Certificates that are good for clients make nobody an administrator.
fn restrict_subject(context: &AdmissionContext<'_>, object: &Value) -> Result<(), Status> {
    if text(object, "/spec/signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let pem = STANDARD.decode(text(object, "/spec/request")).unwrap_or_default();
    let request = auth::signing_request(&pem).map_err(|error| context.forbidden(error))?;
    if request.organizations.iter().any(|organization| organization == MASTERS_GROUP) {
        return Err(context
            .forbidden(format!("use of {CLIENT_SIGNER} signer with {MASTERS_GROUP} group is not allowed")));
    }
    Ok(())
}

fn demand(context: &AdmissionContext<'_>, verb: &str, signer: &str, what: &str) -> Result<(), Status> {
    if context.user.in_group(MASTERS_GROUP) {
        return Ok(());
    }
    let rbac = snapshot(context.registry);
    let domain = signer.split('/').next().unwrap_or_default();
    let allowed = [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let attributes = Attributes {
            user: Cow::Borrowed(context.user),
            verb,
            is_resource: true,
            group: GROUP,
            version: "*",
            resource: "signers",
            name: &name,
            ..Attributes::default()
        };
        rbac.authorize(&attributes).allowed()
    });
    if allowed {
        return Ok(());
    }
    Err(context.forbidden(format!("user not permitted to {what} signerName \"{signer}\"")))
}
