//! Who may say what in the status of a ResourceClaim: the scheduler what is allocated and for whom, a driver what it thinks
//! of its own devices (upstream: `pkg/registry/resource`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use auth::{Attributes, UserInfo, split_service_account_user};
use machinery::field::{Errors, FieldError, Path};
use serde_json::Value;

use super::text;
use crate::registry::admission::AdmissionContext;

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// What the user may not say.
pub(crate) fn claim_status_refusals(context: &AdmissionContext<'_>, new: &Value, old: &Value) -> Errors {
    let drivers = if new["allocation"].is_object() { changed_drivers(new, old) } else { BTreeSet::new() };
    let bound = ["allocation", "reservedFor"].into_iter().any(|field| new[field] != old[field]);
    let (mut errors, path) = (Errors::new(), Path::new("status"));
    if bound {
        errors.extend(binding(context, &path.child("allocation")));
    }
    let verbs = driver_verbs(context.verb, context.user, new);
    let refused = drivers.into_iter().filter_map(|driver| {
        let why = first_refusal(context, &verbs, driver)?;
        let verbs = verbs.join(" ");
        let detail = format!(
            r#"changing status.devices requires resource="resourceclaims/driver", verb="[{verbs}]" permission: {why}"#
        );
        Some(FieldError::forbidden(&path.child("devices"), detail))
    });
    errors.extend(refused);
    errors
}

fn binding(context: &AdmissionContext<'_>, path: &Path) -> Option<FieldError> {
    let why = refusal(context, &asks(context, context.verb, "binding"))?;
    let verb = context.verb;
    let detail = format!(
        r#"changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="{verb}" permission: {why}"#
    );
    Some(FieldError::forbidden(path, detail))
}

fn asks<'a>(context: &AdmissionContext<'a>, verb: &'a str, subresource: &'a str) -> Attributes<'a> {
    Attributes {
        user: Cow::Borrowed(context.user),
        verb,
        is_resource: true,
        group: "resource.k8s.io",
        version: "v1",
        resource: "resourceclaims",
        subresource,
        ..Attributes::default()
    }
}

fn refusal(context: &AdmissionContext<'_>, asked: &Attributes<'_>) -> Option<String> {
    context.registry.allow(asked).err().map(|status| status.message)
}

/// One of the verbs is enough.
fn first_refusal(context: &AdmissionContext<'_>, verbs: &[String], driver: &str) -> Option<String> {
    let mut first = None;
    for verb in verbs {
        let asked =
            Attributes { namespace: context.namespace, name: driver, ..asks(context, verb, "driver") };
        first = first.or(Some(refusal(context, &asked)?));
    }
    first
}

/// What a driver must be allowed; on the node of the devices something narrower will do.
fn driver_verbs(verb: &str, user: &UserInfo, status: &Value) -> Vec<String> {
    let is_near = allocated_node(status).is_some_and(|node| {
        let is_account = split_service_account_user(&user.name).is_some();
        is_account && user.extra.get(NODE_NAME).is_some_and(|names| *names == [node])
    });
    let modes: &[&str] = if is_near { &["associated-node", "arbitrary-node"] } else { &["arbitrary-node"] };
    modes.iter().map(|mode| format!("{mode}:{verb}")).collect()
}

/// The node that an allocation is for, when it is for one by name.
fn allocated_node(status: &Value) -> Option<&str> {
    let only = |list: &Value| list.as_array().is_some_and(|items| items.len() == 1);
    let terms = &status["allocation"]["nodeSelector"]["nodeSelectorTerms"];
    let fields = &terms[0]["matchFields"];
    let no_labels = terms[0]["matchExpressions"].as_array().is_none_or(Vec::is_empty);
    let by_name = text(&fields[0], "key") == "metadata.name" && text(&fields[0], "operator") == "In";
    let values = &fields[0]["values"];
    let is_one = only(terms) && only(fields) && only(values) && no_labels && by_name;
    values[0].as_str().filter(|node| is_one && !node.is_empty())
}

/// Drivers whose devices are told differently than before, or no longer.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let (new, old) = (devices(new), devices(old));
    let gone = old.iter().filter(|before| !new.iter().any(|device| is_same(device, before)));
    let changed = new.iter().filter(|device| {
        let before = old.iter().find(|before| is_same(device, before));
        before != Some(*device)
    });
    changed.chain(gone).map(|device| text(device, "driver")).collect()
}

fn devices(status: &Value) -> &[Value] {
    status["devices"].as_array().map_or(&[], Vec::as_slice)
}

fn is_same(one: &Value, other: &Value) -> bool {
    ["driver", "pool", "device", "shareID"].into_iter().all(|field| text(one, field) == text(other, field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drivers_are_asked_about_what_changed() {
        let device = |driver: &str, ready: bool| json!({"driver": driver, "pool": "p", "device": "d", "data": {"ready": ready}});
        let old = json!({"devices": [device("same", true), device("changed", false), device("gone", true)]});
        let new = json!({"devices": [device("same", true), device("changed", true), device("new", true)]});
        assert_eq!(changed_drivers(&new, &old), BTreeSet::from(["changed", "gone", "new"]));
        assert_eq!(changed_drivers(&old, &old), BTreeSet::new());
    }

    #[test]
    fn a_driver_on_the_node_needs_less() {
        let selector = |fields: Value| json!({"allocation": {"nodeSelector": {"nodeSelectorTerms": [{"matchFields": fields}]}}});
        let on_a = selector(json!([{"key": "metadata.name", "operator": "In", "values": ["a"]}]));
        let mut user = UserInfo::new("system:serviceaccount:x:driver", &[]);
        assert_eq!(driver_verbs("update", &user, &on_a), ["arbitrary-node:update"]);
        user.extra.insert(NODE_NAME.to_owned(), vec!["a".to_owned()]);
        assert_eq!(driver_verbs("patch", &user, &on_a), ["associated-node:patch", "arbitrary-node:patch"]);
        let on_two = selector(json!([{"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]));
        assert_eq!(driver_verbs("update", &user, &on_two), ["arbitrary-node:update"]);
    }
}
