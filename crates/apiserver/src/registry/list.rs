//! GET of a collection.

use bytes::{BufMut, Bytes, BytesMut};
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::serialize::type_head;
use machinery::status::Status;
use serde_json::{Value, json};
use store::{Entry, ReadError};

use super::answer::{self, not_acceptable};
use super::call::{Call, read_error};
use super::handle::ResourceHandle;
use super::meta::{Meta, Selection};
use super::options::{ListOptions, VersionMatch};
use super::seam::Answer;
use super::table::Table;
use super::token::Position;
use crate::http::Transform;
use crate::registry::CachedObject;

/// Objects of a list, and where it goes on.
#[derive(Default)]
pub(super) struct Page {
    pub entries: Vec<Entry>,
    /// Zero for what is not stored.
    pub revision: u64,
    pub next: Option<Position>,
    pub remaining: Option<u64>,
}

/// The state that a list asks for is no longer kept.
const VERSION_EXPIRED: &str = "The resourceVersion for the provided list is too old.";
/// The same for a later page: a token for the rest, as it is now, comes with this.
const TOKEN_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Call<'_> {
    /// A list, or a page of one.
    pub async fn list(&self) -> Result<Answer, Status> {
        let options = ListOptions::parse(&self.request.query, false)?;
        let selection = self.selection()?;
        let page = match self.handle.is_kept() {
            true => self.page(&options, &selection).await?,
            false => self.component_page(&selection).await,
        };
        self.answer_page(&page)
    }

    /// A page in the form that the client wants.
    pub(super) fn answer_page(&self, page: &Page) -> Result<Answer, Status> {
        Ok(Answer::ok(match self.view.transform {
            Transform::Table(version) => self.table(version, page)?,
            Transform::PartialObjectMetadataList(version) => self.partials(version, page)?,
            Transform::PartialObjectMetadata(_) => {
                let list = self.handle.go_list_type();
                return Err(not_acceptable(format!(
                    "you requested PartialObjectMetadata, but the requested object is a list ({list})"
                )));
            }
            Transform::None => self.plain(page)?,
        }))
    }

    /// The label and field selectors of the request; fields must be known to the kind.
    pub(super) fn selection(&self) -> Result<Selection, Status> {
        let query = &self.request.query;
        let bad = |error: machinery::selector::SelectorError| Status::bad_request(error.to_string());
        let labels = query.get_set("labelSelector").map(LabelSelector::parse).transpose().map_err(bad)?;
        let fields = query.get_set("fieldSelector").map(FieldSelector::parse).transpose().map_err(bad)?;
        let mut fields = fields
            .unwrap_or_default()
            .renamed(|name| super::fields::resolve(&self.handle, name))
            .map_err(Status::bad_request)?;
        let labels = labels.unwrap_or_default();
        // `/watch/pods/name` names its object in the path; a selector for one name has been taken for one.
        let name = self.name();
        if !name.is_empty() {
            if fields.is_empty() {
                fields = FieldSelector::one("metadata.name", name);
            } else if fields.exact("metadata.name") != Some(name) {
                let why = "fieldSelector metadata.name doesn't match requested name";
                return Err(Status::bad_request(why));
            }
        }
        Ok(Selection { labels, fields })
    }

    /// The scope of a list or watch: one key when the selector demands a name, else the namespace or everything.
    pub(super) fn scope(&self, selection: &Selection) -> String {
        match selection.fields.exact("metadata.name") {
            Some(name) if !name.is_empty() && (!self.handle.namespaced || !self.namespace().is_empty()) => {
                self.handle.key(self.namespace(), name)
            }
            _ => self.handle.scope(self.namespace()),
        }
    }

    /// The selected objects of a page.
    pub(super) async fn page(&self, options: &ListOptions, selection: &Selection) -> Result<Page, Status> {
        if let Some(token) = &options.continue_token {
            let position = Position::decode(token)?;
            if options.resource_version.as_deref().is_some_and(|version| version != "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let scope = self.handle.scope(self.namespace());
            return match position.revision {
                Some(revision) => self.old_page(&scope, revision, Some(position), options, selection).await,
                None => self.fresh_page(&scope, None, Some(&position), options, selection).await,
            };
        }
        // One object is not read in pages.
        let scope = self.scope(selection);
        let single = !scope.ends_with('/');
        // A limited list of an old version is of exactly that version, as it always was.
        let version = options.list_version()?;
        let exact = version.filter(|version| match options.version_match {
            Some(wanted) => wanted == VersionMatch::Exact,
            None => *version > 0 && options.limit > 0 && !single,
        });
        match exact {
            Some(revision) => self.old_page(&scope, revision, None, options, selection).await,
            None => self.fresh_page(&scope, version, None, options, selection).await,
        }
    }

    async fn fresh_page(
        &self,
        scope: &str,
        version: Option<u64>,
        position: Option<&Position>,
        options: &ListOptions,
        selection: &Selection,
    ) -> Result<Page, Status> {
        self.wait_for(version).await?;
        let after = position.map(|p| format!("{}{}", self.handle.scope(self.namespace()), p.after));
        let limit = options.page_size();
        let wanted = if selection.is_empty() { limit } else { usize::MAX };
        let listing =
            self.handle.storage.cache.list(scope, after.as_deref(), (wanted < usize::MAX).then_some(wanted));
        let mut remaining = listing.remaining;
        let mut items = listing.items;
        let fetched = items.len();
        if !selection.is_empty() {
            let prefix = self.handle.storage.prefix.len();
            let selects = |item: &CachedObject| selection.matches(&item.entry.key[prefix..], &item.meta);
            remaining = select(&mut items, limit, selects);
        }
        let entries: Vec<Entry> = items.iter().map(|item| item.entry.clone()).collect();
        self.handle.storage.cached_lists.add(fetched, entries.len());
        Ok(self.finish_page(entries, listing.revision, remaining, selection))
    }

    /// A page of a state of the past, from the store.
    async fn old_page(
        &self,
        scope: &str,
        revision: u64,
        position: Option<Position>,
        options: &ListOptions,
        selection: &Selection,
    ) -> Result<Page, Status> {
        // What does not exist yet may come soon.
        self.wait_for(Some(revision)).await?;
        let limit = options.page_size();
        let base = self.handle.scope(self.namespace());
        let list = store::ListOptions {
            at: Some(revision),
            after: position.as_ref().map(|p| format!("{base}{}", p.after)),
            limit: (selection.is_empty() && limit < usize::MAX).then_some(limit),
        };
        let page = match self.store().list(scope, list).await {
            Ok(page) => page,
            Err(ReadError::Compacted { .. }) => return Err(expired(position)),
            Err(ReadError::Future { current }) => {
                return Err(Status::too_large_resource_version(revision, current));
            }
            Err(error) => return Err(read_error(&error)),
        };
        let mut entries = page.entries;
        let fetched = entries.len();
        let mut remaining = page.remaining;
        if !selection.is_empty() {
            let prefix = self.handle.storage.prefix.len();
            remaining = select(&mut entries, limit, |entry: &Entry| {
                selection.matches(&entry.key[prefix..], &Meta::read(&entry.bytes, self.strategy()))
            });
        }
        self.handle.storage.stored_lists.add(fetched, entries.len());
        Ok(self.finish_page(entries, revision, remaining, selection))
    }

    fn finish_page(&self, entries: Vec<Entry>, revision: u64, remaining: u64, selection: &Selection) -> Page {
        let base = self.handle.scope(self.namespace()).len();
        let next = entries.last().filter(|_| remaining > 0).map(|last| Position {
            revision: Some(revision),
            after: last.key.get(base..).unwrap_or_default().to_owned(),
        });
        // What follows can only be counted without looking at it when everything is selected.
        let remaining = (next.is_some() && selection.is_empty()).then_some(remaining);
        Page { entries, revision, next, remaining }
    }

    fn plain(&self, page: &Page) -> Result<Bytes, Status> {
        let size: usize = page.entries.iter().map(|entry| entry.bytes.len() + 1).sum();
        let mut body = BytesMut::with_capacity(size + 256);
        body.put_slice(&type_head(&self.handle.api_version, &format!("{}List", self.handle.kind)));
        body.put_slice(format!("\"metadata\":{},\"items\":[", metadata(page)).as_bytes());
        let items = ListItems::new(&self.handle);
        for (i, entry) in page.entries.iter().enumerate() {
            if i > 0 {
                body.put_u8(b',');
            }
            items.put(&mut body, &entry.bytes)?;
        }
        body.put_slice(b"]}");
        Ok(body.freeze())
    }

    fn partials(&self, version: &str, page: &Page) -> Result<Bytes, Status> {
        let mut body = format!(
            "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{},\"items\":[",
            metadata(page)
        )
        .into_bytes();
        for (at, entry) in page.entries.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            answer::write_partial(&mut body, &entry.bytes, version)?;
        }
        body.extend_from_slice(b"]}");
        Ok(body.into())
    }

    fn table(&self, version: &'static str, page: &Page) -> Result<Bytes, Status> {
        let mut table = Table::new(&self.handle, version, self.view.include);
        if page.revision > 0 {
            table.resource_version = page.revision.to_string();
        }
        table.continue_token = page.next.as_ref().map(Position::encode);
        table.remaining = page.remaining;
        for entry in &page.entries {
            table.push(&self.handle, &self.handle.serve(answer::parse(&entry.bytes)?));
        }
        Ok(answer::to_bytes(&table.into_value()))
    }
}

