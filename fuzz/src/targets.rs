//! What is fed with arbitrary bytes: every decoder, selector and merge. A target must neither panic nor run away; where a
//! law holds it is asserted. The fuzzers of `fuzz/` and the tests of `crates/apiserver` share this file.

use std::sync::OnceLock;

use apiserver::http::{Accept, Offer, Query, RequestInfo, parse_accept};
use apiserver::registry::{AnswerBody, ApiRequest, Authorizer, Registry};
use machinery::codec::protobuf::{self, Envelope};
use machinery::decode::{self, Media};
use machinery::patch;
use machinery::quantity::Quantity;
use machinery::schema::{Schema, TypeId};
use machinery::selector::{FieldSelector, LabelSelector};
use serde_json::Value;

/// Something that takes bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", json),
    ("yaml", yaml),
    ("protobuf", protobuf),
    ("labels", labels),
    ("fields", fields),
    ("quantity", quantity),
    ("json_patch", json_patch),
    ("merge_patch", merge_patch),
    ("strategic_patch", strategic_patch),
    ("apply", apply),
    ("token", token),
    ("request", request),
];

/// Kinds whose schemas between them have everything that schemas have.
fn kinds() -> &'static [TypeId] {
    static KINDS: OnceLock<Vec<TypeId>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let schema = Schema::builtin();
        let wanted =
            [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("", "v1", "ConfigMap"), ("", "v1", "Service")];
        wanted.iter().filter_map(|(group, version, kind)| schema.kind(group, version, kind)).collect()
    })
}

fn decoded(bytes: &[u8], media: Media) -> Option<Value> {
    let decoded = decode::object(bytes, media).ok()?;
    // What was read can be written and read again.
    let again = decode::object(decoded.value.to_string().as_bytes(), Media::Json);
    assert_eq!(again.map(|again| again.value).ok().as_ref(), Some(&decoded.value));
    Some(decoded.value)
}

fn check_against_schemas(value: &Value) {
    for ty in kinds() {
        let mut pruned = value.clone();
        if decode::check(&mut pruned, *ty).is_ok() {
            let mut again = pruned.clone();
            // What has been pruned has nothing left to be pruned.
            assert_eq!(decode::check(&mut again, *ty).map(|dropped| dropped.len()).ok(), Some(0));
            assert_eq!(again, pruned);
        }
    }
}

/// JSON documents.
pub fn json(bytes: &[u8]) {
    if let Some(value) = decoded(bytes, Media::Json) {
        check_against_schemas(&value);
        let (draft, at) = machinery::serialize::to_draft(&value);
        assert!(at <= draft.len());
        if value.is_object() {
            let whole = machinery::serialize::splice(&draft, at, "1");
            assert!(serde_json::from_slice::<Value>(&whole).is_ok());
        }
    }
}

/// YAML documents.
pub fn yaml(bytes: &[u8]) {
    if let Some(value) = decoded(bytes, Media::Yaml) {
        check_against_schemas(&value);
    }
}

/// Objects in protobuf.
pub fn protobuf(bytes: &[u8]) {
    let Ok(envelope) = Envelope::open(bytes) else { return };
    let named = envelope.type_id();
    for ty in kinds().iter().copied().chain(named) {
        if let Ok(object) = envelope.decode_as(ty) {
            // It may say that it is something else, which has no form.
            let _ = protobuf::encode(&object);
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Label selectors.
pub fn labels(bytes: &[u8]) {
    if let Ok(selector) = LabelSelector::parse(text(bytes)) {
        let again = LabelSelector::parse(&selector.to_string()).expect("what is printed can be read");
        for labels in [&[][..], &[("a", "b")], &[("a", ""), ("app", "web"), ("n", "5")]] {
            let get = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            assert_eq!(selector.matches(get), again.matches(get));
        }
    }
}

/// Field selectors.
pub fn fields(bytes: &[u8]) {
    if let Ok(selector) = FieldSelector::parse(text(bytes)) {
        let again = FieldSelector::parse(&selector.to_string()).expect("what is printed can be read");
        let get = |field: &str| Some(if field == "metadata.name" { "a" } else { "" });
        assert_eq!(selector.matches(get), again.matches(get));
    }
}

/// Quantities.
pub fn quantity(bytes: &[u8]) {
    if let Ok(quantity) = Quantity::parse(text(bytes)) {
        let printed = quantity.to_string();
        let again = Quantity::parse(&printed).expect("what is printed can be read");
        assert_eq!(again.to_string(), printed, "the canonical form is its own");
    }
}

/// Two documents with a zero byte between them.
fn pair(bytes: &[u8], media: Media) -> Option<(Value, Value)> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((decoded(&bytes[..at], media)?, decoded(&bytes[at + 1..], media)?))
}

/// JSON patches.
pub fn json_patch(bytes: &[u8]) {
    if let Some((object, patch)) = pair(bytes, Media::Json) {
        let _ = patch::json(&object, &patch);
    }
}

/// Merge patches.
pub fn merge_patch(bytes: &[u8]) {
    if let Some((object, patch)) = pair(bytes, Media::Json)
        && let Ok(merged) = patch::merge(&object, &patch)
    {
        assert_eq!(patch::merge(&merged, &patch).ok(), Some(merged), "a second time changes nothing");
    }
}

/// Strategic merge patches.
pub fn strategic_patch(bytes: &[u8]) {
    if let Some((object, patch)) = pair(bytes, Media::Json) {
        for ty in kinds() {
            let _ = patch::strategic(&object, &patch, *ty);
        }
    }
}

/// A registry with nothing but what each cluster has.
struct Fixture {
    registry: std::sync::Arc<Registry>,
    runtime: tokio::runtime::Runtime,
}

struct Everyone;

impl Authorizer for Everyone {
    fn allow(&self, _: &auth::Attributes<'_>) -> Result<(), machinery::status::Status> {
        Ok(())
    }
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = apiserver::Config {
            advertise: ([127, 0, 0, 1], 6443).into(),
            hostname: "host".into(),
            alone: true,
            service_cidr: "10.43.0.0/16".into(),
            node_ports: 30000..=32767,
            cluster_dns: "10.43.0.10".into(),
            cluster_domain: "cluster.local".into(),
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            audiences: Vec::new(),
            token_key_pem: String::new(),
            ca_pem: String::new(),
            kubelet: None,
            components: Vec::new(),
            anonymous: false,
        };
        let everyone = std::sync::Arc::new(Everyone);
        let store = std::sync::Arc::new(store::Embedded::in_memory(store::Options::default()));
        let start = Registry::start(&config, store, everyone, tokio_util::sync::CancellationToken::new());
        let registry = runtime.block_on(start).expect("a registry");
        Fixture { registry, runtime }
    })
}

