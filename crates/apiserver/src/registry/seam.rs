//! What the HTTP front hands to the registry and what it gets back.

use std::sync::Arc;

use auth::UserInfo;
use bytes::Bytes;
use machinery::status::Status;

use crate::http::{Accept, Query, RequestInfo};

/// A request that has been parsed, authenticated and authorized; all that the registry needs to know of it.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// What is addressed, and with which verb.
    pub info: Arc<RequestInfo>,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The query, decoded.
    pub query: Query,
    /// `Content-Type` of the body, as sent.
    pub content_type: Option<String>,
    /// The negotiated form of the answer.
    pub accept: Accept,
    /// `User-Agent`, of which a default field manager is made.
    pub user_agent: Option<String>,
}

/// A successful answer.
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// The body.
    pub body: AnswerBody,
    /// `Content-Type` of the body.
    pub content_type: &'static str,
    /// Texts of `Warning: 299 - "…"` headers.
    pub warnings: Vec<String>,
}

/// The body of an [`Answer`].
pub enum AnswerBody {
    /// One JSON document.
    Json(Bytes),
    /// A watch: one JSON document a line, until the client or the server ends it.
    Stream(crate::ApiBody),
}

impl Answer {
    /// A JSON document with code 200.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::with_code(200, body)
    }

    /// A JSON document with the given code.
    pub fn with_code(code: u16, body: impl Into<Bytes>) -> Self {
        Self {
            code,
            body: AnswerBody::Json(body.into()),
            content_type: "application/json",
            warnings: Vec::new(),
        }
    }

    /// Something posted that is done and leaves no object to show.
    pub fn done() -> Self {
        let status = Status { code: 201, ..Status::success(None) };
        Self::with_code(status.code, super::answer::to_bytes(&status.to_json()))
    }

    /// The same answer with warnings for the client.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }
}
