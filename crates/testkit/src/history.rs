//! Judges what clients of a store saw, while it ran and while it was killed: is there one order of all writes that explains it?
//!
//! Each key is a register, and each write gets a revision of one counter for all keys. The order is therefore not searched for but
//! claimed by the store; what is checked is that it agrees with what every client was told, and with real time: an
//! operation that began after another had ended sees at least what that one saw.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, ensure};

/// What a client asked for, and what it was told.
#[derive(Debug, Clone)]
pub struct Operation {
    /// When it began, by a clock that all clients share.
    pub start: Duration,
    /// When the answer was there.
    pub end: Duration,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    /// A write of a value that no other write has.
    Write {
        key: String,
        value: String,
        /// The revision that the key had to be at.
        expected: Option<u64>,
        outcome: Outcome,
    },
    /// One key.
    Read(Seen),
    /// All keys, as they are at a revision.
    List { revision: u64, items: Vec<Seen> },
}

/// What a client knows of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, with its revision.
    Done(u64),
    /// The key was at another revision.
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// A state of a key, by its last write. Also what a watch tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub revision: u64,
    pub key: String,
    pub value: String,
}

/// What was found to be in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub acknowledged: usize,
    /// Writes without an answer that took place.
    pub unknown_done: usize,
    pub refused: usize,
    pub reads: usize,
}

/// Checks the operations of all clients, and the events of watchers that all began before the first write and ended after the last.
///
/// # Errors
/// What no order of the writes explains.
pub fn check(operations: &[Operation], watchers: &[Vec<Seen>]) -> anyhow::Result<Summary> {
    let log = Log::agreed(watchers)?;
    let summary = log.explains(operations)?;
    log.keeps_time(operations)?;
    Ok(summary)
}

/// All writes, as the watchers saw them.
struct Log<'a> {
    by_revision: BTreeMap<u64, &'a Seen>,
    by_key: HashMap<&'a str, BTreeMap<u64, &'a Seen>>,
}

impl<'a> Log<'a> {
    /// Every watcher saw the same, each revision once and in order.
    fn agreed(watchers: &'a [Vec<Seen>]) -> anyhow::Result<Self> {
        let first = watchers.first().context("no watcher")?;
        for (number, events) in watchers.iter().enumerate() {
            for pair in events.windows(2) {
                ensure!(
                    pair[0].revision < pair[1].revision,
                    "watcher {number} saw {:?}, then {:?}",
                    pair[0],
                    pair[1]
                );
            }
            let differs = first.iter().zip(events).find(|(a, b)| a != b);
            ensure!(differs.is_none(), "watchers 0 and {number} differ: {differs:?}");
            ensure!(
                first.len() == events.len(),
                "watcher 0 saw {} events, {number} {}",
                first.len(),
                events.len()
            );
        }
        let mut log = Self { by_revision: BTreeMap::new(), by_key: HashMap::new() };
        for seen in first {
            log.by_revision.insert(seen.revision, seen);
            log.by_key.entry(&seen.key).or_default().insert(seen.revision, seen);
        }
        Ok(log)
    }

