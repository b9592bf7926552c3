//! Writes: each is one transaction whose condition is the expected state, and whose other branch tells the present one.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{ReadError, WriteError};
use crate::types::KEY_MAX;
use crate::types::{Draft, Entry, Expect, Write};

use super::client::Repeat;
use super::grpc::{RpcError, code};
use super::wire::{
    Compare, DeleteRangeRequest, Op, PutRequest, RangeRequest, TxnRequest, TxnResponse, signed, unsigned,
};
use super::{Shared, object};

/// Bytes of an object under etcd's default limit for a request (`--max-request-bytes`), less what else a request has.
const OBJECT_BYTES_MAX: usize = (3 << 19) - 512;
/// How etcd refuses, before it does anything, to put something under a lease that is not there.
const NO_LEASE: &str = "requested lease not found";

impl Shared {
    pub async fn write(&self, write: Write) -> Result<Entry, WriteError> {
        let key = write.key();
        if key.is_empty() || key.len() > KEY_MAX || key.contains('\0') || key.ends_with('/') {
            return Err(WriteError::InvalidKey { max: KEY_MAX });
        }
        match write {
            Write::Put { key, expect, draft, ttl } => self.put(key, expect, draft, ttl).await,
            Write::Delete { key, expect } => self.delete(key, expect).await,
        }
    }

