//! Puts right what is taken and what Services say they have, where the two differ: after a crash between two writes, after an
//! update from a version that kept no record, or because somebody changed the record
//! (upstream `pkg/registry/core/service/ipallocator/controller`, `portallocator/controller`).

mod addresses;
mod ports;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;
use store::{CacheWatch, EventKind, WatchEnd};
use tokio_util::sync::CancellationToken;

use super::super::kinds::value::text;
use super::super::steps::Step;
use super::super::{Meta, Registry, record};
use super::addresses::GROUP;
use ports::Leaks;

/// What nobody writes any more, such as the address of a Service whose creation ended half-way, is looked for so often.
const EVERY: Duration = Duration::from_secs(180);
/// Findings that last are told once; so many are remembered.
const TOLD_MAX: usize = 10_000;

/// What is wrong, and what is done about it.
#[derive(Debug, Clone, PartialEq)]
struct Finding {
    /// The object that the event is about; none: it is put right silently.
    event: Option<record::Warning>,
    fix: Fix,
}

#[derive(Debug, Clone, PartialEq)]
enum Fix {
    /// Only the user can.
    Nothing,
    Create(Value),
    Delete(Value),
    Replace {
        old: Value,
        new: Value,
    },
}

/// What this server remembers from one round to the next.
#[derive(Default)]
struct Memory {
    told: HashSet<String>,
    leaks: Leaks,
}

/// Looks at everything once: what Services have and nobody wrote down is written down.
///
/// # Errors
/// When the store cannot be read.
pub async fn repair(registry: &Registry, now: Timestamp) -> Result<(), Status> {
    round(registry, &mut Memory::default(), now).await
}

async fn round(registry: &Registry, memory: &mut Memory, now: Timestamp) -> Result<(), Status> {
    registry.fresh().await?;
    for service in registry.values("", "services", "") {
        settle(registry, memory, addresses::of_service(registry, &service)).await;
    }
    for address in registry.values(GROUP, "ipaddresses", "") {
        settle(registry, memory, addresses::of_address(registry, &address, now)).await;
    }
    let findings = ports::check(registry, &mut memory.leaks).await?;
    settle(registry, memory, findings).await;
    registry.steps().done(Step::ServiceRepair);
    Ok(())
}

/// Repairs until the token is cancelled: addresses as soon as they change, and everything from time to time.
pub async fn run(registry: Arc<Registry>, token: CancellationToken) {
    let mut memory = Memory::default();
    let Some(mut watch) = watch(&registry).await else { return };
    // The first one is at once: something may have happened between the start and this watch.
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = rounds.tick() => everything(&registry, &mut memory).await,
            change = watch.next() => match change {
                Ok(change) => {
                    let gone = change.kind == EventKind::Deleted;
                    changed(&registry, &mut memory, &change.item.entry.bytes, gone).await;
                }
                Err(WatchEnd::Closed) => return,
                Err(WatchEnd::Lagged) => {
                    let Some(again) = self::watch(&registry).await else { return };
                    watch = again;
                    everything(&registry, &mut memory).await;
                }
            },
        }
    }
}

async fn everything(registry: &Registry, memory: &mut Memory) {
    if let Err(status) = round(registry, memory, Timestamp::now()).await {
        tracing::warn!(%status, "failed to look for addresses and ports that have leaked");
    }
}

async fn watch(registry: &Registry) -> Option<CacheWatch<Meta>> {
    let storage = &registry.resource(GROUP, "ipaddresses")?.storage;
    storage.cache.watch(&storage.prefix, storage.cache.revision()).await.ok()
}

/// Looks at an address that was changed, and at the Service that has it.
async fn changed(registry: &Registry, memory: &mut Memory, bytes: &[u8], gone: bool) {
    let Ok(address) = serde_json::from_slice::<Value>(bytes) else { return };
    if !gone {
        let findings = addresses::of_address(registry, &address, Timestamp::now());
        settle(registry, memory, findings).await;
    }
    let parent = &address["spec"]["parentRef"];
    if let Some(service) =
        registry.object_value("", "services", text(parent, "namespace"), text(parent, "name"))
    {
        settle(registry, memory, addresses::of_service(registry, &service)).await;
    }
}

async fn settle(registry: &Registry, memory: &mut Memory, findings: Vec<Finding>) {
    for finding in findings {
        if let Some(event) = &finding.event {
            if memory.told.len() >= TOLD_MAX {
                memory.told.clear();
            }
            // What is put right may go wrong in the same way again, and is told again.
            let once = format!("{} {} {}", meta::uid(&event.about), event.reason, event.note);
            if finding.fix != Fix::Nothing || memory.told.insert(once) {
                record::warn(registry, event).await;
            }
        }
        if let Err(status) = fix(registry, finding.fix).await {
            tracing::warn!(%status, "failed to repair what is taken by Services");
        }
    }
}

async fn fix(registry: &Registry, fix: Fix) -> Result<(), Status> {
    let create = async |object| match registry.create(object).await {
        // Another server was faster.
        Err(status) if status.code != 409 => Err(status),
        _ => Ok(()),
    };
    match fix {
        Fix::Nothing => Ok(()),
        Fix::Create(object) => create(object).await,
        Fix::Delete(object) => registry.delete(&object).await,
        Fix::Replace { old, new } => {
            registry.delete(&old).await?;
            create(new).await
        }
    }
}
