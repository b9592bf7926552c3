use std::borrow::Cow;

use super::*;
use crate::{Attributes, Decision, UserInfo};

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Rule {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Rule { verbs: own(verbs), api_groups: own(groups), resources: own(resources), ..Rule::default() }
}

fn asks<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        user: Cow::Owned(UserInfo::new("alice", &["dev", "system:authenticated"])),
        verb,
        is_resource: true,
        group,
        resource,
        subresource,
        name,
        namespace: "default",
        ..Attributes::default()
    }
}

#[test]
fn rules_match_resources() {
    let named = Rule { resource_names: vec!["a".into()], ..rule(&["get"], &[""], &["configmaps"]) };
    let cases = [
        (rule(&["get"], &[""], &["pods"]), asks("get", "", "pods", "x"), true),
        (rule(&["get"], &[""], &["pods"]), asks("get", "", "pods/log", "x"), false),
        (rule(&["get"], &[""], &["pods/log"]), asks("get", "", "pods/log", "x"), true),
        (rule(&["get"], &[""], &["pods/log"]), asks("get", "", "pods", "x"), false),
        (rule(&["get"], &[""], &["*"]), asks("get", "", "pods/log", "x"), true),
        (rule(&["*"], &["*"], &["*/scale"]), asks("update", "apps", "deployments/scale", "x"), true),
        (rule(&["*"], &["*"], &["*/scale"]), asks("update", "apps", "deployments", "x"), false),
        (rule(&["get"], &["apps"], &["pods"]), asks("get", "", "pods", "x"), false),
        (rule(&["list"], &[""], &["pods"]), asks("get", "", "pods", "x"), false),
        (named.clone(), asks("get", "", "configmaps", "a"), true),
        (named.clone(), asks("get", "", "configmaps", "b"), false),
        (named, asks("get", "", "configmaps", ""), false),
    ];
    for (rule, attributes, expected) in cases {
        assert_eq!(rule.allows(&attributes), expected, "{} vs {}", rule.describe(), attributes.refusal());
    }
}

#[test]
fn rules_match_paths() {
    let rule = Rule {
        verbs: vec!["get".into()],
        non_resource_urls: vec!["/healthz".into(), "/api/*".into()],
        ..Rule::default()
    };
    for (path, expected) in [("/healthz", true), ("/healthz/ping", false), ("/api/v1", true), ("/api", false)]
    {
        let attributes = Attributes { verb: "get", path, ..Attributes::default() };
        assert_eq!(rule.allows(&attributes), expected, "{path}");
    }
}

fn cluster() -> Rbac {
    let mut rbac = Rbac::default();
    let objects: [(Kind, &str); 6] = [
        (
            Kind::ClusterRole,
            r#"{"metadata":{"name":"view"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}"#,
        ),
        (
            Kind::Role,
            r#"{"metadata":{"name":"cm","namespace":"default"},"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["*"]}]}"#,
        ),
        (
            Kind::ClusterRoleBinding,
            r#"{"metadata":{"name":"devs-view"},"roleRef":{"kind":"ClusterRole","name":"view"},"subjects":[{"kind":"Group","name":"dev"}]}"#,
        ),
        (
            Kind::RoleBinding,
            r#"{"metadata":{"name":"cm","namespace":"default"},"roleRef":{"kind":"Role","name":"cm"},"subjects":[{"kind":"ServiceAccount","name":"sa"},{"kind":"User","name":"bob"}]}"#,
        ),
        (
            Kind::ClusterRoleBinding,
            r#"{"metadata":{"name":"dangling"},"roleRef":{"kind":"ClusterRole","name":"gone"},"subjects":[{"kind":"User","name":"alice"}]}"#,
        ),
        (Kind::ClusterRole, r#"{"metadata":{"name":"empty"},"rules":null}"#),
    ];
    for (kind, json) in objects {
        rbac.apply(kind, json.as_bytes()).unwrap();
    }
    rbac
}

#[test]
fn bindings_apply_by_user_group_and_service_account() {
    let mut rbac = cluster();
    assert_eq!(
        rbac.authorize(&asks("list", "", "pods", "")),
        Decision::Allow(
            r#"RBAC: allowed by ClusterRoleBinding "devs-view" of ClusterRole "view" to Group "dev""#.into()
        )
    );
    assert_eq!(
        rbac.authorize(&asks("delete", "", "pods", "x")),
        Decision::NoOpinion(r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#.into())
    );
    let mut by_account = asks("create", "", "configmaps", "");
    by_account.user = Cow::Owned(UserInfo::new("system:serviceaccount:default:sa", &[]));
    assert_eq!(
        rbac.authorize(&by_account),
        Decision::Allow(
            r#"RBAC: allowed by RoleBinding "cm/default" of Role "cm" to ServiceAccount "sa/default""#.into()
        )
    );
    by_account.namespace = "other";
    assert!(!rbac.authorize(&by_account).allowed(), "a RoleBinding grants in its own namespace only");
    by_account.namespace = "";
    assert!(!rbac.authorize(&by_account).allowed(), "and not for all namespaces");
    rbac.remove(Kind::ClusterRoleBinding, "", "devs-view");
    assert!(!rbac.authorize(&asks("list", "", "pods", "")).allowed());
}

#[test]
fn rules_for_a_user() {
    let found = cluster().rules_for(&UserInfo::new("alice", &["dev"]), "default");
    assert_eq!(found.rules, [rule(&["get", "list"], &[""], &["pods"])]);
    assert_eq!(found.errors, [r#"clusterrole.rbac.authorization.k8s.io "gone" not found"#]);
}

#[test]
fn nobody_hands_out_more_than_they_hold() {
    let all = [rule(&["*"], &["*"], &["*"])];
    let pods = [rule(&["get", "list"], &[""], &["pods"])];
    let named = [Rule { resource_names: vec!["a".into()], ..rule(&["get"], &[""], &["pods"]) }];
    let scale = [rule(&["get"], &["*"], &["*/scale"])];
    let urls = |url: &str| {
        [Rule { verbs: vec!["get".into()], non_resource_urls: vec![url.into()], ..Rule::default() }]
    };
    assert!(covers(&all, &pods).is_empty());
    assert!(covers(&pods, &named).is_empty());
    assert!(!covers(&named, &pods).is_empty());
    assert!(covers(&scale, &[rule(&["get"], &["apps"], &["deployments/scale"])]).is_empty());
    assert!(covers(&urls("/api/*"), &urls("/api/v1")).is_empty());
    assert!(!covers(&all, &urls("/api")).is_empty(), "resources do not cover paths");
    let missing = covers(&pods, &[rule(&["get", "delete", "update"], &[""], &["pods"])]);
    assert_eq!(
        escalation_refusal(&UserInfo::new("alice", &["dev", "ops"]), &missing, &[]),
        "user \"alice\" (groups=[\"dev\" \"ops\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"update\"]}"
    );
}
