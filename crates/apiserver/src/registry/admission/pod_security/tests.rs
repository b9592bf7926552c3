use serde_json::{Value, json};

use super::checks::{Pod, details, violations};
use super::policy::{Level, Standard};
use super::{changes_containers, pod_warnings};

const BASELINE: Standard = Standard { level: Level::Baseline, minor: None };
const RESTRICTED: Standard = Standard { level: Level::Restricted, minor: None };

fn of_version(level: Level, minor: u32) -> Standard {
    Standard { level, minor: Some(minor) }
}

/// What is said of a pod with these fields and, unless they say otherwise, one container.
fn said(standard: Standard, spec: &Value) -> String {
    let mut whole = json!({"containers": [{"name": "c"}]});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    details(&violations(standard, &Pod { metadata: &spec["metadata"], spec: &whole }))
}

fn check(cases: &[(Standard, Value, &str)]) {
    for (standard, spec, wanted) in cases {
        assert_eq!(said(*standard, spec), *wanted, "{standard} {spec}");
    }
}

#[test]
fn ways_out_of_a_container() {
    let wild = json!({"containers": [
        {"name": "c", "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "NET_RAW"]},
            "procMount": "Default", "seLinuxOptions": {"type": "x", "user": "u"}},
            "ports": [{"containerPort": 80, "hostPort": 80}]},
        {"name": "d", "securityContext": {"runAsUser": 0, "runAsNonRoot": false}},
    ]});
    let host = json!({"hostNetwork": true, "hostPID": true, "hostIPC": true, "volumes": [
        {"name": "h", "hostPath": {"path": "/"}}, {"name": "h2", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {}}]});
    let profiles = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}], "runAsUser": 0,
        "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}}});
    let probe = json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 80, "host": "1.2.3.4"}},
        "lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "h"}}}}]});
    check(&[
        (
            BASELINE,
            wild,
            "non-default capabilities (container \"c\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add), hostPort (container \"c\" uses hostPort 80), privileged (container \"c\" must not set securityContext.privileged=true), seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)",
        ),
        (
            BASELINE,
            host,
            "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true), hostPath volumes (volumes \"h\", \"h2\")",
        ),
        (
            BASELINE,
            profiles,
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\"), seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\"), forbidden sysctls (kernel.msgmax)",
        ),
        (
            BASELINE,
            probe.clone(),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"1.2.3.4\", \"h\")",
        ),
        (of_version(Level::Baseline, 33), probe, ""),
        (
            BASELINE,
            json!({"os": {"name": "windows"}, "hostNetwork": true, "securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "host namespaces (hostNetwork=true), hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (Standard { level: Level::Privileged, minor: None }, json!({"hostPID": true}), ""),
    ]);
}

#[test]
fn what_hardened_pods_say() {
    let nothing = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    let hardened = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
    let volumes = json!({"volumes": [{"name": "h", "hostPath": {}}, {"name": "n", "nfs": {}}, {"name": "e", "emptyDir": {}}]});
    check(&[
        (RESTRICTED, json!({}), nothing),
        (RESTRICTED, hardened, ""),
        (
            of_version(Level::Restricted, 7),
            json!({}),
            "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            of_version(Level::Restricted, 7),
            volumes,
            "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\"), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            of_version(Level::Restricted, 25),
            json!({"os": {"name": "windows"}}),
            "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            of_version(Level::Restricted, 23),
            json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 0}, "os": {"name": "windows"}, "containers": []}),
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)",
        ),
    ]);
}

#[test]
fn users_of_their_own_may_be_root() {
    let own = json!({"hostUsers": false, "containers": [{"name": "c", "securityContext":
        {"allowPrivilegeEscalation": false, "runAsUser": 0, "procMount": "Unmasked", "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "Localhost"}}}]});
    let unmasked = "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")";
    let before = format!(
        "{unmasked}, runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), runAsUser=0 (container \"c\" must not set runAsUser=0)"
    );
    check(&[
        (BASELINE, own.clone(), ""),
        (of_version(Level::Baseline, 34), own.clone(), unmasked),
        (RESTRICTED, own.clone(), unmasked),
        (of_version(Level::Restricted, 34), own, &before),
    ]);
}

#[test]
fn annotations_count_where_there_were_no_fields() {
    let annotated = json!({"metadata": {"annotations": {
        "container.apparmor.security.beta.kubernetes.io/c": "unconfined",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}});
    let app_armor = "forbidden AppArmor profile (annotation must not set AppArmor profile type to \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")";
    let seccomp =
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")";
    check(&[
        (BASELINE, annotated.clone(), app_armor),
        (of_version(Level::Baseline, 18), annotated, &format!("{app_armor}, {seccomp}")),
    ]);
}

#[test]
fn only_containers_and_images_are_looked_at_again() {
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    let changed = |pointer: &str, value: Value| {
        let mut pod = pod.clone();
        *pod.pointer_mut(pointer).unwrap() = value;
        pod
    };
    assert!(!changes_containers(&pod, &pod));
    assert!(changes_containers(&changed("/spec/containers/0/image", json!("j")), &pod));
    assert!(changes_containers(&changed("/spec/containers", json!([])), &pod));
    let debugged = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "ephemeralContainers": [{"name": "e"}]}});
    assert!(changes_containers(&debugged, &pod));
    assert!(!changes_containers(&debugged, &debugged));
}

#[test]
fn pods_that_are_there() {
    let pod = |name: &str, host: bool| json!({"metadata": {"name": name}, "spec": {"hostPID": host}});
    let pods = [pod("b", true), pod("a", true), pod("ok", false)];
    let warnings = [
        "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
        "a (and 1 other pod): host namespaces",
    ];
    assert_eq!(pod_warnings(&pods, "n", BASELINE), warnings);
    assert!(pod_warnings(&pods[2..], "n", BASELINE).is_empty());
}
