//! Names in field selectors: which ones a kind knows, what they mean, and how others are refused
//! (upstream: `AddFieldLabelConversionFunc` in `pkg/apis/*/*/conversion.go`).

use machinery::text::go_quote;

use super::handle::ResourceHandle;

/// Events of `events.k8s.io`, whose fields have other names than those that are kept.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
    ("reason", "reason"),
    ("type", "type"),
];

/// The field that a name in a selector means, as the strategy of the kind calls it.
///
/// # Errors
/// Upstream's sentence for a name that the kind does not know, for a 400 answer.
pub(super) fn resolve(handle: &ResourceHandle, name: &str) -> Result<String, String> {
    let own = handle.strategy().selectable_field_names();
    if name == "metadata.name" || (name == "metadata.namespace" && knows_namespace(handle, own)) {
        return Ok(name.to_owned());
    }
    if own.is_empty() {
        let quoted = go_quote(name);
        return Err(format!(
            "{quoted} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ));
    }
    let field = match (handle.group.as_str(), handle.plural.as_str()) {
        ("events.k8s.io", "events") => {
            EVENT_FIELDS.iter().find(|(label, _)| *label == name).map(|(_, field)| *field)
        }
        // Clients of the first days say `host`; `podIPs` may be asked for, but nothing has it.
        ("", "pods") if name == "spec.host" => Some("spec.nodeName"),
        ("", "pods") if name == "status.podIPs" => Some(name),
        _ => own.iter().find(|field| **field == name).copied(),
    };
    field.map(str::to_owned).ok_or_else(|| refusal(handle, name))
}

/// Kinds of the cluster that list their own names leave this one out; those that list none take it.
fn knows_namespace(handle: &ResourceHandle, own: &[&str]) -> bool {
    own.is_empty() || (handle.namespaced && handle.plural != "podcertificaterequests")
}

fn refusal(handle: &ResourceHandle, name: &str) -> String {
    match (handle.group.as_str(), handle.plural.as_str()) {
        ("batch", "jobs") => format!("field label {} not supported for Job", go_quote(name)),
        ("resource.k8s.io", "resourceslices") => {
            format!("field label not supported for {}, Kind={}: {name}", handle.api_version, handle.kind)
        }
        _ => format!("field label not supported: {name}"),
    }
}
