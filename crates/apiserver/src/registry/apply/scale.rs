//! Ownership of `spec.replicas` between an object and its scale (apimachinery `managedfields/scalehandler.go`).

use machinery::schema::{Schema, TypeId};

use super::managed::{Entry, Owner};
use super::owner::OneVersion;
use super::set::Set;

/// Version of the scale.
pub const API_VERSION: &str = "autoscaling/v1";
const REPLICAS: &[&str] = &["spec", "replicas"];

/// The schema of the scale, which is no resource of its own.
pub fn type_id() -> Option<TypeId> {
    Schema::builtin().kind("autoscaling", "v1", "Scale")
}

/// A scale is served in one version only.
pub fn versions() -> OneVersion<'static> {
    OneVersion { api_version: API_VERSION, type_id: type_id() }
}

fn in_version(owner: &Owner, api_version: &str) -> Owner {
    Owner { api_version: if owner.applied { String::new() } else { api_version.to_owned() }, ..owner.clone() }
}

fn entry(of: &Entry, api_version: &str, time: Option<String>) -> Entry {
    let set = Set::of_paths(&[REPLICAS]);
    Entry::new(in_version(&of.owner, api_version), api_version, time, set)
}

/// The owners of an object's replicas, as owners of the scale's. `served` tells which versions the object has.
pub fn to_scale(entries: &[Entry], served: impl Fn(&str) -> bool) -> Vec<Entry> {
    let owners = entries.iter().filter(|e| served(&e.api_version) && e.to_set().has(REPLICAS));
    owners.map(|owner| entry(owner, API_VERSION, owner.time.clone())).collect()
}

/// The owners of the object's fields after those of the scale changed. Like upstream's, new entries have no time.
pub fn to_parent(
    entries: Vec<Entry>,
    mut scale: Vec<Entry>,
    api_version: &str,
    served: impl Fn(&str) -> bool,
) -> Vec<Entry> {
    scale.retain(|entry| entry.to_set().has(REPLICAS));
    let mut kept = Vec::new();
    for mut entry in entries.into_iter().filter(|entry| served(&entry.api_version)) {
        if entry.to_set().has(REPLICAS) {
            let owner = in_version(&entry.owner, API_VERSION);
            match scale.iter().position(|scale| scale.owner == owner) {
                Some(at) => drop(scale.remove(at)),
                None => entry.lose(&Set::of_paths(&[REPLICAS])),
            }
        }
        kept.push(entry);
    }
    kept.extend(scale.iter().map(|scale| entry(scale, api_version, None)));
    kept.retain(|entry| !entry.is_empty());
    kept
}
