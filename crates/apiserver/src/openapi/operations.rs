//! Paths and operations, from the resource table.

use machinery::resources::{Resource, Subresource};
use machinery::schema::{Schema, TypeId};
use serde_json::{Map, Value, json};

use super::types::{Definitions, Dialect, PATCH};

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const PRODUCED: [&str; 2] = ["application/json", "application/yaml"];
const WATCHED: &str = "application/json;stream=watch";
const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// A query parameter: name, type, whether it may repeat.
type Parameter = (&'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string");
const LIST: [Parameter; 11] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: [Parameter; 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const DELETE: [Parameter; 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// Query parameters of the subresources that connect.
fn connect_parameters(subresource: &str) -> &'static [Parameter] {
    match subresource {
        "exec" => &[
            ("command", "string"),
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "attach" => &[
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "portforward" => &[("ports", "integer")],
        "proxy" => &[("path", "string")],
        _ => &[
            ("container", "string"),
            ("follow", "boolean"),
            ("insecureSkipTLSVerifyBackend", "boolean"),
            ("limitBytes", "integer"),
            ("previous", "boolean"),
            ("sinceSeconds", "integer"),
            ("stream", "string"),
            ("tailLines", "integer"),
            ("timestamps", "boolean"),
        ],
    }
}

/// Kind of operation: HTTP method, `x-kubernetes-action`, first word of the operation's ID.
struct Verb {
    method: &'static str,
    action: &'static str,
    word: &'static str,
}

const fn verb(method: &'static str, action: &'static str, word: &'static str) -> Verb {
    Verb { method, action, word }
}

/// Writes operations of one dialect and notes the types they refer to.
pub(super) struct Operations<'a> {
    pub dialect: Dialect,
    pub definitions: &'a mut Definitions,
}

impl Operations<'_> {
    /// Calls `write` with every path of a resource.
    pub fn resource(&mut self, resource: &Resource, write: &mut impl FnMut(String, Value)) {
        for name in [DELETE_OPTIONS, STATUS, WATCH_EVENT] {
            self.definitions.add_named(name);
        }
        let root = if resource.group.is_empty() {
            format!("/api/{}", resource.version)
        } else {
            format!("/apis/{}/{}", resource.group, resource.version)
        };
        let (base, scope) = if resource.namespaced {
            (format!("{root}/namespaces/{{namespace}}"), "Namespaced")
        } else {
            (root.clone(), "")
        };
        let collection = format!("{base}/{}", resource.plural);
        let operations = self.collection(resource, scope);
        self.path(&collection, operations, write);
        if resource.namespaced && resource.allows("list") {
            let item = self.operation(resource, &verb("get", "list", "list"), "", "ForAllNamespaces");
            self.path(&format!("{root}/{}", resource.plural), vec![("get", item)], write);
        }
        let one = format!("{collection}/{{name}}");
        let operations = self.one(resource, scope);
        self.path(&one, operations, write);
        for subresource in &resource.subresources {
            let path = format!("{one}/{}", subresource.name);
            let operations = self.subresource(resource, subresource, scope, "");
            self.path(&path, operations, write);
            if subresource.name == "proxy" {
                let operations = self.subresource(resource, subresource, scope, "WithPath");
                self.path(&format!("{path}/{{path}}"), operations, write);
            }
        }
    }

    fn collection(&mut self, resource: &Resource, scope: &str) -> Vec<(&'static str, Value)> {
        let verbs = [
            ("list", verb("get", "list", "list")),
            ("create", verb("post", "post", "create")),
            ("deletecollection", verb("delete", "deletecollection", "delete")),
        ];
        let served = verbs.into_iter().filter(|(name, _)| resource.allows(name));
        served.map(|(_, verb)| (verb.method, self.operation(resource, &verb, scope, ""))).collect()
    }

    fn one(&mut self, resource: &Resource, scope: &str) -> Vec<(&'static str, Value)> {
        let verbs = [
            ("get", verb("get", "get", "read")),
            ("update", verb("put", "put", "replace")),
            ("patch", verb("patch", "patch", "patch")),
            ("delete", verb("delete", "delete", "delete")),
        ];
        let served = verbs.into_iter().filter(|(name, _)| resource.allows(name));
        served.map(|(_, verb)| (verb.method, self.operation(resource, &verb, scope, ""))).collect()
    }

    fn operation(&mut self, resource: &Resource, verb: &Verb, scope: &str, suffix: &str) -> Value {
        let list = format!("{}List", resource.kind);
        let ty = |kind: &str| Schema::builtin().kind(resource.group, resource.version, kind);
        let object = resource.type_id;
        let (answer, query, body) = match verb.action {
            "list" => (ty(&list), LIST.to_vec(), None),
            "post" | "put" => (object, WRITE.to_vec(), object),
            "patch" => (object, [WRITE.as_slice(), &[("force", "boolean")]].concat(), None),
            "delete" => (self.named(STATUS), DELETE.to_vec(), self.named(DELETE_OPTIONS)),
            "deletecollection" => {
                let selecting =
                    LIST.iter().filter(|(name, _)| !matches!(*name, "watch" | "allowWatchBookmarks"));
                let query = selecting.copied().chain(DELETE).collect();
                (self.named(STATUS), query, self.named(DELETE_OPTIONS))
            }
            _ => (object, Vec::new(), None),
        };
        let word = if verb.action == "deletecollection" { "Collection" } else { "" };
        let id = format!("{}{}{word}{scope}{}{suffix}", verb.word, group_word(resource), resource.kind);
        let gvk = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        self.write(resource, verb, &Parts { id, gvk, answer, query, body })
    }

    fn subresource(
        &mut self,
        resource: &Resource,
        subresource: &Subresource,
        scope: &str,
        suffix: &str,
    ) -> Vec<(&'static str, Value)> {
        let connects = matches!(subresource.name, "attach" | "exec" | "portforward" | "proxy");
        let object = Schema::builtin().kind(subresource.group, subresource.version, subresource.kind);
        let name = camel(subresource.name);
        let gvk =
            json!({"group": subresource.group, "version": subresource.version, "kind": subresource.kind});
        let mut operations = Vec::new();
        for served in &subresource.verbs {
            let verb = match *served {
                "get" => verb("get", "get", "read"),
                "update" => verb("put", "put", "replace"),
                "patch" => verb("patch", "patch", "patch"),
                "create" => verb("post", "post", "create"),
                "delete" => verb("delete", "delete", "delete"),
                _ => continue,
            };
            let group = group_word(resource);
            let parts = if connects {
                let method = camel(verb.method);
                Parts {
                    id: format!("connect{group}{method}{scope}{}{name}{suffix}", resource.kind),
                    gvk: gvk.clone(),
                    answer: None,
                    query: connect_parameters(subresource.name).to_vec(),
                    body: None,
                }
            } else {
                let writes = !matches!(verb.action, "get" | "patch");
                Parts {
                    id: format!("{}{group}{scope}{}{name}", verb.word, resource.kind),
                    gvk: gvk.clone(),
                    answer: object.filter(|_| subresource.name != "log"),
                    query: match verb.action {
                        "get" if subresource.name == "log" => connect_parameters("log").to_vec(),
                        "get" => Vec::new(),
                        _ => WRITE.to_vec(),
                    },
                    body: object.filter(|_| writes),
                }
            };
            let verb = if connects { Verb { action: "connect", ..verb } } else { verb };
            operations.push((verb.method, self.write(resource, &verb, &parts)));
        }
        operations
    }

    fn named(&mut self, name: &str) -> Option<TypeId> {
        Schema::builtin().by_name(name)
    }

    fn reference(&mut self, ty: Option<TypeId>) -> Option<Value> {
        let id = ty?;
        self.definitions.add(id);
        Some(self.dialect.reference(Schema::builtin().ty(id).name))
    }

    fn write(&mut self, resource: &Resource, verb: &Verb, parts: &Parts) -> Value {
        let group = if resource.group.is_empty() {
            "core"
        } else {
            resource.group.split('.').next().unwrap_or_default()
        };
        let mut operation = json!({
            "operationId": parts.id,
            "tags": [format!("{group}_{}", resource.version)],
            "x-kubernetes-action": verb.action,
            "x-kubernetes-group-version-kind": parts.gvk,
        });
        let mut parameters: Vec<Value> =
            parts.query.iter().map(|parameter| self.parameter(*parameter)).collect();
        let is_patch = verb.action == "patch";
        let body = if is_patch { Some(self.dialect.reference(PATCH)) } else { self.reference(parts.body) };
        let consumed: &[&str] = if is_patch { &PATCHES } else { &["*/*"] };
        let answer = self.reference(parts.answer);
        let mut produced = PRODUCED.to_vec();
        if verb.action == "list" {
            produced.push(WATCHED);
        }
        match self.dialect {
            Dialect::V2 => {
                if let Some(schema) = body {
                    // A delete may come without options.
                    let required = !verb.action.starts_with("delete");
                    let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
                    if required {
                        parameter["required"] = true.into();
                    }
                    parameters.push(parameter);
                }
                operation["consumes"] = json!(consumed);
                operation["produces"] = json!(produced);
                operation["schemes"] = json!(["https"]);
                operation["responses"] = responses(verb, |description| match &answer {
                    Some(schema) => json!({"description": description, "schema": schema}),
                    None => json!({"description": description, "schema": {"type": "string"}}),
                });
            }
            Dialect::V3 => {
                if let Some(schema) = body {
                    let content: Map<String, Value> = consumed
                        .iter()
                        .map(|media| ((*media).to_owned(), json!({"schema": schema})))
                        .collect();
                    operation["requestBody"] = json!({"content": content});
                    if !verb.action.starts_with("delete") {
                        operation["requestBody"]["required"] = true.into();
                    }
                }
                let schema = answer.unwrap_or_else(|| json!({"type": "string"}));
                let content: Map<String, Value> =
                    produced.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect();
                operation["responses"] =
                    responses(verb, |description| json!({"description": description, "content": content}));
            }
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation
    }

    fn parameter(&self, (name, ty): Parameter) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"name": name, "in": "query", "type": ty, "uniqueItems": true}),
            Dialect::V3 => json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}}),
        }
    }

    fn path(
        &self,
        path: &str,
        operations: Vec<(&'static str, Value)>,
        write: &mut impl FnMut(String, Value),
    ) {
        if operations.is_empty() {
            return;
        }
        let mut item: Map<String, Value> =
            operations.into_iter().map(|(method, operation)| (method.to_owned(), operation)).collect();
        let mut parameters: Vec<Value> = Vec::new();
        for name in ["name", "namespace", "path"] {
            if path.contains(&format!("{{{name}}}")) {
                parameters.push(match self.dialect {
                    Dialect::V2 => json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true}),
                    Dialect::V3 => {
                        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
                    }
                });
            }
        }
        parameters.push(self.parameter(PRETTY));
        item.insert("parameters".into(), parameters.into());
        write(path.to_owned(), item.into());
    }
}

struct Parts {
    id: String,
    gvk: Value,
    answer: Option<TypeId>,
    query: Vec<Parameter>,
    body: Option<TypeId>,
}

fn responses(verb: &Verb, response: impl Fn(&str) -> Value) -> Value {
    let mut all = Map::new();
    all.insert("200".into(), response("OK"));
    if matches!(verb.action, "post" | "put" | "patch") {
        all.insert("201".into(), response("Created"));
    }
    if matches!(verb.action, "post" | "delete") {
        all.insert("202".into(), response("Accepted"));
    }
    all.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(all)
}

/// `RbacAuthorizationV1`, `CoreV1`.
fn group_word(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core" } else { resource.group.trim_end_matches(".k8s.io") };
    let words: String = group.split('.').map(camel).collect();
    format!("{words}{}", camel(resource.version))
}

fn camel(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
