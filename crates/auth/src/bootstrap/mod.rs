//! Roles and bindings that every cluster has from the start, from a table in upstream's terms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::rbac::{GROUP, Rule};

const TABLE: &str = include_str!("table.txt");
const AGGREGATE_LABEL: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// One object to be created at start when it is absent, and brought up to date when it is there and still carries
/// the annotation `rbac.authorization.kubernetes.io/autoupdate: "true"`.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapObject {
    /// Plural resource name in `rbac.authorization.k8s.io/v1`.
    pub plural: &'static str,
    /// Namespace, empty for cluster scope.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The object.
    pub object: Value,
}

#[derive(Debug, Default)]
struct ClusterRole {
    /// Aggregates that this role adds its rules to.
    feeds: Vec<&'static str>,
    /// Aggregate that this role's rules are made of.
    from: Option<&'static str>,
    rules: Vec<Rule>,
}

#[derive(Debug, Default)]
struct Table {
    cluster_roles: BTreeMap<&'static str, ClusterRole>,
    /// Key: `namespace/name`.
    roles: Vec<(&'static str, Vec<Rule>)>,
    /// Binding (with `namespace/` when namespaced), role, subjects.
    bindings: Vec<(&'static str, &'static str, Vec<&'static str>)>,
}

enum Current {
    ClusterRole(&'static str),
    Role,
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(|item| if item == "core" { String::new() } else { item.to_owned() }).collect()
}

fn parse_rule(line: &'static str) -> Rule {
    let mut words = line.split_whitespace();
    let verbs = split(words.next().unwrap_or_default());
    let group = words.next().unwrap_or_default();
    let targets = split(words.next().unwrap_or_default());
    let names = words.next().map(split).unwrap_or_default();
    if group == "url" {
        Rule { verbs, non_resource_urls: targets, ..Rule::default() }
    } else {
        Rule { verbs, api_groups: split(group), resources: targets, resource_names: names, ..Rule::default() }
    }
}

fn parse(text: &'static str) -> Table {
    let mut table = Table::default();
    let mut current = None;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if line.starts_with(' ') {
            let rule = parse_rule(line);
            match current {
                Some(Current::ClusterRole(name)) => {
                    table.cluster_roles.entry(name).or_default().rules.push(rule)
                }
                Some(Current::Role) => table.roles.extend_last(rule),
                None => {}
            }
            continue;
        }
        let mut words = line.split(' ');
        let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match kind {
            "clusterrole" => {
                let role = table.cluster_roles.entry(name).or_default();
                for word in words {
                    match word.split_once('=') {
                        Some(("to", list)) => role.feeds = list.split(',').collect(),
                        Some(("from", aggregate)) => role.from = Some(aggregate),
                        _ => {}
                    }
                }
                current = Some(Current::ClusterRole(name));
            }
            "role" => {
                table.roles.push((name, Vec::new()));
                current = Some(Current::Role);
            }
            _ => table.bindings.push((name, words.next().unwrap_or_default(), words.collect())),
        }
    }
    table
}

trait ExtendLast {
    fn extend_last(&mut self, rule: Rule);
}

impl ExtendLast for Vec<(&'static str, Vec<Rule>)> {
    fn extend_last(&mut self, rule: Rule) {
        if let Some((_, rules)) = self.last_mut() {
            rules.push(rule);
        }
    }
}

impl Table {
    /// Rules of a cluster role; those of an aggregate are the union of its members', themselves resolved first.
    fn rules(&self, name: &str, seen: &mut BTreeSet<String>) -> Vec<Rule> {
        let Some(role) = self.cluster_roles.get(name) else { return Vec::new() };
        let Some(aggregate) = role.from else { return role.rules.clone() };
        if !seen.insert(name.to_owned()) {
            return Vec::new();
        }
        let mut rules: Vec<Rule> = Vec::new();
        let members = self.cluster_roles.iter().filter(|(_, member)| member.feeds.contains(&aggregate));
        for (member, _) in members {
            for rule in self.rules(member, seen) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        seen.remove(name);
        rules
    }

    fn cluster_role(&self, name: &'static str, role: &ClusterRole) -> BootstrapObject {
        let mut labels = Map::new();
        for aggregate in &role.feeds {
            labels.insert(format!("{AGGREGATE_LABEL}{aggregate}"), "true".into());
        }
        let rules = self.rules(name, &mut BTreeSet::new());
        let mut object = object("ClusterRole", "", name, labels);
        object["rules"] = json!(rules);
        if let Some(aggregate) = role.from {
            let label = format!("{AGGREGATE_LABEL}{aggregate}");
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        BootstrapObject { plural: "clusterroles", namespace: String::new(), name: name.to_owned(), object }
    }
}

fn object(kind: &str, namespace: &str, name: &str, mut labels: Map<String, Value>) -> Value {
    labels.insert("kubernetes.io/bootstrapping".into(), "rbac-defaults".into());
    let mut metadata = json!({
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": labels,
        "name": name,
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata})
}

fn role(key: &str, rules: &[Rule]) -> BootstrapObject {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let mut object = object("Role", namespace, name, Map::new());
    object["rules"] = json!(rules);
    BootstrapObject { plural: "roles", namespace: namespace.to_owned(), name: name.to_owned(), object }
}

fn subject(text: &str) -> Value {
    match text.split_once(':') {
        Some(("G", name)) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        Some(("U", name)) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        Some((_, account)) => {
            let (namespace, name) = account.split_once('/').unwrap_or(("", account));
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        None => Value::Null,
    }
}

fn binding(key: &str, role: &str, subjects: &[&str]) -> BootstrapObject {
    // No cluster role has a slash in its name, so a slash tells namespace from name.
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let (plural, kind, role_kind) = if namespace.is_empty() {
        ("clusterrolebindings", "ClusterRoleBinding", "ClusterRole")
    } else {
        ("rolebindings", "RoleBinding", "Role")
    };
    let mut object = object(kind, namespace, name, Map::new());
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        object["subjects"] = subjects.iter().map(|text| subject(text)).collect();
    }
    BootstrapObject { plural, namespace: namespace.to_owned(), name: name.to_owned(), object }
}

/// Every role and binding, roles first. Aggregated roles come with their rules filled in.
#[must_use]
pub fn objects() -> Vec<BootstrapObject> {
    let table = parse(TABLE);
    let cluster_roles = table.cluster_roles.iter().map(|(name, role)| table.cluster_role(name, role));
    let roles = table.roles.iter().map(|(key, rules)| role(key, rules));
    let bindings = table.bindings.iter().map(|(key, role, subjects)| binding(key, role, subjects));
    cluster_roles.chain(roles).chain(bindings).collect()
}

/// The rules of one cluster role of the table.
#[must_use]
pub fn cluster_role_rules(name: &str) -> Vec<Rule> {
    parse(TABLE).rules(name, &mut BTreeSet::new())
}

#[cfg(test)]
mod tests;
