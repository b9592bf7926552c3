//! What becomes of an object, from what its owners are.

use super::graph::{Dependent, FOREGROUND, ORPHAN};
use client::ObjectHeader;
use kube::api::PropagationPolicy;

/// What an owner reference amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The owner is there.
    Solid,
    /// No object has the owner's uid.
    Dangling,
    /// The owner is being deleted and waits for its dependents.
    Waiting,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    /// Take off references to these uids; another owner is there.
    DropOwners(Vec<String>),
    /// `foreground`: after its own dependents. `unblock`: it must stop blocking its owners first.
    Delete {
        foreground: bool,
        unblock: bool,
    },
}

/// Decides about an object with these owners (never none) and dependents.
pub(super) fn decide(owners: &[(String, Ownership)], dependents: &[Dependent]) -> Decision {
    let of = |kind: Ownership| owners.iter().filter(move |(_, own)| *own == kind).map(|(uid, _)| uid.clone());
    if of(Ownership::Solid).next().is_some() {
        let others: Vec<String> = of(Ownership::Dangling).chain(of(Ownership::Waiting)).collect();
        return if others.is_empty() { Decision::Keep } else { Decision::DropOwners(others) };
    }
    let waiting = of(Ownership::Waiting).next().is_some();
    let foreground = waiting && !dependents.is_empty();
    // A dependent that waits too may be one of the owners: a circle.
    let unblock = foreground && dependents.iter().any(|dependent| dependent.waits);
    Decision::Delete { foreground, unblock }
}

/// How the object's own dependents are treated: as its finalizers say, if they say anything.
pub(super) fn policy(live: &ObjectHeader, foreground: bool) -> PropagationPolicy {
    if foreground {
        PropagationPolicy::Foreground
    } else if live.has_finalizer(ORPHAN) {
        PropagationPolicy::Orphan
    } else if live.has_finalizer(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::KindRef;
    use super::*;
    use Ownership::{Dangling, Solid, Waiting};
    use std::sync::Arc;

    #[test]
    fn an_object_lives_as_long_as_one_owner() {
        let dependent = |waits| Dependent {
            uid: "d".into(),
            kind: Arc::new(KindRef { api_version: "v1".into(), kind: "K".into() }),
            namespace: String::new(),
            name: "d".into(),
            blocks: true,
            waits,
        };
        let delete = |foreground, unblock| Decision::Delete { foreground, unblock };
        let cases = [
            (vec![Solid], vec![], Decision::Keep),
            (vec![Solid, Dangling], vec![], Decision::DropOwners(vec!["1".into()])),
            (vec![Waiting, Solid], vec![], Decision::DropOwners(vec!["0".into()])),
            (vec![Dangling, Dangling], vec![], delete(false, false)),
            (vec![Waiting], vec![], delete(false, false)),
            (vec![Waiting], vec![dependent(false)], delete(true, false)),
            (vec![Waiting], vec![dependent(true)], delete(true, true)),
            (vec![Dangling], vec![dependent(true)], delete(false, false)),
        ];
        for (owners, dependents, want) in cases {
            let owners: Vec<(String, Ownership)> =
                owners.into_iter().enumerate().map(|(index, own)| (index.to_string(), own)).collect();
            assert_eq!(decide(&owners, &dependents), want, "{owners:?}");
        }
    }
}
