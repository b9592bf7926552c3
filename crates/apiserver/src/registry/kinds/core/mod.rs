//! Kinds of the core group.

mod claim;
mod controller;
mod data;
mod endpoints;
mod event;
pub mod namespace;
pub mod node;
pub mod pod;
mod pod_columns;
mod pod_resize;
mod pod_rules;
mod pod_status;
mod quota;
pub mod service;
mod service_columns;
pub(crate) mod service_rules;
mod service_status;
mod service_update;
mod service_warnings;
mod tls_secret;
mod volume;

pub(super) use claim::validate_claim_spec;

use machinery::meta;
use serde_json::{Value, json};

use super::cells::age;
use super::plain::Plain;
use super::value::list;
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group; `None` when it has one of its own or nothing special.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    Some(match plural {
        "configmaps" => data::config_map(generic),
        "secrets" => data::secret(generic),
        "serviceaccounts" => Plain {
            row: Some(service_account_row),
            warnings: mountable_secrets,
            update_warnings: |object, old| {
                if mountable_secrets(old).is_empty() { mountable_secrets(object) } else { Vec::new() }
            },
            ..Plain::new(generic)
        },
        "endpoints" => endpoints::plain(generic),
        "events" => event::plain(generic),
        "limitranges" => quota::limit_range(generic),
        "resourcequotas" => quota::resource_quota(generic),
        "persistentvolumes" => volume::plain(generic),
        "persistentvolumeclaims" => claim::plain(generic),
        "podtemplates" => controller::pod_template(generic),
        "replicationcontrollers" => controller::replication_controller(generic),
        _ => return None,
    })
}

/// Secrets are kept apart by namespaces now.
fn mountable_secrets(account: &Value) -> Vec<String> {
    const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
    let what = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    let warning = |_| format!("metadata.annotations[{ENFORCE}]: {what}");
    meta::annotation(account, ENFORCE).map(warning).into_iter().collect()
}

fn service_account_row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), json!(list(object, "secrets").len().to_string()), age(object, now)]
}
