//! What a server publishes of itself besides its Service: an APIService a group version, and how it authenticates clients
//! (upstream: `pkg/controlplane/apiserver/aggregator.go`, `pkg/controlplane/controller/clusterauthenticationtrust`,
//! `pkg/controlplane/controller/legacytokentracking`).

use jiff::Timestamp;
use machinery::resources::Resources;
use serde_json::{Value, json};

/// Group, its priority, and those of its versions that have others than versions of their kind have.
type Priority = (&'static str, i64, &'static [(&'static str, i64)]);

/// Upstream's numbers, by which clients find the group that they mean.
const PRIORITIES: [Priority; 24] = [
    ("", 18_000, &[("v1", 1)]),
    ("apiregistration.k8s.io", 0, &[]),
    ("apps", 17_800, &[]),
    ("events.k8s.io", 17_750, &[]),
    ("authentication.k8s.io", 17_700, &[]),
    ("authorization.k8s.io", 17_600, &[]),
    ("autoscaling", 17_500, &[("v2", 30)]),
    ("batch", 17_400, &[]),
    ("certificates.k8s.io", 17_300, &[]),
    ("networking.k8s.io", 17_200, &[]),
    ("policy", 17_100, &[]),
    ("rbac.authorization.k8s.io", 17_000, &[]),
    ("storage.k8s.io", 16_800, &[]),
    ("admissionregistration.k8s.io", 16_700, &[("v1beta1", 12), ("v1alpha1", 9)]),
    ("apiextensions.k8s.io", 16_700, &[]),
    ("scheduling.k8s.io", 16_600, &[]),
    ("coordination.k8s.io", 16_500, &[("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16_300, &[]),
    ("discovery.k8s.io", 16_200, &[]),
    ("resource.k8s.io", 16_200, &[("v1", 21), ("v1beta2", 15)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21)]),
    ("internal.apiserver.k8s.io", 16_000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15_800, &[]),
    ("lifecycle.k8s.io", 15_700, &[("v1alpha1", 9)]),
];

/// The APIServices of all group versions but that of APIServices themselves.
pub(super) fn api_services() -> Vec<Value> {
    let served = Resources::builtin().groups().iter();
    let versions =
        served.flat_map(|(group, versions)| versions.iter().map(move |version| (*group, *version)));
    versions.filter_map(|(group, version)| api_service(group, version)).collect()
}

fn api_service(group: &str, version: &str) -> Option<Value> {
    let (_, priority, special) =
        PRIORITIES.iter().find(|(known, priority, _)| *known == group && *priority > 0)?;
    let special = special.iter().find(|(known, _)| *known == version).map(|(_, priority)| *priority);
    let mut spec = json!({
        "groupPriorityMinimum": priority,
        "version": version,
        "versionPriority": special.unwrap_or_else(|| of_maturity(version)),
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    Some(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
        },
        "spec": spec,
    }))
}

fn of_maturity(version: &str) -> i64 {
    match version {
        _ if version.contains("alpha") => 1,
        _ if version.contains("beta") => 9,
        _ => 15,
    }
}

/// The status of an APIService whose group version this server itself serves; none when it is said already.
pub(super) fn available(old: &Value) -> Option<Value> {
    let conditions = old["status"]["conditions"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if conditions.iter().any(|condition| condition["type"] == "Available") {
        return None;
    }
    let mut new = old.clone();
    new["status"] = json!({"conditions": [{
        "type": "Available",
        "status": "True",
        "lastTransitionTime": machinery::time::rfc3339(Timestamp::now()),
        "reason": "Local",
        "message": "Local APIServices are always available",
    }]});
    Some(new)
}

/// Where other API servers read by which CA client certificates are verified.
pub(super) fn authentication_info(ca_pem: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {CLIENT_CA: ca_pem},
    })
}

const CLIENT_CA: &str = "client-ca-file";

/// The same object with this server's CA among those that are there; none when it is.
pub(super) fn with_client_ca(old: &Value, ca_pem: &str) -> Option<Value> {
    let have = old["data"][CLIENT_CA].as_str().unwrap_or_default();
    if have.contains(ca_pem.trim()) {
        return None;
    }
    let mut new = old.clone();
    new["data"][CLIENT_CA] = format!("{have}{ca_pem}").into();
    Some(new)
}

/// Since when it is noted which tokens of Secrets are used.
pub(super) fn legacy_tokens(now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {"since": now.strftime("%Y-%m-%d").to_string()},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_in_discovery_by_their_priorities() {
        let known: Vec<&str> = PRIORITIES.iter().map(|(group, ..)| *group).collect();
        let served: Vec<&str> = Resources::builtin().groups().iter().map(|(group, _)| *group).collect();
        assert_eq!(known, served);
        let mut sorted: Vec<&Priority> = PRIORITIES.iter().filter(|(_, priority, _)| *priority > 0).collect();
        sorted.sort_by_key(|(group, priority, _)| (-priority, *group));
        assert!(sorted.into_iter().eq(PRIORITIES.iter().filter(|(_, priority, _)| *priority > 0)));
    }

    #[test]
    fn versions_stand_in_discovery_by_their_priorities() {
        for (group, versions) in &Resources::builtin().groups()[2..] {
            let priority =
                |version: &&str| api_service(group, version).unwrap()["spec"]["versionPriority"].as_i64();
            assert!(versions.is_sorted_by_key(|version| std::cmp::Reverse(priority(version))), "{group}");
        }
    }

    #[test]
    fn an_authority_is_added_to_those_that_are_there() {
        let old = authentication_info("one\n");
        assert_eq!(with_client_ca(&old, "one\n"), None);
        assert_eq!(with_client_ca(&old, "two\n").unwrap()["data"][CLIENT_CA], "one\ntwo\n");
    }

    #[test]
    fn what_is_said_of_a_service_stays() {
        let new = available(&json!({})).unwrap();
        assert_eq!(new["status"]["conditions"][0]["reason"], "Local");
        assert_eq!(available(&new), None);
    }
}
