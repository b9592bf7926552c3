use super::*;

#[test]
fn pods_have_everything() {
    let pods = Resources::builtin().lookup("", "v1", "pods").expect("pods");
    assert_eq!((pods.singular, pods.kind, pods.namespaced), ("pod", "Pod", true));
    assert_eq!(pods.short_names, ["po"]);
    assert_eq!(pods.categories, ["all"]);
    assert!(pods.allows("watch") && pods.is_stored() && pods.type_id.is_some());
    let eviction = pods.subresource("eviction").expect("a subresource");
    assert_eq!((eviction.group, eviction.version, eviction.kind), ("policy", "v1", "Eviction"));
    assert_eq!(pods.subresource("exec").map(|s| s.kind), Some("PodExecOptions"));
    let titles: Vec<&str> = pods.columns.iter().map(|c| c.name).collect();
    assert_eq!(
        titles,
        ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"]
    );
    assert_eq!((pods.columns[0].format, pods.columns[5].priority), ("name", 1));
}

#[test]
fn versions_come_in_order_of_preference() {
    let resources = Resources::builtin();
    let versions = |group: &str| {
        let found = resources.groups().iter().find(|(g, _)| *g == group);
        found.map(|(_, versions)| versions.clone()).unwrap_or_default()
    };
    assert_eq!(resources.groups()[0].0, "");
    assert_eq!(versions("autoscaling"), ["v2", "v1"]);
    assert_eq!(versions("resource.k8s.io"), ["v1", "v1beta2", "v1beta1", "v1alpha3"]);
    assert_eq!(versions("admissionregistration.k8s.io"), ["v1", "v1beta1", "v1alpha1"]);
    assert_eq!(resources.preferred("autoscaling", "horizontalpodautoscalers").map(|r| r.version), Some("v2"));
}

#[test]
fn every_resource_is_whole() {
    let resources = Resources::builtin();
    assert_eq!(resources.iter().count(), 100);
    for resource in resources.iter() {
        let what = format!("{}/{}", resource.api_version(), resource.plural);
        assert!(resource.type_id.is_some(), "{what} has no type");
        assert!(!resource.verbs.is_empty() && !resource.columns.is_empty(), "{what}");
        assert!(resource.columns.iter().any(|c| c.format == "name"), "{what} shows no name");
        assert!(resource.subresources.iter().all(|s| !s.verbs.is_empty() && !s.kind.is_empty()), "{what}");
        let found = resources.by_kind(resource.group, resource.version, resource.kind);
        assert_eq!(found.map(|r| r.plural), Some(resource.plural), "{what}");
    }
}

#[test]
fn short_names() {
    let resources = Resources::builtin();
    for (group, version, plural, short) in [
        ("apps", "v1", "deployments", "deploy"),
        ("", "v1", "persistentvolumeclaims", "pvc"),
        ("networking.k8s.io", "v1", "ipaddresses", "ip"),
        ("policy", "v1", "poddisruptionbudgets", "pdb"),
        ("batch", "v1", "cronjobs", "cj"),
        ("storage.k8s.io", "v1", "volumeattributesclasses", "vac"),
    ] {
        let found = resources.lookup(group, version, plural).expect(plural);
        assert_eq!(found.short_names, [short], "{plural}");
    }
}
