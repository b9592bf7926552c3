//! Who owns whom.
//!
//! A node is an object by uid. Edges are owner references; each node also knows its dependents. An owner that was only
//! ever named by a dependent is a node too, *virtual* until its own watch shows it: whether it exists is found out by asking
//! the API. The graph decides nothing about deletion, it says what must be looked at.

use api::OwnerReference;
use client::ObjectHeader;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Finalizer of an object that waits for its dependents to be deleted.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object whose dependents are to be released.
pub(super) const ORPHAN: &str = "orphan";
/// Owners remembered as not existing.
const ABSENT_MAX: usize = 1000;

/// Group, version and kind of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KindRef {
    pub api_version: String,
    pub kind: String,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Task {
    /// Maybe this object (by uid) should go.
    Delete(String),
    /// The dependents of this object are to be released.
    Orphan(String),
}

#[derive(Clone, Debug)]
struct Node {
    kind: Arc<KindRef>,
    namespace: String,
    name: String,
    owners: Vec<OwnerReference>,
    dependents: HashSet<String>,
    is_virtual: bool,
    deleting: bool,
    waits: bool,
    orphans: bool,
}

/// What a worker needs to know of a node.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub kind: Arc<KindRef>,
    pub namespace: String,
    pub name: String,
    pub is_virtual: bool,
    pub has_owners: bool,
    pub deleting: bool,
    /// Being deleted, but after its dependents.
    pub waits: bool,
}

/// A dependent of a node.
#[derive(Clone, Debug)]
pub(super) struct Dependent {
    pub uid: String,
    pub kind: Arc<KindRef>,
    pub namespace: String,
    pub name: String,
    /// Whether the owner may not go before it.
    pub blocks: bool,
    /// Whether it is being deleted after its own dependents.
    pub waits: bool,
}

/// The graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    absent: HashSet<String>,
    absent_order: VecDeque<String>,
}

impl Graph {
    /// An object was created or changed.
    pub(super) fn apply(&mut self, kind: &Arc<KindRef>, header: ObjectHeader) -> Vec<Task> {
        let mut tasks = Vec::new();
        let deleting = header.deletion_timestamp.is_some();
        let waits = deleting && header.has_finalizer(FOREGROUND);
        let orphans = deleting && header.has_finalizer(ORPHAN);
        let uid = header.uid.clone();
        let old = self.nodes.remove(&uid);
        let (old_owners, dependents, was_waiting, was_orphaning) = match old {
            Some(old) => (old.owners, old.dependents, old.waits, old.orphans),
            None => (Vec::new(), HashSet::new(), false, false),
        };
        let known = old_owners.iter().map(|owner| owner.uid.as_str()).collect::<HashSet<_>>();
        let added: Vec<OwnerReference> = header
            .owner_references
            .iter()
            .filter(|owner| !known.contains(owner.uid.as_str()))
            .cloned()
            .collect();
        self.unlink(&uid, &old_owners, &header.owner_references, &mut tasks);
        let node = Node {
            kind: kind.clone(),
            namespace: header.namespace,
            name: header.name,
            owners: header.owner_references,
            dependents,
            is_virtual: false,
            deleting,
            waits,
            orphans,
        };
        if orphans && !was_orphaning {
            tasks.push(Task::Orphan(uid.clone()));
        }
        if waits && !was_waiting {
            tasks.extend(node.dependents.iter().cloned().map(Task::Delete));
            tasks.push(Task::Delete(uid.clone()));
        }
        let namespace = node.namespace.clone();
        self.nodes.insert(uid.clone(), node);
        for owner in added {
            self.link(&uid, &namespace, &owner, &mut tasks);
        }
        tasks
    }

