//! Lists: versions, pages, views, and how wrong questions are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use machinery::text::go_quote;
use serde_json::{Value, json};

use super::harness::{Ask, Harness, config_map};
use crate::registry::AnswerBody;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse().expect("a version")
}

async fn with_maps(names: &[&str]) -> (Harness, Vec<u64>) {
    let h = Harness::start().await;
    let mut versions = Vec::new();
    for name in names {
        versions.push(version(&h.must(201, "POST", MAPS, config_map(name, json!({}))).await));
    }
    (h, versions)
}

#[tokio::test]
async fn each_version_match_shows_its_state() {
    let (h, versions) = with_maps(&["a", "b", "c"]).await;
    h.must(200, "DELETE", &format!("{MAPS}/a"), Value::Null).await;
    let [a, b, c] = [versions[0], versions[1], versions[2]];
    for (query, want) in [
        (String::new(), vec!["b", "c"]),
        ("resourceVersion=0".to_owned(), vec!["b", "c"]),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), vec!["b", "c"]),
        (format!("resourceVersion={a}"), vec!["b", "c"]),
        (format!("resourceVersion={a}&resourceVersionMatch=NotOlderThan"), vec!["b", "c"]),
        (format!("resourceVersion={a}&resourceVersionMatch=NotOlderThan&limit=1"), vec!["b"]),
        (format!("resourceVersion={a}&resourceVersionMatch=Exact"), vec!["a"]),
        (format!("resourceVersion={b}&resourceVersionMatch=Exact"), vec!["a", "b"]),
        (format!("resourceVersion={c}&resourceVersionMatch=Exact&limit=2"), vec!["a", "b"]),
        // Without a match rule a limit makes a version exact, as it always did.
        (format!("resourceVersion={c}&limit=2"), vec!["a", "b"]),
        (format!("resourceVersion={b}&limit=7"), vec!["a", "b"]),
        // Any version will do: all of it comes.
        ("resourceVersion=0&limit=1".to_owned(), vec!["b", "c"]),
        // One object is not read in pages.
        (format!("resourceVersion={c}&limit=1&fieldSelector=metadata.name%3Da"), vec![]),
        (
            format!("resourceVersion={a}&resourceVersionMatch=Exact&fieldSelector=metadata.name%3Da"),
            vec!["a"],
        ),
    ] {
        let list = h.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(names(&list), want, "{query}");
        if query.contains("Exact") {
            assert!(query.contains(&format!("={}", version(&list))), "{query}: {list}");
        }
    }
}

