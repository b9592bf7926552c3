//! What a node agent may do: only what concerns its own node and the pods bound to it
//! (upstream: `plugin/pkg/auth/authorizer/node`).

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::rbac::Rule;
use crate::{Attributes, Decision, bootstrap};

/// Objects that a node may reach only because one of its pods refers to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Related {
    /// A pod that is bound to the node.
    Pod,
    /// A Secret that a pod mounts, reads environment from or pulls images with.
    Secret,
    /// A ConfigMap that a pod mounts or reads environment from.
    ConfigMap,
    /// A claim that a pod mounts.
    PersistentVolumeClaim,
    /// The volume bound to such a claim.
    PersistentVolume,
    /// The service account that a pod runs as.
    ServiceAccount,
    /// A ResourceClaim of a pod.
    ResourceClaim,
    /// A VolumeAttachment to the node.
    VolumeAttachment,
    /// A ResourceSlice of the node's devices.
    ResourceSlice,
}

/// Tells which objects belong to which node.
pub trait NodeRelations: Send + Sync {
    /// Whether `node` needs the object. `namespace` is empty for cluster-scoped kinds.
    fn related(&self, node: &str, kind: Related, namespace: &str, name: &str) -> bool;
}

/// Authorizes node agents.
#[derive(Debug, Clone)]
pub struct NodeAuthorizer {
    /// Rules for everything that is not told apart by node.
    rules: Vec<Rule>,
}

impl Default for NodeAuthorizer {
    fn default() -> Self {
        let mut rules = bootstrap::cluster_role_rules("system:node");
        // One agent serves a node's pods and its Services, so it reads the endpoints as well.
        for (group, resource) in [("", "endpoints"), ("discovery.k8s.io", "endpointslices")] {
            rules.push(Rule {
                verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
                api_groups: vec![group.to_owned()],
                resources: vec![resource.to_owned()],
                ..Rule::default()
            });
        }
        NodeAuthorizer { rules }
    }
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

impl NodeAuthorizer {
    /// Decides for users named `system:node:<name>` in `system:nodes`; has no opinion on others.
    #[must_use]
    pub fn authorize(&self, attributes: &Attributes<'_>, relations: &dyn NodeRelations) -> Decision {
        let Some(node) = attributes.user.node_name() else { return no("") };
        if node.is_empty() {
            return no(format!("unknown node for user {:?}", attributes.user.name));
        }
        let asked = Asked { node, attributes, relations };
        if attributes.is_resource {
            match (attributes.group, attributes.resource) {
                ("", "secrets") => return asked.read(Related::Secret),
                ("", "configmaps") => return asked.read(Related::ConfigMap),
                ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
                    return asked.claim_status();
                }
                ("", "persistentvolumeclaims") => return asked.get(Related::PersistentVolumeClaim),
                ("", "persistentvolumes") => return asked.get(Related::PersistentVolume),
                ("", "serviceaccounts") => return asked.service_account(),
                ("", "nodes") => return asked.node(),
                ("", "pods") => return asked.pod(),
                ("resource.k8s.io", "resourceclaims") => return asked.get(Related::ResourceClaim),
                ("resource.k8s.io", "resourceslices") => return asked.slice(),
                ("storage.k8s.io", "volumeattachments") => return asked.get(Related::VolumeAttachment),
                ("coordination.k8s.io", "leases") => return asked.lease(),
                ("storage.k8s.io", "csinodes") => return asked.own_named("CSINode"),
                _ => {}
            }
        }
        if self.rules.iter().any(|rule| rule.allows(attributes)) { yes() } else { no("") }
    }
}

struct Asked<'a> {
    node: &'a str,
    attributes: &'a Attributes<'a>,
    relations: &'a dyn NodeRelations,
}

