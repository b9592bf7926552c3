//! InterPodAffinity: pods that want, or must not have, certain others around.

use crate::framework::{Rejection, SCORE_MAX, Verdict};
use crate::snapshot::{NodeInfo, PodInfo, Snapshot};
use api::{Affinity, Pod, PodAffinityTerm, WeightedPodAffinityTerm, selector_matches};
use std::collections::HashMap;

/// Name of the plugin.
pub(crate) const NAME: &str = "InterPodAffinity";
/// Weight of a required affinity of a running pod towards the new one.
const HARD_WEIGHT: i64 = 1;

/// Counts or weights by topology key and value.
type Places = HashMap<(String, String), i64>;

/// What the terms of one pod, and of the running pods about it, come to in a snapshot.
pub(crate) struct Surroundings {
    affinity: Vec<PodAffinityTerm>,
    anti_affinity: Vec<PodAffinityTerm>,
    /// Places of pods that match every affinity term.
    wanted: Places,
    /// The pod matches its own terms: the first of a group may start anywhere.
    wants_itself: bool,
    /// Places of pods that match an anti-affinity term.
    unwanted: Places,
    /// Places from which running pods keep this one away.
    forbidden: Places,
    preferences: Places,
}

fn affinity_of(pod: &Pod) -> Option<&Affinity> {
    pod.spec.as_ref()?.affinity.as_ref()
}

fn required(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = affinity_of(pod).and_then(|affinity| affinity.pod_affinity.as_ref());
    let terms = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or(&[])
}

fn required_anti(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = affinity_of(pod).and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or(&[])
}

fn preferred(pod: &Pod) -> &[WeightedPodAffinityTerm] {
    let affinity = affinity_of(pod).and_then(|affinity| affinity.pod_affinity.as_ref());
    let terms = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or(&[])
}

fn preferred_anti(pod: &Pod) -> &[WeightedPodAffinityTerm] {
    let affinity = affinity_of(pod).and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or(&[])
}

/// Whether a term of `owner` is about `other`.
fn is_about(term: &PodAffinityTerm, owner: &PodInfo, other: &PodInfo, snapshot: &Snapshot) -> bool {
    let names = term.namespaces.as_deref().unwrap_or(&[]);
    let named = names.iter().any(|name| name == other.namespace());
    let own = names.is_empty() && term.namespace_selector.is_none() && owner.namespace() == other.namespace();
    let selected = term
        .namespace_selector
        .as_ref()
        .is_some_and(|selector| selector_matches(selector, snapshot.namespaces.get(other.namespace())));
    let Some(selector) = &term.label_selector else { return false };
    (named || own || selected) && selector_matches(selector, other.labels()) && keys_agree(term, owner, other)
}

/// `matchLabelKeys` must have the same value on both pods, `mismatchLabelKeys` another one.
fn keys_agree(term: &PodAffinityTerm, owner: &PodInfo, other: &PodInfo) -> bool {
    fn get<'a>(pod: &'a PodInfo, key: &str) -> Option<&'a String> {
        pod.labels().and_then(|labels| labels.get(key))
    }
    let same = |key: &String| get(owner, key).is_none_or(|value| get(other, key) == Some(value));
    let differs = |key: &String| {
        get(owner, key).is_none_or(|value| get(other, key).is_some_and(|other| other != value))
    };
    term.match_label_keys.iter().flatten().all(same) && term.mismatch_label_keys.iter().flatten().all(differs)
}

fn add(places: &mut Places, node: &NodeInfo, key: &str, weight: i64) {
    if let Some(value) = node.label(key) {
        *places.entry((key.to_owned(), value.to_owned())).or_default() += weight;
    }
}

fn at(places: &Places, node: &NodeInfo, key: &str) -> i64 {
    let place = node.label(key).map(|value| (key.to_owned(), value.to_owned()));
    place.and_then(|place| places.get(&place)).copied().unwrap_or(0)
}

