use std::borrow::Cow;

use super::*;
use crate::rbac::{Kind, Rbac};
use crate::{Attributes, UserInfo};

fn cluster() -> Rbac {
    let mut rbac = Rbac::default();
    for object in objects() {
        let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == object.plural).unwrap();
        rbac.apply(kind, object.object.to_string().as_bytes()).unwrap();
    }
    rbac
}

#[test]
fn every_line_of_the_table_is_understood() {
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = line.starts_with("  ") && (3..=4).contains(&words.len())
            || words.first().is_some_and(|kind| ["clusterrole", "role", "bind"].contains(kind));
        assert!(known, "{line}");
    }
    let table = parse();
    for (key, role, _) in &table.bindings {
        let found = match key.split_once('/') {
            None => table.cluster_roles.contains_key(role),
            Some((namespace, _)) => table.roles.iter().any(|(key, _)| *key == format!("{namespace}/{role}")),
        };
        assert!(found, "{key} refers to {role}");
    }
}

#[test]
fn components_can_do_their_work_and_no_more() {
    let rbac = cluster();
    let account = |name: &str| UserInfo::new(format!("system:serviceaccount:kube-system:{name}"), &[]);
    let user = |name: &str| UserInfo::new(name, &["system:authenticated"]);
    let cases = [
        (UserInfo::new("root", &["system:masters"]), "delete", "", "nodes", true),
        (user("system:kube-scheduler"), "create", "", "pods/binding", true),
        (user("system:kube-scheduler"), "get", "", "secrets", false),
        (user("system:kube-controller-manager"), "watch", "apps", "deployments", true),
        (user("system:kube-controller-manager"), "create", "", "pods", false),
        (account("replicaset-controller"), "create", "", "pods", true),
        (account("replicaset-controller"), "delete", "", "nodes", false),
        (account("generic-garbage-collector"), "delete", "batch", "jobs", true),
        (account("cronjob-controller"), "list", "", "pods", true),
        (user("system:kube-proxy"), "watch", "discovery.k8s.io", "endpointslices", true),
        (user("system:node:a"), "get", "", "nodes", false),
        (user("alice"), "create", "authorization.k8s.io", "selfsubjectaccessreviews", true),
        (user("alice"), "list", "", "pods", false),
        (UserInfo::anonymous(), "create", "authorization.k8s.io", "selfsubjectaccessreviews", false),
    ];
    for (user, verb, group, resource, expected) in cases {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = Attributes {
            user: Cow::Owned(user),
            verb,
            is_resource: true,
            group,
            resource,
            subresource,
            ..Attributes::default()
        };
        assert_eq!(rbac.authorize(&attributes).allowed(), expected, "{}", attributes.refusal());
    }
}

#[test]
fn anonymous_reads_health_and_version_only() {
    let rbac = cluster();
    for (path, expected) in [
        ("/healthz", true),
        ("/livez", true),
        ("/readyz", true),
        ("/version", true),
        ("/metrics", false),
        ("/api", false),
        ("/", false),
    ] {
        let attributes = Attributes {
            user: Cow::Owned(UserInfo::anonymous()),
            verb: "get",
            path,
            ..Attributes::default()
        };
        assert_eq!(rbac.authorize(&attributes).allowed(), expected, "{path}");
    }
}

#[test]
fn aggregates_hold_what_their_members_hold() {
    let (view, edit, admin) =
        (cluster_role_rules("view"), cluster_role_rules("edit"), cluster_role_rules("admin"));
    assert!(!view.is_empty());
    assert!(crate::rbac::covers(&edit, &view).is_empty());
    assert!(crate::rbac::covers(&admin, &edit).is_empty());
    assert!(!crate::rbac::covers(&view, &edit).is_empty());
}

/// Differences between the recording of 1.20 and 1.37: roles that went away, and rights that 1.37 no longer gives.
#[test]
fn the_recorded_roles_are_all_there() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/bootstrap.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let ours = objects();
    let gone = ["system:heapster"];
    for (list, plural) in [
        ("clusterroles", "clusterroles"),
        ("clusterrolebindings", "clusterrolebindings"),
        ("roles", "roles"),
        ("rolebindings", "rolebindings"),
    ] {
        for object in recorded[list].as_array().unwrap() {
            let name = object["metadata"]["name"].as_str().unwrap();
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let found =
                ours.iter().find(|o| o.plural == plural && o.name == name && o.namespace == namespace);
            assert!(found.is_some() || gone.contains(&name), "{plural} {name}");
        }
    }
}
