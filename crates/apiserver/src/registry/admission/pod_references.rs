//! What a pod needs of the API: mirror pods show what runs without it, and so may need nothing (upstream:
//! `pkg/api/pod/util.go`).

use serde_json::Value;

/// Volumes that need nothing of the API.
const LOCAL_VOLUMES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// The other volumes, and what they need.
const VOLUMES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];

const PROJECTED: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// The first thing that a pod needs of the API, in upstream's words.
pub(super) fn first(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Some("serviceaccounts");
    }
    if needs_secrets(pod) {
        return Some("secrets");
    }
    if needs_config_maps(spec) {
        return Some("configmaps");
    }
    if items(spec, "resourceClaims").next().is_some() {
        return Some("resourceclaims");
    }
    items(spec, "volumes").find_map(of_volume)
}

/// Whether a pod names a Secret.
pub(super) fn needs_secrets(pod: &Value) -> bool {
    const BY_REFERENCE: [&str; 7] =
        ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
    let spec = &pod["spec"];
    let named = |reference: &Value| is_named(&reference["name"]);
    let volume = |volume: &Value| {
        is_named(&volume["secret"]["secretName"])
            || is_named(&volume["azureFile"]["secretName"])
            || named(&volume["csi"]["nodePublishSecretRef"])
            || BY_REFERENCE.iter().any(|kind| named(&volume[kind]["secretRef"]))
            || sources(volume).any(|source| named(&source["secret"]))
    };
    items(spec, "imagePullSecrets").any(named)
        || environment(spec, "secretKeyRef", "secretRef")
        || items(spec, "volumes").any(volume)
}

/// Whether a pod asks for a token of its own.
pub(super) fn projects_token(pod: &Value) -> bool {
    items(&pod["spec"], "volumes").flat_map(sources).any(|source| source["serviceAccountToken"].is_object())
}

fn needs_config_maps(spec: &Value) -> bool {
    let volume = |volume: &Value| {
        is_named(&volume["configMap"]["name"])
            || sources(volume).any(|source| is_named(&source["configMap"]["name"]))
    };
    environment(spec, "configMapKeyRef", "configMapRef") || items(spec, "volumes").any(volume)
}

/// Whether a container takes its environment from such a reference.
fn environment(spec: &Value, of_key: &str, of_all: &str) -> bool {
    let containers = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    containers.flat_map(|list| items(spec, list)).any(|container| {
        items(container, "env").any(|variable| is_named(&variable["valueFrom"][of_key]["name"]))
            || items(container, "envFrom").any(|source| is_named(&source[of_all]["name"]))
    })
}

fn of_volume(volume: &Value) -> Option<&'static str> {
    if LOCAL_VOLUMES.iter().any(|kind| !volume[kind].is_null()) {
        return None;
    }
    let needed = |of: &Value, table: &'static [(&'static str, &'static str)]| {
        table.iter().find(|(kind, _)| !of[kind].is_null()).map(|(_, needed)| *needed)
    };
    needed(volume, &VOLUMES).or_else(|| sources(volume).find_map(|source| needed(source, &PROJECTED)))
}

fn sources(volume: &Value) -> impl Iterator<Item = &Value> {
    items(&volume["projected"], "sources")
}

fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object[field].as_array().into_iter().flatten()
}

fn is_named(name: &Value) -> bool {
    name.as_str().is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_need_the_api() {
        let volume = |volume: Value| json!({"volumes": [volume]});
        for (spec, wanted) in [
            (json!({"containers": [{"name": "c"}]}), None),
            (volume(json!({"hostPath": {"path": "/"}})), None),
            (volume(json!({"projected": {"sources": [{"downwardAPI": {}}]}})), None),
            (json!({"serviceAccountName": "x"}), Some("serviceaccounts")),
            (json!({"imagePullSecrets": [{"name": "x"}]}), Some("secrets")),
            (
                json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "x"}}}]}]}),
                Some("secrets"),
            ),
            (volume(json!({"rbd": {"secretRef": {"name": "x"}}})), Some("secrets")),
            (json!({"containers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}), Some("configmaps")),
            (json!({"resourceClaims": [{"name": "x"}]}), Some("resourceclaims")),
            (volume(json!({"csi": {"driver": "x"}})), Some("csidrivers (via CSI volumes)")),
            (
                volume(json!({"projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}})),
                Some("serviceaccounts (via projected volumes)"),
            ),
        ] {
            let pod = json!({"spec": spec});
            assert_eq!(first(&pod), wanted, "{pod}");
        }
    }
}
