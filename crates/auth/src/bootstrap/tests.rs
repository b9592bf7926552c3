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
    let table = parse(TABLE);
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
        (user("system:kube-scheduler"), "patch", "resource.k8s.io", "resourceclaims/binding", true),
        (account("resource-claim-controller"), "update", "resource.k8s.io", "resourceclaims/binding", true),
        (account("cronjob-controller"), "update", "resource.k8s.io", "resourceclaims/binding", false),
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

/// Roles and bindings of a 1.20 cluster.
const RECORDED: &str = include_str!("recorded.txt");

/// Rules of 1.20 that 1.37 no longer gives: role, rule, why.
const GONE: &[(&str, &str, &str)] = &[
    (
        "system:aggregate-to-edit",
        "create,delete,deletecollection,patch,update core endpoints",
        "whoever writes Endpoints can reach what they may not: since 1.22",
    ),
    (
        "system:controller:horizontal-pod-autoscaler",
        "get core services/proxy http:heapster:,https:heapster:",
        "Heapster is no more",
    ),
    ("system:kube-controller-manager", "create core endpoints", "leaders are elected by Leases since 1.24"),
    (
        "system:kube-controller-manager",
        "get,update core endpoints kube-controller-manager",
        "leaders are elected by Leases since 1.24",
    ),
    ("system:kube-scheduler", "create core endpoints", "leaders are elected by Leases since 1.24"),
    (
        "system:kube-scheduler",
        "get,update core endpoints kube-scheduler",
        "leaders are elected by Leases since 1.24",
    ),
    ("system:kubelet-api-admin", "* core nodes/spec", "kubelets have had no such path since 1.20"),
    ("system:controller:expand-controller", "get core endpoints,services", "GlusterFS is no more"),
    ("system:controller:expand-controller", "get core secrets", "GlusterFS is no more"),
    (
        "system:controller:expand-controller",
        "get,list,watch storage.k8s.io storageclasses",
        "GlusterFS is no more",
    ),
    (
        "kube-system/system::leader-locking-kube-controller-manager",
        "watch core configmaps",
        "leaders are elected by Leases since 1.24",
    ),
    (
        "kube-system/system::leader-locking-kube-controller-manager",
        "get,update core configmaps kube-controller-manager",
        "leaders are elected by Leases since 1.24",
    ),
    (
        "kube-system/system::leader-locking-kube-scheduler",
        "watch core configmaps",
        "leaders are elected by Leases since 1.24",
    ),
    (
        "kube-system/system::leader-locking-kube-scheduler",
        "get,update core configmaps kube-scheduler",
        "leaders are elected by Leases since 1.24",
    ),
];

#[test]
fn what_1_20_gave_is_given_or_explained() {
    let (then, now) = (parse(RECORDED), parse(TABLE));
    let gone = |name: &str| -> Vec<Rule> {
        GONE.iter().filter(|(role, ..)| *role == name).map(|(_, rule, _)| parse_rule(rule)).collect()
    };
    for (name, role) in &then.cluster_roles {
        let mut given = now.rules(name, &mut BTreeSet::new());
        assert!(now.cluster_roles.contains_key(name), "{name}");
        let stale: Vec<Rule> = gone(name)
            .into_iter()
            .filter(|rule| crate::rbac::covers(&given, std::slice::from_ref(rule)).is_empty())
            .collect();
        assert_eq!(stale, [], "{name} has what is said to be gone");
        given.extend(gone(name));
        assert_eq!(crate::rbac::covers(&given, &role.rules), [], "{name}");
    }
    for (name, rules) in &then.roles {
        let given = now.roles.iter().find(|(key, _)| key == name).map(|(_, rules)| rules.clone());
        let mut given = given.unwrap_or_default();
        given.extend(gone(name));
        assert_eq!(crate::rbac::covers(&given, rules), [], "{name}");
    }
    for (name, role, subjects) in &then.bindings {
        let found = now.bindings.iter().find(|(key, ..)| key == name);
        let fits =
            found.is_some_and(|(_, same, more)| same == role && subjects.iter().all(|s| more.contains(s)));
        assert!(fits, "{name}");
    }
}
