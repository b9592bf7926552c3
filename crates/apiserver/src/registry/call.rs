//! One request on its way through the engine.

use std::sync::Arc;
use std::time::Duration;

use machinery::status::Status;
use serde_json::Value;
use store::{Draft, Entry, Expect, ReadError, Store, Write, WriteError};

use super::Registry;
use super::admission::{AdmissionContext, Operation};
use super::answer::View;
use super::handle::ResourceHandle;
use super::options::WriteOptions;
use super::seam::{Answer, ApiRequest};
use super::strategy::Strategy;

/// Largest object, bytes: etcd's default for a request.
const OBJECT_BYTES_MAX: usize = 3 << 19;

/// How upstream's store refuses an object that is too large.
const TOO_LARGE: &str = "etcdserver: request is too large";

/// A request with the resource that it names.
pub(super) struct Call<'a> {
    pub registry: &'a Registry,
    pub request: &'a ApiRequest,
    pub handle: Arc<ResourceHandle>,
    pub view: View,
}

impl<'a> Call<'a> {
    pub fn new(
        registry: &'a Registry,
        request: &'a ApiRequest,
        handle: Arc<ResourceHandle>,
    ) -> Result<Self, Status> {
        let view = View::of(request.accept.transform, &request.query)?;
        Ok(Self { registry, request, handle, view })
    }

    pub fn name(&self) -> &str {
        &self.request.info.name
    }

    /// Namespace of the request; empty for cluster-scoped resources (for which the path of a Namespace names itself).
    pub fn namespace(&self) -> &str {
        if self.handle.namespaced { &self.request.info.namespace } else { "" }
    }

    pub fn key(&self) -> String {
        self.handle.key(self.namespace(), self.name())
    }

    pub fn strategy(&self) -> &dyn Strategy {
        self.handle.strategy()
    }

    pub fn store(&self) -> &dyn Store {
        self.registry.store.as_ref()
    }

    pub fn context(&self, operation: Operation, name: &'a str, dry_run: bool) -> AdmissionContext<'_> {
        AdmissionContext {
            registry: self.registry,
            user: &self.request.user,
            handle: &self.handle,
            operation,
            verb: &self.request.info.verb,
            subresource: &self.request.info.subresource,
            namespace: self.namespace(),
            name,
            dry_run,
        }
    }

    /// The present state of an object, straight from the store.
    pub async fn current(&self, key: &str) -> Result<Option<Entry>, Status> {
        self.store().get(key).await.map_err(|error| read_error(&error))
    }

    /// The present state, or 404.
    pub async fn existing(&self, key: &str, name: &str) -> Result<Entry, Status> {
        self.current(key).await?.ok_or_else(|| self.handle.not_found(name))
    }

    pub async fn put(&self, key: &str, expect: Expect, object: &Value) -> Result<Entry, Refused> {
        put_for(self.store(), key, expect, object, self.strategy().lasts()).await
    }

    /// Stores an object; one that is too large is stored without the record of its managers, unless that is what the
    /// request is about.
    pub async fn put_within(
        &self,
        key: &str,
        expect: Expect,
        object: &mut Value,
        options: &WriteOptions,
    ) -> Result<Entry, Refused> {
        match self.put(key, expect, object).await {
            Err(Refused::Status(status)) if status.message == TOO_LARGE && !options.keeps_managed_fields => {
                machinery::meta::remove(object, "managedFields");
                self.put(key, expect, object).await
            }
            written => written,
        }
    }

    pub async fn remove(&self, key: &str, expect: Expect) -> Result<Entry, Refused> {
        self.store().write(Write::Delete { key: key.to_owned(), expect }).await.map_err(refused)
    }

    /// The answer for an object that was just stored.
    pub fn answer_entry(&self, code: u16, entry: &Entry, warnings: Vec<String>) -> Result<Answer, Status> {
        Ok(Answer::with_code(code, self.view.object(&self.handle, &entry.bytes)?).with_warnings(warnings))
    }

    /// The answer for an object of the stored version that was not stored (dry run).
    pub fn answer_value(&self, code: u16, object: Value, warnings: Vec<String>) -> Result<Answer, Status> {
        let value = self.view.value(&self.handle, self.handle.serve(object))?;
        Ok(Answer::with_code(code, super::answer::to_bytes(&value)).with_warnings(warnings))
    }
}

/// Why a write was not done.
pub(super) enum Refused {
    /// The key was not in the expected state; this is the state it is in.
    Conflict(Option<Entry>),
    /// Anything else.
    Status(Status),
}

/// Whether the write may have been done nevertheless.
pub(super) fn is_open(refused: &Refused) -> bool {
    matches!(refused, Refused::Status(status) if status.code >= 500 && status.message != TOO_LARGE)
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Refused::Status(status)
    }
}

/// Stores an object.
pub(super) async fn put(
    store: &dyn Store,
    key: &str,
    expect: Expect,
    object: &Value,
) -> Result<Entry, Refused> {
    put_for(store, key, expect, object, None).await
}

/// Stores an object that is to go when it has not been written for so long.
pub(super) async fn put_for(
    store: &dyn Store,
    key: &str,
    expect: Expect,
    object: &Value,
    ttl: Option<Duration>,
) -> Result<Entry, Refused> {
    let draft = draft(object)?;
    check_size(object, draft.bytes.len())?;
    let write = Write::Put { key: key.to_owned(), expect, draft, ttl };
    store.write(write).await.map_err(refused)
}

/// Refuses what upstream's store would not take. There, objects of built-in kinds are kept as protobuf, which is smaller.
fn check_size(object: &Value, json: usize) -> Result<(), Status> {
    let fits = json <= OBJECT_BYTES_MAX
        || machinery::codec::protobuf::encode(object).is_ok_and(|message| message.len() <= OBJECT_BYTES_MAX);
    if fits { Ok(()) } else { Err(too_large()) }
}

fn too_large() -> Status {
    Status::unknown(TOO_LARGE)
}

/// An object ready to be stored.
pub(super) fn draft(object: &Value) -> Result<Draft, Status> {
    let (bytes, at) = machinery::serialize::to_draft(object);
    let revision_at = u32::try_from(at).map_err(|_| Status::request_too_large("limit is 4294967295"))?;
    Ok(Draft { bytes: bytes.into(), revision_at })
}

pub(super) fn refused(error: WriteError) -> Refused {
    Refused::Status(match error {
        WriteError::Conflict { current } => return Refused::Conflict(current),
        WriteError::TooLarge { .. } => too_large(),
        WriteError::InvalidKey { .. } => Status::bad_request(error.to_string()),
        error => Status::internal(error),
    })
}

/// The Status for a store that cannot be read.
pub(super) fn read_error(error: &ReadError) -> Status {
    match error {
        ReadError::Closed => Status::service_unavailable("the server is shutting down"),
        error => Status::internal(error),
    }
}
