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

#[test]
fn every_reference_of_every_document_resolves() {
    let v2: Value = serde_json::from_slice(&Document::V2Json.generate()).unwrap();
    all_resolve(&v2, "v2");
    for (group, versions) in Resources::builtin().groups() {
        for version in versions {
            let document = Document::V3((*group).to_owned(), (*version).to_owned()).generate();
            all_resolve(&serde_json::from_slice(&document).unwrap(), &format!("{group}/{version}"));
        }
    }
}

#[test]
fn a_document_says_what_kubectl_asks() {
    let document: Value =
        serde_json::from_slice(&Document::V3("apps".into(), "v1".into()).generate()).unwrap();
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
    let v2: Value = serde_json::from_slice(&Document::V2Json.generate()).unwrap();
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
    let v2: Value = serde_json::from_slice(&Document::V2Json.generate()).unwrap();
    let document = fields(&Document::V2Protobuf.generate());
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

#[test]
fn forms_are_negotiated() {
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    assert_eq!(negotiate_v2(Some(protobuf)).ok(), Some(Document::V2Protobuf));
    assert_eq!(negotiate_v2(None).ok(), Some(Document::V2Json));
    assert_eq!(negotiate_v2(Some("*/*")).ok(), Some(Document::V2Json));
    assert!(negotiate_v2(Some("text/html")).is_err());
    assert!(accepts_json(Some("application/json, */*")));
    assert!(!accepts_json(Some("application/com.github.proto-openapi.spec.v3@v1.0+protobuf")));
}

#[test]
fn the_index_links_every_group_version() {
    let openapi = OpenApi::default();
    let index = openapi.index();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", openapi.hash_of("apis/apps/v1")));
    for path in index["paths"].as_object().unwrap().keys() {
        assert!(Document::of_path(path).is_some(), "{path}");
    }
}
