//! `metav1.Status`: how the API says that something failed, in upstream's words.
//!
//! The constructors follow apimachinery `pkg/api/errors` one for one, so that `kubectl` and every other client reads the
//! same sentences, reasons and details from Knarr as from upstream.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::field::{Errors, aggregate};
use crate::text::go_quote;

/// Why an update was refused when the stored object is newer than the one sent (apiserver `OptimisticLockErrorMsg`).
pub const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// An answer of the API that is not an object: nearly always a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code; 200 means success.
    pub code: u16,
    /// Machine-readable reason, like `NotFound`; empty when upstream gives none.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// What it is about.
    pub details: Option<Details>,
    /// What few answers have besides.
    pub more: Option<Box<More>>,
}

/// See [`Status::more`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    /// Where a list whose continue token has expired may go on (`metadata.continue`).
    pub continue_token: String,
    /// For the client, beside the failure.
    pub warnings: Vec<String>,
}

/// `metav1.StatusDetails`. Empty strings are left out of the JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group of the resource.
    pub group: String,
    /// The plural resource name in most answers, the kind in `Invalid` ones, as upstream has it.
    pub kind: String,
    /// UID of the object.
    pub uid: Option<String>,
    /// The single reasons.
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// One cause among [`Details::causes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `ResourceVersionTooLarge`, …; may be empty.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// Path of the field, empty when it is about none.
    pub field: String,
}

impl Details {
    fn of(group: &str, kind: &str, name: &str) -> Option<Self> {
        Some(Self { name: name.into(), group: group.into(), kind: kind.into(), ..Self::default() })
    }

    fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut text = |key: &str, value: &str| {
            if !value.is_empty() {
                map.insert(key.into(), value.into());
            }
        };
        text("name", &self.name);
        text("group", &self.group);
        text("kind", &self.kind);
        text("uid", self.uid.as_deref().unwrap_or_default());
        if !self.causes.is_empty() {
            map.insert("causes".into(), self.causes.iter().map(Cause::to_json).collect());
        }
        if let Some(seconds) = self.retry_after_seconds.filter(|s| *s > 0) {
            map.insert("retryAfterSeconds".into(), seconds.into());
        }
        Value::Object(map)
    }
}

impl Cause {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (key, value) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !value.is_empty() {
                map.insert(key.into(), value.as_str().into());
            }
        }
        Value::Object(map)
    }
}

