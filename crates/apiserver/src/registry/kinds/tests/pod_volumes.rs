//! Pods: what volumes are refused.

use serde_json::{Value, json};

use super::pod_with;
use super::tables::refused;

const PODS: (&str, &str) = ("", "pods");

/// A pod with one volume.
pub(super) fn volume_with(source: &Value) -> Value {
    let mut volume = source.clone();
    volume["name"] = json!("v");
    pod_with(&json!({ "volumes": [volume] }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn volumes_are_one_thing_each() {
    refused(
        PODS,
        vec![
            (
                volume_with(&json!({"emptyDir": {"sizeLimit": "-1"}})),
                &[
                    "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
                ],
            ),
            (
                volume_with(&json!({"hostPath": {"path": "/a/../b"}})),
                &["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
            ),
            (
                volume_with(&json!({"hostPath": {"path": "/a", "type": "X"}})),
                &[
                    "spec.volumes[0].hostPath.type: Unsupported value: \"X\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
                ],
            ),
            (
                volume_with(&json!({"gitRepo": {"directory": "/a"}})),
                &[
                    "spec.volumes[0].gitRepo.repository: Required value",
                    "spec.volumes[0].gitRepo.directory: Invalid value: \"/a\": must be a relative path",
                ],
            ),
            (
                volume_with(&json!({"gcePersistentDisk": {"partition": 256}})),
                &[
                    "spec.volumes[0].persistentDisk.pdName: Required value",
                    "spec.volumes[0].persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
                ],
            ),
            (
                volume_with(&json!({"secret": {"secretName": "s", "defaultMode": 512}})),
                &[
                    "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                volume_with(&json!({"configMap": {"items": [{"path": "..x"}]}})),
                &[
                    "spec.volumes[0].configMap.name: Required value",
                    "spec.volumes[0].configMap.items[0].key: Required value",
                    "spec.volumes[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
                ],
            ),
            (
                volume_with(&json!({"nfs": {"server": "s", "path": "p"}})),
                &["spec.volumes[0].nfs.path: Invalid value: \"p\": must be an absolute path"],
            ),
            (
                volume_with(
                    &json!({"iscsi": {"targetPortal": "p", "iqn": "x", "lun": 256, "chapAuthSession": true}}),
                ),
                &[
                    "spec.volumes[0].iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
                    "spec.volumes[0].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                    "spec.volumes[0].iscsi.secretRef: Required value",
                ],
            ),
            (
                volume_with(&json!({"flocker": {}})),
                &["spec.volumes[0].flocker: Required value: one of datasetName and datasetUUID is required"],
            ),
            (
                volume_with(&json!({"persistentVolumeClaim": {}})),
                &["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
            ),
            (
                volume_with(&json!({"rbd": {}})),
                &[
                    "spec.volumes[0].rbd.monitors: Required value",
                    "spec.volumes[0].rbd.image: Required value",
                ],
            ),
            (
                volume_with(&json!({"quobyte": {"registry": "r", "volume": "v"}})),
                &[
                    "spec.volumes[0].quobyte.registry: Invalid value: \"r\": must be a host:port pair or multiple pairs separated by commas",
                ],
            ),
            (
                volume_with(&json!({"fc": {"targetWWNs": ["a"], "wwids": ["b"]}})),
                &[
                    "spec.volumes[0].fc.targetWWNs: Invalid value: [\"a\"]: targetWWNs and wwids can not be specified simultaneously",
                    "spec.volumes[0].fc.lun: Required value: lun is required if targetWWNs is specified",
                ],
            ),
            (
                volume_with(&json!({"flexVolume": {"driver": "d", "options": {"kubernetes.io/x": "y"}}})),
                &[
                    "spec.volumes[0].flexVolume.options[kubernetes.io/x]: Invalid value: \"kubernetes.io/x\": kubernetes.io and k8s.io namespaces are reserved",
                ],
            ),
            (
                volume_with(&json!({"azureDisk": {"diskName": "d", "diskURI": "x", "kind": "Managed"}})),
                &[
                    "spec.volumes[0].azureDisk.diskURI: Unsupported value: \"x\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
                ],
            ),
            (
                volume_with(&json!({"csi": {"driver": "A_"}})),
                &[
                    "spec.volumes[0].csi.driver: Invalid value: \"A_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (volume_with(&json!({"image": {}})), &["spec.volumes[0].image.reference: Required value"]),
            (
                volume_with(&json!({"image": {"reference": " i", "pullPolicy": "X"}})),
                &[
                    "spec.volumes[0].image.pullPolicy: Unsupported value: \"X\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                    "spec.volumes[0].image.reference: Invalid value: \" i\": must not have leading or trailing whitespace",
                ],
            ),
            (
                volume_with(&json!({"ephemeral": {}})),
                &["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"],
            ),
            (
                volume_with(
                    &json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "0"}}}}}}),
                ),
                &[
                    "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                    "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
                ],
            ),
            (
                volume_with(&json!({"downwardAPI": {"items": [{"path": "p"}]}})),
                &[
                    "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
                ],
            ),
            (
                pod_with(
                    &json!({"volumes": [{"name": "v"}, {"name": "w", "secret": {"secretName": "s"}, "image": {"reference": "i"}}]}),
                ),
                &["spec.volumes[1].image: Forbidden: may not specify more than 1 volume type"],
            ),
        ],
    );
}

#[test]
fn projected_files_are_where_no_other_is() {
    let token = |token: Value| json!({ "serviceAccountToken": token });
    let projected = |sources: Value| {
        let mut pod = volume_with(&json!({ "projected": { "sources": sources } }));
        pod["spec"]["serviceAccountName"] = json!("default");
        pod
    };
    let item = json!({"name": "m", "items": [{"key": "k", "path": "p"}]});
    refused(
        PODS,
        vec![
            (
                projected(json!([{"secret": item}, {"configMap": item}])),
                &["spec.volumes[0].projected: Invalid value: \"m\": conflicting duplicate paths"],
            ),
            (
                projected(json!([token(json!({"path": "p", "expirationSeconds": 599}))])),
                &[
                    "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                ],
            ),
            (projected(json!([token(json!({}))])), &["spec.volumes[0].projected.path: Required value"]),
            (
                projected(json!([{"secret": item, "serviceAccountToken": {"path": "t"}}])),
                &[
                    "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
                ],
            ),
            (
                volume_with(&json!({"projected": {"sources": [token(json!({"path": "t"}))]}})),
                &[
                    "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
                ],
            ),
        ],
    );
}
