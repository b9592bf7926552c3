//! Watches: the changes of a collection, one JSON document a line, until somebody ends it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::status::Status;
use rand::Rng;
use serde_json::Value;
use store::{CacheWatch, Change, EventKind, Expired, Item};
use tokio::time::Sleep;

use super::answer::{self, View, partial};
use super::bookmark::{self, Timer};
use super::call::Call;
use super::handle::ResourceHandle;
use super::meta::{Meta, Selection};
use super::options::ListOptions;
use super::seam::{Answer, AnswerBody};
use super::table::Table;
use crate::BoxError;
use crate::http::{Format, Transform};

/// A watch that names no timeout ends after this long, and at most as much again (upstream's `--min-request-timeout`).
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);
/// Longer timeouts than this, of which clocks know nothing, are as good as none.
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Media types that watches are written in.
const STREAM_TYPES: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// Changes that go into one write to the socket.
const BATCH: usize = 64;

impl Call<'_> {
    /// Watches a collection or one object.
    pub async fn watch(&self) -> Result<Answer, Status> {
        // Paths below `/watch/` are of a time before there was an option, and take those of lists.
        let options = ListOptions::parse(&self.request.query, self.request.query.flag("watch"))?;
        let selection = self.selection()?;
        let version = options.watch_version()?;
        if self.request.accept.format == Format::Yaml {
            return Err(Status::not_acceptable(&STREAM_TYPES));
        }
        let encoder = Encoder::new(self.handle.clone(), self.view.clone(), selection);
        // From here on refusals are events: the watch has begun.
        let stream = match self.begin(version, &options, &encoder).await {
            Ok(begin) => Watcher::new(begin, encoder, &options).into_body(),
            Err(status) => one_frame(error_frame(&status)),
        };
        Ok(Answer {
            code: 200,
            body: AnswerBody::Stream(stream),
            content_type: "application/json",
            warnings: Vec::new(),
        })
    }

    /// Where the watch begins, with the state that is shown first.
    async fn begin(
        &self,
        version: Option<u64>,
        options: &ListOptions,
        encoder: &Encoder,
    ) -> Result<Begin, Status> {
        let expired = |expired: Expired| Status::expired(expired.to_string());
        let cache = &self.handle.storage.cache;
        let scope = self.scope(&encoder.selection);
        let asked = options.send_initial_events == Some(true);
        if !asked && let Some(after) = version.filter(|version| *version > 0) {
            let changes = cache.watch(&scope, after).await.map_err(expired)?;
            return Ok(Begin { items: VecDeque::new(), end: None, revision: after, changes });
        }
        self.wait_for(version).await?;
        let listing = cache.list(&scope, None, None);
        let changes = cache.watch(&scope, listing.revision).await.map_err(expired)?;
        let items = if options.send_initial_events != Some(false) {
            listing.items.into_iter().filter(|item| encoder.selects(item)).collect()
        } else {
            VecDeque::new()
        };
        let end = (asked && options.bookmarks).then_some(listing.revision);
        Ok(Begin { items, end, revision: listing.revision, changes })
    }
}

/// Where a watch begins.
struct Begin {
    /// Shown first, as added.
    items: VecDeque<Arc<Item<Meta>>>,
    /// A bookmark tells the end of the first items at this revision.
    end: Option<u64>,
    /// Up to here everything was known when it began.
    revision: u64,
    /// What follows.
    changes: CacheWatch<Meta>,
}

/// A watch under way.
struct Watcher {
    begin: Begin,
    encoder: Encoder,
    bookmarks: Option<Timer>,
    /// Kept across events, so that the clock is asked once a watch.
    deadline: Pin<Box<Sleep>>,
    over: bool,
}

impl Watcher {
    fn new(begin: Begin, encoder: Encoder, options: &ListOptions) -> Self {
        let timeout = match options.timeout_seconds {
            None | Some(0) => TIMEOUT_MIN.mul_f64(1.0 + rand::rng().random::<f64>()),
            Some(seconds) => Duration::from_secs(seconds.max(0).unsigned_abs()).min(TIMEOUT_MAX),
        };
        let deadline = Box::pin(tokio::time::sleep(timeout));
        let bookmarks = options.bookmarks.then(|| Timer::new(deadline.deadline(), begin.revision));
        Self { begin, encoder, bookmarks, deadline, over: false }
    }

    fn into_body(self) -> crate::ApiBody {
        let frames = futures::stream::unfold(self, |mut watcher| async move {
            let bytes = watcher.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(bytes)), watcher))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// The next bytes to send; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.first() {
            return Some(bytes);
        }
        while !self.over {
            let bytes = self.following().await;
            if bytes.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
                return bytes;
            }
        }
        None
    }

    /// Of the state shown first, one batch.
    fn first(&mut self) -> Option<Bytes> {
        let count = self.begin.items.len().min(BATCH);
        if count > 0 {
            let items: Vec<_> = self.begin.items.drain(..count).collect();
            return Some(join(
                items.iter().map(|item| self.encoder.item(EventKind::Created, item)).collect(),
            ));
        }
        let end = self.begin.end.take()?;
        Some(self.encoder.bookmark(end, true))
    }

    /// Waits for what comes: nothing to send is an empty answer.
    async fn following(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.deadline.as_mut() => {
                self.over = true;
                None
            }
            changes = self.begin.changes.next_batch(BATCH) => match changes {
                Ok(changes) => Some(join(changes.iter().filter_map(|change| self.encoder.change(change)).collect())),
                // Whoever fell behind lists again, and at the server's end there is nothing more to say.
                Err(_) => {
                    self.over = true;
                    None
                }
            },
            () = due(self.bookmarks.as_mut()) => {
                let news = |revision: &u64| self.bookmarks.as_ref().is_some_and(|timer| timer.tells(*revision));
                let revision = self.begin.changes.progress().filter(news);
                revision.map(|revision| self.encoder.bookmark(revision, false))
            }
        }
    }
}

