//! Query and path parameters of operations.

use std::borrow::Cow;

use descriptions::Index;
use serde_json::{Value, json};

use super::types::Dialect;

/// Types that say in their fields what parameters of the same names mean.
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// A parameter that is not a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: &'static str,
    in_path: bool,
    ty: &'static str,
    description: Cow<'static, str>,
}

/// Name, type and what it is for; nothing where the field of the delete options says it.
type Row = (&'static str, &'static str, &'static str);

pub(super) const PRETTY: [Row; 1] =
    [("pretty", "string", "Whether the answer is indented. Without it, only browsers and curl get it so.")];
pub(super) const LIST: [Row; 11] = [
    (
        "allowWatchBookmarks",
        "boolean",
        "Asks a watch for BOOKMARK events. They come when the server sees fit. Ignored without watch.",
    ),
    (
        "continue",
        "string",
        "Token from the metadata of the list's previous part, with the same query otherwise. A token that has expired is answered with 410, and a new token that goes on with the list as it is now. Not with watch.",
    ),
    ("fieldSelector", "string", "Only objects with these fields, everything when empty."),
    ("labelSelector", "string", "Only objects with these labels, everything when empty."),
    (
        "limit",
        "integer",
        "The most objects that one answer has. When there are more, the list's metadata has a continue token for the next part; all parts together are the list as it was for the first. Not with watch.",
    ),
    (
        "resourceVersion",
        "string",
        "Which resource version the answer may be from. See https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
    ),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion is meant when listing: Exact or NotOlderThan. See https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "Begins a watch with an ADDED event for every object that there is, and a BOOKMARK with the annotation \"k8s.io/initial-events-end\" after them. Needs resourceVersionMatch=NotOlderThan.",
    ),
    ("shardSelector", "string", "Only objects of one shard."),
    ("timeoutSeconds", "integer", "Ends the request after this time, whatever happens meanwhile."),
    ("watch", "boolean", "Asks for a stream of changes after resourceVersion instead of a list."),
];
pub(super) const WRITE: [Row; 3] = [
    ("dryRun", "string", ""),
    ("fieldManager", "string", "Who makes the changes: at most 128 printable characters."),
    (
        "fieldValidation",
        "string",
        "What happens to unknown and duplicate fields of the body: Ignore drops them, Warn (the default) drops them and answers with a warning, Strict refuses the request.",
    ),
];
pub(super) const PATCH: [Row; 4] = [
    WRITE[0],
    (
        "fieldManager",
        "string",
        "Who makes the changes: at most 128 printable characters. Required for apply patches.",
    ),
    WRITE[2],
    ("force", "boolean", "Takes over fields that others manage. Only for apply patches."),
];
pub(super) const DELETE: [Row; 5] = [
    WRITE[0],
    ("gracePeriodSeconds", "integer", ""),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", ""),
    ("orphanDependents", "boolean", ""),
    ("propagationPolicy", "string", ""),
];
const STREAMS: [Row; 5] = [
    ("container", "string", "The container; not needed when the pod has only one."),
    ("stderr", "boolean", "Whether the container's standard error is sent."),
    ("stdin", "boolean", "Whether the container gets a standard input."),
    ("stdout", "boolean", "Whether the container's standard output is sent."),
    ("tty", "boolean", "Whether a terminal is allocated."),
];
const COMMAND: [Row; 1] =
    [("command", "string", "The program and its arguments, one parameter each; no shell takes part.")];
const PORTS: [Row; 1] = [("ports", "integer", "Ports to forward; needed with WebSockets.")];
const PATH: [Row; 1] = [("path", "string", "What is asked of the target: path and query.")];
const LOG: [Row; 9] = [
    STREAMS[0],
    ("follow", "boolean", "Whether lines are sent as they come."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Whether the kubelet's certificate is left unchecked."),
    ("limitBytes", "integer", "Ends the output after so many bytes, even within a line."),
    ("previous", "boolean", "The container before its last restart."),
    ("sinceSeconds", "integer", "Only lines of the last so many seconds."),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Only the last so many lines."),
    ("timestamps", "boolean", "Begins each line with its time."),
];

/// Query parameters of the subresources that connect, and of logs.
pub(super) fn connecting(subresource: &str) -> Vec<Row> {
    match subresource {
        "exec" => [COMMAND.as_slice(), &STREAMS].concat(),
        "attach" => STREAMS.to_vec(),
        "portforward" => PORTS.to_vec(),
        "proxy" => PATH.to_vec(),
        _ => LOG.to_vec(),
    }
}

impl Parameter {
    /// A query parameter; `described` fills in what upstream says about fields of the same name.
    pub fn query((name, ty, text): Row, described: &Index<'_>) -> Parameter {
        let description = if text.is_empty() {
            let field = described.of(DELETE_OPTIONS).and_then(|options| options.field(name));
            Cow::Owned(field.unwrap_or_default().to_owned())
        } else {
            Cow::Borrowed(text)
        };
        Parameter { name, in_path: false, ty, description }
    }

    /// The parameters that stand in a path, of objects of this kind.
    pub fn of_path(path: &str, kind: &str) -> Vec<Parameter> {
        let texts = [
            ("name", Cow::Owned(format!("name of the {kind}"))),
            ("namespace", "object name and auth scope, such as for teams and projects".into()),
            ("path", "path to the resource".into()),
            ("logpath", "path to the log".into()),
        ];
        let there = texts.into_iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
        there
            .map(|(name, description)| Parameter { name, in_path: true, ty: "string", description })
            .collect()
    }

    /// Whether documents name it in one place for all who have it.
    pub fn is_shareable(&self) -> bool {
        // Old kubectl looks for the others in the operations themselves.
        !matches!(self.name, "name" | "fieldValidation" | "dryRun")
    }

    pub fn render(&self, dialect: Dialect) -> Value {
        let mut value = json!({"name": self.name, "in": if self.in_path { "path" } else { "query" }});
        if !self.description.is_empty() {
            value["description"] = self.description.as_ref().into();
        }
        if self.in_path {
            value["required"] = true.into();
        }
        match dialect {
            Dialect::V2 => {
                value["type"] = self.ty.into();
                value["uniqueItems"] = true.into();
            }
            Dialect::V3 => value["schema"] = json!({"type": self.ty, "uniqueItems": true}),
        }
        value
    }
}
