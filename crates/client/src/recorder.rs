//! Events about objects: best effort, bounded, repeated events counted instead of repeated.

use crate::objects::Objects;
use crate::tasks::Tasks;
use api::{Event, EventSource, MicroTime, ObjectMeta, ObjectReference, Time};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be written; more are dropped.
const PENDING_MAX: usize = 1024;
/// Distinct events remembered for counting.
const KNOWN_MAX: usize = 4096;
/// A repetition later than this many seconds starts a new event.
const REPEAT_SECONDS: i64 = 600;
/// Events of one component about one object: a burst, then one in [`REFILL_SECONDS`].
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// Whether an event reports trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// As expected.
    Normal,
    /// Trouble.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

struct Report {
    about: ObjectReference,
    type_: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Writes events as one component. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Report>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("free", &self.sender.capacity()).finish()
    }
}

impl Recorder {
    /// A recorder for `component` (e.g. `deployment-controller`) on `instance` (a node's name, or empty); `agent` is the
    /// program's name, as for [`crate::Rest`]. Must be called inside a tokio runtime; its task ends when the last clone
    /// is dropped.
    #[must_use]
    pub fn new(client: kube::Client, agent: &'static str, component: &str, instance: &str) -> Self {
        let (sender, receiver) = mpsc::channel(PENDING_MAX);
        let writer = Arc::new(Writer {
            events: Objects::new(client, agent),
            component: component.to_owned(),
            instance: instance.to_owned(),
            receiver: tokio::sync::Mutex::new(receiver),
            memory: Mutex::default(),
        });
        Tasks::new(CancellationToken::new()).spawn(format!("events of {component}"), move || {
            let writer = writer.clone();
            Box::pin(async move { writer.run().await })
        });
        Self { sender }
    }

    /// Reports something about an object. Never waits: when too much is pending the event is dropped.
    pub fn event(&self, about: &ObjectReference, type_: EventType, reason: &str, message: impl Into<String>) {
        let report = Report {
            about: about.clone(),
            type_,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if self.sender.try_send(report).is_err() {
            tracing::debug!(reason, "event dropped");
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    about: (String, String, String, String),
    type_: EventType,
    reason: String,
    message: String,
}

impl Report {
    fn object(&self) -> (String, String, String, String) {
        let part = |value: &Option<String>| value.clone().unwrap_or_default();
        let about = &self.about;
        let place = format!("{}/{}", part(&about.namespace), part(&about.name));
        (part(&about.kind), place, part(&about.uid), part(&about.field_path))
    }

    fn identity(&self) -> Identity {
        Identity {
            about: self.object(),
            type_: self.type_,
            reason: self.reason.clone(),
            message: self.message.clone(),
        }
    }

    fn namespace(&self) -> String {
        self.about.namespace.clone().filter(|namespace| !namespace.is_empty()).unwrap_or("default".into())
    }
}

struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    last: Timestamp,
}

#[derive(Default)]
struct Memory {
    known: HashMap<Identity, Known>,
    buckets: HashMap<(String, String, String, String), Bucket>,
}

impl Memory {
    /// Whether the object's budget of events allows one more.
    fn admit(&mut self, report: &Report) -> bool {
        if self.buckets.len() >= KNOWN_MAX {
            self.buckets.clear();
        }
        let bucket = self.buckets.entry(report.object()).or_insert(Bucket { tokens: BURST, last: report.at });
        let passed = report.at.duration_since(bucket.last).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed / REFILL_SECONDS).min(BURST);
        bucket.last = report.at;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }

    /// Name and new count of the event that this report repeats.
    fn repeat(&mut self, report: &Report) -> Option<(String, i32)> {
        let known = self.known.get_mut(&report.identity())?;
        if report.at.duration_since(known.last).as_secs() > REPEAT_SECONDS {
            return None;
        }
        known.count = known.count.saturating_add(1);
        known.last = report.at;
        Some((known.name.clone(), known.count))
    }

    fn remember(&mut self, report: &Report, name: String) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(report.identity(), Known { name, count: 1, last: report.at });
    }
}

struct Writer {
    events: Objects<Event>,
    component: String,
    instance: String,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Report>>,
    memory: Mutex<Memory>,
}

impl Writer {
    async fn run(&self) {
        let mut receiver = self.receiver.lock().await;
        while let Some(report) = receiver.recv().await {
            if !self.memory.lock().admit(&report) {
                continue;
            }
            if let Err(error) = self.write(&report).await {
                tracing::debug!(reason = report.reason, %error, "failed to write an event");
            }
        }
    }

    async fn write(&self, report: &Report) -> Result<(), kube::Error> {
        let repeated = self.memory.lock().repeat(report);
        if let Some((name, count)) = repeated {
            let patch = serde_json::json!({"count": count, "lastTimestamp": Time(report.at)});
            match self.events.patch(&report.namespace(), &name, &patch).await {
                Err(error) if crate::is_not_found(&error) => {}
                other => return other.map(drop),
            }
        }
        let event = self.make(report);
        let name = event.metadata.name.clone().unwrap_or_default();
        self.events.create(&event).await?;
        self.memory.lock().remember(report, name);
        Ok(())
    }

    fn make(&self, report: &Report) -> Event {
        let base = report.about.name.as_deref().unwrap_or("unknown");
        let host = Some(self.instance.clone()).filter(|host| !host.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{base}.{:x}", report.at.as_nanosecond())),
                namespace: Some(report.namespace()),
                ..ObjectMeta::default()
            },
            involved_object: report.about.clone(),
            reason: Some(report.reason.clone()),
            message: Some(report.message.clone()),
            type_: Some(report.type_.as_str().to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(report.at)),
            last_timestamp: Some(Time(report.at)),
            event_time: None::<MicroTime>,
            source: Some(EventSource { component: Some(self.component.clone()), host }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(message: &str, at: &str) -> Report {
        Report {
            about: ObjectReference { name: Some("p".into()), ..ObjectReference::default() },
            type_: EventType::Normal,
            reason: "Tested".into(),
            message: message.into(),
            at: at.parse().expect("time"),
        }
    }

    #[test]
    fn repetition_is_counted_within_ten_minutes() {
        let mut memory = Memory::default();
        let first = report("a", "2026-01-01T00:00:00Z");
        assert_eq!(memory.repeat(&first), None);
        memory.remember(&first, "n".into());
        assert_eq!(memory.repeat(&report("a", "2026-01-01T00:05:00Z")), Some(("n".into(), 2)));
        assert_eq!(memory.repeat(&report("b", "2026-01-01T00:05:00Z")), None);
        assert_eq!(memory.repeat(&report("a", "2026-01-01T00:30:00Z")), None);
    }

    #[test]
    fn one_object_has_a_budget() {
        let mut memory = Memory::default();
        let admitted = (0..40).filter(|_| memory.admit(&report("a", "2026-01-01T00:00:00Z"))).count();
        assert_eq!(admitted, 25);
        assert!(memory.admit(&report("a", "2026-01-01T00:05:00Z")));
    }
}
