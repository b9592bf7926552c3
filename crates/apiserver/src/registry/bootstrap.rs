//! What every cluster has from its first moment: namespaces, roles, priority classes, the `kubernetes` Service.

use std::sync::Arc;

use futures::future::try_join_all;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::create::Written;
use super::kinds::flow_control;
use super::options::WriteOptions;
use super::seam::ApiRequest;
use super::update::Change;
use super::{Registry, StartError};
use crate::http::{Accept, Query, RequestInfo};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Name, value and description of the priority classes of upstream.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Creates what is missing, and brings up to date what may be. What does not depend on each other is written at once, so
/// that it shares commits of the store.
pub(super) async fn run(registry: &Registry) -> Result<(), StartError> {
    let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    try_join_all(NAMESPACES.map(|name| ensure(registry, namespace(name)))).await?;
    let class = |(name, value, description): (&str, i64, &str)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority",
        })
    };
    let roles =
        try_join_all(auth::bootstrap::objects().into_iter().map(|role| reconcile(registry, role.object)));
    let classes = try_join_all(PRIORITY_CLASSES.map(|named| ensure(registry, class(named))));
    let flow_control = try_join_all(flow_control::initial().iter().map(|one| settle(registry, one)));
    tokio::try_join!(roles, classes, flow_control, kubernetes_service(registry))?;
    Ok(())
}

async fn ensure(registry: &Registry, object: Value) -> Result<(), StartError> {
    let what = format!("{} {}", meta::kind(&object), meta::name(&object));
    registry.ensure(object).await.map(|_| ()).map_err(|status| StartError::Bootstrap { what, status })
}

/// The Service through which pods reach this server, with the server's own address behind it.
async fn kubernetes_service(registry: &Registry) -> Result<(), StartError> {
    let config = registry.config();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let port = config.advertise.port();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": registry.allocators().first_ip().to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    ensure(registry, service).await?;
    let address = config.advertise.ip().to_string();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    replace(registry, endpoints).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if config.advertise.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    replace(registry, slice).await
}

/// Creates the object, or makes the existing one the same in all but metadata.
async fn replace(registry: &Registry, object: Value) -> Result<(), StartError> {
    let wanted = object.clone();
    change(registry, object, move |old| {
        let mut new = wanted.clone();
        new["metadata"] = old["metadata"].clone();
        Some(new)
    })
    .await
}

/// Creates an object of flow control, or makes its specification what it should be, where that is the server's to say.
async fn settle(registry: &Registry, initial: &flow_control::Initial) -> Result<(), StartError> {
    let spec = &initial.object["spec"];
    change(registry, initial.object.clone(), |old| {
        let ours = initial.mandatory || meta::annotation(old, flow_control::AUTOUPDATE) == Some("true");
        if !ours || old["spec"] == *spec {
            return None;
        }
        let mut new = old.clone();
        new["spec"] = spec.clone();
        Some(new)
    })
    .await
}

/// Creates a role or binding, or adds what it lacks, unless somebody took it out of care (upstream:
/// `pkg/registry/rbac/reconciliation`).
async fn reconcile(registry: &Registry, object: Value) -> Result<(), StartError> {
    let wanted = object.clone();
    change(registry, object, move |old| {
        if meta::annotation(old, AUTOUPDATE) == Some("false") {
            return None;
        }
        let mut new = old.clone();
        for key in ["rules", "subjects"] {
            add_missing(&mut new, &wanted, key);
        }
        if let Some(aggregation) = wanted.get("aggregationRule") {
            new["aggregationRule"] = aggregation.clone();
        }
        for key in ["labels", "annotations"] {
            let missing = wanted["metadata"].get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            let have = new["metadata"].get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            let merged: Map<String, Value> = missing.into_iter().chain(have).collect();
            if !merged.is_empty() {
                new["metadata"][key] = merged.into();
            }
        }
        (new != *old).then_some(new)
    })
    .await
}

