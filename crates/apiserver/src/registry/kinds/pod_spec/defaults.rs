//! Defaults of a pod's specification, wherever it stands (upstream `pkg/apis/core/v1/defaults.go`).

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::super::rules::Rules;
use super::super::value::{each, fill, flag, int, put, text};
use super::resources::{default_pod_level, round_up};
use super::{CONTAINER_LISTS, images};

const GRACE: &str = "terminationGracePeriodSeconds";

static SPEC: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        restartPolicy ?= "Always"
        dnsPolicy ?= "ClusterFirst"
        schedulerName ?= "default-scheduler"
        securityContext = {}
        terminationGracePeriodSeconds = 30
        volumes[].secret.defaultMode = 420
        volumes[].configMap.defaultMode = 420
        volumes[].downwardAPI.defaultMode = 420
        volumes[].downwardAPI.items[].fieldRef.apiVersion ?= "v1"
        volumes[].projected.defaultMode = 420
        volumes[].projected.sources[].serviceAccountToken.expirationSeconds = 3600
        volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion ?= "v1"
        volumes[].projected.sources[].podCertificate.maxExpirationSeconds = 86400
        volumes[].hostPath.type = ""
        volumes[].iscsi.iscsiInterface ?= "default"
        volumes[].rbd.pool ?= "rbd"
        volumes[].rbd.user ?= "admin"
        volumes[].rbd.keyring ?= "/etc/ceph/keyring"
        volumes[].azureDisk.cachingMode = "ReadWrite"
        volumes[].azureDisk.fsType = "ext4"
        volumes[].azureDisk.readOnly = false
        volumes[].azureDisk.kind = "Shared"
        volumes[].scaleIO.storageMode ?= "ThinProvisioned"
        volumes[].scaleIO.fsType ?= "xfs"
        volumes[].ephemeral.volumeClaimTemplate.spec.volumeMode = "Filesystem"
        "#,
    )
});

static CONTAINER: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        resources = {}
        terminationMessagePath ?= "/dev/termination-log"
        terminationMessagePolicy ?= "File"
        ports[].protocol ?= "TCP"
        env[].valueFrom.fieldRef.apiVersion ?= "v1"
        env[].valueFrom.fileKeyRef.optional = false
        lifecycle.postStart.httpGet.path ?= "/"
        lifecycle.postStart.httpGet.scheme ?= "HTTP"
        lifecycle.preStop.httpGet.path ?= "/"
        lifecycle.preStop.httpGet.scheme ?= "HTTP"
        "#,
    )
});

static PROBE: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(
        r#"
        timeoutSeconds ?= 1
        periodSeconds ?= 10
        successThreshold ?= 1
        failureThreshold ?= 3
        httpGet.path ?= "/"
        httpGet.scheme ?= "HTTP"
        grpc.service = ""
        "#,
    )
});

/// Defaults that a pod and a pod template share.
pub(in super::super) fn apply(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    SPEC.apply(spec);
    for volume in each(spec, "volumes") {
        if volume.as_object().is_some_and(|v| v.len() == usize::from(v.contains_key("name"))) {
            put(volume, "emptyDir", json!({}));
        }
        if let Some(image) = volume.get_mut("image").filter(|image| text(image, "pullPolicy").is_empty()) {
            let policy = pull_policy(text(image, "reference"));
            put(image, "pullPolicy", policy);
        }
        let claim = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec/resources");
        claim.map(round_amounts);
    }
    for list in CONTAINER_LISTS {
        each(spec, list).for_each(apply_container);
    }
    round_up(spec.get_mut("overhead"));
    spec.get_mut("resources").map(round_amounts);
    mirror_service_account(spec);
}

/// Requests and limits are kept to a thousandth.
fn round_amounts(resources: &mut Value) {
    for field in ["limits", "requests"] {
        round_up(resources.get_mut(field));
    }
}

/// Defaults that only a pod itself has, not a template.
pub(in super::super) fn apply_pod_only(spec: &mut Value) {
    fill(spec, "enableServiceLinks", true);
    if int(spec, GRACE).is_some_and(|seconds| seconds < 0) {
        put(spec, GRACE, 1);
    }
    let host_network = flag(spec, "hostNetwork");
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
            if host_network {
                each(container, "ports").for_each(host_port);
            }
        }
    }
    default_pod_level(spec);
}

/// On the network of the host, a port is a port of the host.
fn host_port(port: &mut Value) {
    if !port.get("hostPort").is_some_and(|number| *number != 0) {
        let number = port.get("containerPort").cloned().unwrap_or_default();
        put(port, "hostPort", number);
    }
}

fn apply_container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    CONTAINER.apply(container);
    container.get_mut("resources").map(round_amounts);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            PROBE.apply(probe);
        }
    }
    if text(container, "imagePullPolicy").is_empty() {
        let policy = pull_policy(text(container, "image"));
        put(container, "imagePullPolicy", policy);
    }
}

/// `Always` for an image that may change under its name.
fn pull_policy(image: &str) -> &'static str {
    if images::is_latest(image) { "Always" } else { "IfNotPresent" }
}

/// What has a limit and no request requests the limit.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if requests.is_null() {
        *requests = Value::Object(Map::new());
    }
    let Some(requests) = requests.as_object_mut() else { return };
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// `serviceAccount` is the deprecated name of `serviceAccountName`; both always say the same.
fn mirror_service_account(spec: &mut Value) {
    let name = match (text(spec, "serviceAccountName"), text(spec, "serviceAccount")) {
        ("", "") => return,
        ("", old) => old.to_owned(),
        (name, _) => name.to_owned(),
    };
    put(spec, "serviceAccountName", name.as_str());
    put(spec, "serviceAccount", name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_upstreams_defaults() {
        let mut spec = json!({
            "containers": [{"name": "c", "image": "i:v1", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "e"}, {"name": "s", "secret": {"secretName": "x"}}]});
        apply(&mut spec);
        apply_pod_only(&mut spec);
        let expected = json!({
            "containers": [{"name": "c", "image": "i:v1", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "volumes": [{"name": "e", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30, "enableServiceLinks": true});
        assert_eq!(spec, expected);
    }
}