#[tokio::test]
async fn wrong_list_options_are_refused() {
    let (h, _) = with_maps(&["a"]).await;
    let options = |why: &str| format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
    let rule = "resourceVersionMatch: Forbidden: ";
    let syntax = |function: &str, text: &str| {
        format!("strconv.{function}: parsing {}: invalid syntax", go_quote(text))
    };
    let bad_version = format!("resourceVersion: Invalid value: \"x\": {}", syntax("ParseUint", "x"));
    let unless = format!("{rule}resourceVersionMatch is forbidden unless resourceVersion is provided");
    let paged = format!("{rule}resourceVersionMatch is forbidden when continue is provided");
    let watched =
        format!("{rule}resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    let requires = format!("{rule}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    let unsupported =
        "resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"";
    let cases: Vec<(&str, u16, String)> = vec![
        ("resourceVersionMatch=Exact", 422, options(&unless)),
        ("resourceVersionMatch=NotOlderThan", 422, options(&unless)),
        ("resourceVersionMatch=x&resourceVersion=1", 422, options(unsupported)),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            options(&format!("{rule}resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")),
        ),
        ("resourceVersionMatch=Exact&resourceVersion=1&continue=x", 422, options(&paged)),
        ("resourceVersionMatch=Exact&continue=x", 422, options(&format!("[{unless}, {paged}]"))),
        (
            "sendInitialEvents=true",
            422,
            options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        ("resourceVersion=x", 400, format!("invalid resource version: {bad_version}")),
        ("resourceVersion=-1", 400, format!("invalid resource version: {}", bad_version.replace("\"x\"", "\"-1\""))),
        ("resourceVersion=%2B1", 400, format!("invalid resource version: {}", bad_version.replace("\"x\"", "\"+1\""))),
        (
            "resourceVersion=99999999999999999999",
            400,
            "invalid resource version: resourceVersion: Invalid value: \"99999999999999999999\": strconv.ParseUint: parsing \"99999999999999999999\": value out of range".to_owned(),
        ),
        ("limit=x", 400, syntax("ParseInt", "x")),
        ("limit=", 400, syntax("ParseInt", "")),
        ("limit=1.5", 400, syntax("ParseInt", "1.5")),
        (
            "limit=9223372036854775808",
            400,
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range".to_owned(),
        ),
        ("timeoutSeconds=soon", 400, syntax("ParseInt", "soon")),
        ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement: found '=', expected: identifier".to_owned()),
        ("fieldSelector=a", 400, "invalid selector: 'a'; can't understand 'a'".to_owned()),
        (
            "fieldSelector=a%3Db",
            400,
            "\"a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"".to_owned(),
        ),
        (
            "continue=e30&fieldSelector=metadata.name%3Da",
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version "
                .to_owned(),
        ),
        (
            "continue=e30",
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version "
                .to_owned(),
        ),
        ("watch=1&resourceVersion=x", 500, bad_version.clone()),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, options(&watched)),
        ("watch=1&sendInitialEvents=true", 422, options(&requires)),
        ("watch=1&sendInitialEvents=false", 422, options(&requires)),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            422,
            options(&format!(
                "[{requires}, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]"
            )),
        ),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x", 422, options(&paged)),
        ("watch=1&timeoutSeconds=soon", 400, syntax("ParseInt", "soon")),
    ];
    for (query, code, message) in cases {
        let target = format!("{MAPS}?{query}");
        let (have, answer) = match h.answer("GET", &target, Ask::default(), Bytes::new()).await {
            Err(status) => (status.code, status.message),
            Ok(answer) => (answer.code, String::new()),
        };
        assert_eq!((have, answer), (code, message), "{query}");
        // What selects for deletion is held to the same rules.
        if !query.contains("watch") && !query.contains("timeoutSeconds") {
            let (deleting, _) = h.send("DELETE", &target, Value::Null).await;
            assert_eq!(deleting, code, "{query}");
        }
    }
    h.get(&format!("{MAPS}/a")).await;
}

#[tokio::test]
async fn versions_that_do_not_exist_yet_time_out() {
    let (h, versions) = with_maps(&["a"]).await;
    let future = versions[0] + 1000;
    let targets = [
        format!("{MAPS}?resourceVersion={future}"),
        format!("{MAPS}?resourceVersion={future}&resourceVersionMatch=Exact"),
        format!("{MAPS}/a?resourceVersion={future}"),
    ];
    let asked = targets.iter().map(|target| h.send("GET", target, Value::Null));
    for (code, answer) in futures::future::join_all(asked).await {
        assert_eq!(code, 504, "{answer}");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(
            message.starts_with(&format!("Timeout: Too large resource version: {future}, current: ")),
            "{message}"
        );
        assert_eq!(
            answer["details"],
            json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1})
        );
    }
}