async fn due(timer: Option<&mut Timer>) {
    match timer {
        Some(timer) => timer.due().await,
        None => std::future::pending().await,
    }
}

fn join(mut frames: Vec<Bytes>) -> Bytes {
    match frames.len() {
        0 => Bytes::new(),
        1 => frames.swap_remove(0),
        _ => frames.concat().into(),
    }
}

fn one_frame(frame: Bytes) -> crate::ApiBody {
    http_body_util::Full::new(frame).map_err(|never| match never {}).boxed_unsync()
}

fn error_frame(status: &Status) -> Bytes {
    event("ERROR", &status.to_json())
}

fn event(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

fn partial_event(kind: &str, stored: &[u8], version: &str) -> Result<Bytes, Status> {
    let mut frame = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
    answer::write_partial(&mut frame, stored, version)?;
    frame.extend_from_slice(b"}\n");
    Ok(frame.into())
}

/// Turns changes into what this watcher is to see of them.
struct Encoder {
    handle: Arc<ResourceHandle>,
    view: View,
    selection: Selection,
    plain: bool,
    /// Only the first Table of a watch has the columns.
    columns_sent: std::sync::atomic::AtomicBool,
}

impl Encoder {
    fn new(handle: Arc<ResourceHandle>, view: View, selection: Selection) -> Self {
        let plain = view.is_plain(&handle);
        Self { handle, view, selection, plain, columns_sent: false.into() }
    }

    fn selects(&self, item: &Item<Meta>) -> bool {
        let key = item.entry.key.get(self.handle.storage.prefix.len()..).unwrap_or_default();
        self.selection.matches(key, &item.meta)
    }

    /// The event of one change; none when the watcher's selector has nothing to do with it. An object that enters the
    /// selection is added, one that leaves it is deleted.
    fn change(&self, change: &Change<Meta>) -> Option<Bytes> {
        let kind = if self.selection.is_empty() {
            change.kind
        } else {
            let before = change.previous.as_ref().is_some_and(|previous| self.selects(previous));
            let now = change.kind != EventKind::Deleted && self.selects(&change.item);
            match (before, now) {
                (true, true) => EventKind::Modified,
                (false, true) => EventKind::Created,
                (true, false) => EventKind::Deleted,
                (false, false) => return None,
            }
        };
        if self.plain {
            return Some(change.frame_as(kind));
        }
        let bytes = match (&change.previous, kind) {
            (Some(previous), EventKind::Deleted) if change.kind != EventKind::Deleted => {
                previous.entry.at_revision(change.revision()).bytes
            }
            _ => change.item.entry.bytes.clone(),
        };
        Some(self.encode(kind, &bytes))
    }

    /// The event of one object as it is.
    fn item(&self, kind: EventKind, item: &Item<Meta>) -> Bytes {
        if !self.plain {
            return self.encode(kind, &item.entry.bytes);
        }
        let (head, object) = (kind.as_str(), &item.entry.bytes);
        let mut frame = Vec::with_capacity(object.len() + head.len() + 24);
        frame.extend_from_slice(b"{\"type\":\"");
        frame.extend_from_slice(head.as_bytes());
        frame.extend_from_slice(b"\",\"object\":");
        frame.extend_from_slice(object);
        frame.extend_from_slice(b"}\n");
        frame.into()
    }

    fn encode(&self, kind: EventKind, stored: &[u8]) -> Bytes {
        let encoded = match self.view.transform {
            Transform::PartialObjectMetadata(version) | Transform::PartialObjectMetadataList(version)
                if !self.handle.converts() =>
            {
                partial_event(kind.as_str(), stored, version)
            }
            _ => answer::parse(stored)
                .map(|object| event(kind.as_str(), &self.view_of(self.handle.serve(object)))),
        };
        encoded.unwrap_or_else(|status| error_frame(&status))
    }

    fn view_of(&self, object: Value) -> Value {
        match self.view.transform {
            Transform::None => object,
            Transform::PartialObjectMetadata(version) | Transform::PartialObjectMetadataList(version) => {
                partial(&object, version)
            }
            Transform::Table(version) => {
                let mut table = self.table(version);
                table.resource_version = machinery::meta::resource_version(&object).to_owned();
                table.push(&self.handle, &object);
                table.into_value()
            }
        }
    }

    fn table(&self, version: &'static str) -> Table {
        let table = Table::new(&self.handle, version, self.view.include);
        let sent = self.columns_sent.swap(true, std::sync::atomic::Ordering::Relaxed);
        if sent { table.without_columns() } else { table }
    }

    /// A bookmark: everything up to this revision has been sent. `initial`: so has the state at the beginning.
    fn bookmark(&self, revision: u64, initial: bool) -> Bytes {
        event("BOOKMARK", &self.view_of(bookmark::object(&self.handle, revision, initial)))
    }
}