/// `deployments.apps`, or `pods` for the core group (schema.GroupResource and schema.GroupKind print alike).
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, more: None }
    }

    fn about(code: u16, reason: &'static str, message: String, group: &str, kind: &str, name: &str) -> Self {
        Self { details: Details::of(group, kind, name), ..Self::new(code, reason, message) }
    }

    /// 404: the object is not there.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), go_quote(name));
        Self::about(404, "NotFound", message, group, resource, name)
    }

    /// 409: an object of this name is there already.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), go_quote(name));
        Self::about(409, "AlreadyExists", message, group, resource, name)
    }

    /// 409: every name tried for a `generateName` was taken.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, resource),
            go_quote(name)
        );
        Self::about(409, "AlreadyExists", message, group, resource, name).retry_after(retry_after_seconds)
    }

    /// 409: the object changed meanwhile, or a precondition failed. See [`OPTIMISTIC_LOCK`].
    pub fn conflict(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            go_quote(name)
        );
        Self::about(409, "Conflict", message, group, resource, name)
    }

    /// 409: a server-side apply met fields that others own.
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Self {
        let details = Some(Details { causes, ..Details::default() });
        Self { details, ..Self::new(409, "Conflict", message) }
    }

    /// 422: the object breaks rules; takes the kind, not the resource.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Errors) -> Self {
        let subject = format!("{} {} is invalid", qualified(group, kind), go_quote(name));
        let message = if errors.is_empty() { subject } else { format!("{subject}: {}", aggregate(&errors)) };
        let causes = errors
            .iter()
            .map(|e| Cause { reason: e.reason().into(), message: e.body(), field: e.field().into() })
            .collect();
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes,
            ..Details::default()
        };
        Self { details: Some(details), ..Self::new(422, "Invalid", message) }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403: authorization or admission said no. Without a resource the message has no subject.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.is_empty() && group.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", qualified(group, resource)),
            (false, false) => {
                format!("{} {} is forbidden: {why}", qualified(group, resource), go_quote(name))
            }
        };
        Self::about(403, "Forbidden", message, group, resource, name)
    }

    /// 401, as the authentication filter answers.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405: the resource is there but knows no such verb.
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {}", go_quote(&qualified(group, resource)));
        Self::about(405, "MethodNotAllowed", message, group, resource, "")
    }

    /// 410 `Expired`: the resource version is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The same, telling a client whose continue token has expired where it may go on.
    #[must_use]
    pub fn with_continue(mut self, token: String) -> Self {
        self.more.get_or_insert_default().continue_token = token;
        self
    }

    /// The same with more warnings, before those that there are.
    #[must_use]
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        let mut warnings = warnings.into_iter().peekable();
        if warnings.peek().is_some() {
            self.more.get_or_insert_default().warnings.splice(..0, warnings);
        }
        self
    }

    /// Warnings for the client.
    pub fn warnings(&self) -> &[String] {
        self.more.as_ref().map(|more| more.warnings.as_slice()).unwrap_or_default()
    }

    /// 410 `Gone`.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// 504; upstream puts `Timeout: ` before the message.
    pub fn timeout(message: impl fmt::Display) -> Self {
        Self { details: Some(Details::default()), ..Self::new(504, "Timeout", format!("Timeout: {message}")) }
    }

    /// 504: the resource version asked for lies in the future (apiserver `NewTooLargeResourceVersionError`).
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let mut status = Self::timeout(format!("Too large resource version: {asked}, current: {current}"));
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        status.details =
            Some(Details { causes: vec![cause], retry_after_seconds: Some(1), ..Details::default() });
        status
    }

    /// 500 `ServerTimeout`: could not be done now, try again.
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        Self::about(500, "ServerTimeout", message, group, resource, operation)
            .retry_after(retry_after_seconds)
    }

    /// 429, to be tried again after so many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self { details: Some(Details::default()), ..Self::new(429, "TooManyRequests", message) }
            .retry_after(retry_after_seconds)
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        let cause = Cause { message: message.to_string(), ..Cause::default() };
        let details = Some(Details { causes: vec![cause], ..Details::default() });
        Self { details, ..Self::new(500, "InternalError", format!("Internal error occurred: {message}")) }
    }

    /// 500 without a reason: how upstream answers when an error of Go's reaches the wire unwrapped.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 406: none of the accepted types can be produced.
    pub fn not_acceptable(types: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", types.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// 415: the body is in a type that is not understood.
    pub fn unsupported_media_type(types: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            types.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 413; upstream puts `Request entity too large: ` before the message.
    pub fn request_too_large(message: impl fmt::Display) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 404 for a path that no resource serves (apimachinery `NewGenericServerResponse`).
    pub fn no_such_resource() -> Self {
        Self::generic(404, "NotFound", "the server could not find the requested resource")
    }

    /// 405 for a method that the path does not take (apimachinery `NewGenericServerResponse`).
    pub fn method_not_allowed() -> Self {
        Self::generic(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 422 with the sentence that upstream uses for a JSON patch that does not fit the object.
    pub fn unprocessable() -> Self {
        Self::generic(422, "Invalid", "the server rejected our request due to an error in our request")
    }

    fn generic(code: u16, reason: &'static str, message: &str) -> Self {
        Self { details: Some(Details::default()), ..Self::new(code, reason, message) }
    }

    /// 200: it is done and there is no object to show, as after a deletion.
    pub fn success(details: Option<Details>) -> Self {
        Self { details, ..Self::new(200, "", String::new()) }
    }

    /// The same, telling the client when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// The same with one more cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Whether this tells of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The object as it goes over the wire.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": if self.is_success() { "Success" } else { "Failure" },
        });
        if let Some(map) = status.as_object_mut() {
            if let Some(more) = self.more.as_ref().filter(|more| !more.continue_token.is_empty()) {
                map.insert("metadata".into(), json!({ "continue": more.continue_token }));
            }
            if !self.message.is_empty() {
                map.insert("message".into(), self.message.as_str().into());
            }
            if !self.reason.is_empty() {
                map.insert("reason".into(), self.reason.into());
            }
            if let Some(details) = &self.details {
                map.insert("details".into(), details.to_json());
            }
            // Upstream does not say that something is just done.
            if self.code != 200 {
                map.insert("code".into(), self.code.into());
            }
        }
        status
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests;
