//! Laws of sets and applies on random objects, and applies against a naive model of ownership.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::registry::apply::compare::Comparison;

const MANAGERS: [&str; 4] = ["a", "b", "c", "d"];

/// An object as its leaves: what path has which value.
type Leaves = BTreeMap<String, u8>;

/// The naive model: every manager's fields are a set of paths.
#[derive(Default, Clone, Debug)]
struct Model {
    leaves: Leaves,
    owned: BTreeMap<(&'static str, bool), BTreeSet<String>>,
}

impl Model {
    /// Whether somebody else owns a path whose value would change.
    fn conflicts(&self, manager: &'static str, config: &Leaves) -> bool {
        let changed = |path: &String| config.get(path).is_some_and(|v| self.leaves.get(path) != Some(v));
        self.owned.iter().any(|(owner, paths)| *owner != (manager, true) && paths.iter().any(changed))
    }

    fn apply(&mut self, manager: &'static str, config: &Leaves) {
        let before = self.owned.remove(&(manager, true)).unwrap_or_default();
        for (path, value) in config {
            if self.leaves.insert(path.clone(), *value) != Some(*value) {
                self.lose(path);
            }
        }
        for path in before.iter().filter(|path| !config.contains_key(*path)) {
            if self.owned.values().all(|paths| !paths.contains(path)) {
                self.leaves.remove(path);
            }
        }
        self.owned.insert((manager, true), config.keys().cloned().collect());
        self.tidy();
    }

    fn update(&mut self, manager: &'static str, new: &Leaves) {
        let old = std::mem::replace(&mut self.leaves, new.clone());
        let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for path in paths.into_iter().filter(|path| old.get(*path) != new.get(*path)) {
            self.lose(path);
            if new.contains_key(path) {
                self.owned.entry((manager, false)).or_default().insert(path.clone());
            }
        }
        self.tidy();
    }

    fn lose(&mut self, path: &str) {
        for paths in self.owned.values_mut() {
            paths.remove(path);
        }
    }

    fn tidy(&mut self) {
        self.owned.retain(|_, paths| !paths.is_empty());
    }
}

/// How leaves become an object of a kind and back.
struct Kind {
    kind: &'static OneVersion,
    universe: &'static [&'static str],
}

/// Paths into maps, a scalar, a set and items of a list by key.
static ITEMS: Kind = Kind {
    kind: &DEPLOYMENT,
    universe: &[
        "/metadata/labels/x",
        "/metadata/labels/y",
        "/metadata/finalizers=f",
        "/metadata/finalizers=g",
        "/spec/replicas",
        "/spec/template/spec/containers[c/name",
        "/spec/template/spec/containers[c/image",
        "/spec/template/spec/containers[d/name",
        "/spec/template/spec/containers[d/image",
        "/spec/template/spec/nodeSelector",
    ],
};

static MAPS: Kind = Kind {
    kind: &CONFIG_MAP,
    universe: &["/metadata/labels/x", "/metadata/annotations/y", "/data/k", "/data/l", "/data/m"],
};

impl Kind {
    fn random(&self, rng: &mut StdRng, share: f64) -> Leaves {
        let mut leaves = Leaves::new();
        for path in self.universe {
            if rng.random_bool(share) {
                leaves.insert((*path).to_owned(), rng.random_range(1..4));
            }
        }
        normal(leaves)
    }

    fn object(&self, leaves: &Leaves) -> Value {
        let mut object =
            json!({"apiVersion": self.kind.api_version(), "kind": self.kind.2, "metadata": {"name": "o"}});
        for (path, value) in leaves {
            put(&mut object, path, *value);
        }
        object
    }

    fn leaves(&self, object: &Value) -> Leaves {
        let found = self.universe.iter().filter_map(|path| Some(((*path).to_owned(), find(object, path)?)));
        found.collect()
    }

