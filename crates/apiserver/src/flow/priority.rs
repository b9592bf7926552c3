//! Which flow schema a request falls under, told in headers as upstream tells it (apiserver `pkg/util/flowcontrol/rule.go`).
//! That is all it is for: how many requests are served at once is decided by [`super::Limits`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use auth::UserInfo;
use http::{HeaderMap, HeaderValue};
use parking_lot::RwLock;
use serde::Deserialize;
use store::{Entry, ReadError, Store};

use super::mirror::{Mirror, Mirrored};
use crate::http::RequestInfo;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
const ACCOUNTS: &str = "system:serviceaccount:";

/// UIDs of a flow schema and of its priority level.
pub(crate) struct Flow {
    schema: HeaderValue,
    level: HeaderValue,
}

impl Flow {
    /// Tells the client.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert("x-kubernetes-pf-flowschema-uid", self.schema);
        headers.insert("x-kubernetes-pf-prioritylevel-uid", self.level);
    }
}

/// All flow schemas, kept up to date by the store's feed.
pub(crate) struct Flows {
    state: Arc<RwLock<State>>,
    /// The feed only knows them weakly: they live as long as this.
    _mirrors: [Arc<Mirror<Part>>; 2],
}

#[derive(Default)]
struct State {
    /// By precedence and name: the first that matches counts.
    schemas: BTreeMap<(i64, String), Schema>,
    /// UIDs by name.
    levels: HashMap<String, HeaderValue>,
}

struct Schema {
    uid: HeaderValue,
    level: String,
    rules: Vec<Rule>,
}

impl Flows {
    /// Loads the flow schemas there are and follows them.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub async fn start(store: &dyn Store) -> Result<Flows, ReadError> {
        let state = Arc::new(RwLock::new(State::default()));
        let mirror = |plural| {
            let prefix = crate::registry::prefix(GROUP, plural);
            let part = Part { plural, prefix: prefix.clone(), state: state.clone() };
            async move { Mirror::start(store, &prefix, part).await }
        };
        let mirrors = [mirror(SCHEMAS).await?, mirror(LEVELS).await?];
        Ok(Flows { state, _mirrors: mirrors })
    }

    /// The flow of a request.
    pub fn classify(&self, info: &RequestInfo, user: &UserInfo) -> Option<Flow> {
        let state = self.state.read();
        let schema =
            state.schemas.values().find(|schema| schema.rules.iter().any(|rule| rule.covers(info, user)))?;
        Some(Flow { schema: schema.uid.clone(), level: state.levels.get(&schema.level)?.clone() })
    }
}

/// What one of both resources says.
struct Part {
    plural: &'static str,
    prefix: String,
    state: Arc<RwLock<State>>,
}

impl Mirrored for Part {
    fn put(&self, entry: &Entry) {
        self.remove(entry);
        match serde_json::from_slice::<Object>(&entry.bytes) {
            Ok(object) => self.state.write().put(self.plural, object),
            Err(error) => tracing::warn!(key = %entry.key, %error, "an object of flow control is unreadable"),
        }
    }

    fn remove(&self, entry: &Entry) {
        let name = entry.key.strip_prefix(&*self.prefix).unwrap_or_default();
        let mut state = self.state.write();
        if self.plural == SCHEMAS {
            state.schemas.retain(|(_, known), _| known != name);
        } else {
            state.levels.remove(name);
        }
    }
}

impl State {
    fn put(&mut self, plural: &str, object: Object) {
        let Object { metadata, spec } = object;
        let Ok(uid) = HeaderValue::from_str(&metadata.uid) else { return };
        if plural == SCHEMAS {
            let place = (spec.matching_precedence, metadata.name);
            let level = spec.priority_level_configuration.name;
            self.schemas.insert(place, Schema { uid, level, rules: spec.rules });
        } else {
            self.levels.insert(metadata.name, uid);
        }
    }
}

/// What is read of flow schemas and priority levels.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    matching_precedence: i64,
    priority_level_configuration: Named,
    rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    user: Named,
    group: Named,
    service_account: Named,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

impl Rule {
    fn covers(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        let what = if info.is_resource {
            self.resource_rules.iter().any(|rule| rule.covers(info))
        } else {
            self.non_resource_rules.iter().any(|rule| rule.covers(info))
        };
        what && self.subjects.iter().any(|subject| subject.is(user))
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self.kind.as_str() {
            "User" => matches!(self.user.name.as_str(), "*") || self.user.name == user.name,
            "Group" => self.group.name == "*" || user.in_group(&self.group.name),
            "ServiceAccount" => {
                let Named { name, namespace } = &self.service_account;
                let account = user.name.strip_prefix(ACCOUNTS).and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(of, called)| of == namespace && (name == "*" || name == called))
            }
            _ => false,
        }
    }
}

