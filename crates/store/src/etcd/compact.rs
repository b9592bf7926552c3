//! Regular compaction. Several servers, upstream's among them, take turns by one key: whoever counts its version up compacts.
//! (Facts from upstream's apiserver `pkg/storage/etcd3/compact.go`.)

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Shared;
use super::client::Repeat;
use super::grpc::RpcError;
use super::wire::{
    CompactionRequest, Compare, Op, PutRequest, RangeRequest, TxnRequest, TxnResponse, signed, unsigned,
};

/// The key whose version counts the rounds of all servers, and whose value is the revision compacted in the last one.
const ROUNDS_KEY: Bytes = Bytes::from_static(b"compact_rev_key");

/// Compacts in each round what was the newest in the round before, until the store is closed.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let token = shared.client.token.clone();
    let mut round = Round::default();
    while token.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        match next(&shared, round).await {
            Ok(next) => round = next,
            Err(error) => tracing::warn!(%error, "the regular compaction of etcd failed"),
        }
    }
}

/// What a server knows of the last round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub number: i64,
    /// The newest revision at its time; 0 before the first.
    pub newest: u64,
}

/// Tries to be the one whose round it is. If somebody else was, all that happens is that the count is taken over.
pub(super) async fn next(shared: &Shared, round: Round) -> Result<Round, RpcError> {
    let put = PutRequest { key: ROUNDS_KEY, value: round.newest.to_string().into(), lease: 0 };
    let look = RangeRequest { key: ROUNDS_KEY, ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![Compare::version_is(&ROUNDS_KEY, round.number)],
        success: vec![Op::Put(put).into()],
        failure: vec![Op::Range(look).into()],
    };
    let answer: TxnResponse = shared.client.call(&request, Repeat::Unsent).await?;
    let newest = answer.header.map_or(0, |header| unsigned(header.revision));
    if !answer.succeeded {
        let pair = answer.into_pair().unwrap_or_default();
        let compacted = std::str::from_utf8(&pair.value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        shared.compacted.fetch_max(compacted, Ordering::AcqRel);
        return Ok(Round { number: pair.version, newest });
    }
    if round.newest > 0 {
        compact(shared, round.newest).await?;
    }
    Ok(Round { number: round.number + 1, newest })
}

/// Forgets what only earlier revisions need. That it has been done already is no error.
pub(super) async fn compact(shared: &Shared, before: u64) -> Result<(), RpcError> {
    if before <= shared.client.revision() {
        // The caches' own watch must not be overtaken.
        shared.feed.wait_for(before).await.map_err(|_| RpcError::Closed)?;
    }
    let request = CompactionRequest { revision: signed(before) };
    match shared.client.call(&request, Repeat::Always).await {
        Ok(_) => {}
        Err(RpcError::Refused { message, .. }) if message.contains("has been compacted") => {}
        Err(error) => return Err(error),
    }
    shared.compacted.fetch_max(before, Ordering::AcqRel);
    Ok(())
}