    /// The owners of the universe's paths.
    fn owned(&self, live: &Live) -> BTreeMap<(&'static str, bool), BTreeSet<String>> {
        let mut owned = BTreeMap::new();
        for entry in &live.entries {
            let name = MANAGERS.iter().find(|name| **name == entry.owner.manager).expect("a known manager");
            let set = entry.to_set();
            let paths: BTreeSet<String> =
                self.universe.iter().filter(|path| has(&set, path)).map(|path| (*path).to_owned()).collect();
            if !paths.is_empty() {
                owned.insert((*name, entry.owner.applied), paths);
            }
        }
        owned
    }
}

/// Keys are what they are, members of sets have no value, and there is no item without its key.
fn normal(mut leaves: Leaves) -> Leaves {
    for item in ["c", "d"] {
        let at = format!("/spec/template/spec/containers[{item}/");
        if leaves.keys().any(|path| path.starts_with(&at)) {
            leaves.insert(format!("{at}name"), 0);
        }
    }
    for (path, value) in &mut leaves {
        if path.contains('=') {
            *value = 0;
        }
    }
    leaves
}

fn put(object: &mut Value, path: &str, value: u8) {
    let mut at = object;
    if let Some((list, member)) = path.split_once('=') {
        for name in list[1..].split('/') {
            at = &mut at[name];
        }
        let mut members = at.as_array().cloned().unwrap_or_default();
        members.push(format!("x/{member}").into());
        *at = members.into();
        return;
    }
    for name in path[1..].split('/') {
        at = match name.split_once('[') {
            None => &mut at[name],
            Some((list, key)) => {
                let list = &mut at[list];
                let mut items = list.as_array().cloned().unwrap_or_default();
                let index = items.iter().position(|item| item["name"] == key).unwrap_or_else(|| {
                    items.push(json!({"name": key}));
                    items.len() - 1
                });
                *list = items.into();
                &mut list[index]
            }
        };
    }
    *at = match path.rsplit('/').next() {
        Some("replicas") => value.into(),
        Some("nodeSelector") => json!({"only": value.to_string()}),
        Some("name") => return,
        _ => value.to_string().into(),
    };
}

fn find(object: &Value, path: &str) -> Option<u8> {
    if let Some((list, member)) = path.split_once('=') {
        let members = object.pointer(list)?.as_array()?;
        return members.contains(&json!(format!("x/{member}"))).then_some(0);
    }
    let mut at = object;
    for name in path[1..].split('/') {
        at = match name.split_once('[') {
            None => at.get(name)?,
            Some((list, key)) => at.get(list)?.as_array()?.iter().find(|item| item["name"] == key)?,
        };
    }
    let number = |value: &Value| value.as_str().map_or(value.as_u64(), |text| text.parse().ok());
    match path.rsplit('/').next() {
        Some("name") => Some(0),
        Some("nodeSelector") => number(&at["only"]).map(|n| n as u8),
        _ => number(at).map(|n| n as u8),
    }
}

fn has(set: &Set, path: &str) -> bool {
    let mut at = Some(set);
    let (path, member) = path.split_once('=').map_or((path, None), |(list, member)| (list, Some(member)));
    let mut elements: Vec<String> = Vec::new();
    for name in path[1..].split('/') {
        match name.split_once('[') {
            None => elements.push(format!("f:{name}")),
            Some((list, key)) => elements.extend([format!("f:{list}"), format!("k:{{\"name\":\"{key}\"}}")]),
        }
    }
    elements.extend(member.map(|member| format!("v:\"x/{member}\"")));
    for element in elements {
        at = at.and_then(|set| set.below.get(&element));
    }
    at.is_some_and(|set| set.own)
}

/// Several managers apply, with and without force, and the result is the model's.
#[test]
fn applies_are_as_the_naive_model_has_them() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut live, mut model) = (Live::new(ITEMS.kind), Model::default());
        for step in 0..8 {
            let manager = MANAGERS[rng.random_range(0..MANAGERS.len())];
            let config = ITEMS.random(&mut rng, 0.4);
            let force = rng.random_bool(0.5);
            let result = live.apply(manager, &ITEMS.object(&config), force);
            let place = format!("seed {seed} step {step}: {manager} {config:?}");
            if !force && model.conflicts(manager, &config) {
                assert_eq!(result.expect_err(&place).code, 409);
                continue;
            }
            result.expect(&place);
            model.apply(manager, &config);
            assert_eq!(ITEMS.leaves(&live.object), model.leaves, "{place}");
            assert_eq!(ITEMS.owned(&live), model.owned, "{place}");
            let once = live.clone();
            live.apply(manager, &ITEMS.object(&config), false).expect("again");
            assert_eq!(live.object, once.object, "twice is once: {place}");
            assert_eq!(managed::to_json(live.entries.clone()), managed::to_json(once.entries), "{place}");
        }
    }
}

