//! ServiceAccount: every pod runs as one, and gets its token mounted (upstream: `plugin/pkg/admission/serviceaccount`).

use std::time::Duration;

use machinery::meta;
use machinery::status::Status;
use rand::Rng;
use serde_json::{Value, json};

use super::{AdmissionContext, Operation, Plugin, pod_references, pod_secrets};

const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// One hour and a little, so that the kubelet rotates within the hour.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The default account is made by a controller just after its namespace: so often is it waited for.
const DEFAULT_TRIES: u32 = 10;

pub(super) struct ServiceAccount;

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.is("", "pods") || context.operation != Operation::Create {
            return Ok(());
        }
        if meta::annotation(pod, MIRROR).is_some() {
            return check_mirror(context, pod);
        }
        let spec =
            |key: &str| pod.pointer(&format!("/spec/{key}")).and_then(Value::as_str).unwrap_or_default();
        let name = [spec("serviceAccountName"), spec("serviceAccount"), DEFAULT];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
        pod["spec"]["serviceAccountName"] = name.as_str().into();
        pod["spec"]["serviceAccount"] = name.as_str().into();
        let account = find(context, &name).await?;
        if wants_token(pod, &account) {
            mount_token(pod);
        }
        inherit_pull_secrets(pod, &account);
        Ok(())
    }

    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        pod: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let new = context.operation == Operation::Create && context.subresource.is_empty();
        let debugged = context.operation == Operation::Update && context.subresource == "ephemeralcontainers";
        let Some(name) = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str) else {
            return Ok(());
        };
        if !context.of("", "pods") || !(new || debugged) || meta::annotation(pod, MIRROR).is_some() {
            return Ok(());
        }
        let account = find(context, name).await?;
        if !pod_secrets::are_limited(&account) {
            return Ok(());
        }
        let found = if new {
            pod_secrets::foreign(pod, &account)
        } else {
            pod_secrets::foreign_of_ephemeral(pod, &account)
        };
        found.map_or(Ok(()), |why| Err(context.forbidden(why)))
    }
}

/// Mirror pods show what runs without the API, and so may not use it.
fn check_mirror(context: &AdmissionContext<'_>, pod: &Value) -> Result<(), Status> {
    let account = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
    if !account.is_empty() {
        Err(context.forbidden("a mirror pod may not reference service accounts"))
    } else if pod_references::needs_secrets(pod) {
        Err(context.forbidden("a mirror pod may not reference secrets"))
    } else if pod_references::projects_token(pod) {
        Err(context.forbidden("a mirror pod may not use ServiceAccountToken volume projections"))
    } else {
        Ok(())
    }
}

async fn find(context: &AdmissionContext<'_>, name: &str) -> Result<Value, Status> {
    let tries = if name == DEFAULT { DEFAULT_TRIES } else { 1 };
    for attempt in 0..=tries {
        if let Some(account) = context.registry.object_value("", "serviceaccounts", context.namespace, name) {
            return Ok(account);
        }
        if attempt == 0 {
            context.registry.fresh().await?;
        } else if attempt < tries {
            let pause = rand::rng().random_range(100..200);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    let namespace = context.namespace;
    let missing = Status::not_found("", "serviceaccount", name).message;
    Err(context.forbidden(format!("error looking up service account {namespace}/{name}: {missing}")))
}

fn wants_token(pod: &Value, account: &Value) -> bool {
    let own = pod.pointer("/spec/automountServiceAccountToken").and_then(Value::as_bool);
    own.or_else(|| account.get("automountServiceAccountToken")?.as_bool()).unwrap_or(true)
}

/// Mounts the token volume into every container that has nothing at its place.
fn mount_token(pod: &mut Value) {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let existing = volumes.into_iter().flatten().filter_map(|volume| volume.get("name")?.as_str());
    let existing = existing.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| {
        format!("{VOLUME_PREFIX}{}", machinery::names::random_suffix(5, &mut rand::rng()))
    });
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            mounted |= mount_into(container, &name);
        }
    }
    if mounted && existing.is_none() {
        match pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
            Some(volumes) => volumes.push(volume(&name)),
            None => pod["spec"]["volumes"] = json!([volume(&name)]),
        }
    }
}

fn mount_into(container: &mut Value, name: &str) -> bool {
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
    match container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
        Some(mounts) if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) => false,
        Some(mounts) => {
            mounts.push(mount);
            true
        }
        None => {
            container["volumeMounts"] = json!([mount]);
            true
        }
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                ]}},
            ],
        },
    })
}

fn inherit_pull_secrets(pod: &mut Value, account: &Value) {
    let own =
        pod.pointer("/spec/imagePullSecrets").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let (false, Some(secrets)) =
        (own, account.get("imagePullSecrets").filter(|s| s.as_array().is_some_and(|l| !l.is_empty())))
    {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
}
