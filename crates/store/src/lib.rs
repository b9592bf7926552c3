//! The revisioned key-value store with watch, and the cache every read of the API is served from.
//!
//! - [`Store`] is the contract of a driver: conditional writes, exact reads at any retained revision, watch. One suite,
//!   `conformance` (feature of that name), holds every driver to it.
//! - [`Embedded`] is the driver that needs nothing installed: a log on disk, durable by group commit, and its index in
//!   memory (format: `docs/store.md`).
//! - [`Etcd`] is the driver for a cluster of etcd that several servers share.
//! - [`Feed`] is one ordered broadcast a store: it carries each committed write to the caches that want it, and tells
//!   how far everybody has been brought.
//! - [`Cache`] keeps the objects of one resource with their bytes shared between lists, watchers and history.
//!
//! Keys are paths: `/registry/<group>/<plural>/<namespace>/<name>`. Wherever this crate takes a *scope* (`prefix`), a
//! scope that ends in `/`, and the empty one, mean everything below it; any other scope means that one key ([`covers`]).

mod cache;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod driver;
mod embedded;
mod error;
mod etcd;
mod feed;
mod scope;
mod types;

pub use cache::{Cache, CacheOptions, CacheWatch, Caches, Change, Expired, Index, Item, Listing, WatchEnd};
pub use driver::{Store, Update, Watch};
pub use embedded::{Embedded, OpenError, Options, Restored, Snapshot, SnapshotError, restore};
pub use error::{CompactError, ReadError, WatchError, WriteError};
pub use etcd::{Completion, Endpoint, Etcd, EtcdError, EtcdOptions, EtcdOptionsError, EtcdTls, EtcdUser};
pub use feed::{Feed, Sink};
pub use scope::covers;
pub use types::{Draft, Entry, Event, EventKind, Expect, ListOptions, Page, Write};
