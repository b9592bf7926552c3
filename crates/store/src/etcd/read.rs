//! Reads of one state.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::error::ReadError;
use crate::scope::is_tree;
use crate::types::{Entry, ListOptions, Page};

use super::client::Repeat;
use super::grpc::RpcError;
use super::value::Values;
use super::wire::{RangeRequest, RangeResponse, signed, unsigned};
use super::{Shared, object};

/// Pairs in the first chunk of a list; then as many as fit …
const CHUNK_FIRST: usize = 200;
/// … this many bytes, by what they had on average so far.
const CHUNK_BYTES: usize = 8 << 20;
const CHUNK_MAX: usize = 5_000;
/// A key that never exists, for reads of nothing but the revision: keys do not end in a slash.
const NO_KEY: Bytes = Bytes::from_static(b"/");

impl Shared {
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let request = RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..RangeRequest::default() };
        let answer = self.range(&request).await?;
        answer.kvs.first().map(|pair| object::entry(&self.client.values, pair)).transpose()
    }

    /// The newest revision of the whole cluster, and that the revision `at`, if it is not 0, can be read.
    pub async fn check(&self, at: u64) -> Result<u64, ReadError> {
        let request =
            RangeRequest { key: NO_KEY, count_only: true, revision: signed(at), ..RangeRequest::default() };
        Ok(revision(&self.range(&request).await?))
    }

    async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ReadError> {
        match self.client.call(request, Repeat::Always).await {
            Ok(answer) => Ok(answer),
            Err(RpcError::Closed) => Err(ReadError::Closed),
            Err(RpcError::Refused { message, .. }) if message.contains("has been compacted") => {
                Err(ReadError::Compacted { oldest: self.oldest(unsigned(request.revision)).await })
            }
            Err(RpcError::Refused { message, .. }) if message.contains("future revision") => {
                Err(ReadError::Future { current: self.newest().await })
            }
            Err(error) => Err(ReadError::Io(error.to_string())),
        }
    }

    async fn newest(&self) -> u64 {
        let request = RangeRequest { key: NO_KEY, count_only: true, ..RangeRequest::default() };
        let _ = self.client.call(&request, Repeat::Always).await;
        self.client.revision()
    }

    /// The oldest revision that can be read, looked for when `refused` cannot: etcd does not tell, another server may have compacted.
    pub async fn oldest(&self, refused: u64) -> u64 {
        let known = self.compacted.load(Ordering::Acquire);
        if refused < known {
            return known;
        }
        let (mut low, mut high) = (refused, self.newest().await);
        while low + 1 < high {
            let middle = low.midpoint(high);
            let request = RangeRequest {
                key: NO_KEY,
                count_only: true,
                revision: signed(middle),
                ..RangeRequest::default()
            };
            match self.client.call(&request, Repeat::Always).await {
                Ok(_) => high = middle,
                Err(_) => low = middle,
            }
        }
        self.compacted.fetch_max(high, Ordering::AcqRel).max(high)
    }

    pub async fn list(&self, scope: &str, options: &ListOptions) -> Result<Page, ReadError> {
        if options.at == Some(0) {
            return Err(ReadError::Compacted { oldest: self.compacted.load(Ordering::Acquire).max(1) });
        }
        let mut listing = Listing::new(scope, options);
        while let Some(request) = listing.request() {
            let answer = self.range(&request).await?;
            listing.take(&self.client.values, &answer)?;
        }
        Ok(listing.page)
    }
}

fn revision(answer: &RangeResponse) -> u64 {
    answer.header.map_or(0, |header| unsigned(header.revision))
}

/// A list on its way, chunk by chunk at one revision.
struct Listing {
    page: Page,
    /// First key that is wanted, and the end; a single key has none.
    from: Bytes,
    end: Bytes,
    wanted: usize,
    bytes: usize,
    /// Keys in the range; known after the first chunk.
    total: Option<u64>,
    last: bool,
}

impl Listing {
    fn new(scope: &str, options: &ListOptions) -> Listing {
        let (mut from, mut end) = range_of(scope);
        if let Some(after) = options.after.as_deref().filter(|after| after.as_bytes() >= &from[..]) {
            let past = end.is_empty() || after.as_bytes() >= &end[..];
            (from, end) = if past { (NO_KEY, Bytes::new()) } else { (successor(after.as_bytes()), end) };
        }
        let page = Page { entries: Vec::new(), revision: options.at.unwrap_or(0), more: false, remaining: 0 };
        let wanted = options.limit.unwrap_or(usize::MAX);
        Listing { page, from, end, wanted, bytes: 0, total: None, last: false }
    }

    /// The next chunk to ask for; none when the page is complete.
    fn request(&self) -> Option<RangeRequest> {
        let found = self.page.entries.len();
        if self.last || (self.total.is_some() && found >= self.wanted) {
            return None;
        }
        let fitting = match found {
            0 => CHUNK_FIRST,
            found => (CHUNK_BYTES / (self.bytes / found).max(1)).clamp(1, CHUNK_MAX),
        };
        Some(RangeRequest {
            key: self.from.clone(),
            range_end: self.end.clone(),
            limit: fitting.min(self.wanted - found) as i64,
            revision: signed(self.page.revision),
            count_only: self.wanted == 0,
        })
    }

    fn take(&mut self, values: &Values, answer: &RangeResponse) -> Result<(), ReadError> {
        if self.page.revision == 0 {
            self.page.revision = revision(answer);
        }
        let total = *self.total.get_or_insert(unsigned(answer.count));
        for pair in &answer.kvs {
            self.bytes += pair.value.len();
            self.page.entries.push(object::entry(values, pair)?);
        }
        self.last = !answer.more;
        self.page.remaining = total.saturating_sub(self.page.entries.len() as u64);
        self.page.more = self.page.remaining > 0;
        if let Some(pair) = answer.kvs.last() {
            self.from = successor(&pair.key);
        }
        Ok(())
    }
}

/// The keys of a scope as etcd has it. The empty scope is all objects: their keys begin with a slash.
fn range_of(scope: &str) -> (Bytes, Bytes) {
    let scope = if scope.is_empty() { "/" } else { scope };
    let from = Bytes::copy_from_slice(scope.as_bytes());
    if !is_tree(scope) {
        return (from, Bytes::new());
    }
    let mut end = scope.as_bytes().to_vec();
    // It ends in a slash; the next character makes it greater than everything below.
    end.pop();
    end.push(b'/' + 1);
    (from, end.into())
}

/// The first key greater than `key`.
fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}
