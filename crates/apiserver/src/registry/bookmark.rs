//! Bookmarks of a watch: when one is due, and the object that carries it (upstream: apiserver `pkg/storage/cacher`).

use std::pin::Pin;
use std::time::Duration;

use machinery::schema::{FieldType, Presence, Schema, TypeId};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, Sleep};

use super::handle::ResourceHandle;
use super::table::INITIAL_EVENTS_END;

/// How often an idle watch is told how far it has come.
const PERIOD: Duration = Duration::from_secs(60);
/// So long before its end a watch is told for the last time.
const BEFORE_END: Duration = Duration::from_secs(2);

/// When a watch is told how far it has come.
pub(super) struct Timer {
    /// None when nothing is to be told any more.
    next: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    /// The revision that the watcher began with.
    began: u64,
}

impl Timer {
    pub fn new(deadline: Instant, began: u64) -> Self {
        Self { next: sleep(deadline), deadline, began }
    }

    /// Waits until the watcher is to be told; may be abandoned.
    pub async fn due(&mut self) {
        match &mut self.next {
            Some(next) => next.await,
            None => std::future::pending().await,
        }
        self.next = sleep(self.deadline);
    }

    /// Whether a revision is news.
    pub fn tells(&self, revision: u64) -> bool {
        revision > self.began
    }
}

fn sleep(deadline: Instant) -> Option<Pin<Box<Sleep>>> {
    next(Instant::now(), deadline).map(|at| Box::pin(tokio::time::sleep_until(at)))
}

fn next(now: Instant, deadline: Instant) -> Option<Instant> {
    let next = (now + PERIOD).min(deadline.checked_sub(BEFORE_END)?);
    (next > now).then_some(next)
}

/// An object in which nothing is set but the revision, as Go writes one. `initial`: it tells the end of the first events.
pub(super) fn object(handle: &ResourceHandle, revision: u64, initial: bool) -> Value {
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if initial {
        metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
    }
    let mut object = handle.type_id.map_or_else(Map::new, zero);
    object.insert("kind".to_owned(), handle.kind.clone().into());
    object.insert("apiVersion".to_owned(), handle.api_version.clone().into());
    object.insert("metadata".to_owned(), metadata);
    let mut object = Value::Object(object);
    set_internal_values(handle, &mut object);
    object
}

/// The JSON of a struct in which nothing is set.
fn zero(ty: TypeId) -> Map<String, Value> {
    let field = |field: &machinery::schema::Field| {
        let unset = field.unset()?;
        let value = match field.ty {
            FieldType::Ref(ty) if field.presence() == Presence::Shown => Value::Object(zero(*ty)),
            _ => unset.clone(),
        };
        Some((field.name().to_owned(), value))
    };
    Schema::builtin().ty(ty).fields.iter().filter_map(field).collect()
}

/// What upstream's internal types hold as values although it may be unset in the served version.
fn set_internal_values(handle: &ResourceHandle, object: &mut Value) {
    match (handle.group.as_str(), handle.plural.as_str()) {
        ("apps", "deployments" | "replicasets" | "statefulsets") => object["spec"]["replicas"] = 0.into(),
        ("apps", "daemonsets") => {
            object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = "0".into();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bookmark_comes_shortly_before_the_end() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        for (deadline, want) in [(1, None), (2, None), (3, Some(1)), (62, Some(60)), (1000, Some(60))] {
            assert_eq!(next(now, after(deadline)), want.map(after), "{deadline}");
        }
    }
}