/// Sends a request to the engine as somebody who may do everything. A refusal must be one of the client's mistakes.
fn ask(method: &str, path: &str, raw_query: &str, content_type: &str, body: &[u8]) -> Option<Value> {
    let query = Query::parse(raw_query);
    let info = RequestInfo::resolve(&method.parse().expect("a method"), path, &query).ok()?;
    let request = ApiRequest {
        info: info.into(),
        user: auth::UserInfo::new("root", &[auth::MASTERS_GROUP]).into(),
        query,
        content_type: Some(content_type.to_owned()),
        accept: Accept::default(),
        user_agent: None,
    };
    let Fixture { registry, runtime } = fixture();
    match runtime.block_on(registry.handle(request, body.to_vec().into())) {
        Ok(answer) => match answer.body {
            AnswerBody::Json(bytes) => serde_json::from_slice(&bytes).ok(),
            AnswerBody::Stream(_) => None,
        },
        Err(status) => {
            assert!(
                status.code < 500 || status.reason.is_empty() || status.code == 504,
                "{}",
                status.message
            );
            None
        }
    }
}

/// Two configurations, applied after one another by two managers, without effect on what is kept.
pub fn apply(bytes: &[u8]) {
    const PATH: &str = "/apis/apps/v1/namespaces/default/deployments/fuzz";
    let Some(at) = bytes.iter().position(|byte| *byte == 0) else { return };
    let _ = ask("DELETE", PATH, "", "application/json", b"");
    let apply = |body: &[u8], query: &str| ask("PATCH", PATH, query, "application/apply-patch+yaml", body);
    let first = apply(&bytes[..at], "fieldManager=a&fieldValidation=Ignore");
    let again = apply(&bytes[..at], "fieldManager=a&fieldValidation=Ignore");
    assert_eq!(first, again, "a second time changes nothing");
    if let Some(taken) = apply(&bytes[at + 1..], "fieldManager=b&force=true&fieldValidation=Ignore") {
        assert!(taken["metadata"]["managedFields"].is_array());
    }
}

/// Continue tokens of lists.
pub fn token(bytes: &[u8]) {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    for token in [encoded.as_str(), text(bytes)] {
        let mut query = Query::default();
        query.push("continue", token);
        query.push("limit", "3");
        let list = ask("GET", "/api/v1/namespaces/default/configmaps", &query.encode(), "", b"");
        // Whatever it says, it stays in its namespace.
        for item in list.iter().flat_map(|list| list["items"].as_array()).flatten() {
            assert_eq!(item["metadata"]["namespace"], "default");
        }
    }
}

/// Request lines and headers: a path, a query and an `Accept` header, each on a line.
pub fn request(bytes: &[u8]) {
    let mut lines = text(bytes).split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (path, raw_query, accept) = (next(), next(), next());
    let query = Query::parse(raw_query);
    assert_eq!(Query::parse(&query.encode()), query);
    for method in ["GET", "DELETE"] {
        let resolved = RequestInfo::resolve(&method.parse().expect("a method"), path, &query);
        if let Ok(info) = resolved {
            let _ = info.raw_proxy_path(path);
            assert!(info.name.is_empty() || !info.name.contains('/'));
        }
    }
    let _ = parse_accept(accept);
    for offer in [Offer::ALL, Offer::NO_TABLES, Offer { protobuf: false, tables: true }] {
        let _ = Accept::negotiate(Some(accept), offer);
    }
    let _ = ask("GET", "/api/v1/namespaces/default/configmaps", raw_query, "", b"");
}