/// Objects as they stand in a list: of built-in kinds the list alone says what they are, custom ones say it themselves.
struct ListItems<'a> {
    handle: &'a ResourceHandle,
    /// What stored bytes begin with and a list leaves out.
    head: Option<Vec<u8>>,
}

impl<'a> ListItems<'a> {
    fn new(handle: &'a ResourceHandle) -> Self {
        let storage = &handle.storage;
        let head = handle.type_id.map(|_| type_head(&storage.api_version, &storage.kind));
        Self { handle, head }
    }

    /// Appends an object, from its stored bytes.
    fn put(&self, body: &mut BytesMut, stored: &[u8]) -> Result<(), Status> {
        let Some(head) = &self.head else {
            if self.handle.converts() {
                body.put_slice(&answer::to_bytes(&self.handle.serve(answer::parse(stored)?)));
            } else {
                body.put_slice(stored);
            }
            return Ok(());
        };
        if let Some(rest) = stored.strip_prefix(head.as_slice()).filter(|_| !self.handle.converts()) {
            body.put_u8(b'{');
            body.put_slice(rest);
            return Ok(());
        }
        let mut object = self.handle.serve(answer::parse(stored)?);
        if let Some(map) = object.as_object_mut() {
            map.remove("kind");
            map.remove("apiVersion");
        }
        body.put_slice(&answer::to_bytes(&object));
        Ok(())
    }
}

/// Leaves the first selected ones, and says how many follow: something or nothing. As upstream, it is not looked at whether what
/// follows is selected as well, so that the last page may be empty.
fn select<T>(items: &mut Vec<T>, limit: usize, selects: impl Fn(&T) -> bool) -> u64 {
    let mut following = items.len() as u64;
    let mut room = limit;
    items.retain(|item| {
        if room == 0 {
            return false;
        }
        following -= 1;
        let selected = selects(item);
        room -= usize::from(selected);
        selected
    });
    following
}

/// The 410 for a state that was compacted away. A page comes with a token for the rest as it is now.
fn expired(position: Option<Position>) -> Status {
    let Some(position) = position else { return Status::expired(VERSION_EXPIRED) };
    let rest = Position { revision: None, ..position };
    Status::expired(TOKEN_EXPIRED).with_continue(rest.encode())
}

fn metadata(page: &Page) -> Value {
    let mut metadata = json!({});
    if page.revision > 0 {
        metadata["resourceVersion"] = page.revision.to_string().into();
    }
    if let Some(next) = &page.next {
        metadata["continue"] = next.encode().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}
