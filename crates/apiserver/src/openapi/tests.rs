use super::*;

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => found.push(target.clone()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn all_resolve(document: &Value, what: &str) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for target in found {
        let pointer = target.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{what}: {target}");
    }
}

fn json_of(document: &Document) -> Value {
    serde_json::from_slice(&document.generate()).unwrap()
}

fn v2() -> Value {
    json_of(&Document::V2(Form::Json))
}

#[test]
fn every_reference_of_every_document_resolves() {
    all_resolve(&v2(), "v2");
    for part in Part::all().into_iter().filter(|part| !matches!(part, Part::Alone(_))) {
        let what = part.path();
        all_resolve(&json_of(&Document::V3(part, Form::Json)), &what);
    }
}

#[test]
fn a_document_says_what_kubectl_asks() {
    let document = json_of(&Document::V3(Part::Version("apps", "v1"), Form::Json));
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(
        ["dryRun", "fieldManager", "fieldValidation"].iter().all(|name| names.contains(name)),
        "{names:?}"
    );
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");

    let containers =
        &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let kind = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(kind["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
}

#[test]
fn operation_ids_are_unique() {
    let v2 = v2();
    let mut seen = std::collections::HashSet::new();
    for (path, item) in v2["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let id = operation["operationId"].as_str().unwrap();
            assert!(seen.insert(id.to_owned()), "{method} {path}: {id}");
        }
    }
}

/// Reads protobuf just far enough to see whether lengths add up, and collects fields of the outer message.
fn fields(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => found.push(((tag >> 3) as u32, varint(&mut bytes).to_le_bytes().to_vec())),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                found.push(((tag >> 3) as u32, value.to_vec()));
                bytes = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

#[test]
fn the_protobuf_form_holds_every_definition() {
    let v2 = v2();
    let document = fields(&Document::V2(Form::Protobuf).generate());
    assert_eq!(document[0], (1, b"2.0".to_vec()));
    let definitions = &document.iter().find(|(number, _)| *number == 9).unwrap().1;
    let names: Vec<String> = fields(definitions)
        .iter()
        .map(|(number, named)| {
            assert_eq!(*number, 1);
            String::from_utf8(fields(named)[0].1.clone()).unwrap()
        })
        .collect();
    let expected: Vec<&String> = v2["definitions"].as_object().unwrap().keys().collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), expected);
    let paths = &document.iter().find(|(number, _)| *number == 8).unwrap().1;
    assert_eq!(fields(paths).len(), v2["paths"].as_object().unwrap().len());
}

/// The forms differ in numbers, but the same things must be in them.
#[test]
fn the_protobuf_form_of_a_part_holds_every_definition() {
    let part = Part::Version("scheduling.k8s.io", "v1");
    let json = json_of(&Document::V3(part.clone(), Form::Json));
    let document = fields(&Document::V3(part, Form::Protobuf).generate());
    assert_eq!(document[0], (1, b"3.0.0".to_vec()));
    let paths = &document.iter().find(|(number, _)| *number == 4).unwrap().1;
    assert_eq!(fields(paths).len(), json["paths"].as_object().unwrap().len());
    let components = &document.iter().find(|(number, _)| *number == 5).unwrap().1;
    let schemas = fields(&fields(components)[0].1);
    let expected = json["components"]["schemas"].as_object().unwrap();
    assert_eq!(schemas.len(), expected.len());
    for ((_, named), name) in schemas.iter().zip(expected.keys()) {
        assert_eq!(fields(named)[0].1, name.as_bytes());
    }
}

#[test]
fn forms_are_negotiated() {
    let form = |accept: Option<&str>, version| negotiate(accept, version);
    assert_eq!(
        form(Some("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), "v2"),
        Some(Form::Protobuf)
    );
    assert_eq!(
        form(Some("application/com.github.proto-openapi.spec.v3@v1.0+protobuf,application/json"), "v3"),
        Some(Form::Protobuf)
    );
    assert_eq!(form(Some("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), "v3"), None);
    assert_eq!(form(None, "v2"), Some(Form::Json));
    assert_eq!(form(Some("*/*"), "v3"), Some(Form::Json));
    assert_eq!(form(Some("text/html"), "v2"), None);
}

#[test]
fn the_index_links_every_part() {
    let openapi = OpenApi::default();
    let index = openapi.index();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", openapi.hash_of("apis/apps/v1")));
    for path in ["api", "api/v1", "apis", "apis/apps", "version", "openid/v1/jwks"] {
        assert!(index["paths"][path].is_object(), "{path}");
    }
}

/// Everything that clients may ask `kubectl explain` about has a text.
#[test]
fn types_and_fields_are_described() {
    let v2 = v2();
    let mut silent = Vec::new();
    for (name, definition) in v2["definitions"].as_object().unwrap() {
        if definition.get("description").is_none() {
            silent.push(name.clone());
        }
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            if property.get("description").is_none() {
                silent.push(format!("{name}.{field}"));
            }
        }
    }
    // Upstream is silent about these, all of CustomResourceDefinitions' schemas but for a few.
    silent.retain(|name| !name.contains("JSONSchemaProps") && !name.contains("WatchEvent"));
    assert!(silent.len() < 40, "{silent:?}");
}

async fn answer(
    openapi: &OpenApi,
    path: &str,
    query: &str,
    headers: &[(http::HeaderName, &str)],
) -> Response<ApiBody> {
    let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    openapi.answer(path, &Query::parse(query), &headers).await.unwrap()
}

#[tokio::test]
async fn documents_are_named_by_their_hash_and_never_change() {
    let openapi = OpenApi::default();
    let path = "/openapi/v3/apis/scheduling.k8s.io/v1";
    let hash = openapi.hash_of("apis/scheduling.k8s.io/v1");
    let plain = answer(&openapi, path, "", &[]).await;
    assert_eq!(plain.status(), 200);
    assert_eq!(plain.headers()[ETAG], format!("\"{hash}\""));
    assert!(plain.headers().get(CACHE_CONTROL).is_none());

    let exact = answer(&openapi, path, &format!("hash={hash}"), &[]).await;
    assert_eq!(
        (exact.status(), &exact.headers()[CACHE_CONTROL]),
        (StatusCode::OK, &"public, immutable".parse().unwrap())
    );
    assert!(exact.headers()[EXPIRES].to_str().unwrap().ends_with("GMT"));

    let old = answer(&openapi, path, "hash=0123", &[]).await;
    assert_eq!(old.status(), 301);
    assert_eq!(old.headers()[LOCATION], format!("{path}?hash={hash}"));

    let known = answer(&openapi, path, "", &[(IF_NONE_MATCH, &format!("\"{hash}\""))]).await;
    assert_eq!(known.status(), 304);
    let index = answer(&openapi, "/openapi/v3", "", &[]).await;
    let etag = index.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(answer(&openapi, "/openapi/v3", "", &[(IF_NONE_MATCH, &etag)]).await.status(), 304);
    assert_eq!(answer(&openapi, "/openapi/v3/apis/absent/v1", "", &[]).await.status(), 404);
    assert_eq!(answer(&openapi, path, "", &[(ACCEPT, "text/html")]).await.status(), 406);
}