    /// The newest state of a key that is not newer than a revision.
    fn at(&self, key: &str, revision: u64) -> Option<&'a Seen> {
        self.by_key.get(key)?.range(..=revision).next_back().map(|(_, seen)| *seen)
    }

    /// Each answer follows from the log, and each entry of the log from a write.
    fn explains(&self, operations: &[Operation]) -> anyhow::Result<Summary> {
        let mut summary = Summary::default();
        let written: HashMap<&str, u64> =
            self.by_revision.values().map(|seen| (seen.value.as_str(), seen.revision)).collect();
        ensure!(written.len() == self.by_revision.len(), "a value was written twice");
        let mut asked = 0;
        for operation in operations {
            match &operation.what {
                What::Write { key, value, expected, outcome } => {
                    let revision = written.get(value.as_str()).copied();
                    asked += usize::from(revision.is_some());
                    self.explains_write(operation, revision)?;
                    match (outcome, revision) {
                        (Outcome::Done(_), _) => summary.acknowledged += 1,
                        (Outcome::Unknown, Some(_)) => summary.unknown_done += 1,
                        (Outcome::Unknown, None) => {}
                        (Outcome::Refused, _) => summary.refused += 1,
                    }
                    if let (Some(revision), Some(expected)) = (revision, expected) {
                        let before = self.at(key, revision - 1).map(|seen| seen.revision);
                        ensure!(before == Some(*expected), "{operation:?} replaced revision {before:?}");
                    }
                }
                What::Read(seen) => {
                    ensure!(
                        self.by_revision.get(&seen.revision) == Some(&seen),
                        "{operation:?} was never written"
                    );
                    summary.reads += 1;
                }
                What::List { revision, items } => {
                    let mut found: Vec<_> = items.iter().collect();
                    found.sort_by_key(|seen| &seen.key);
                    let mut want: Vec<_> =
                        self.by_key.keys().filter_map(|key| self.at(key, *revision)).collect();
                    want.sort_by_key(|seen| &seen.key);
                    ensure!(found == want, "a list at {revision} has {found:?}; the state was {want:?}");
                    summary.reads += 1;
                }
            }
        }
        ensure!(asked == self.by_revision.len(), "the watchers saw writes that nobody asked for");
        Ok(summary)
    }

    /// `revision`: where the write stands in the log, if it took place.
    fn explains_write(&self, operation: &Operation, revision: Option<u64>) -> anyhow::Result<()> {
        let What::Write { key, expected, outcome, .. } = &operation.what else { return Ok(()) };
        if let Some(revision) = revision {
            let there = self.by_revision.get(&revision).is_some_and(|seen| seen.key == *key);
            ensure!(there, "{operation:?} took place under another key");
        }
        match (outcome, revision) {
            (Outcome::Done(told), found) => {
                ensure!(found == Some(*told), "{operation:?} was lost: {found:?}")
            }
            (Outcome::Refused, Some(_)) => anyhow::bail!("{operation:?} took place"),
            (Outcome::Refused, None) => {
                let newest = self.at(key, u64::MAX).map_or(0, |seen| seen.revision);
                ensure!(expected.is_none_or(|expected| newest > expected), "{operation:?} had no reason");
            }
            (Outcome::Unknown, _) => {}
        }
        Ok(())
    }

    /// What began after something else had ended sees at least as much.
    fn keeps_time(&self, operations: &[Operation]) -> anyhow::Result<()> {
        let revisions: HashMap<&str, u64> =
            self.by_revision.values().map(|seen| (seen.value.as_str(), seen.revision)).collect();
        let mut ended: Vec<&Operation> = operations.iter().collect();
        ended.sort_by_key(|operation| operation.end);
        let mut began: Vec<&Operation> = operations.iter().collect();
        began.sort_by_key(|operation| operation.start);
        let mut past = Past::default();
        let mut next = ended.into_iter().peekable();
        for operation in began {
            while let Some(before) = next.next_if(|before| before.end < operation.start) {
                past.add(self, before);
            }
            match &operation.what {
                What::Write { value, .. } => {
                    // Also of one without an answer: it cannot have taken place before it began.
                    let revision = revisions.get(value.as_str()).copied().unwrap_or(u64::MAX);
                    ensure!(
                        revision > past.newest,
                        "{operation:?} stands at {revision}, but {} was over",
                        past.newest
                    );
                }
                What::Read(seen) => {
                    let floor = past.keys.get(seen.key.as_str()).copied().unwrap_or(0);
                    ensure!(seen.revision >= floor, "{operation:?} is stale: {floor} was known");
                }
                What::List { revision, .. } => {
                    ensure!(
                        *revision >= past.newest,
                        "a list at {revision} is stale: {} was known",
                        past.newest
                    );
                }
            }
        }
        Ok(())
    }
}

/// What operations that are over have seen.
#[derive(Default)]
struct Past<'a> {
    newest: u64,
    keys: HashMap<&'a str, u64>,
}

impl<'a> Past<'a> {
    fn add(&mut self, log: &Log<'a>, operation: &'a Operation) {
        match &operation.what {
            What::Write { key, outcome: Outcome::Done(revision), .. } => self.saw(key, *revision),
            What::Write { .. } => {}
            What::Read(seen) => self.saw(&seen.key, seen.revision),
            What::List { revision, .. } => {
                self.newest = self.newest.max(*revision);
                for key in log.by_key.keys() {
                    if let Some(seen) = log.at(key, *revision) {
                        self.saw(key, seen.revision);
                    }
                }
            }
        }
    }

