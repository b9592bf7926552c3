//! Who owns which fields after a write (structured-merge-diff `merge/update.go`, apimachinery `managedfields/internal`).

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use machinery::schema::TypeId;
use serde_json::{Map, Value};

use super::compare::Comparison;
use super::managed::{Entry, Owner};
use super::merge;
use super::set::Set;
use super::shape::Shape;

/// Most managers of one object that write by other means than apply.
const UPDATE_MANAGERS_MAX: usize = 10;
/// Who owns what managers had that were too many.
const ANCIENT: &str = "ancient-changes";
/// Who owns what was there before ownership was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Fields that nobody owns.
static UNOWNED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_paths(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// The versions of an object.
pub trait Versions: Sync {
    /// The object in another version; `None` when there is no such version.
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;
    /// How objects of a version are merged.
    fn shape(&self, api_version: &str) -> Shape;
    /// Fields of a version that this path of the API does not write, with all that is below them.
    fn unwritten(&self, api_version: &str) -> Set;
}

/// Objects that are served in one version only, which is written as a whole.
pub struct OneVersion<'a> {
    /// The version.
    pub api_version: &'a str,
    /// Its schema.
    pub type_id: Option<TypeId>,
}

impl Versions for OneVersion<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == self.api_version).then(|| object.clone())
    }

    fn shape(&self, _: &str) -> Shape {
        Shape::of(self.type_id)
    }

    fn unwritten(&self, _: &str) -> Set {
        Set::default()
    }
}

/// One write.
pub struct Writer<'a> {
    /// Name of the manager.
    pub manager: &'a str,
    /// Version of the request.
    pub api_version: &'a str,
    /// The subresource that is written to; empty for the resource itself.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
    /// What is known of the object's versions.
    pub versions: &'a dyn Versions,
}

/// A field of another owner that an apply would change: the owner and its fields.
pub type Conflicts = Vec<(Owner, Set)>;

/// What an apply makes of an object.
pub struct Applied {
    /// The object, in the version of the request. Nulls stand for fields that are taken out.
    pub object: Value,
    /// Who owns what.
    pub entries: Vec<Entry>,
}

/// What differs between two states of the object, in any version.
struct Changes<'a> {
    writer: &'a Writer<'a>,
    old: &'a Value,
    new: &'a Value,
    /// Whether the new state is as Go would hold it.
    decoded: bool,
    /// By version; `None` for versions that are no more.
    found: HashMap<String, Option<(Comparison, Set)>>,
}

impl<'a> Changes<'a> {
    fn new(writer: &'a Writer<'a>, old: &'a Value, new: &'a Value) -> Self {
        Self { writer, old, new, decoded: true, found: HashMap::new() }
    }

    /// What an apply makes has nulls and empty values in it still.
    fn undecoded(self) -> Self {
        Self { decoded: false, ..self }
    }

    /// The comparison in this version, and all that differs.
    fn in_version(&mut self, api_version: &str) -> Option<&(Comparison, Set)> {
        if !self.found.contains_key(api_version) {
            let found = self.compare(api_version).map(|comparison| {
                let all = comparison.all();
                (comparison, all)
            });
            self.found.insert(api_version.to_owned(), found);
        }
        self.found.get(api_version)?.as_ref()
    }

    fn compare(&self, api_version: &str) -> Option<Comparison> {
        let versions = self.writer.versions;
        let shape = versions.shape(api_version);
        let comparison = if api_version == self.writer.api_version {
            let compare = if self.decoded { Comparison::of } else { Comparison::of_undecoded };
            compare(self.old, self.new, shape)
        } else {
            let (old, new) = (self.converted(self.old, api_version)?, self.converted(self.new, api_version)?);
            Comparison::of(&old, &new, shape)
        };
        Some(comparison.without(&versions.unwritten(api_version)))
    }

    /// An object that does not exist is the same in all versions.
    fn converted(&self, object: &Value, api_version: &str) -> Option<Value> {
        self.writer.versions.convert(object, api_version)
    }
}

