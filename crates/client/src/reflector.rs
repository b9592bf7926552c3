//! List and watch of one collection: the loop below every informer, compiled once for all kinds.
//!
//! The loop keeps a sink equal to the collection. It lists, watches from the list's revision, and after a broken watch
//! goes on from the last revision it saw; when the server no longer keeps that revision (410) it lists again and
//! the sink replaces its whole state, so that what vanished meanwhile is reported as deleted.

use crate::objects::RawList;
use futures::{AsyncBufRead, AsyncBufReadExt as _};
use kube::api::{ListParams, WatchParams};
use rand::Rng as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// First pause after a failure; doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A watch that lived this long was healthy: the next failure starts again from [`BACKOFF_FIRST`].
const HEALTHY: Duration = Duration::from_secs(2);
/// Seconds after which the server ends a watch; spread so that not all watches renew at once.
const WATCH_SECONDS: std::ops::Range<u32> = 240..290;
/// How long after its announced end a silent watch counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(20);

/// Keeps what the reflector reads.
pub(crate) trait Sink: Send + Sync {
    /// The complete collection; what is not in it is gone.
    fn replace(&self, items: &[&RawValue]);
    /// An object was created or changed.
    fn applied(&self, object: &RawValue);
    /// An object was deleted; `object` is its last state.
    fn deleted(&self, object: &RawValue);
}

/// Which collection to follow.
#[derive(Clone)]
pub(crate) struct Source {
    pub client: kube::Client,
    pub path: String,
    pub field_selector: Option<String>,
    /// Ask for `PartialObjectMetadata` only.
    pub metadata_only: bool,
}

#[derive(Debug, Error)]
enum ReflectError {
    #[error("failed to list: {0}")]
    List(#[source] kube::Error),
    #[error("failed to read the list: {0}")]
    ListBody(#[source] serde_json::Error),
    #[error("failed to watch: {0}")]
    Watch(#[source] kube::Error),
    #[error("failed to read the watch: {0}")]
    Read(#[source] std::io::Error),
    #[error("failed to decode a watch event: {0}")]
    Decode(#[source] serde_json::Error),
    #[error("the watch was refused: {code} {message}")]
    Refused { code: u16, message: String },
    #[error("the watch went silent")]
    Silent,
}

impl ReflectError {
    /// The revision is no longer kept: only a list helps.
    fn is_gone(&self) -> bool {
        match self {
            Self::Watch(error) => crate::is_gone(error),
            Self::Refused { code, .. } => *code == 410,
            _ => false,
        }
    }
}

/// Where the next watch starts.
enum Position {
    /// Nothing known. `0` accepts the server's cache, the empty string asks for the newest state.
    List(&'static str),
    /// Everything up to this revision is in the sink.
    After(String),
}

/// Follows the collection until the token is cancelled.
pub(crate) async fn reflect(source: Source, sink: Arc<dyn Sink>, token: CancellationToken) {
    let mut position = Position::List("0");
    let mut pause = BACKOFF_FIRST;
    while !token.is_cancelled() {
        let started = tokio::time::Instant::now();
        let Some(result) = token.run_until_cancelled(step(&source, &*sink, &mut position)).await else {
            return;
        };
        if started.elapsed() >= HEALTHY {
            pause = BACKOFF_FIRST;
        }
        let Err(error) = result else { continue };
        if error.is_gone() {
            tracing::debug!(path = source.path, "revision no longer kept, listing again");
            position = Position::List("");
            continue;
        }
        tracing::debug!(path = source.path, %error, "watch interrupted");
        let jitter = rand::rng().random_range(0.8..1.2);
        if token.run_until_cancelled(tokio::time::sleep(pause.mul_f64(jitter))).await.is_none() {
            return;
        }
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

async fn step(source: &Source, sink: &dyn Sink, position: &mut Position) -> Result<(), ReflectError> {
    if let Position::List(at_least) = position {
        *position = Position::After(list(source, sink, at_least).await?);
    }
    let Position::After(revision) = position else { return Ok(()) };
    watch(source, sink, revision).await
}

async fn list(source: &Source, sink: &dyn Sink, at_least: &str) -> Result<String, ReflectError> {
    let params = ListParams {
        field_selector: source.field_selector.clone(),
        resource_version: (!at_least.is_empty()).then(|| at_least.to_owned()),
        ..ListParams::default()
    };
    let request = kube::core::Request::new(source.path.as_str());
    let request = if source.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
    let request = request.map_err(|error| ReflectError::List(kube::Error::BuildRequest(error)))?;
    let text = source.client.request_text(request).await.map_err(ReflectError::List)?;
    let list: RawList<'_> = serde_json::from_str(&text).map_err(ReflectError::ListBody)?;
    sink.replace(&list.items);
    Ok(list.metadata.resource_version.unwrap_or_default())
}

async fn watch(source: &Source, sink: &dyn Sink, revision: &mut String) -> Result<(), ReflectError> {
    let seconds = rand::rng().random_range(WATCH_SECONDS);
    let params = WatchParams {
        field_selector: source.field_selector.clone(),
        timeout: Some(seconds),
        bookmarks: true,
        ..WatchParams::default()
    };
    let request = kube::core::Request::new(source.path.as_str());
    let request = if source.metadata_only {
        request.watch_metadata(&params, revision)
    } else {
        request.watch(&params, revision)
    };
    let request = request.map_err(|error| ReflectError::Watch(kube::Error::BuildRequest(error)))?;
    let stream = source.client.request_stream(request).await.map_err(ReflectError::Watch)?;
    let deadline = Duration::from_secs(u64::from(seconds)) + WATCH_GRACE;
    tokio::time::timeout(deadline, read(Box::pin(stream), sink, revision))
        .await
        .unwrap_or(Err(ReflectError::Silent))
}

type Lines = std::pin::Pin<Box<dyn AsyncBufRead + Send>>;

async fn read(mut stream: Lines, sink: &dyn Sink, revision: &mut String) -> Result<(), ReflectError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = stream.read_until(b'\n', &mut line).await.map_err(ReflectError::Read)?;
        if length == 0 || line.last() != Some(&b'\n') {
            return Ok(());
        }
        if let Some(seen) = event(&line, sink)? {
            *revision = seen;
        }
        // One large object must not keep its buffer for the life of the watch.
        line.shrink_to(16 * 1024);
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: VersionedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionedMeta {
    resource_version: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// Handles one event; returns the revision it moves the watch to.
fn event(line: &[u8], sink: &dyn Sink) -> Result<Option<String>, ReflectError> {
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(ReflectError::Decode)?;
    match &*frame.kind {
        "ADDED" | "MODIFIED" => sink.applied(frame.object),
        "DELETED" => sink.deleted(frame.object),
        "ERROR" => {
            let refusal: Refusal = serde_json::from_str(frame.object.get()).map_err(ReflectError::Decode)?;
            return Err(ReflectError::Refused { code: refusal.code, message: refusal.message });
        }
        _ => {}
    }
    let seen: Versioned = serde_json::from_str(frame.object.get()).map_err(ReflectError::Decode)?;
    Ok(Some(seen.metadata.resource_version))
}