impl Surroundings {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let affinity = required(&pod.pod).to_vec();
        let wants_itself = affinity.iter().all(|term| is_about(term, pod, pod, snapshot));
        let mut around = Self {
            anti_affinity: required_anti(&pod.pod).to_vec(),
            wants_itself,
            affinity,
            wanted: Places::new(),
            unwanted: Places::new(),
            forbidden: Places::new(),
            preferences: Places::new(),
        };
        let has_terms = pod.has_affinity();
        for node in snapshot.nodes.iter().filter(|node| node.node.is_some()) {
            if !has_terms && node.pods_with_affinity == 0 {
                continue;
            }
            for other in node.pods.iter().filter(|other| other.uid() != pod.uid()) {
                if has_terms {
                    around.look_at(pod, other, node, snapshot);
                }
                if other.has_affinity() {
                    around.hear(pod, other, node, snapshot);
                }
            }
        }
        around
    }

    /// What the new pod says about a running one.
    fn look_at(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) {
        let affinity = &self.affinity;
        if !affinity.is_empty() && affinity.iter().all(|term| is_about(term, pod, other, snapshot)) {
            for term in affinity {
                add(&mut self.wanted, node, &term.topology_key, 1);
            }
        }
        for term in &self.anti_affinity {
            if is_about(term, pod, other, snapshot) {
                add(&mut self.unwanted, node, &term.topology_key, 1);
            }
        }
        self.prefer(pod, other, node, &pod.pod, snapshot);
    }

    /// What a running pod says about the new one.
    fn hear(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) {
        for term in required_anti(&other.pod) {
            if is_about(term, other, pod, snapshot) {
                add(&mut self.forbidden, node, &term.topology_key, 1);
            }
        }
        for term in required(&other.pod) {
            if is_about(term, other, pod, snapshot) {
                add(&mut self.preferences, node, &term.topology_key, HARD_WEIGHT);
            }
        }
        self.prefer(other, pod, node, &other.pod, snapshot);
    }

    /// Adds the preferences that `speaker` has about `subject`, of which one runs on the node.
    fn prefer(
        &mut self,
        speaker: &PodInfo,
        subject: &PodInfo,
        node: &NodeInfo,
        terms: &Pod,
        snapshot: &Snapshot,
    ) {
        for (weighted, sign) in
            preferred(terms).iter().map(|t| (t, 1)).chain(preferred_anti(terms).iter().map(|t| (t, -1)))
        {
            let term = &weighted.pod_affinity_term;
            if is_about(term, speaker, subject, snapshot) {
                add(&mut self.preferences, node, &term.topology_key, sign * i64::from(weighted.weight));
            }
        }
    }

    pub(crate) fn filter(&self, node: &NodeInfo) -> Verdict {
        if !self.satisfies_affinity(node) {
            return Err(Rejection::unresolvable(NAME, "node(s) didn't match pod affinity rules"));
        }
        if self.anti_affinity.iter().any(|term| at(&self.unwanted, node, &term.topology_key) > 0) {
            return Err(Rejection::new(NAME, "node(s) didn't match pod anti-affinity rules"));
        }
        let kept_away = self.forbidden.keys().any(|(key, value)| node.label(key) == Some(value.as_str()));
        if kept_away {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::new(NAME, reason));
        }
        Ok(())
    }

    fn satisfies_affinity(&self, node: &NodeInfo) -> bool {
        let labelled = self.affinity.iter().all(|term| node.label(&term.topology_key).is_some());
        let met = self.affinity.iter().all(|term| at(&self.wanted, node, &term.topology_key) > 0);
        labelled && (met || (self.wanted.is_empty() && self.wants_itself))
    }

    /// Scores for these nodes: the preferences of both sides, stretched between the least and the most preferred.
    pub(crate) fn scores(&self, nodes: &[&NodeInfo]) -> Vec<i64> {
        let sum = |node: &NodeInfo| -> i64 {
            let here =
                |((key, value), _): &(&(String, String), &i64)| node.label(key) == Some(value.as_str());
            self.preferences.iter().filter(here).map(|(_, weight)| *weight).sum()
        };
        if self.preferences.is_empty() {
            return vec![0; nodes.len()];
        }
        let raw: Vec<i64> = nodes.iter().map(|node| sum(node)).collect();
        let least = raw.iter().copied().min().unwrap_or(0);
        let range = raw.iter().copied().max().unwrap_or(0) - least;
        raw.into_iter().map(|score| if range > 0 { SCORE_MAX * (score - least) / range } else { 0 }).collect()
    }
}