    fn saw(&mut self, key: &'a str, revision: u64) {
        self.newest = self.newest.max(revision);
        let known = self.keys.entry(key).or_default();
        *known = revision.max(*known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(revision: u64, key: &str) -> Seen {
        Seen { revision, key: key.to_owned(), value: format!("v{revision}") }
    }

    fn at(start: u64, end: u64, what: What) -> Operation {
        Operation { start: Duration::from_secs(start), end: Duration::from_secs(end), what }
    }

    fn write(value: u64, expected: Option<u64>, outcome: Outcome) -> What {
        What::Write { key: "a".to_owned(), value: format!("v{value}"), expected, outcome }
    }

    fn judged(operations: &[Operation], watchers: &[Vec<Seen>]) -> String {
        check(operations, watchers).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    }

    #[test]
    fn a_history_with_an_order_is_found_to_have_one() {
        let log = vec![seen(2, "a"), seen(3, "a"), seen(5, "a")];
        let operations = [
            at(0, 1, write(2, None, Outcome::Done(2))),
            at(2, 5, write(3, Some(2), Outcome::Done(3))),
            at(2, 5, write(9, Some(2), Outcome::Refused)),
            // Overlaps the write, so it may see either state.
            at(3, 4, What::Read(seen(2, "a"))),
            at(3, 4, What::Read(seen(3, "a"))),
            at(6, 7, write(5, None, Outcome::Unknown)),
            at(8, 9, write(8, None, Outcome::Unknown)),
            at(8, 9, What::List { revision: 6, items: vec![seen(5, "a")] }),
        ];
        let summary = check(&operations, &[log.clone(), log]).unwrap();
        assert_eq!(summary, Summary { acknowledged: 2, unknown_done: 1, refused: 1, reads: 3 });
    }

    #[test]
    fn every_kind_of_disorder_is_found() {
        let log = || vec![seen(2, "a"), seen(3, "a")];
        let first = || at(0, 1, write(2, None, Outcome::Done(2)));
        let both = |other: Operation| vec![first(), at(2, 3, write(3, Some(2), Outcome::Done(3))), other];
        let swapped = vec![seen(3, "a"), seen(2, "a")];
        let cases = [
            (both(at(4, 5, write(4, None, Outcome::Done(4)))), vec![log()], "was lost"),
            (both(at(4, 5, What::Read(seen(2, "a")))), vec![log()], "is stale"),
            (both(at(4, 5, What::Read(seen(4, "a")))), vec![log()], "was never written"),
            (both(at(4, 5, What::List { revision: 2, items: vec![seen(2, "a")] })), vec![log()], "is stale"),
            (
                both(at(4, 5, What::List { revision: 3, items: vec![seen(2, "a")] })),
                vec![log()],
                "the state was",
            ),
            (both(at(4, 5, write(9, Some(3), Outcome::Refused))), vec![log()], "had no reason"),
            (vec![first()], vec![log()], "that nobody asked for"),
            (vec![first(), at(2, 3, write(3, None, Outcome::Refused))], vec![log()], "took place"),
            (vec![first(), at(2, 3, write(3, Some(1), Outcome::Done(3)))], vec![log()], "replaced revision"),
            (
                vec![at(4, 5, write(2, None, Outcome::Done(2))), at(0, 1, write(3, None, Outcome::Done(3)))],
                vec![log()],
                "but 3 was over",
            ),
            (both(first()), vec![log(), swapped], "watcher 1 saw"),
            (both(first()), vec![log(), vec![seen(2, "a")]], "watcher 0 saw 2 events, 1 1"),
            (both(first()), vec![log(), vec![seen(2, "a"), seen(4, "a")]], "watchers 0 and 1 differ"),
        ];
        for (operations, watchers, words) in cases {
            let found = judged(&operations, &watchers);
            assert!(found.contains(words), "{words}: {found}");
        }
    }
}
