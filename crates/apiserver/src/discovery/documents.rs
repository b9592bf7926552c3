//! The discovery documents.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::resources::{Resource, Resources, Subresource};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// `/api`, with where all clients reach the server.
pub(super) fn api_versions(versions: &[&str], address: SocketAddr) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()},
        ],
    })
}

/// `/apis`
pub(super) fn group_list(groups: &[(&str, Vec<&str>)]) -> Value {
    let groups: Vec<Value> = groups
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| group(name, versions, false))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`, or with `alone` false an item of `/apis`.
pub(super) fn group(name: &str, versions: &[&str], alone: bool) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let mut group = json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    });
    if alone {
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
    }
    group
}

/// `/api/<version>` and `/apis/<group>/<version>`; `None` when nothing is served there.
pub(super) fn resource_list(resources: &Resources, group: &str, version: &str) -> Option<Value> {
    let mut items: Vec<(String, Value)> = Vec::new();
    for resource in resources.iter().filter(|r| r.group == group && r.version == version) {
        items.push((resource.plural.to_owned(), resource_item(resources, resource)));
        for subresource in &resource.subresources {
            let name = format!("{}/{}", resource.plural, subresource.name);
            let item = subresource_item(resource, subresource, &name);
            items.push((name, item));
        }
    }
    if items.is_empty() {
        return None;
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    let group_version = machinery::meta::join_api_version(group, version);
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": items});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource_item(resources: &Resources, resource: &Resource) -> Value {
    let mut item = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    add_names(&mut item, resource);
    // Component statuses can be read, but are computed.
    if resource.is_stored() && resource.allows("create") {
        item["storageVersionHash"] = storage_version_hash(resources, resource).into();
    }
    item
}

fn subresource_item(resource: &Resource, subresource: &Subresource, name: &str) -> Value {
    let mut item = json!({
        "name": name,
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": subresource.kind,
        "verbs": subresource.verbs,
    });
    if (subresource.group, subresource.version) != (resource.group, resource.version) {
        item["group"] = subresource.group.into();
        item["version"] = subresource.version.into();
    }
    item
}

fn add_names(item: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        item["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        item["categories"] = json!(resource.categories);
    }
}

/// Tells clients of storage migration whether the stored version changed.
fn storage_version_hash(resources: &Resources, resource: &Resource) -> String {
    // Events of both groups are the same objects.
    let group = if resource.group == "events.k8s.io" { "" } else { resource.group };
    let stored = resources.preferred(group, resource.plural).unwrap_or(resource);
    // Upstream writes definitions in the version that they had first.
    let version = if stored.plural == "customresourcedefinitions" { "v1beta1" } else { stored.version };
    let text = format!("{}/{version}/{}", stored.group, stored.kind);
    STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

/// `apidiscovery.k8s.io` APIGroupDiscoveryList of the core group or of all others.
pub(super) fn aggregated(resources: &Resources, core: bool) -> Value {
    let groups = resources.groups().iter().filter(|(name, _)| name.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|(name, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|version| group_version(resources, name, version)).collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn group_version(resources: &Resources, group: &str, version: &str) -> Value {
    let mut served: Vec<&Resource> =
        resources.iter().filter(|r| r.group == group && r.version == version).collect();
    served.sort_by_key(|resource| resource.plural);
    let items: Vec<Value> = served.into_iter().map(aggregated_resource).collect();
    json!({"version": version, "resources": items, "freshness": "Current"})
}

fn aggregated_resource(resource: &Resource) -> Value {
    // The group version of the document itself is left out.
    let kind = |group: &str, version: &str, kind: &str| {
        let own = (group, version) == (resource.group, resource.version);
        let (group, version) = if own { ("", "") } else { (group, version) };
        json!({"group": group, "version": version, "kind": kind})
    };
    let mut item = json!({
        "resource": resource.plural,
        "responseKind": kind(resource.group, resource.version, resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    add_names(&mut item, resource);
    let mut subresources: Vec<&Subresource> = resource.subresources.iter().collect();
    subresources.sort_by_key(|subresource| subresource.name);
    let subresources: Vec<Value> = subresources
        .into_iter()
        .map(|subresource| {
            let mut map = Map::new();
            map.insert("subresource".into(), subresource.name.into());
            map.insert("responseKind".into(), kind(subresource.group, subresource.version, subresource.kind));
            map.insert("verbs".into(), json!(subresource.verbs));
            Value::Object(map)
        })
        .collect();
    if !subresources.is_empty() {
        item["subresources"] = subresources.into();
    }
    item
}