impl Asked<'_> {
    fn related(&self, kind: Related) -> Decision {
        let Attributes { name, namespace, .. } = self.attributes;
        if name.is_empty() {
            return no("No Object name found");
        }
        if self.relations.related(self.node, kind, namespace, name) {
            return yes();
        }
        no(format!("no relationship found between node '{}' and this object", self.node))
    }

    fn read(&self, kind: Related) -> Decision {
        if !self.attributes.is_read_only() {
            no("can only read resources of this type")
        } else if !self.attributes.subresource.is_empty() {
            no("cannot read subresource")
        } else if self.attributes.namespace.is_empty() {
            no("can only read namespaced object of this type")
        } else {
            self.related(kind)
        }
    }

    fn get(&self, kind: Related) -> Decision {
        if self.attributes.verb != "get" || self.attributes.name.is_empty() {
            no("can only get individual resources of this type")
        } else if !self.attributes.subresource.is_empty() {
            no("cannot get subresource")
        } else {
            self.related(kind)
        }
    }

    fn claim_status(&self) -> Decision {
        if matches!(self.attributes.verb, "get" | "update" | "patch") && !self.attributes.name.is_empty() {
            self.related(Related::PersistentVolumeClaim)
        } else {
            no("can only get/update/patch this type")
        }
    }

    fn service_account(&self) -> Decision {
        let Attributes { verb, subresource, name, .. } = self.attributes;
        if *verb == "get" && subresource.is_empty() {
            self.get(Related::ServiceAccount)
        } else if *verb != "create" || name.is_empty() {
            no("can only create tokens for individual service accounts")
        } else if *subresource != "token" {
            no("can only create token subresource of serviceaccount")
        } else {
            self.related(Related::ServiceAccount)
        }
    }

    fn node(&self) -> Decision {
        let node = self.node;
        let Attributes { verb, subresource, name, .. } = self.attributes;
        match (*subresource, *verb) {
            // Admission keeps writes to the node's own object.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
            ("", "get" | "list" | "watch") if *name == node => yes(),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                no(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch") => {
                no(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => no(""),
        }
    }

    fn pod(&self) -> Decision {
        let Attributes { verb, subresource, .. } = self.attributes;
        match (*subresource, *verb) {
            ("", "get") => self.related(Related::Pod),
            ("", "list" | "watch") => {
                if self.demands_own_node() {
                    yes()
                } else if !self.attributes.name.is_empty() {
                    self.related(Related::Pod)
                } else {
                    no("can only list/watch pods with spec.nodeName field selector")
                }
            }
            // Admission keeps these to pods of the node.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }

    fn slice(&self) -> Decision {
        const SCOPED: &str =
            "can only list/watch/deletecollection resourceslices with nodeName field selector";
        const VERBS: &str = "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection";
        if !self.attributes.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match self.attributes.verb {
            // Admission looks at what is created.
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(Related::ResourceSlice),
            "list" | "watch" | "deletecollection" if self.demands_own_node() => yes(),
            "list" | "watch" | "deletecollection" => no(SCOPED),
            _ => no(VERBS),
        }
    }

    /// Whether only objects of the node are asked for.
    fn demands_own_node(&self) -> bool {
        let own = |(path, value): &(String, String)| path == "spec.nodeName" && value == self.node;
        self.attributes.demanded_fields.iter().any(own)
    }

    fn lease(&self) -> Decision {
        if self.attributes.namespace == "kube-node-lease" || !self.is_own_verb() {
            return self.own_named("node lease");
        }
        no("can only access leases in the \"kube-node-lease\" system namespace")
    }

    fn is_own_verb(&self) -> bool {
        matches!(self.attributes.verb, "get" | "create" | "update" | "patch" | "delete")
    }

    fn own_named(&self, what: &str) -> Decision {
        if !self.is_own_verb() {
            return no(format!("can only get, create, update, patch, or delete a {what}"));
        }
        if !self.attributes.subresource.is_empty() {
            return no(format!("cannot authorize {} subresources", what.trim_start_matches("node ")));
        }
        if self.attributes.verb != "create" && self.attributes.name != self.node {
            return no(format!("can only access {what} with the same name as the requesting node"));
        }
        yes()
    }
}

/// Which objects the pods of each node refer to, kept up to date pod by pod.
#[derive(Debug, Default)]
pub struct NodeGraph {
    /// Pods by (namespace, name).
    pods: HashMap<(String, String), PodRelations>,
    /// How many pods of a node refer to an object.
    counts: HashMap<String, HashMap<ObjectKey, usize>>,
    /// The claim that a volume is bound to.
    volumes: HashMap<String, (String, String)>,
    /// Node of each attachment and slice.
    of_node: HashMap<(Related, String), String>,
}

type ObjectKey = (Related, String, String);

#[derive(Debug)]
struct PodRelations {
    node: String,
    objects: HashSet<ObjectKey>,
}

/// An object that could not be read as a pod, volume, attachment or slice.
#[derive(Debug, thiserror::Error)]
#[error("failed to read what a node refers to: {0}")]
pub struct NodeGraphError(#[from] serde_json::Error);

impl NodeGraph {
    /// Adds or replaces a pod, given as JSON.
    ///
    /// # Errors
    /// When the JSON is not a pod.
    pub fn apply_pod(&mut self, json: &[u8]) -> Result<(), NodeGraphError> {
        let pod: Pod = serde_json::from_slice(json)?;
        let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        let node = pod.spec.node_name.clone();
        if let Some(known) = self.pods.get(&key) {
            let objects = pod.references();
            if known.node == node && known.objects == objects {
                return Ok(());
            }
        }
        self.remove_pod(&key.0, &key.1);
        if node.is_empty() {
            return Ok(());
        }
        let objects = pod.references();
        let counts = self.counts.entry(node.clone()).or_default();
        for object in &objects {
            *counts.entry(object.clone()).or_default() += 1;
        }
        self.pods.insert(key, PodRelations { node, objects });
        Ok(())
    }

    /// Removes a pod.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some(pod) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        let Some(counts) = self.counts.get_mut(&pod.node) else { return };
        for object in &pod.objects {
            if let Some(count) = counts.get_mut(object) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(object);
                }
            }
        }
        if counts.is_empty() {
            self.counts.remove(&pod.node);
        }
    }

    /// Adds or replaces a persistent volume, given as JSON.
    ///
    /// # Errors
    /// When the JSON is not a persistent volume.
    pub fn apply_volume(&mut self, json: &[u8]) -> Result<(), NodeGraphError> {
        let volume: Volume = serde_json::from_slice(json)?;
        match volume.spec.claim_ref {
            Some(claim) => self.volumes.insert(volume.metadata.name, (claim.namespace, claim.name)),
            None => self.volumes.remove(&volume.metadata.name),
        };
        Ok(())
    }

    /// Removes a persistent volume.
    pub fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    /// Adds or replaces an object that names its node: a volume attachment or a resource slice, given as JSON.
    ///
    /// # Errors
    /// When the JSON is no such object.
    pub fn apply_of_node(&mut self, kind: Related, json: &[u8]) -> Result<(), NodeGraphError> {
        let object: OfNode = serde_json::from_slice(json)?;
        self.of_node.insert((kind, object.metadata.name), object.spec.node_name);
        Ok(())
    }

    /// Removes such an object.
    pub fn remove_of_node(&mut self, kind: Related, name: &str) {
        self.of_node.remove(&(kind, name.to_owned()));
    }
}

impl NodeRelations for NodeGraph {
    fn related(&self, node: &str, kind: Related, namespace: &str, name: &str) -> bool {
        let counted = |kind, namespace: &str, name: &str| {
            let key = (kind, namespace.to_owned(), name.to_owned());
            self.counts.get(node).is_some_and(|objects| objects.contains_key(&key))
        };
        match kind {
            Related::PersistentVolume => self
                .volumes
                .get(name)
                .is_some_and(|(namespace, claim)| counted(Related::PersistentVolumeClaim, namespace, claim)),
            Related::VolumeAttachment | Related::ResourceSlice => {
                self.of_node.get(&(kind, name.to_owned())).is_some_and(|n| n == node)
            }
            _ => counted(kind, namespace, name),
        }
    }
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Meta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    service_account_name: Option<String>,
    image_pull_secrets: Option<Vec<Named>>,
    volumes: Option<Vec<PodVolume>>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    resource_claims: Option<Vec<PodClaim>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    resource_claim_statuses: Option<Vec<PodClaim>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodClaim {
    resource_claim_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    env: Option<Vec<EnvVar>>,
    env_from: Option<Vec<Source>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct EnvVar {
    value_from: Option<Source>,
}

/// The references that `env`, `envFrom` and projected volumes have in common, and those of every volume source.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    secret_ref: Option<Named>,
    secret_key_ref: Option<Named>,
    config_map_ref: Option<Named>,
    config_map_key_ref: Option<Named>,
    secret: Option<Named>,
    config_map: Option<Named>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodVolume {
    name: String,
    secret: Option<SecretVolume>,
    config_map: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<ClaimVolume>,
    ephemeral: Option<serde::de::IgnoredAny>,
    csi: Option<CsiVolume>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SecretVolume {
    secret_name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClaimVolume {
    claim_name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CsiVolume {
    node_publish_secret_ref: Option<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Projected {
    sources: Option<Vec<Source>>,
}

#[derive(Deserialize)]
struct Volume {
    metadata: Meta,
    #[serde(default)]
    spec: VolumeSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    claim_ref: Option<Named>,
}

#[derive(Deserialize)]
struct OfNode {
    metadata: Meta,
    spec: OfNodeSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfNodeSpec {
    #[serde(default)]
    node_name: String,
}

impl Source {
    fn secrets(&self) -> impl Iterator<Item = &Named> {
        self.secret_ref.iter().chain(&self.secret_key_ref).chain(&self.secret)
    }

    fn config_maps(&self) -> impl Iterator<Item = &Named> {
        self.config_map_ref.iter().chain(&self.config_map_key_ref).chain(&self.config_map)
    }
}

impl Pod {
    fn references(&self) -> HashSet<ObjectKey> {
        let namespace = &self.metadata.namespace;
        let mut found = HashSet::new();
        let mut add = |kind, name: &str| {
            if !name.is_empty() {
                found.insert((kind, namespace.clone(), name.to_owned()));
            }
        };
        add(Related::Pod, &self.metadata.name);
        add(Related::ServiceAccount, self.spec.service_account_name.as_deref().unwrap_or_default());
        for secret in self.spec.image_pull_secrets.iter().flatten() {
            add(Related::Secret, &secret.name);
        }
        for claim in self.spec.resource_claims.iter().chain(&self.status.resource_claim_statuses).flatten() {
            add(Related::ResourceClaim, claim.resource_claim_name.as_deref().unwrap_or_default());
        }
        let spec = &self.spec;
        let containers =
            spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers).flatten();
        for container in containers {
            let from_variables =
                container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
            for source in from_variables.chain(container.env_from.iter().flatten()) {
                source.secrets().for_each(|named| add(Related::Secret, &named.name));
                source.config_maps().for_each(|named| add(Related::ConfigMap, &named.name));
            }
        }
        for volume in spec.volumes.iter().flatten() {
            if let Some(secret) = &volume.secret {
                add(Related::Secret, &secret.secret_name);
            }
            if let Some(map) = &volume.config_map {
                add(Related::ConfigMap, &map.name);
            }
            if let Some(claim) = &volume.persistent_volume_claim {
                add(Related::PersistentVolumeClaim, &claim.claim_name);
            }
            if volume.ephemeral.is_some() {
                add(Related::PersistentVolumeClaim, &format!("{}-{}", self.metadata.name, volume.name));
            }
            if let Some(secret) = volume.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref()) {
                add(Related::Secret, &secret.name);
            }
            for source in volume.projected.iter().flat_map(|projected| &projected.sources).flatten() {
                source.secrets().for_each(|named| add(Related::Secret, &named.name));
                source.config_maps().for_each(|named| add(Related::ConfigMap, &named.name));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
