//! Kinds of the core group.

mod claim;
mod component_status;
mod controller;
mod data;
mod endpoints;
mod event;
pub mod namespace;
pub mod node;
pub mod pod;
mod pod_columns;
mod pod_resize;
mod pod_resource_health;
mod pod_rules;
mod pod_status;
mod quota;
pub mod service;
mod service_account;
mod service_columns;
pub(crate) mod service_rules;
mod service_status;
mod service_update;
mod service_warnings;
mod tls_secret;
mod volume;
mod volume_affinity;

pub(super) use claim::validate_claim_spec;
pub(super) use volume::validate_inline;

use super::plain::Plain;
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group; `None` when it has one of its own or nothing special.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    Some(match plural {
        "configmaps" => data::config_map(generic),
        "secrets" => data::secret(generic),
        "serviceaccounts" => service_account::plain(generic),
        "componentstatuses" => component_status::plain(generic),
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