#[tokio::test]
async fn pages_show_the_state_of_the_first_one_until_it_is_compacted() {
    let (h, versions) = with_maps(&["a", "b", "c", "d"]).await;
    let first = h.get(&format!("{MAPS}?limit=1")).await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a".into()], &json!(3)));
    let token = |page: &Value| page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    for (name, gone) in [("aa", "b"), ("bb", "d")] {
        h.must(201, "POST", MAPS, config_map(name, json!({}))).await;
        h.must(200, "DELETE", &format!("{MAPS}/{gone}"), Value::Null).await;
    }
    let second = h.get(&format!("{MAPS}?limit=1&continue={}", token(&first))).await;
    assert_eq!((names(&second), version(&second)), (vec!["b".into()], version(&first)));
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    // A page may also take all of the rest.
    let rest = h.get(&format!("{MAPS}?continue={}", token(&second))).await;
    assert_eq!(names(&rest), ["c", "d"]);
    assert!(
        rest["metadata"].get("continue").is_none() && rest["metadata"].get("remainingItemCount").is_none()
    );

    h.registry.store.compact(h.registry.store.revision()).await.expect("compacts");
    let expired =
        h.must(410, "GET", &format!("{MAPS}?limit=1&continue={}", token(&first)), Value::Null).await;
    let message = expired["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response"), "{message}");
    assert_eq!(expired["reason"], "Expired");
    let inconsistent = URL_SAFE_NO_PAD.decode(token(&expired)).expect("base64");
    assert_eq!(inconsistent, br#"{"v":"meta.k8s.io/v1","rv":-1,"start":"a\u0000"}"#);
    let unlimited = h.must(410, "GET", &format!("{MAPS}?continue={}", token(&first)), Value::Null).await;
    assert_eq!((&unlimited["message"], token(&unlimited)), (&expired["message"], token(&expired)));
    // The token for the rest as it is now leads on, and from there consistently.
    let third = h.get(&format!("{MAPS}?limit=1&continue={}", token(&expired))).await;
    assert_eq!(names(&third), ["aa"]);
    assert!(version(&third) > version(&first));
    h.must(200, "DELETE", &format!("{MAPS}/bb"), Value::Null).await;
    let fourth = h.get(&format!("{MAPS}?limit=5&continue={}", token(&third))).await;
    assert_eq!((names(&fourth), version(&fourth)), (vec!["bb".into(), "c".into()], version(&third)));

    for (query, message) in [
        (
            format!("resourceVersion={}&limit=1", versions[0]),
            "The resourceVersion for the provided list is too old.",
        ),
        (
            format!("resourceVersion={}&resourceVersionMatch=Exact", versions[0]),
            "The resourceVersion for the provided list is too old.",
        ),
    ] {
        let expired = h.must(410, "GET", &format!("{MAPS}?{query}"), Value::Null).await;
        assert_eq!((&expired["message"], &expired["metadata"]), (&json!(message), &json!({})), "{query}");
    }
    let both = format!("{MAPS}?resourceVersion=5&continue={}", token(&third));
    let refused = h.must(400, "GET", &both, Value::Null).await;
    assert_eq!(refused["message"], "specifying resource version is not allowed when using continue");
    // As with the first page, any version means all of it.
    let whole = h.get(&format!("{MAPS}?limit=1&resourceVersion=0&continue={}", token(&third))).await;
    assert_eq!(names(&whole), ["bb", "c"]);
}

/// Upstream does not look whether what follows a page is selected as well: the last page may be empty.
#[tokio::test]
async fn pages_of_a_selection_end_where_nothing_is_left() {
    let (h, _) = with_maps(&["a", "b"]).await;
    for name in ["c", "d"] {
        let mut map = config_map(name, json!({}));
        map["metadata"]["labels"] = json!({"l": "x"});
        h.must(201, "POST", MAPS, map).await;
    }
    h.must(201, "POST", MAPS, config_map("e", json!({}))).await;
    let page = async |query: &str| h.get(&format!("{MAPS}?labelSelector=l%3Dx&{query}")).await;
    let token = |page: &Value| page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let first = page("limit=2").await;
    assert_eq!(names(&first), ["c", "d"]);
    assert!(first["metadata"].get("remainingItemCount").is_none());
    for query in ["limit=2", "limit=1"] {
        let last = page(&format!("{query}&continue={}", token(&first))).await;
        assert_eq!((names(&last), token(&last)), (Vec::new(), String::new()));
    }
    // A page that is not full is the last one.
    assert_eq!(token(&page("limit=3").await), "");
    h.must(200, "DELETE", &format!("{MAPS}/e"), Value::Null).await;
    assert_eq!(token(&page("limit=2").await), "");
}

#[tokio::test]
async fn lists_of_all_namespaces_are_paged_across_them() {
    let (h, _) = with_maps(&["a", "b"]).await;
    h.must(201, "POST", "/api/v1/namespaces/kube-public/configmaps", config_map("c", json!({}))).await;
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = h.get(&format!("/api/v1/configmaps?limit=1&continue={token}")).await;
        seen.extend(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen[..3], ["a", "b", "c"]);
    assert_eq!(seen.len(), h.get("/api/v1/configmaps").await["items"].as_array().map_or(0, Vec::len));
    // Pages of a selection do not say how many follow.
    let page = h.get("/api/v1/configmaps?limit=1&labelSelector=!x").await;
    assert!(page["metadata"].get("remainingItemCount").is_none());
    assert!(page["metadata"]["continue"].is_string());
    // A token of one place is no way into another.
    let outside = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"../kube-public/"}"#);
    h.must(400, "GET", &format!("{MAPS}?continue={outside}"), Value::Null).await;
}