    async fn put(
        &self,
        key: String,
        expect: Expect,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, WriteError> {
        let name = Bytes::from(key.clone());
        let compare = match expect {
            Expect::Absent => Some(Compare::revision_is(&name, 0)),
            // No state has revision 0; to etcd it would mean that there is none.
            Expect::Revision(0) => return Err(self.conflict(&key).await),
            Expect::Revision(revision) => Some(Compare::revision_is(&name, signed(revision))),
            Expect::Any => None,
        };
        let value = self.client.values.encode(&draft);
        let put = PutRequest { key: name, value, lease: 0 };
        let answer = match ttl {
            None => self.store(compare, put).await?,
            Some(ttl) => self.store_for(compare, put, ttl).await?,
        };
        let revision = answer.header.map_or(0, |header| unsigned(header.revision));
        Ok(draft.at_revision(key.into(), revision))
    }

    async fn store(&self, compare: Option<Compare>, put: PutRequest) -> Result<TxnResponse, WriteError> {
        let (key, size) = (put.key.clone(), put.value.len());
        self.transact(key, compare, Op::Put(put), size).await
    }

    /// The same under a lease; under a new one if somebody has revoked it.
    async fn store_for(
        &self,
        compare: Option<Compare>,
        put: PutRequest,
        ttl: Duration,
    ) -> Result<TxnResponse, WriteError> {
        let under = |lease| PutRequest { lease, ..put.clone() };
        let lease = self.lease(ttl).await?;
        match self.store(compare.clone(), under(lease)).await {
            Err(WriteError::Unreachable(reason)) if reason.contains(NO_LEASE) => {
                self.leases.forget(lease).await;
                self.store(compare, under(self.lease(ttl).await?)).await
            }
            stored => stored,
        }
    }

    /// Whatever becomes of a lease, nothing has been written then.
    async fn lease(&self, ttl: Duration) -> Result<i64, WriteError> {
        self.leases.get(&self.client, ttl).await.map_err(|error| match failed(error, 0) {
            WriteError::Unknown(reason) => WriteError::Unreachable(reason),
            refused => refused,
        })
    }

    async fn delete(&self, key: String, expect: Expect) -> Result<Entry, WriteError> {
        let name = Bytes::from(key.clone());
        let compare = match expect {
            Expect::Absent | Expect::Revision(0) => return Err(self.conflict(&key).await),
            Expect::Revision(revision) => Compare::revision_is(&name, signed(revision)),
            Expect::Any => Compare::exists(&name),
        };
        let delete = DeleteRangeRequest { key: name.clone(), prev_kv: true };
        let answer = self.transact(name, Some(compare), Op::Delete(delete), 0).await?;
        let revision = answer.header.map_or(0, |header| unsigned(header.revision));
        let last = answer.into_pair().unwrap_or_default();
        object::entry_at(&self.client.values, &last, revision).map_err(WriteError::Unreadable)
    }

    /// Carries out `op` if `compare` holds.
    async fn transact(
        &self,
        key: Bytes,
        compare: Option<Compare>,
        op: Op,
        size: usize,
    ) -> Result<TxnResponse, WriteError> {
        let look = Op::Range(RangeRequest { key, ..RangeRequest::default() });
        let request = TxnRequest {
            compare: compare.into_iter().collect(),
            success: vec![op.into()],
            failure: vec![look.into()],
        };
        let answer = self.client.call(&request, Repeat::Unsent).await.map_err(|error| failed(error, size))?;
        if answer.succeeded {
            return Ok(answer);
        }
        let current =
            answer.into_pair().as_ref().map(|pair| object::entry(&self.client.values, pair)).transpose();
        Err(WriteError::Conflict { current: current.map_err(WriteError::Unreadable)? })
    }

    /// A write that no state allows.
    async fn conflict(&self, key: &str) -> WriteError {
        match self.get(key).await {
            Ok(current) => WriteError::Conflict { current },
            Err(ReadError::Closed) => WriteError::Closed,
            Err(error) => WriteError::Unreadable(error),
        }
    }
}

fn failed(error: RpcError, size: usize) -> WriteError {
    match error {
        RpcError::NotSent(reason) => WriteError::Unreachable(reason),
        RpcError::Lost(reason) => WriteError::Unknown(reason),
        RpcError::Closed => WriteError::Closed,
        RpcError::Refused { code, message } => refused(code, message, size),
    }
}

/// etcd's words tell more than most of its codes.
fn refused(code: u32, message: String, size: usize) -> WriteError {
    let says = |words: &str| message.contains(words);
    // Who asks is looked at before anything is done. Nobody at all is another code's.
    let denied = matches!(code, code::PERMISSION_DENIED | code::UNAUTHENTICATED);
    let unknown_user = ["user name is empty", "authentication failed", "revision of auth store is old"];
    if denied || unknown_user.into_iter().any(says) || says(NO_LEASE) {
        return WriteError::Unreachable(message);
    }
    if says("request is too large") || says("message larger than max") {
        return WriteError::TooLarge { size, max: OBJECT_BYTES_MAX };
    }
    if says("database space exceeded") {
        return WriteError::Full(message);
    }
    // Among them: it timed out, its leader changed. Others are refusals, but none that is known to come before the write.
    WriteError::Unknown(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let kind = |message: &str| match refused(code::UNKNOWN, message.to_owned(), 7) {
            WriteError::Unreachable(_) => "not done",
            WriteError::TooLarge { size: 7, .. } => "too large",
            WriteError::Full(_) => "full",
            WriteError::Unknown(_) => "unknown",
            other => panic!("{other}"),
        };
        assert_eq!(kind("etcdserver: request is too large"), "too large");
        assert_eq!(kind("grpc: received message larger than max (5 vs. 4)"), "too large");
        assert_eq!(kind("etcdserver: mvcc: database space exceeded"), "full");
        assert_eq!(kind("etcdserver: request timed out"), "unknown");
        assert_eq!(kind("etcdserver: leader changed"), "unknown");
        assert_eq!(kind("etcdserver: user name is empty"), "not done");
        assert_eq!(kind("etcdserver: requested lease not found"), "not done");
        assert_eq!(kind("etcdserver: authentication failed, invalid user ID or password"), "not done");
        let denied = refused(code::PERMISSION_DENIED, "etcdserver: permission denied".to_owned(), 7);
        assert_eq!(denied.to_string(), "the store cannot be reached: etcdserver: permission denied");
    }
}
