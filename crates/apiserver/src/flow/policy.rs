//! Authorization: roles, bindings and what nodes may reach, kept up to date by the store's feed.

use std::sync::Arc;

use auth::rbac::{Kind, Rbac, RulesForUser};
use auth::{Attributes, Decision, MASTERS_GROUP, NodeAuthorizer, NodeGraph, Related, UserInfo};
use machinery::status::Status;
use parking_lot::RwLock;
use store::{Entry, ReadError, Store};

use super::mirror::{Mirror, Mirrored};

/// What a watched resource holds.
#[derive(Debug, Clone, Copy)]
enum Watched {
    Rbac(Kind),
    Pods,
    PersistentVolumes,
    OfNode(Related),
}

const RBAC: &str = "rbac.authorization.k8s.io";
/// What is watched: groups and plural names.
const WATCHED: [(&str, &str, Watched); 8] = [
    (RBAC, "roles", Watched::Rbac(Kind::Role)),
    (RBAC, "rolebindings", Watched::Rbac(Kind::RoleBinding)),
    (RBAC, "clusterroles", Watched::Rbac(Kind::ClusterRole)),
    (RBAC, "clusterrolebindings", Watched::Rbac(Kind::ClusterRoleBinding)),
    ("", "pods", Watched::Pods),
    ("", "persistentvolumes", Watched::PersistentVolumes),
    ("storage.k8s.io", "volumeattachments", Watched::OfNode(Related::VolumeAttachment)),
    ("resource.k8s.io", "resourceslices", Watched::OfNode(Related::ResourceSlice)),
];

#[derive(Default)]
struct State {
    rbac: RwLock<Rbac>,
    graph: RwLock<NodeGraph>,
    nodes: NodeAuthorizer,
}

/// Decides what requests may do.
pub struct Policy {
    state: Arc<State>,
    /// The feed only knows them weakly: they live as long as this.
    _mirrors: Vec<Arc<Mirror<Part>>>,
}

impl Policy {
    /// Loads everything that decisions are made from and follows it.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub async fn start(store: &dyn Store) -> Result<Policy, ReadError> {
        let state = Arc::new(State::default());
        let mut mirrors = Vec::with_capacity(WATCHED.len());
        for (group, plural, watched) in WATCHED {
            let prefix = crate::registry::prefix(group, plural);
            let part = Part { prefix: prefix.clone(), watched, state: state.clone() };
            mirrors.push(Mirror::start(store, &prefix, part).await?);
        }
        Ok(Policy { state, _mirrors: mirrors })
    }

    /// Asks the authorizers in upstream's order: the privileged group, the node authorizer, roles and bindings.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(MASTERS_GROUP) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        if attributes.user.node_name().is_some() {
            let decision = self.state.nodes.authorize(attributes, &*self.state.graph.read());
            if decision.allowed() {
                return decision;
            }
            reasons.push(decision.reason().to_owned());
        }
        let decision = self.state.rbac.read().authorize(attributes);
        if decision.allowed() {
            return decision;
        }
        reasons.push(decision.reason().to_owned());
        reasons.retain(|reason| !reason.is_empty());
        Decision::NoOpinion(reasons.join("\n"))
    }

    /// The rules that roles give a user in a namespace.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesForUser {
        self.state.rbac.read().rules_for(user, namespace)
    }
}

impl crate::registry::Authorizer for Policy {
    fn allow(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorize(attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) => Err(attributes.forbidden(&reason)),
        }
    }
}

/// What one resource says about permissions.
struct Part {
    prefix: String,
    watched: Watched,
    state: Arc<State>,
}

impl Mirrored for Part {
    fn put(&self, entry: &Entry) {
        let bytes = &entry.bytes;
        let result: Result<(), Box<dyn std::error::Error>> = match self.watched {
            Watched::Rbac(kind) => self.state.rbac.write().apply(kind, bytes).map_err(Into::into),
            Watched::Pods => self.state.graph.write().apply_pod(bytes).map_err(Into::into),
            Watched::PersistentVolumes => self.state.graph.write().apply_volume(bytes).map_err(Into::into),
            Watched::OfNode(kind) => self.state.graph.write().apply_of_node(kind, bytes).map_err(Into::into),
        };
        if let Err(error) = result {
            // An object that cannot be read grants nothing; its predecessor must not go on granting either.
            tracing::error!(key = %entry.key, %error, "an object that authorization needs is unreadable");
            self.remove(entry);
        }
    }

    fn remove(&self, entry: &Entry) {
        let rest = entry.key.strip_prefix(&*self.prefix).unwrap_or_default();
        let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
        match self.watched {
            Watched::Rbac(kind) => self.state.rbac.write().remove(kind, namespace, name),
            Watched::Pods => self.state.graph.write().remove_pod(namespace, name),
            Watched::PersistentVolumes => self.state.graph.write().remove_volume(name),
            Watched::OfNode(kind) => self.state.graph.write().remove_of_node(kind, name),
        }
    }
}