fn add_missing(new: &mut Value, wanted: &Value, key: &str) {
    let Some(wanted) = wanted.get(key).and_then(Value::as_array) else { return };
    match new.get_mut(key).and_then(Value::as_array_mut) {
        Some(have) => {
            let missing: Vec<Value> = wanted.iter().filter(|item| !have.contains(item)).cloned().collect();
            have.extend(missing);
        }
        None => new[key] = wanted.clone().into(),
    }
}

async fn change(
    registry: &Registry,
    object: Value,
    edit: impl Fn(&Value) -> Option<Value> + Send,
) -> Result<(), StartError> {
    let what = format!("{} {}", meta::kind(&object), meta::name(&object));
    let done = async {
        let (request, old) = registry.ensured(&object).await?;
        let Some(new) = edit(&old) else { return Ok(()) };
        registry.replace(&request, &old, new).await
    };
    done.await.map_err(|status: Status| StartError::Bootstrap { what, status })
}

impl Registry {
    /// Creates an object unless one of its name is there, and returns what is there.
    ///
    /// # Errors
    /// As a create would be refused.
    pub async fn ensure(&self, object: Value) -> Result<Value, Status> {
        self.ensured(&object).await.map(|(_, object)| object)
    }

    async fn ensured(&self, object: &Value) -> Result<(ApiRequest, Value), Status> {
        let (group, version) = meta::split_api_version(meta::api_version(object));
        let resource = machinery::resources::Resources::builtin().by_kind(group, version, meta::kind(object));
        let plural = resource.ok_or_else(Status::no_such_resource)?.plural;
        let handle = self.lookup(group, version, plural).ok_or_else(Status::no_such_resource)?;
        let request = server_request(object, group, version, plural);
        let key = handle.key(meta::namespace(object), meta::name(object));
        let call = Call::new(self, &request, handle.clone())?;
        if let Some(entry) = call.current(&key).await? {
            let found = super::answer::parse(&entry.bytes)?;
            return Ok((request, found));
        }
        let wanted = handle.unserve(object.clone());
        let created = call.create_object(wanted, &WriteOptions::default(), &mut Vec::new()).await;
        let found = match created {
            Ok(Written::Stored(entry)) => super::answer::parse(&entry.bytes)?,
            Ok(Written::DryRun(object)) => object,
            Err(status) if status.code == 409 => {
                super::answer::parse(&call.existing(&key, meta::name(object)).await?.bytes)?
            }
            Err(status) => return Err(status),
        };
        Ok((request, found))
    }

    async fn replace(&self, request: &ApiRequest, old: &Value, new: Value) -> Result<(), Status> {
        let info = &request.info;
        let handle =
            self.lookup(&info.group, &info.version, &info.resource).ok_or_else(Status::no_such_resource)?;
        let call = Call::new(self, request, handle)?;
        let mut produce = |_: &Value| Ok(new.clone());
        let options = WriteOptions::default();
        let change = Change { options: &options, produce: &mut produce };
        match call.change_object(meta::name(old), change, &mut Vec::new()).await {
            // Another server was faster, and wants the same.
            Err(status) if status.code == 409 => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// A request of the server itself.
fn server_request(object: &Value, group: &str, version: &str, plural: &str) -> ApiRequest {
    let info = RequestInfo {
        is_resource: true,
        verb: "create".into(),
        group: group.into(),
        version: version.into(),
        resource: plural.into(),
        namespace: meta::namespace(object).into(),
        name: meta::name(object).into(),
        ..RequestInfo::default()
    };
    ApiRequest {
        info: Arc::new(info),
        user: Arc::new(auth::UserInfo::new("system:apiserver", &[auth::MASTERS_GROUP]).authenticated()),
        query: Query::default(),
        content_type: None,
        accept: Accept::default(),
        user_agent: Some("kube-apiserver".to_owned()),
    }
}
