//! GET of a collection.

use bytes::{BufMut, Bytes, BytesMut};
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::{Value, json};
use store::{Entry, ReadError};

use super::answer::{self, partial};
use super::call::{Call, read_error};
use super::meta::{Meta, Selection};
use super::options::{ListOptions, VersionMatch};
use super::seam::Answer;
use super::table::Table;
use super::token::Position;
use crate::http::Transform;

/// Objects of a list, and where it goes on.
pub(super) struct Page {
    pub entries: Vec<Entry>,
    pub revision: u64,
    pub next: Option<Position>,
    pub remaining: Option<u64>,
}

/// The page that a continue token asks for is of a state that is no longer kept.
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.";

impl Call<'_> {
    /// A list, or a page of one.
    pub async fn list(&self) -> Result<Answer, Status> {
        let options = ListOptions::parse(&self.request.query, false)?;
        let selection = self.selection()?;
        let page = self.page(&options, &selection).await?;
        let body = match self.view.transform {
            Transform::Table(version) => self.table(version, &page)?,
            Transform::PartialObjectMetadata(version) | Transform::PartialObjectMetadataList(version) => {
                self.partials(version, &page)?
            }
            Transform::None => self.plain(&page)?,
        };
        Ok(Answer::ok(body))
    }

    /// The label and field selectors of the request; fields must be known to the kind.
    pub(super) fn selection(&self) -> Result<Selection, Status> {
        let query = &self.request.query;
        let bad = |error: machinery::selector::SelectorError| Status::bad_request(error.to_string());
        let labels = query.get_set("labelSelector").map(LabelSelector::parse).transpose().map_err(bad)?;
        let mut fields = query.get_set("fieldSelector").map(FieldSelector::parse).transpose().map_err(bad)?;
        // `/watch/pods/name` names its object in the path.
        if fields.is_none() && !self.name().is_empty() {
            fields = FieldSelector::parse(&format!("metadata.name={}", self.name())).ok();
        }
        let fields = fields.unwrap_or_default();
        for term in fields.terms() {
            self.check_field(&term.field)?;
        }
        Ok(Selection { labels: labels.unwrap_or_default(), fields })
    }

    fn check_field(&self, field: &str) -> Result<(), Status> {
        let known = self.strategy().selectable_field_names();
        if field == "metadata.name" || field == "metadata.namespace" || known.contains(&field) {
            return Ok(());
        }
        Err(Status::bad_request(if known.is_empty() {
            format!(
                "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                go_quote(field)
            )
        } else {
            format!("field label not supported: {field}")
        }))
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
        let position = options.continue_token.as_deref().map(Position::decode).transpose()?;
        if let Some(position) = position {
            if options.resource_version.is_some_and(|version| version != 0) {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            return match position.revision {
                Some(revision) => self.old_page(revision, Some(position), options, selection).await,
                None => self.fresh_page(None, Some(&position), options, selection).await,
            };
        }
        // A limited list of an old version is of exactly that version, as it always was.
        let exact = match (options.resource_version, options.version_match) {
            (Some(version), Some(VersionMatch::Exact)) => Some(version),
            (Some(version), None) if version > 0 && options.limit > 0 => Some(version),
            _ => None,
        };
        match exact {
            Some(revision) => self.old_page(revision, None, options, selection).await,
            None => self.fresh_page(options.resource_version, None, options, selection).await,
        }
    }

    async fn fresh_page(
        &self,
        version: Option<u64>,
        position: Option<&Position>,
        options: &ListOptions,
        selection: &Selection,
    ) -> Result<Page, Status> {
        self.wait_for(version).await?;
        let scope = self.scope(selection);
        let after = position.map(|p| format!("{}{}", self.handle.scope(self.namespace()), p.after));
        // Any version will do for 0, and then upstream's cache answers it whole.
        let limit = if options.limit == 0 || version == Some(0) { usize::MAX } else { options.limit };
        let wanted = if selection.is_empty() { limit } else { usize::MAX };
        let listing =
            self.handle.storage.cache.list(&scope, after.as_deref(), (wanted < usize::MAX).then_some(wanted));
        let mut remaining = listing.remaining;
        let mut items = listing.items;
        if !selection.is_empty() {
            let prefix = self.handle.storage.prefix.len();
            items.retain(|item| selection.matches(&item.entry.key[prefix..], &item.meta));
            remaining = items.len().saturating_sub(limit) as u64;
            items.truncate(limit);
        }
        let entries = items.iter().map(|item| item.entry.clone()).collect();
        Ok(self.finish_page(entries, listing.revision, remaining, selection))
    }

    /// A page of a state of the past, from the store.
    async fn old_page(
        &self,
        revision: u64,
        position: Option<Position>,
        options: &ListOptions,
        selection: &Selection,
    ) -> Result<Page, Status> {
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let scope = self.scope(selection);
        let base = self.handle.scope(self.namespace());
        let list = store::ListOptions {
            at: Some(revision),
            after: position.as_ref().map(|p| format!("{base}{}", p.after)),
            limit: (selection.is_empty() && limit < usize::MAX).then_some(limit),
        };
        let page = match self.store().list(&scope, list).await {
            Ok(page) => page,
            Err(ReadError::Compacted { .. }) => return Err(self.expired(position.as_ref())),
            Err(ReadError::Future { current }) => {
                return Err(Status::too_large_resource_version(revision, current));
            }
            Err(error) => return Err(read_error(&error)),
        };
        let mut entries = page.entries;
        let mut remaining = page.remaining;
        if !selection.is_empty() {
            let prefix = self.handle.storage.prefix.len();
            entries.retain(|entry| {
                selection.matches(&entry.key[prefix..], &Meta::read(&entry.bytes, self.strategy()))
            });
            remaining = entries.len().saturating_sub(limit) as u64;
            entries.truncate(limit);
        }
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

    fn expired(&self, position: Option<&Position>) -> Status {
        Status::expired(match position {
            Some(_) => TOO_OLD,
            None => "The resourceVersion for the provided list is too old.",
        })
    }

    fn plain(&self, page: &Page) -> Result<Bytes, Status> {
        let size: usize = page.entries.iter().map(|entry| entry.bytes.len() + 1).sum();
        let mut body = BytesMut::with_capacity(size + 256);
        let metadata = metadata(page);
        let head = json!([&self.handle.api_version, format!("{}List", self.handle.kind)]);
        body.put_slice(
            format!("{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[", head[1], head[0])
                .as_bytes(),
        );
        for (i, entry) in page.entries.iter().enumerate() {
            if i > 0 {
                body.put_u8(b',');
            }
            body.put_slice(&self.view.object(&self.handle, &entry.bytes)?);
        }
        body.put_slice(b"]}");
        Ok(body.freeze())
    }

    fn partials(&self, version: &str, page: &Page) -> Result<Bytes, Status> {
        let items: Result<Vec<Value>, Status> =
            page.entries.iter().map(|entry| Ok(partial(&answer::parse(&entry.bytes)?, version))).collect();
        Ok(answer::to_bytes(&json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": metadata(page),
            "items": items?,
        })))
    }

    fn table(&self, version: &'static str, page: &Page) -> Result<Bytes, Status> {
        let mut table = Table::new(&self.handle, version, self.view.include);
        table.resource_version = page.revision.to_string();
        table.continue_token = page.next.as_ref().map(Position::encode);
        table.remaining = page.remaining;
        for entry in &page.entries {
            table.push(&self.handle, &self.handle.serve(answer::parse(&entry.bytes)?));
        }
        Ok(answer::to_bytes(&table.into_value()))
    }
}

fn metadata(page: &Page) -> Value {
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = next.encode().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}
