//! Which verb on which resource a request line means (upstream: apiserver `pkg/endpoints/request/requestinfo.go`).

use http::Method;
use machinery::selector::FieldSelector;

use super::{Query, percent_decode};

/// A request line, resolved to the terms that authorization and the registry use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path is below `/api/<version>/` or `/apis/<group>/<version>/`.
    pub is_resource: bool,
    /// The decoded path as sent.
    pub path: String,
    /// `get list watch create update patch delete deletecollection`, or the lower-case HTTP method for other paths.
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// API version, for example `v1`.
    pub version: String,
    /// Plural name, for example `pods`.
    pub resource: String,
    /// Subresource, for example `status`; empty for none.
    pub subresource: String,
    /// Object name; on list and watch the name that a `metadata.name` field selector demands; empty for none.
    pub name: String,
    /// Namespace, empty for cluster scope or all namespaces. For the Namespace resource itself it equals the name.
    pub namespace: String,
    /// The path's segments from the resource on: `pods`, `web`, `proxy`, `healthz`.
    pub parts: Vec<String>,
}

/// Why a path cannot be resolved.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestInfoError {
    /// `/api/v1/watch` and alike, which name no resource.
    #[error("unable to determine kind and namespace from url, {0}")]
    NoKind(String),
    /// A percent escape is broken or hides bytes that are not UTF-8.
    #[error("invalid path escape in {0:?}")]
    BadEscape(String),
}

impl RequestInfo {
    /// Resolves a request line. `raw_path` is the path as sent, without the query.
    ///
    /// # Errors
    /// See [`RequestInfoError`]; both are the client's mistake.
    pub fn resolve(method: &Method, raw_path: &str, query: &Query) -> Result<RequestInfo, RequestInfoError> {
        let path =
            percent_decode(raw_path).ok_or_else(|| RequestInfoError::BadEscape(raw_path.to_owned()))?;
        let mut info = RequestInfo {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.clone(),
            ..RequestInfo::default()
        };
        let trimmed = path.trim_matches('/');
        let segments: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        let rest: &[&str] = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return Ok(info),
        };
        info.is_resource = true;
        let rest = info.resolve_verb(method, rest)?;
        info.resolve_parts(rest);
        info.resolve_collection_verb(query);
        Ok(info)
    }

    fn resolve_verb<'a>(
        &mut self,
        method: &Method,
        rest: &'a [&'a str],
    ) -> Result<&'a [&'a str], RequestInfoError> {
        // The `watch/` and `proxy/` path prefixes are an older spelling that clients may still use.
        if let [special @ ("watch" | "proxy"), after @ ..] = rest {
            if after.is_empty() {
                return Err(RequestInfoError::NoKind(self.path.clone()));
            }
            self.verb = (*special).to_owned();
            return Ok(after);
        }
        self.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        }
        .to_owned();
        Ok(rest)
    }

    fn resolve_parts(&mut self, rest: &[&str]) {
        let mut parts = rest;
        if let ["namespaces", namespace, after @ ..] = rest {
            self.namespace = (*namespace).to_owned();
            // `namespaces/x/status` and `/finalize` are subresources of the Namespace, everything else lives in it.
            if !matches!(after.first(), None | Some(&("status" | "finalize"))) {
                parts = after;
            }
        }
        self.parts = parts.iter().map(|part| (*part).to_owned()).collect();
        parts.first().copied().unwrap_or_default().clone_into(&mut self.resource);
        parts.get(1).copied().unwrap_or_default().clone_into(&mut self.name);
        // Below the `proxy/` prefix everything after the name is the proxied path.
        if self.verb != "proxy" {
            parts.get(2).copied().unwrap_or_default().clone_into(&mut self.subresource);
        }
    }

    fn resolve_collection_verb(&mut self, query: &Query) {
        if !self.name.is_empty() {
            return;
        }
        if self.verb == "get" {
            self.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
        }
        if matches!(self.verb.as_str(), "list" | "watch") {
            if let Some(name) = query.get_set("fieldSelector").and_then(demanded_name) {
                self.name = name;
            }
        } else if self.verb == "delete" {
            "deletecollection".clone_into(&mut self.verb);
        }
    }

    /// Whether the answer may take arbitrarily long: watches, and the subresources that stream or proxy. Such
    /// requests have no time limit and do not count against the in-flight limits.
    #[must_use]
    pub fn is_long_running(&self) -> bool {
        if !self.is_resource {
            return false;
        }
        matches!(self.verb.as_str(), "watch" | "proxy")
            || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    }

    /// Whether the verb changes nothing: these share the larger in-flight limit.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }

    /// The path below the subresource with its leading slash: what a `proxy` request asks of its target. Taken from
    /// the raw path so that escapes reach the target as the client wrote them. Empty when nothing follows.
    #[must_use]
    pub fn raw_proxy_path<'a>(&self, raw_path: &'a str) -> &'a str {
        let prefix = if self.group.is_empty() { 2 } else { 3 };
        let namespace = if self.namespace.is_empty() || self.resource == "namespaces" { 0 } else { 2 };
        let mut rest = raw_path.trim_start_matches('/');
        for _ in 0..(prefix + namespace + 3) {
            match rest.find('/') {
                Some(at) => rest = &rest[at + 1..],
                None => return "",
            }
        }
        // Step back over the slash that was just skipped.
        &raw_path[raw_path.len() - rest.len() - 1..]
    }
}

/// The name that a field selector demands with `metadata.name=x`, if it is one that a path could carry.
fn demanded_name(selector: &str) -> Option<String> {
    let selector = FieldSelector::parse(selector).ok()?;
    let name = selector.exact("metadata.name")?;
    let valid = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    valid.then(|| name.to_owned())
}

#[cfg(test)]
#[path = "request_info_tests.rs"]
mod tests;