impl Writer<'_> {
    fn owner(&self, applied: bool) -> Owner {
        Owner {
            manager: if self.manager.is_empty() { "unknown".to_owned() } else { self.manager.to_owned() },
            applied,
            api_version: if applied { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }

    fn time(&self) -> Option<String> {
        Some(machinery::time::rfc3339(self.now))
    }

    /// Who owns what after a create, update or patch made `new` out of `old` (an empty object when there was none).
    ///
    /// Objects are in the version of the request; whether they have `managedFields` does not matter.
    pub fn update(&self, old: &Value, new: &Value, mut entries: Vec<Entry>) -> Vec<Entry> {
        // Ownership of what was not recorded from the beginning begins with the first apply.
        if entries.is_empty() && !machinery::meta::uid(old).is_empty() {
            return entries;
        }
        // Owners of versions that are no more are forgotten whatever else is written.
        let nothing = Value::Object(Map::new());
        entries.retain(|entry| self.versions.convert(&nothing, &entry.api_version).is_some());
        let mut changes = Changes::new(self, old, new);
        let Some((comparison, _)) = changes.in_version(self.api_version) else { return entries };
        if comparison.is_empty() {
            return entries;
        }
        let mut written = comparison.written();
        entries.retain_mut(|entry| {
            let Some((_, all)) = changes.in_version(&entry.api_version) else { return false };
            entry.lose(all);
            !entry.is_empty()
        });
        written.remove(&UNOWNED);
        if !written.is_empty() {
            self.give(&mut entries, written);
        }
        cap(&mut entries);
        entries
    }

    fn give(&self, entries: &mut Vec<Entry>, written: Set) {
        let owner = self.owner(false);
        let time = self.time();
        match entries.iter_mut().find(|entry| entry.owner == owner) {
            Some(entry) => {
                entry.set().add(written);
                entry.time = time;
            }
            None => {
                entries.push(Entry::new(owner, self.api_version, time, written));
            }
        }
    }

    /// Merges a configuration into an object.
    ///
    /// # Errors
    /// The fields of others that would change, unless `force`.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        mut entries: Vec<Entry>,
        force: bool,
    ) -> Result<Applied, Conflicts> {
        if entries.is_empty() {
            let before = Writer { manager: BEFORE_FIRST_APPLY, ..*self };
            entries = before.update(&Value::Object(Map::new()), live, entries);
        }
        let shape = self.versions.shape(self.api_version);
        let mut set = Set::of(config, shape);
        set.remove_whole(&self.versions.unwritten(self.api_version));
        let owner = self.owner(true);
        let last = entries.iter().position(|entry| entry.owner == owner).map(|at| entries.remove(at));
        let time = last.as_ref().and_then(|last| last.time.clone());
        let mine = Entry::new(owner, self.api_version, time, set);
        let object = merge::merge(live, config, shape);
        entries.push(mine);
        let object = match &last {
            Some(last) => self.prune(object, last, &entries),
            None => object,
        };
        let mut mine = entries.pop();
        self.settle(live, &object, &mut entries, force)?;
        if let Some(mine) = &mut mine {
            mine.set().remove(&UNOWNED);
            if *live != object {
                mine.time = self.time();
            }
        }
        entries.extend(mine.filter(|mine| !mine.is_empty()));
        Ok(Applied { object, entries })
    }

    /// Takes from others what the apply changes.
    fn settle(
        &self,
        live: &Value,
        object: &Value,
        entries: &mut Vec<Entry>,
        force: bool,
    ) -> Result<(), Conflicts> {
        let mut changes = Changes::new(self, live, object).undecoded();
        let mut conflicts = Conflicts::new();
        entries.retain_mut(|entry| {
            let Some((comparison, all)) = changes.in_version(&entry.api_version) else { return false };
            let conflict = entry.to_set().common(&comparison.written());
            if !conflict.is_empty() && !force {
                conflicts.push((entry.owner.clone(), conflict));
            }
            entry.lose(all);
            !entry.is_empty()
        });
        if conflicts.is_empty() { Ok(()) } else { Err(conflicts) }
    }

    /// Takes out what the last configuration had, this one has not, and nobody else owns.
    fn prune(&self, merged: Value, last: &Entry, entries: &[Entry]) -> Value {
        let last_set = last.to_set();
        if last_set.is_empty() {
            return merged;
        }
        let Some(converted) = self.versions.convert(&merged, &last.api_version) else { return merged };
        let shape = self.versions.shape(&last.api_version);
        let last_set = last_set.with_named(shape);
        let pruned = merge::remove(&converted, &last_set, shape);
        let pruned = self.with_owned(&converted, pruned, &last.api_version, entries);
        let pruned = self.with_dangling(&converted, &pruned, &last_set, &last.api_version);
        self.versions.convert(&pruned, self.api_version).unwrap_or(pruned)
    }

    /// Adds back what somebody owns, version by version, that of the last apply first.
    fn with_owned(&self, merged: &Value, mut pruned: Value, version: &str, entries: &[Entry]) -> Value {
        let mut owned: Vec<(String, Set)> = vec![(version.to_owned(), Set::default())];
        for entry in entries {
            match owned.iter_mut().find(|(version, _)| *version == entry.api_version) {
                Some((_, set)) => set.add(entry.to_set()),
                None => owned.push((entry.api_version.clone(), entry.to_set())),
            }
        }
        for (version, owned) in owned.into_iter().filter(|(_, set)| !set.is_empty()) {
            let convert = |object: &Value| self.versions.convert(object, &version);
            let (Some(merged), Some(kept)) = (convert(merged), convert(&pruned)) else { continue };
            let shape = self.versions.shape(&version);
            let mut gone = Set::of(&merged, shape).with_named(shape);
            gone.remove(&Set::of(&kept, shape).with_named(shape));
            gone.remove(&owned.with_named(shape));
            pruned = merge::remove(&merged, &gone, shape);
        }
        pruned
    }

    /// Adds back what was not of the last configuration.
    fn with_dangling(&self, merged: &Value, pruned: &Value, last: &Set, version: &str) -> Value {
        let shape = self.versions.shape(version);
        let Some(pruned) = self.versions.convert(pruned, version) else { return merged.clone() };
        let mut gone = Set::of(merged, shape).with_named(shape);
        gone.remove(&Set::of(&pruned, shape).with_named(shape));
        merge::remove(merged, &gone.common(last), shape)
    }
}