#[tokio::test]
async fn items_of_built_in_kinds_leave_out_what_the_list_says() {
    let (h, _) = with_maps(&["a"]).await;
    let text = async |target: &str| match h.answer("GET", target, Ask::default(), Bytes::new()).await {
        Ok(answer) => match answer.body {
            AnswerBody::Json(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
            AnswerBody::Stream(_) => panic!("{target} answered with a stream"),
        },
        Err(status) => panic!("{target} answered {status}"),
    };
    let list = text(MAPS).await;
    assert!(list.starts_with(r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"#), "{list}");
    assert!(list.contains(r#""items":[{"metadata":{"resourceVersion":""#), "{list}");
    let one = text(&format!("{MAPS}/a")).await;
    assert!(
        one.starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":""#),
        "{one}"
    );
    // Also where the version that is kept is another one.
    let hpa = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    h.must(201, "POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", hpa).await;
    for version in ["v1", "v2"] {
        let list = h.get(&format!("/apis/autoscaling/{version}/horizontalpodautoscalers")).await;
        assert_eq!(list["apiVersion"], format!("autoscaling/{version}"));
        assert_eq!(names(&list), ["h"]);
        assert!(list["items"][0].get("kind").is_none() && list["items"][0].get("apiVersion").is_none());
    }
    let deleted = h.must(200, "DELETE", MAPS, Value::Null).await;
    assert_eq!((&deleted["kind"], names(&deleted)), (&json!("ConfigMapList"), vec!["a".into()]));
    assert!(deleted["items"][0].get("kind").is_none());
}

#[tokio::test]
async fn views_of_objects_and_lists() {
    let (h, _) = with_maps(&["a"]).await;
    let one = format!("{MAPS}/a");
    let view = |name: &str| format!("application/json;as={name};v=v1;g=meta.k8s.io");
    let partial = h.view(&one, &view("PartialObjectMetadata")).await;
    assert_eq!(
        (&partial["kind"], &partial["apiVersion"]),
        (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"))
    );
    assert!(partial.get("data").is_none() && partial["metadata"]["uid"].is_string());
    let list = h.view(MAPS, &view("PartialObjectMetadataList")).await;
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("PartialObjectMetadataList"), &json!("PartialObjectMetadata"))
    );
    for (target, name, message) in [
        (
            MAPS,
            "PartialObjectMetadata",
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            &one,
            "PartialObjectMetadataList",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "PartialObjectMetadata",
            "you requested PartialObjectMetadata, but the requested object is a list (*rbac.ClusterRoleList)",
        ),
    ] {
        let refused = h.view(target, &view(name)).await;
        assert_eq!((&refused["code"], &refused["message"]), (&json!(406), &json!(message)));
    }
    for (query, object) in [
        ("", Some("PartialObjectMetadata")),
        ("?includeObject=Metadata", Some("PartialObjectMetadata")),
        ("?includeObject=Object", Some("ConfigMap")),
        ("?includeObject=None", None),
    ] {
        for target in [MAPS, &one] {
            let table = h.view(&format!("{target}{query}"), &view("Table")).await;
            assert_eq!(table["kind"], "Table", "{table}");
            assert_eq!(table["rows"][0]["cells"][0], "a");
            assert_eq!(table["rows"][0]["object"]["kind"].as_str(), object, "{target}{query}");
            assert!(table["metadata"]["resourceVersion"].is_string());
        }
    }
    let paged = h.view("/api/v1/namespaces?limit=1", &view("Table")).await;
    assert!(paged["metadata"]["continue"].is_string() && paged["metadata"]["remainingItemCount"].is_u64());
    let refused = h.view(&format!("{one}?includeObject=Some"), &view("Table")).await;
    assert_eq!(
        refused["message"],
        "Unable to convert to Table as requested: includeObject: Invalid value: \"Some\": must be 'Metadata', 'Object', 'None', or empty"
    );
    let refused = h.must(400, "GET", &format!("{one}?export=true"), Value::Null).await;
    assert_eq!(refused["message"], "the export parameter, deprecated since v1.14, is no longer supported");
}