/// Writes of other kinds come between the applies.
#[test]
fn updates_between_applies_are_as_the_naive_model_has_them() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut live, mut model) = (Live::new(MAPS.kind), Model::default());
        for step in 0..10 {
            let manager = MANAGERS[rng.random_range(0..MANAGERS.len())];
            let config = MAPS.random(&mut rng, 0.5);
            let place = format!("seed {seed} step {step}: {manager} {config:?}");
            // Ownership begins with a create or an apply; objects that nobody owns are a matter of their own.
            if live.entries.is_empty() && step > 0 {
                break;
            }
            if rng.random_bool(0.5) {
                live.update(manager, &MAPS.object(&config));
                model.update(manager, &config);
            } else if live.apply(manager, &MAPS.object(&config), true).is_ok() {
                model.apply(manager, &config);
            }
            assert_eq!(MAPS.leaves(&live.object), model.leaves, "{place}");
            assert_eq!(MAPS.owned(&live), model.owned, "{place}");
        }
    }
}

/// Random sets: their form is read back, and algebra is that of sets.
#[test]
fn sets_obey_the_laws_of_sets() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut random = |share: f64| {
        let config = ITEMS.object(&ITEMS.random(&mut rng, share));
        Set::of(&config, ITEMS.kind.own_shape())
    };
    for _ in 0..500 {
        let (a, b) = (random(0.5), random(0.5));
        assert_eq!(Set::parse(&a.to_json()), Ok(a.clone()));
        assert_eq!(Set::from_json(&a.to_json()), a);
        let (mut both, mut rest, mut twice) = (a.clone(), a.clone(), a.clone());
        both.add(b.clone());
        rest.remove(&b);
        twice.add(a.clone());
        assert_eq!(twice, a);
        assert!(rest.common(&b).is_empty());
        let mut again = rest.clone();
        again.add(a.common(&b));
        assert_eq!(again, a, "what is not in b and what is");
        assert_eq!(set::touches(&a.to_json(), &b), !a.common(&b).is_empty());
        assert_eq!(
            path::all(&both).len(),
            path::all(&a).len() + path::all(&b).len() - path::all(&a.common(&b)).len()
        );
    }
}

/// Comparing tells exactly what a create, a deletion and a change are.
#[test]
fn comparisons_are_symmetric() {
    let mut rng = StdRng::seed_from_u64(9);
    let shape = ITEMS.kind.own_shape();
    for _ in 0..500 {
        let old = ITEMS.object(&ITEMS.random(&mut rng, 0.5));
        let new = ITEMS.object(&ITEMS.random(&mut rng, 0.5));
        assert!(Comparison::of(&old, &old, shape).is_empty());
        let (there, back) = (Comparison::of(&old, &new, shape), Comparison::of(&new, &old, shape));
        assert_eq!((there.added, there.removed, there.modified), (back.removed, back.added, back.modified));
    }
}

/// Nobody loses a field to an apply that is not forced.
#[test]
fn an_unforced_apply_takes_nothing() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut live = Live::new(ITEMS.kind);
        for manager in MANAGERS {
            let _ = live.apply(manager, &ITEMS.object(&ITEMS.random(&mut rng, 0.4)), true);
        }
        let before = ITEMS.owned(&live);
        if live.apply("a", &ITEMS.object(&ITEMS.random(&mut rng, 0.3)), false).is_ok() {
            let after = ITEMS.owned(&live);
            for (owner, paths) in before.iter().filter(|(owner, _)| owner.0 != "a") {
                assert_eq!(after.get(owner), Some(paths), "seed {seed}");
            }
        }
    }
}