impl ResourceRule {
    fn covers(&self, info: &RequestInfo) -> bool {
        let place = match info.namespace.as_str() {
            "" => self.cluster_scope,
            namespace => names(&self.namespaces, namespace),
        };
        place
            && names(&self.verbs, &info.verb)
            && names(&self.api_groups, &info.group)
            && self.resources.iter().any(|resource| is_resource(resource, info))
    }
}

/// Whether a rule's resource, which may name a subresource, is that of the request.
fn is_resource(resource: &str, info: &RequestInfo) -> bool {
    match resource.split_once('/') {
        None => resource == "*" || resource == info.resource && info.subresource.is_empty(),
        Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
    }
}

impl PathRule {
    fn covers(&self, info: &RequestInfo) -> bool {
        let below = |url: &str| {
            let prefix = url.strip_suffix('*').unwrap_or(url).trim_end_matches('/');
            info.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        names(&self.verbs, &info.verb)
            && self.urls.iter().any(|url| url == "*" || *url == info.path || below(url))
    }
}

fn names(list: &[String], wanted: &str) -> bool {
    list.iter().any(|name| name == "*" || name == wanted)
}

#[cfg(test)]
mod tests {
    use auth::MASTERS_GROUP;
    use serde_json::Value;

    use super::*;
    use crate::flow::tests::{Client, server};
    use crate::http::Query;

    fn uid<'a>(reply: &'a crate::flow::tests::Reply, of: &str) -> &'a str {
        let value = reply.headers.get(format!("x-kubernetes-pf-{of}-uid"));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[tokio::test]
    async fn answers_tell_the_flow() {
        let server = server().await;
        let admin = Client::admin(&server);
        let get = |path: String| {
            let admin = &admin;
            async move { admin.get(&path).await.json()["metadata"]["uid"].as_str().unwrap().to_owned() }
        };
        for (user, groups, path, schema, level) in [
            ("root", vec![MASTERS_GROUP], "/version", "exempt", "exempt"),
            ("a", vec![], "/healthz", "probes", "exempt"),
            ("a", vec![], "/apis", "global-default", "global-default"),
            ("system:node:n", vec!["system:nodes"], "/api/v1/nodes/n", "system-node-high", "node-high"),
            ("system:node:n", vec!["system:nodes"], "/api/v1/pods", "system-nodes", "system"),
            ("system:kube-scheduler", vec![], "/api/v1/pods", "kube-scheduler", "workload-high"),
            (
                "system:serviceaccount:kube-system:x",
                vec!["system:serviceaccounts"],
                "/api/v1/pods",
                "kube-system-service-accounts",
                "workload-high",
            ),
            (
                "system:serviceaccount:other:x",
                vec!["system:serviceaccounts"],
                "/api/v1/pods",
                "service-accounts",
                "workload-low",
            ),
        ] {
            let reply = Client::user(&server, user, &groups).get(path).await;
            let schema = get(format!("/apis/{GROUP}/v1/{SCHEMAS}/{schema}")).await;
            let level = get(format!("/apis/{GROUP}/v1/{LEVELS}/{level}")).await;
            assert_eq!(
                (uid(&reply, "flowschema"), uid(&reply, "prioritylevel")),
                (schema.as_str(), level.as_str()),
                "{user} {path}"
            );
        }
        let refused = Client::user(&server, "a", &[]).get("/api/v1/nodes").await;
        assert_eq!((refused.code, uid(&refused, "flowschema").len()), (403, 36));
        assert_eq!(refused.headers["x-content-type-options"], "nosniff");
    }

    #[test]
    fn rules_cover_what_they_name() {
        let resolve = |method: &str, path: &str| {
            RequestInfo::resolve(&method.parse().unwrap(), path, &Query::default()).unwrap()
        };
        let rule: Value = serde_json::json!({
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "b"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"], "namespaces": ["n"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/x/*", "/y"]}],
        });
        let rule: Rule = serde_json::from_value(rule).unwrap();
        let user = UserInfo::new("system:serviceaccount:a:b", &[]);
        for (method, path, covered) in [
            ("GET", "/api/v1/namespaces/n/pods/p", true),
            ("GET", "/api/v1/namespaces/n/pods/p/log", true),
            ("GET", "/api/v1/namespaces/n/pods/p/exec", false),
            ("GET", "/api/v1/namespaces/m/pods/p", false),
            ("GET", "/api/v1/pods", false),
            ("PUT", "/api/v1/namespaces/n/pods/p", false),
            ("POST", "/x/z", true),
            ("GET", "/y", true),
            ("GET", "/y/z", true),
            ("GET", "/yz", false),
        ] {
            assert_eq!(rule.covers(&resolve(method, path), &user), covered, "{method} {path}");
        }
        let other = UserInfo::new("system:serviceaccount:a:c", &[]);
        assert!(!rule.covers(&resolve("GET", "/y"), &other));
    }
}
