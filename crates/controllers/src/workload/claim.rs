//! Which objects a controller owns, which it adopts and which it lets go.

use crate::context::{Failure, objects};
use api::{Kind, LabelSelector, OwnerReference, controller_of, is_terminating, selector_matches};
use client::Rest;
use serde_json::json;
use std::sync::Arc;

/// The owner as claiming sees it.
pub(crate) struct Claimant<'a> {
    /// The reference its objects carry.
    pub reference: OwnerReference,
    pub selector: &'a LabelSelector,
    pub deleting: bool,
}

/// The decision about every candidate.
pub(crate) struct Claims<K> {
    /// Controlled already and selected.
    pub owned: Vec<Arc<K>>,
    /// Selected orphans.
    pub adopt: Vec<Arc<K>>,
    /// Controlled but no longer selected.
    pub release: Vec<Arc<K>>,
}

/// Sorts the candidates of the owner's namespace. A terminating owner neither adopts nor releases; a terminating
/// object is never adopted.
pub(crate) fn claim<K: Kind>(claimant: &Claimant<'_>, candidates: &[Arc<K>]) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        let meta = candidate.metadata();
        let selected = selector_matches(claimant.selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(controller) if controller.uid != claimant.reference.uid => {}
            Some(_) if selected => claims.owned.push(candidate.clone()),
            Some(_) if claimant.deleting => {}
            Some(_) => claims.release.push(candidate.clone()),
            None if claimant.deleting || !selected || is_terminating(meta) => {}
            None => claims.adopt.push(candidate.clone()),
        }
    }
    claims
}

/// Carries out adoptions and releases and returns what is owned afterwards. `fresh` reads the owner anew and
/// says whether it is still there, the same one and not being deleted; it is asked once, before the first adoption.
pub(crate) async fn settle<K: Kind>(
    rest: &Rest,
    reference: &OwnerReference,
    claims: Claims<K>,
    fresh: impl Future<Output = Result<bool, Failure>>,
) -> Result<Vec<Arc<K>>, Failure> {
    let access = objects::<K>(rest);
    let mut owned = claims.owned;
    for object in claims.release {
        let meta = object.metadata();
        let patch = json!({"metadata": {
            "uid": meta.uid,
            "ownerReferences": [{"$patch": "delete", "uid": reference.uid}],
        }});
        ignore_gone(patch_meta(&access, meta, &patch).await)?;
    }
    if claims.adopt.is_empty() || !fresh.await? {
        return Ok(owned);
    }
    for object in claims.adopt {
        let meta = object.metadata();
        let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": [reference]}});
        if let Some(adopted) = ignore_gone(patch_meta(&access, meta, &patch).await)? {
            owned.push(Arc::new(adopted));
        }
    }
    Ok(owned)
}

async fn patch_meta<K: Kind>(
    access: &client::Objects<K>,
    meta: &api::ObjectMeta,
    patch: &serde_json::Value,
) -> Result<K, kube::Error> {
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
    access.strategic_patch(namespace, name, patch).await
}

/// An object that is gone, or was replaced by another of the same name, needs neither adoption nor release.
fn ignore_gone<T>(result: Result<T, kube::Error>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if client::is_not_found(&error) || client::status_code(&error) == Some(422) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Pod;
    use serde_json::Value;

    fn pod(name: &str, app: &str, owner: Option<&str>, deleting: bool) -> Arc<Pod> {
        let owners: Vec<Value> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": uid, "controller": true}))
            .collect();
        let deletion = deleting.then_some("2026-01-01T00:00:00Z");
        let meta = json!({"name": name, "labels": {"app": app}, "ownerReferences": owners, "deletionTimestamp": deletion});
        Arc::new(Pod::from_value(json!({"metadata": meta})).expect("pod"))
    }

    #[test]
    fn candidates_are_sorted() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let candidates = [
            pod("owned", "web", Some("me"), false),
            pod("relabelled", "db", Some("me"), false),
            pod("other", "web", Some("you"), false),
            pod("orphan", "web", None, false),
            pod("dying-orphan", "web", None, true),
            pod("unrelated", "db", None, false),
        ];
        let names = |pods: &[Arc<Pod>]| -> Vec<String> {
            pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
        };
        for (deleting, adopt, release) in
            [(false, vec!["orphan"], vec!["relabelled"]), (true, vec![], vec![])]
        {
            let reference = OwnerReference { uid: "me".into(), ..OwnerReference::default() };
            let claims = claim(&Claimant { reference, selector: &selector, deleting }, &candidates);
            assert_eq!(names(&claims.owned), ["owned"]);
            assert_eq!(names(&claims.adopt), adopt);
            assert_eq!(names(&claims.release), release);
        }
    }
}
