//! Rows of `kubectl get`.

use machinery::resources::{Resource, Resources};
use serde_json::{Value, json};

use crate::registry::kinds::strategy;
use crate::registry::tests::harness::{Harness, pod};

#[test]
fn every_row_fits_its_columns() {
    let has_more = |resource: &&Resource| {
        let names: Vec<&str> = resource.columns.iter().map(|column| column.name).collect();
        !matches!(names.as_slice(), [] | ["Name", "Age" | "Created At"])
    };
    for resource in Resources::builtin().iter().filter(has_more) {
        let group = if resource.group == "events.k8s.io" { "" } else { resource.group };
        let row = strategy(group, resource.plural).table_row(&json!({"metadata": {"name": "x"}}), 0);
        let cells = row.as_ref().map(Vec::len);
        assert_eq!(
            cells,
            Some(resource.columns.len()),
            "{} {}: {row:?}",
            resource.api_version(),
            resource.plural
        );
    }
}

/// The first cells of the row an object has, without those that are times.
fn row(group: &str, plural: &str, object: &Value) -> Vec<Value> {
    strategy(group, plural).table_row(object, 1_000_000).expect("a row")
}

#[test]
fn cells_as_upstream_prints_them() {
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1",
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}], "selector": {"a": "b"}}});
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1,
        "maxReplicas": 5, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]},
        "status": {"currentReplicas": 2, "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}]}});
    let quota = json!({"metadata": {"name": "q"}, "status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}});
    let job = json!({"metadata": {"name": "j"}, "spec": {"completions": 3, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"succeeded": 3, "startTime": "1970-01-01T00:00:00Z", "completionTime": "1970-01-01T00:01:40Z",
            "conditions": [{"type": "Complete", "status": "True"}]}});
    let driver = json!({"metadata": {"name": "d"}, "spec": {"volumeLifecycleModes": ["Persistent"], "tokenRequests": [{"audience": "a"}]}});
    let revision = json!({"metadata": {"name": "r", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}, "revision": 2});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.b"}, {"host": "c.d"}], "tls": [{}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    let address = json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}});
    let group = json!({"metadata": {"name": "g"}, "spec": {"schedulingPolicy": {"gang": {}}, "workloadRef": {"workloadName": "w"}},
        "status": {"conditions": [{"type": "PodGroupScheduled", "status": "False"}]}});
    let rule = json!({"metadata": {"name": "r"}, "spec": {"taint": {"key": "k", "value": "v", "effect": "NoExecute"}}});
    let pools = json!({"metadata": {"name": "p"}, "spec": {"driver": "d"}, "status": {"poolCount": 3,
        "conditions": [{"type": "Complete", "status": "True"}], "pools": [
            {"totalDevices": 5, "availableDevices": 2, "allocatedDevices": 3}, {"validationError": "x"}]}});
    let migration = json!({"metadata": {"name": "m"}, "spec": {"resource": {"group": "a", "resource": "x"}},
        "status": {"conditions": [{"type": "Running", "status": "True"}, {"type": "Failed", "status": "False"}]}});
    let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}, {"name": "web"}, {}]});
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "paramRef": {"selector": {"matchLabels": {"a": "b"}}}}});
    let secret = json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "Yg=="}});
    let node = json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64"}}});
    for (group, plural, object, from, cells) in [
        (
            "",
            "services",
            &service,
            1,
            json!(["LoadBalancer", "10.0.0.1", "<pending>", "80:30080/TCP,53/UDP"]),
        ),
        (
            "autoscaling",
            "horizontalpodautoscalers",
            &scaler,
            1,
            json!(["Deployment/d", "cpu: 12%/80%", "1", 5, 2]),
        ),
        ("", "resourcequotas", &quota, 1, json!(["pods: 1/4", "limits.cpu: 0/2"])),
        ("batch", "jobs", &job, 1, json!(["Complete", "3/3", "100s"])),
        ("storage.k8s.io", "csidrivers", &driver, 1, json!([true, false, false, "a", false, "Persistent"])),
        ("apps", "controllerrevisions", &revision, 1, json!(["daemonset.apps/d", 2])),
        ("networking.k8s.io", "ipaddresses", &address, 1, json!(["services/n/s"])),
        ("scheduling.k8s.io", "podgroups", &group, 1, json!(["Gang", "w", "Unschedulable"])),
        ("resource.k8s.io", "devicetaintrules", &rule, 1, json!(["k", "v", "NoExecute", ""])),
        (
            "resource.k8s.io",
            "resourcepoolstatusrequests",
            &pools,
            1,
            json!(["d", "5", "2", "3", "0", "1", 3, "Complete (2/3 pools)"]),
        ),
        ("storagemigration.k8s.io", "storageversionmigrations", &migration, 1, json!(["x.a", "Running"])),
        ("discovery.k8s.io", "endpointslices", &slice, 1, json!(["IPv4", "80,web,*", "<unset>"])),
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings",
            &binding,
            1,
            json!([
                "p",
                "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}"
            ]),
        ),
        ("", "secrets", &secret, 1, json!(["Opaque", 1])),
        ("", "nodes", &node, 8, json!(["6.1 (amd64)"])),
        ("networking.k8s.io", "ingresses", &ingress, 1, json!(["<none>", "a.b,c.d", "1.2.3.4", "80, 443"])),
    ] {
        let cells = cells.as_array().expect("cells").clone();
        assert_eq!(row(group, plural, object)[from..from + cells.len()], cells, "{plural}");
    }
}

#[tokio::test]
async fn events_print_alike_in_both_groups() {
    let h = Harness::start().await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started", "message": "it runs", "type": "Normal", "count": 3, "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"});
    h.must(201, "POST", "/api/v1/namespaces/default/events", event).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let core = h.view("/api/v1/namespaces/default/events", table).await;
    let cells = &core["rows"][0]["cells"];
    assert_eq!(cells[3], "pod/p", "{core}");
    assert_eq!((&cells[5], &cells[6], &cells[8]), (&json!("kubelet, n"), &json!("it runs"), &json!(3)));
    let other = h.view("/apis/events.k8s.io/v1/namespaces/default/events", table).await;
    assert_eq!(other["rows"][0]["cells"], *cells);
}

#[tokio::test]
async fn pods_are_found_by_their_fields() {
    let h = Harness::start().await;
    h.must(201, "POST", "/api/v1/namespaces/default/pods", pod("a")).await;
    for (selector, found) in [
        ("spec.restartPolicy=Always", 1),
        ("spec.restartPolicy!=Always", 0),
        ("status.phase=Pending,spec.nodeName=", 1),
        ("spec.hostNetwork=true", 0),
        ("spec.serviceAccountName=default", 1),
    ] {
        let list = h.get(&format!("/api/v1/pods?fieldSelector={}", selector.replace('=', "%3D"))).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(found), "{selector}");
    }
}
