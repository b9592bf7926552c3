//! Where objects are kept: upstream's key layout, so that either API server can work on the other's etcd
//! (upstream: `pkg/kubeapiserver/default_storage_factory_builder.go`; custom resources: apiextensions-apiserver).

use std::collections::HashMap;
use std::sync::LazyLock;

use machinery::resources::Resources;

/// Resources whose prefix is not their name, for reasons of history.
const ODD: [(&str, &str, &str); 5] = [
    ("", "replicationcontrollers", "controllers"),
    ("", "endpoints", "services/endpoints"),
    ("", "services", "services/specs"),
    ("", "nodes", "minions"),
    ("networking.k8s.io", "ingresses", "ingress"),
];
/// Groups of API servers of their own, upstream: their keys begin with the group, as those of custom resources do.
const GROUPED: [&str; 2] = ["apiextensions.k8s.io", "apiregistration.k8s.io"];
/// What the layout before this one began with; nothing else does.
pub const FORMER_LAYOUT: &str = "/registry/core/";

const ROOT: &str = "/registry/";

/// Group and plural of what is built in, by the path below [`ROOT`]. Of the two kinds of events it is the older one's.
static BUILT_IN: LazyLock<HashMap<String, (&'static str, &'static str)>> = LazyLock::new(|| {
    let stored = Resources::builtin().iter().filter(|resource| resource.is_stored());
    stored
        .filter(|resource| resource.group != "events.k8s.io")
        .map(|resource| {
            let path = prefix(resource.group, resource.plural);
            let path = path.trim_start_matches(ROOT).trim_end_matches('/').to_owned();
            (path, (resource.group, resource.plural))
        })
        .collect()
});

/// Group and plural of the resource whose object has this key, or whose objects are in this scope; of what is no object, the first
/// name of its key.
pub fn resource(key: &str) -> (&str, &str) {
    let rest = key.strip_prefix(ROOT).unwrap_or(key);
    let mut slashes = rest.match_indices('/').map(|(at, _)| at);
    let first = &rest[..slashes.next().unwrap_or(rest.len())];
    let both = &rest[..slashes.next().unwrap_or(rest.len())];
    if let Some(found) = BUILT_IN.get(both).or_else(|| BUILT_IN.get(first)) {
        return *found;
    }
    match both.split_once('/') {
        // Groups of custom resources have a dot, which no built-in plural has.
        Some((group, plural)) if group.contains('.') => (group, plural),
        _ => ("", first),
    }
}

/// The key prefix of all objects of a resource.
pub fn prefix(group: &str, plural: &str) -> String {
    if let Some((.., path)) = ODD.iter().find(|odd| (odd.0, odd.1) == (group, plural)) {
        return format!("/registry/{path}/");
    }
    let built_in = Resources::builtin().preferred(group, plural).is_some() && !GROUPED.contains(&group);
    if built_in { format!("/registry/{plural}/") } else { format!("/registry/{group}/{plural}/") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn prefixes_are_upstreams() {
        for (group, plural, want) in [
            ("", "pods", "/registry/pods/"),
            ("", "nodes", "/registry/minions/"),
            ("", "services", "/registry/services/specs/"),
            ("", "endpoints", "/registry/services/endpoints/"),
            ("", "replicationcontrollers", "/registry/controllers/"),
            ("", "events", "/registry/events/"),
            ("apps", "deployments", "/registry/deployments/"),
            ("networking.k8s.io", "ingresses", "/registry/ingress/"),
            ("coordination.k8s.io", "leases", "/registry/leases/"),
            ("rbac.authorization.k8s.io", "clusterroles", "/registry/clusterroles/"),
            (
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "/registry/apiextensions.k8s.io/customresourcedefinitions/",
            ),
            ("apiregistration.k8s.io", "apiservices", "/registry/apiregistration.k8s.io/apiservices/"),
            ("example.com", "pods", "/registry/example.com/pods/"),
        ] {
            assert_eq!(prefix(group, plural), want);
        }
    }

    #[test]
    fn keys_tell_their_resource() {
        for (key, want) in [
            ("/registry/pods/default/a", ("", "pods")),
            ("/registry/pods/", ("", "pods")),
            ("/registry/services/specs/default/a", ("", "services")),
            ("/registry/minions/a", ("", "nodes")),
            ("/registry/events/default/a", ("", "events")),
            ("/registry/clusterroles/system:node", ("rbac.authorization.k8s.io", "clusterroles")),
            ("/registry/apiregistration.k8s.io/apiservices/v1.", ("apiregistration.k8s.io", "apiservices")),
            ("/registry/example.com/widgets/default/a", ("example.com", "widgets")),
            ("/registry/masterleases/10.0.0.1:6443", ("", "masterleases")),
            ("/registry/ranges/servicenodeports", ("", "ranges")),
            ("/registry/", ("", "")),
            ("", ("", "")),
        ] {
            assert_eq!(resource(key), want, "{key}");
        }
        for kept in Resources::builtin().iter().filter(|kept| kept.is_stored()) {
            let group = kept.group.strip_prefix("events.k8s.io").unwrap_or(kept.group);
            assert_eq!(resource(&prefix(kept.group, kept.plural)), (group, kept.plural));
        }
    }

    #[test]
    fn no_two_resources_share_a_prefix() {
        let mut owners = HashMap::new();
        for resource in Resources::builtin().iter().filter(|resource| resource.is_stored()) {
            // The two kinds of events are one.
            let group = resource.group.strip_prefix("events.k8s.io").unwrap_or(resource.group);
            let owner = owners.entry(prefix(group, resource.plural)).or_insert(group);
            assert_eq!(*owner, group, "{}", resource.plural);
        }
    }
}