    fn link(&mut self, uid: &str, namespace: &str, owner: &OwnerReference, tasks: &mut Vec<Task>) {
        let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
            tasks.push(Task::Delete(owner.uid.clone()));
            let (api_version, kind) = (owner.api_version.clone(), owner.kind.clone());
            Node {
                kind: Arc::new(KindRef { api_version, kind }),
                namespace: namespace.to_owned(),
                name: owner.name.clone(),
                owners: Vec::new(),
                dependents: HashSet::new(),
                is_virtual: true,
                deleting: false,
                waits: false,
                orphans: false,
            }
        });
        node.dependents.insert(uid.to_owned());
        // The reference may name another object than the uid does: let the dependent be checked.
        let mismatch = !node.is_virtual && (node.name != owner.name || node.kind.kind != owner.kind);
        if mismatch || node.waits {
            tasks.push(Task::Delete(uid.to_owned()));
        }
    }

    /// Removes edges that are gone, and wakes owners that waited for them.
    fn unlink(&mut self, uid: &str, old: &[OwnerReference], new: &[OwnerReference], tasks: &mut Vec<Task>) {
        for before in old {
            let after = new.iter().find(|owner| owner.uid == before.uid);
            let Some(owner) = self.nodes.get_mut(&before.uid) else { continue };
            if after.is_none() {
                owner.dependents.remove(uid);
            }
            let blocked = before.block_owner_deletion == Some(true);
            let blocks = after.is_some_and(|after| after.block_owner_deletion == Some(true));
            if blocked && !blocks && owner.waits {
                tasks.push(Task::Delete(before.uid.clone()));
            }
            if owner.is_virtual && owner.dependents.is_empty() {
                self.nodes.remove(&before.uid);
            }
        }
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Task> {
        let mut tasks = Vec::new();
        let Some(node) = self.nodes.remove(uid) else { return tasks };
        for owner in &node.owners {
            if let Some(above) = self.nodes.get_mut(&owner.uid) {
                above.dependents.remove(uid);
                if above.waits {
                    tasks.push(Task::Delete(owner.uid.clone()));
                }
                if above.is_virtual && above.dependents.is_empty() {
                    self.nodes.remove(&owner.uid);
                }
            }
        }
        if !node.dependents.is_empty() {
            self.note_absent(uid);
            tasks.extend(node.dependents.into_iter().map(Task::Delete));
        }
        tasks
    }

    /// Remembers that no object has this uid (any more).
    pub(super) fn note_absent(&mut self, uid: &str) {
        if self.absent.insert(uid.to_owned()) {
            self.absent_order.push_back(uid.to_owned());
        }
        if self.absent_order.len() > ABSENT_MAX
            && let Some(oldest) = self.absent_order.pop_front()
        {
            self.absent.remove(&oldest);
        }
    }

    /// Whether it is known that no object has this uid.
    pub(super) fn is_absent(&self, uid: &str) -> bool {
        self.absent.contains(uid)
    }

    pub(super) fn view(&self, uid: &str) -> Option<View> {
        let node = self.nodes.get(uid)?;
        Some(View {
            kind: node.kind.clone(),
            namespace: node.namespace.clone(),
            name: node.name.clone(),
            is_virtual: node.is_virtual,
            has_owners: !node.owners.is_empty(),
            deleting: node.deleting,
            waits: node.waits,
        })
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Dependent> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let dependent = |below: &String| {
            let other = self.nodes.get(below)?;
            let reference = other.owners.iter().find(|owner| owner.uid == uid);
            Some(Dependent {
                uid: below.clone(),
                kind: other.kind.clone(),
                namespace: other.namespace.clone(),
                name: other.name.clone(),
                blocks: reference.is_some_and(|owner| owner.block_owner_deletion == Some(true)),
                waits: other.waits,
            })
        };
        node.dependents.iter().filter_map(dependent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(kind: &str) -> Arc<KindRef> {
        Arc::new(KindRef { api_version: "v1".into(), kind: kind.into() })
    }

    fn header(uid: &str, owners: &[(&str, bool)], deleting: bool, finalizer: &str) -> ObjectHeader {
        let owner = |(uid, blocks): &(&str, bool)| OwnerReference {
            api_version: "v1".into(),
            kind: "Owner".into(),
            name: (*uid).into(),
            uid: (*uid).into(),
            block_owner_deletion: Some(*blocks),
            controller: None,
        };
        ObjectHeader {
            name: uid.into(),
            namespace: "a".into(),
            uid: uid.into(),
            deletion_timestamp: deleting.then(|| "2026-01-01T00:00:00Z".into()),
            finalizers: Some(finalizer.to_owned()).filter(|f| !f.is_empty()).into_iter().collect(),
            owner_references: owners.iter().map(owner).collect(),
            ..ObjectHeader::default()
        }
    }

    fn delete(uid: &str) -> Task {
        Task::Delete(uid.into())
    }

    #[test]
    fn an_owner_only_named_is_checked_once() {
        let mut graph = Graph::default();
        assert_eq!(graph.apply(&kind("Child"), header("c1", &[("o", true)], false, "")), [delete("o")]);
        assert_eq!(graph.apply(&kind("Child"), header("c2", &[("o", true)], false, "")), []);
        assert!(graph.view("o").is_some_and(|view| view.is_virtual));
        assert_eq!(graph.apply(&kind("Owner"), header("o", &[], false, "")), []);
        assert!(graph.view("o").is_some_and(|view| !view.is_virtual));
        assert_eq!(graph.dependents("o").len(), 2);
    }

    #[test]
    fn when_an_owner_goes_its_dependents_are_looked_at() {
        let mut graph = Graph::default();
        graph.apply(&kind("Owner"), header("o", &[], false, ""));
        graph.apply(&kind("Child"), header("c", &[("o", true)], false, ""));
        assert_eq!(graph.remove("o"), [delete("c")]);
        assert!(graph.is_absent("o"));
    }

    #[test]
    fn foreground_deletion_looks_at_all_and_ends_with_the_last() {
        let mut graph = Graph::default();
        graph.apply(&kind("Owner"), header("o", &[], false, ""));
        graph.apply(&kind("Child"), header("c", &[("o", true)], false, ""));
        let tasks = graph.apply(&kind("Owner"), header("o", &[], true, FOREGROUND));
        assert_eq!(tasks, [delete("c"), delete("o")]);
        assert_eq!(graph.apply(&kind("Owner"), header("o", &[], true, FOREGROUND)), [], "once");
        assert_eq!(graph.remove("c"), [delete("o")]);
    }

    #[test]
    fn a_dependent_that_stops_blocking_wakes_its_owner() {
        let mut graph = Graph::default();
        graph.apply(&kind("Owner"), header("o", &[], true, FOREGROUND));
        graph.apply(&kind("Child"), header("c", &[("o", true)], false, ""));
        assert_eq!(graph.apply(&kind("Child"), header("c", &[("o", false)], false, "")), [delete("o")]);
        assert_eq!(graph.apply(&kind("Child"), header("c", &[], false, "")), []);
        assert!(graph.dependents("o").is_empty());
    }

    #[test]
    fn orphaning_is_asked_for_once() {
        let mut graph = Graph::default();
        graph.apply(&kind("Owner"), header("o", &[], false, ""));
        let tasks = graph.apply(&kind("Owner"), header("o", &[], true, ORPHAN));
        assert_eq!(tasks, [Task::Orphan("o".into())]);
        assert_eq!(graph.apply(&kind("Owner"), header("o", &[], true, ORPHAN)), []);
    }
}
