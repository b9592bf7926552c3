use machinery::codec::protobuf;

use super::*;

fn discovery() -> Discovery {
    Discovery::of(([10, 0, 0, 1], 6443).into())
}

fn get(path: &str) -> Option<Value> {
    discovery().plain(&path.trim_matches('/').split('/').collect::<Vec<_>>())
}

#[test]
fn clients_choose_the_form() {
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let kubectl = format!("{v2},{v2beta1},application/json");
    let cases = [
        (None, true, Some(Form::Plain(Format::Json))),
        (Some("*/*"), true, Some(Form::Plain(Format::Json))),
        (Some(kubectl.as_str()), true, Some(Form::Aggregated)),
        (Some(kubectl.as_str()), false, Some(Form::Plain(Format::Json))),
        (Some(v2beta1), true, None),
        (Some("application/yaml"), true, Some(Form::Plain(Format::Yaml))),
        (Some("application/vnd.kubernetes.protobuf"), true, Some(Form::Plain(Format::Protobuf))),
        (
            Some("application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
            true,
            None,
        ),
        (Some("text/html"), true, None),
        (Some("application/*"), true, Some(Form::Plain(Format::Json))),
        (Some("application/yaml;stream=watch"), true, None),
        (Some("application/json;v=v1;g=meta.k8s.io"), true, None),
    ];
    for (accept, root, expected) in cases {
        assert_eq!(negotiate(accept, root).ok(), expected, "{accept:?}");
    }
}

#[test]
fn every_path_answers() {
    for path in discovery().paths() {
        assert!(get(&path).is_some(), "{path}");
    }
    for path in ["/apis/nothing", "/apis/apps/v9", "/api/v2", "/apis/apps/v1/deployments"] {
        assert!(get(path).is_none(), "{path}");
    }
}

#[test]
fn aggregated_discovery_tells_the_same_as_plain() {
    let aggregated = documents::aggregated(Resources::builtin(), false);
    let apps =
        aggregated["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "apps").unwrap();
    let deployments = apps["versions"][0]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["resource"] == "deployments")
        .unwrap();
    let own = serde_json::json!({"group": "", "version": "", "kind": "Deployment"});
    assert_eq!(deployments["responseKind"], own);
    assert_eq!(deployments["scope"], "Namespaced");
    assert_eq!(deployments["singularResource"], "deployment");
    let scale = &deployments["subresources"][0];
    assert_eq!(
        (scale["subresource"].as_str(), scale["responseKind"]["group"].as_str()),
        (Some("scale"), Some("autoscaling"))
    );
}

/// Groups, versions and resources of 1.20 that 1.37 no longer serves.
fn is_gone(group: &str, version: &str, name: &str) -> bool {
    version.contains("beta")
        || version.contains("alpha")
        || group == "extensions"
        || name == "deployments/rollback"
}

#[test]
fn recorded_resources_are_served_alike() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/discovery.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let resources = Resources::builtin();
    for item in recorded["resources"].as_array().unwrap() {
        let field = |name: &str| item[name].as_str().unwrap_or_default();
        let (group, version, name) = (field("group"), field("version"), field("name"));
        if is_gone(group, version, name) {
            continue;
        }
        // A subresource is recorded under the group of what it takes.
        let (plural, subresource) = name.split_once('/').unwrap_or((name, ""));
        let candidates = resources.iter().filter(|r| {
            r.plural == plural && (subresource.is_empty() || r.subresource(subresource).is_some())
        });
        let served: Vec<_> = candidates
            .filter(|r| !subresource.is_empty() || (r.group == group && r.version == version))
            .collect();
        assert!(!served.is_empty(), "{group}/{version} {name}");
        let resource = served[0];
        assert_eq!(resource.namespaced, item["namespaced"].as_bool().unwrap(), "{name}");
        if subresource.is_empty() {
            assert_eq!(resource.kind, field("kind"), "{name}");
            let short: Vec<&str> =
                item["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            assert!(short.iter().all(|s| resource.short_names.contains(s)), "{name}: {short:?}");
        }
    }
}

#[test]
fn clients_learn_where_the_server_is() {
    let everywhere = serde_json::json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}]);
    assert_eq!(get("/api").unwrap()["serverAddressByClientCIDRs"], everywhere);
}

/// The hashes that upstream's discovery documents have.
#[test]
fn storage_versions_hash_as_upstream() {
    let hash = |path: &str, name: &str| {
        let list = get(path).unwrap();
        let items = list["resources"].as_array().unwrap();
        items.iter().find(|item| item["name"] == name).unwrap()["storageVersionHash"].clone()
    };
    for (path, name, expected) in [
        ("/api/v1", "pods", "xPOwRZ+Yhw8="),
        ("/api/v1", "configmaps", "qFsyl6wFWjQ="),
        ("/apis/apps/v1", "deployments", "8aSe+NMegvE="),
        ("/apis/events.k8s.io/v1", "events", "r2yiGXH7wu8="),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", "qwQve8ut294="),
        ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", "jfWCUB31mvA="),
    ] {
        assert_eq!(hash(path, name), expected, "{path} {name}");
    }
    assert!(hash("/api/v1", "componentstatuses").is_null());
    assert!(hash("/api/v1", "bindings").is_null());
}

/// Old Go clients ask for protobuf first.
#[tokio::test]
async fn documents_have_a_protobuf_form() {
    use http_body_util::BodyExt;
    let headers =
        [(ACCEPT, HeaderValue::from_static("application/vnd.kubernetes.protobuf,application/json"))];
    let headers: HeaderMap = headers.into_iter().collect();
    for path in discovery().paths() {
        let answer = discovery().answer(&Method::GET, &path, &headers, Wishes::default()).await.unwrap();
        assert_eq!(answer.headers()[CONTENT_TYPE], protobuf::MEDIA_TYPE, "{path}");
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let decoded = protobuf::decode(&bytes).unwrap();
        let mut expected = get(&path).unwrap();
        expected["apiVersion"] = "v1".into();
        expected.as_object_mut().unwrap().remove("serverAddressByClientCIDRs");
        assert_eq!(decoded["kind"], expected["kind"], "{path}");
        for list in ["groups", "resources", "versions"] {
            assert_eq!(decoded[list], expected[list], "{path} {list}");
        }
    }
}