/// Merges the oldest of too many managers, those of each version into one (apimachinery `capmanagers.go`).
fn cap(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<Owner> =
        entries.iter().filter(|entry| !entry.owner.applied).map(|entry| entry.owner.clone()).collect();
    if updaters.len() <= UPDATE_MANAGERS_MAX {
        return;
    }
    let time = |owner: &Owner| entries.iter().find(|e| e.owner == *owner).and_then(|e| e.time.clone());
    updaters.sort_by_cached_key(|owner| (time(owner), owner.identifier()));
    let mut left = updaters.len();
    let mut first: HashMap<String, Owner> = HashMap::new();
    for owner in updaters {
        if left <= UPDATE_MANAGERS_MAX {
            return;
        }
        let version = owner.api_version.clone();
        let Some(first) = first.get(&version) else {
            first.insert(version, owner);
            continue;
        };
        let bucket = Owner {
            manager: ANCIENT.to_owned(),
            applied: false,
            api_version: version,
            subresource: String::new(),
        };
        if entries.iter().all(|entry| entry.owner != bucket)
            && let Some(entry) = entries.iter_mut().find(|entry| entry.owner == *first)
        {
            entry.owner = bucket.clone();
        }
        let Some(at) = entries.iter().position(|entry| entry.owner == owner && owner != bucket) else {
            continue;
        };
        let merged = entries.remove(at);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.owner == bucket) {
            entry.set().add(merged.to_set());
            entry.time = merged.time;
        }
        left -= 1;
    }
}
