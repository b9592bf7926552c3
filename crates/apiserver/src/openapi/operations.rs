//! Paths and operations, from the resource table: what is said of them, in no dialect yet.

use descriptions::Index;
use machinery::resources::{Resource, Subresource};
use machinery::schema::{Gvk, Schema, TypeId};

use super::parameters::{DELETE, LIST, PATCH, PRETTY, Parameter, WRITE, connecting};

pub(super) const JSON: &str = "application/json";
const OBJECTS: [&str; 3] = [JSON, "application/yaml", "application/vnd.kubernetes.protobuf"];
const LISTS: [&str; 5] = [
    JSON,
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOGS: [&str; 4] = ["text/plain", JSON, "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const ANY: [&str; 1] = ["*/*"];

/// One path with what can be done there.
#[derive(Debug)]
pub(super) struct Path {
    pub path: String,
    /// Parameters that all operations have.
    pub parameters: Vec<Parameter>,
    pub operations: Vec<Operation>,
}

/// One method of a path.
#[derive(Debug)]
pub(super) struct Operation {
    /// HTTP method in lower case.
    pub method: &'static str,
    pub id: String,
    pub description: String,
    pub tag: String,
    /// Kubernetes' word for the operation, and the kind; none for operations that are not about objects.
    pub action: Option<(&'static str, Gvk)>,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    pub consumes: &'static [&'static str],
    pub produces: &'static [&'static str],
    /// Status codes of success, with their words.
    pub codes: &'static [(u16, &'static str)],
    /// Type of what is answered; text when there is none.
    pub answer: Option<TypeId>,
}

/// What is sent along.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    pub ty: TypeId,
    pub required: bool,
}

const OK: &[(u16, &str)] = &[(200, "OK")];
const CREATED: &[(u16, &str)] = &[(200, "OK"), (201, "Created")];
const POSTED: &[(u16, &str)] = &[(200, "OK"), (201, "Created"), (202, "Accepted")];
const DELETED: &[(u16, &str)] = &[(200, "OK"), (202, "Accepted")];

/// Paths of one document or of all.
pub(super) struct Paths<'a> {
    described: &'a Index<'a>,
    pub paths: Vec<Path>,
}

fn meta(name: &str) -> Option<TypeId> {
    Schema::builtin().by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"))
}

/// What the operations of a resource have in common.
struct Target<'a> {
    resource: &'a Resource,
    /// `AppsV1`
    group: String,
    /// `Namespaced`, or nothing.
    scope: &'static str,
    /// `apps_v1`
    tag: String,
}

impl Target<'_> {
    fn gvk(&self) -> Gvk {
        let Resource { group, version, kind, .. } = self.resource;
        Gvk { group, version, kind }
    }

    fn operation(&self, method: &'static str, action: &'static str, id: String, text: String) -> Operation {
        Operation {
            method,
            id,
            description: text,
            tag: self.tag.clone(),
            action: Some((action, self.gvk())),
            parameters: Vec::new(),
            body: None,
            consumes: &ANY,
            produces: &OBJECTS,
            codes: OK,
            answer: self.resource.type_id,
        }
    }
}

impl<'a> Paths<'a> {
    pub fn new(described: &'a Index<'a>) -> Paths<'a> {
        Paths { described, paths: Vec::new() }
    }

    fn query(&self, rows: &[(&'static str, &'static str, &'static str)]) -> Vec<Parameter> {
        rows.iter().map(|row| Parameter::query(*row, self.described)).collect()
    }

    /// Adds a path; parameters that all its operations have become the path's.
    fn add(&mut self, path: String, kind: &str, mut operations: Vec<Operation>) {
        let Some(first) = operations.first() else { return };
        let everywhere = |parameter: &&Parameter| operations.iter().all(|o| o.parameters.contains(parameter));
        let mut parameters: Vec<Parameter> = first.parameters.iter().filter(everywhere).cloned().collect();
        for operation in &mut operations {
            operation.parameters.retain(|parameter| !parameters.contains(parameter));
            operation.parameters.sort_by_key(|parameter| parameter.name);
        }
        parameters.splice(0..0, Parameter::of_path(&path, kind));
        parameters.sort_by_key(|parameter| parameter.name);
        self.paths.push(Path { path, parameters, operations });
    }

    /// Adds a path that answers one document.
    pub fn document(&mut self, path: &str, id: &str, text: &str, tag: &str, answer: Option<TypeId>) {
        let keys = path.contains("jwks");
        let operation = Operation {
            method: "get",
            id: id.to_owned(),
            description: text.to_owned(),
            tag: tag.to_owned(),
            action: None,
            parameters: Vec::new(),
            body: None,
            consumes: match answer {
                Some(_) if tag != "version" => &OBJECTS,
                Some(_) => &[JSON],
                None => &[],
            },
            produces: match answer {
                Some(_) if tag != "version" => &OBJECTS,
                None if keys => &["application/jwk-set+json"],
                _ => &[JSON],
            },
            codes: OK,
            answer,
        };
        self.add(path.to_owned(), "", vec![operation]);
    }

    /// Adds `/apis/<group>/<version>/`.
    pub fn group_version(&mut self, group: &str, version: &str) {
        let id = format!("get{}APIResources", group_word(group, version));
        let path = format!("{}/", root(group, version));
        self.document(&path, &id, "get available resources", &tag(group, version), meta("APIResourceList"));
    }

    /// Adds `/apis/<group>/`, `/api/` and `/apis/`.
    pub fn group(&mut self, path: &str, group: &str) {
        let (id, text, answer) = match path {
            "/api/" => ("getCoreAPIVersions".to_owned(), "get available API versions", meta("APIVersions")),
            "/apis/" => ("getAPIVersions".to_owned(), "get available API versions", meta("APIGroupList")),
            _ => (
                format!("get{}APIGroup", group_word(group, "")),
                "get information of a group",
                meta("APIGroup"),
            ),
        };
        let tag = if path == "/apis/" { "apis".to_owned() } else { tag(group, "") };
        self.document(path, &id, text, tag.trim_end_matches('_'), answer);
    }

    /// Adds every path of a resource.
    pub fn resource(&mut self, resource: &Resource) {
        let target = Target {
            resource,
            group: group_word(resource.group, resource.version),
            scope: if resource.namespaced { "Namespaced" } else { "" },
            tag: tag(resource.group, resource.version),
        };
        let root = root(resource.group, resource.version);
        let within = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{root}{within}/{}", resource.plural);
        let one = format!("{collection}/{{name}}");
        let operations = self.collection(&target);
        self.add(collection, resource.kind, operations);
        if resource.namespaced && resource.allows("list") {
            let list = self.list(&target, "", "ForAllNamespaces");
            self.add(format!("{root}/{}", resource.plural), resource.kind, vec![list]);
        }
        let operations = self.one(&target);
        self.add(one.clone(), resource.kind, operations);
        for subresource in &resource.subresources {
            self.subresource(&target, subresource, &format!("{one}/{}", subresource.name));
        }
        if resource.allows("watch") {
            self.watches(&target, &root, within);
        }
    }

    fn list(&self, target: &Target<'_>, scope: &str, suffix: &str) -> Operation {
        let Resource { group, version, kind, .. } = target.resource;
        let id = format!("list{}{scope}{kind}{suffix}", target.group);
        let what = if target.resource.allows("watch") { "list or watch" } else { "list" };
        Operation {
            parameters: self.query(&[LIST.as_slice(), &PRETTY].concat()),
            produces: &LISTS,
            answer: Schema::builtin().kind(group, version, &format!("{kind}List")),
            ..target.operation("get", "list", id, format!("{what} objects of kind {kind}"))
        }
    }

    fn collection(&self, target: &Target<'_>) -> Vec<Operation> {
        let Resource { kind, type_id, .. } = target.resource;
        let (group, scope) = (&target.group, target.scope);
        let mut operations = Vec::new();
        if target.resource.allows("list") {
            operations.push(self.list(target, scope, ""));
        }
        if target.resource.allows("create") {
            operations.push(Operation {
                parameters: self.query(&[WRITE.as_slice(), &PRETTY].concat()),
                body: type_id.map(|ty| Body { ty, required: true }),
                codes: POSTED,
                ..target.operation(
                    "post",
                    "post",
                    format!("create{group}{scope}{kind}"),
                    format!("create {}", one_of(kind)),
                )
            });
        }
        if target.resource.allows("deletecollection") {
            let selecting =
                LIST.iter().filter(|(name, ..)| !matches!(*name, "watch" | "allowWatchBookmarks"));
            let rows: Vec<_> = selecting.chain(&DELETE).chain(&PRETTY).copied().collect();
            operations.push(Operation {
                parameters: self.query(&rows),
                body: meta("DeleteOptions").map(|ty| Body { ty, required: false }),
                answer: meta("Status"),
                ..target.operation(
                    "delete",
                    "deletecollection",
                    format!("delete{group}Collection{scope}{kind}"),
                    format!("delete collection of {kind}"),
                )
            });
        }
        operations
    }

    fn one(&self, target: &Target<'_>) -> Vec<Operation> {
        let Resource { kind, type_id, .. } = target.resource;
        let (group, scope) = (&target.group, target.scope);
        let id = |word: &str| format!("{word}{group}{scope}{kind}");
        let mut operations = Vec::new();
        if target.resource.allows("get") {
            operations.push(Operation {
                parameters: self.query(&PRETTY),
                ..target.operation("get", "get", id("read"), format!("read the specified {kind}"))
            });
        }
        if target.resource.allows("update") {
            operations.push(Operation {
                parameters: self.query(&[WRITE.as_slice(), &PRETTY].concat()),
                body: type_id.map(|ty| Body { ty, required: true }),
                codes: CREATED,
                ..target.operation("put", "put", id("replace"), format!("replace the specified {kind}"))
            });
        }
        if target.resource.allows("patch") {
            let patch = target.operation(
                "patch",
                "patch",
                id("patch"),
                format!("partially update the specified {kind}"),
            );
            operations.push(self.patch(patch));
        }
        if target.resource.allows("delete") {
            operations.push(Operation {
                parameters: self.query(&[DELETE.as_slice(), &PRETTY].concat()),
                body: meta("DeleteOptions").map(|ty| Body { ty, required: false }),
                codes: DELETED,
                answer: if answers_deleted(target.resource) { *type_id } else { meta("Status") },
                ..target.operation("delete", "delete", id("delete"), format!("delete {}", one_of(kind)))
            });
        }
        operations
    }

    fn patch(&self, operation: Operation) -> Operation {
        Operation {
            parameters: self.query(&[PATCH.as_slice(), &PRETTY].concat()),
            body: meta("Patch").map(|ty| Body { ty, required: true }),
            consumes: &PATCHES,
            codes: CREATED,
            ..operation
        }
    }

    fn subresource(&mut self, target: &Target<'_>, subresource: &Subresource, path: &str) {
        let connects = matches!(subresource.name, "attach" | "exec" | "portforward" | "proxy");
        if connects {
            self.add(path.to_owned(), subresource.kind, self.connect(target, subresource, ""));
            if subresource.name == "proxy" {
                let operations = self.connect(target, subresource, "WithPath");
                self.add(format!("{path}/{{path}}"), subresource.kind, operations);
            }
            return;
        }
        let gvk = Gvk { group: subresource.group, version: subresource.version, kind: subresource.kind };
        let object = Schema::builtin().kind(gvk.group, gvk.version, gvk.kind);
        let (name, kind) = (subresource.name, target.resource.kind);
        let tail = format!("{}{}{kind}{}", target.group, target.scope, camel(name));
        let action = |method, action, word: &str, text: String| Operation {
            action: Some((action, gvk)),
            answer: object,
            ..target.operation(method, action, format!("{word}{tail}"), text)
        };
        let write = self.query(&[WRITE.as_slice(), &PRETTY].concat());
        let body = object.map(|ty| Body { ty, required: true });
        let mut operations = Vec::new();
        for verb in &subresource.verbs {
            operations.push(match *verb {
                "get" if name == "log" => Operation {
                    parameters: self.query(&[connecting(name).as_slice(), &PRETTY].concat()),
                    produces: &LOGS,
                    answer: None,
                    ..action("get", "get", "read", format!("read {name} of the specified {kind}"))
                },
                "get" => Operation {
                    parameters: self.query(&PRETTY),
                    ..action("get", "get", "read", format!("read {name} of the specified {kind}"))
                },
                "update" => Operation {
                    parameters: write.clone(),
                    body,
                    codes: CREATED,
                    ..action("put", "put", "replace", format!("replace {name} of the specified {kind}"))
                },
                "patch" => {
                    let text = format!("partially update {name} of the specified {kind}");
                    self.patch(action("patch", "patch", "patch", text))
                }
                "create" => Operation {
                    parameters: write.clone(),
                    body,
                    codes: POSTED,
                    ..action("post", "post", "create", format!("create {name} of {}", one_of(kind)))
                },
                _ => continue,
            });
        }
        self.add(path.to_owned(), subresource.kind, operations);
    }

    fn connect(&self, target: &Target<'_>, subresource: &Subresource, suffix: &str) -> Vec<Operation> {
        let gvk = Gvk { group: subresource.group, version: subresource.version, kind: subresource.kind };
        let methods: &[&'static str] = if subresource.name == "proxy" {
            &["get", "put", "post", "delete", "options", "head", "patch"]
        } else {
            &["get", "post"]
        };
        let one = |method: &&'static str| {
            let (group, scope, kind) = (&target.group, target.scope, target.resource.kind);
            let id =
                format!("connect{group}{}{scope}{kind}{}{suffix}", camel(method), camel(subresource.name));
            let text =
                format!("connect {} requests to {} of {kind}", method.to_uppercase(), subresource.name);
            Operation {
                action: Some(("connect", gvk)),
                parameters: self.query(&connecting(subresource.name)),
                produces: &ANY,
                answer: None,
                ..target.operation(method, "connect", id, text)
            }
        };
        methods.iter().map(one).collect()
    }

    /// The old form of watching, below `/watch/`.
    fn watches(&mut self, target: &Target<'_>, root: &str, within: &str) {
        let Resource { plural, kind, .. } = target.resource;
        let (group, scope) = (&target.group, target.scope);
        let list = format!(
            "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
        );
        let one = format!(
            "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation \
             instead, filtered to a single item with the 'fieldSelector' parameter."
        );
        let mut paths = vec![
            (
                format!("{root}/watch{within}/{plural}"),
                "watchlist",
                format!("watch{group}{scope}{kind}List"),
                list.clone(),
            ),
            (
                format!("{root}/watch{within}/{plural}/{{name}}"),
                "watch",
                format!("watch{group}{scope}{kind}"),
                one,
            ),
        ];
        if !within.is_empty() {
            let id = format!("watch{group}{kind}ListForAllNamespaces");
            paths.push((format!("{root}/watch/{plural}"), "watchlist", id, list));
        }
        for (path, action, id, text) in paths {
            let operation = Operation {
                parameters: self.query(&[LIST.as_slice(), &PRETTY].concat()),
                produces: &LISTS,
                answer: meta("WatchEvent"),
                ..target.operation("get", action, id, text)
            };
            self.add(path, kind, vec![operation]);
        }
    }
}

/// Whether a deleted object is answered as it was, and not with a Status.
fn answers_deleted(resource: &Resource) -> bool {
    let core = [
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ];
    match resource.group {
        "" => core.contains(&resource.plural),
        "resource.k8s.io" => true,
        "storage.k8s.io" => resource.plural != "csistoragecapacities",
        _ => false,
    }
}

/// `a Pod`, `an Event`, `Endpoints`.
fn one_of(kind: &str) -> String {
    let article = match kind.as_bytes().first() {
        _ if kind.ends_with("points") => "",
        Some(b'A' | b'E' | b'I' | b'O' | b'U') => "an ",
        _ => "a ",
    };
    format!("{article}{kind}")
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// `apps_v1`; with a group's first part only.
fn tag(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    let mut words = group.split('.');
    let first = words.next().unwrap_or_default().to_owned();
    let words: String = words.map(camel).collect();
    format!("{first}{words}_{version}")
}

/// `RbacAuthorizationV1`, `CoreV1`.
fn group_word(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    let words: String = group.split('.').map(camel).collect();
    format!("{words}{}", camel(version))
}

fn camel(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
