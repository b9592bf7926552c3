//! PodTopologySpread: pods of one kind are spread over zones and nodes.

use super::{node_affinity, taint_toleration};
use crate::framework::{Rejection, SCORE_MAX, Verdict};
use crate::snapshot::{NodeInfo, PodInfo, Snapshot};
use api::{LabelSelector, Pod, TopologySpreadConstraint, controller_of, selector_matches};
use std::collections::HashMap;

/// Name of the plugin.
pub(crate) const NAME: &str = "PodTopologySpread";
const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";
const MISSING: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// Which pods a constraint counts.
enum Counted {
    Selector(Box<LabelSelector>),
    /// Pods of the same controller: what upstream's default constraints come to.
    Siblings(String),
}

struct Constraint {
    key: String,
    skew_max: i64,
    domains_min: usize,
    counted: Counted,
    honor_affinity: bool,
    honor_taints: bool,
    /// Matching pods by value of the topology key.
    domains: HashMap<String, i64>,
    /// Whether the pod itself would count.
    counts_self: bool,
}

/// The constraints of one pod with the counts of a snapshot.
pub(crate) struct Spread {
    required: Vec<Constraint>,
    preferred: Vec<Constraint>,
    /// Nodes without one of the preferred keys score nothing, unless the constraints are defaults.
    needs_all_keys: bool,
}

impl Spread {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let given = pod.pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_ref());
        let given = given.map_or(&[][..], Vec::as_slice);
        let of = |kind: &str| -> Vec<Constraint> {
            let wanted = given.iter().filter(|constraint| constraint.when_unsatisfiable == kind);
            wanted.map(|constraint| Constraint::new(constraint, &pod.pod)).collect()
        };
        let mut spread = Self {
            required: of("DoNotSchedule"),
            preferred: of("ScheduleAnyway"),
            needs_all_keys: !given.is_empty(),
        };
        if given.is_empty() {
            spread.preferred = defaults(&pod.pod);
        }
        count(&mut spread.required, pod, snapshot, true);
        count(&mut spread.preferred, pod, snapshot, spread.needs_all_keys);
        spread
    }

    pub(crate) fn filter(&self, node: &NodeInfo) -> Verdict {
        for constraint in &self.required {
            let Some(value) = node.label(&constraint.key) else {
                return Err(Rejection::unresolvable(NAME, MISSING));
            };
            let here = constraint.domains.get(value).copied().unwrap_or(0);
            let skew = here + i64::from(constraint.counts_self) - constraint.least();
            if skew > constraint.skew_max {
                return Err(Rejection::new(NAME, MISMATCH));
            }
        }
        Ok(())
    }

    /// Scores for these nodes, at most [`SCORE_MAX`]: the fewer matching pods, the higher.
    pub(crate) fn scores(&self, nodes: &[&NodeInfo]) -> Vec<i64> {
        if self.preferred.is_empty() {
            return vec![0; nodes.len()];
        }
        let raw: Vec<Option<i64>> = nodes.iter().map(|node| self.crowd(node)).collect();
        let known = || raw.iter().flatten().copied();
        let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
        let stretch = |crowd: i64| {
            if most == 0 { SCORE_MAX } else { SCORE_MAX * (most + least - crowd) / most }
        };
        raw.into_iter().map(|crowd| crowd.map_or(0, stretch)).collect()
    }

    /// Weighted number of matching pods around the node.
    fn crowd(&self, node: &NodeInfo) -> Option<i64> {
        let mut sum = 0.0;
        for constraint in &self.preferred {
            let Some(value) = node.label(&constraint.key) else {
                if self.needs_all_keys {
                    return None;
                }
                continue;
            };
            let here = constraint.domains.get(value).copied().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "numbers of pods and nodes are small")]
            let (here, domains) = (here as f64, constraint.domains.len() as f64);
            #[expect(clippy::cast_precision_loss, reason = "a skew is a small number")]
            let slack = (constraint.skew_max - 1) as f64;
            sum += here * (domains + 2.0).ln() + slack;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a float to int cast saturates")]
        let sum = sum.round() as i64;
        Some(sum)
    }
}

/// Upstream's defaults for pods that a controller made: nodes and zones, preferred only.
fn defaults(pod: &Pod) -> Vec<Constraint> {
    let Some(controller) = controller_of(&pod.metadata) else { return Vec::new() };
    let constraint = |key: &str, skew_max| Constraint {
        key: key.to_owned(),
        skew_max,
        domains_min: 1,
        counted: Counted::Siblings(controller.uid.clone()),
        honor_affinity: true,
        honor_taints: false,
        domains: HashMap::new(),
        counts_self: true,
    };
    vec![constraint("kubernetes.io/hostname", 3), constraint("topology.kubernetes.io/zone", 5)]
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint, pod: &Pod) -> Self {
        let labels = pod.metadata.labels.as_ref();
        let mut selector = constraint.label_selector.clone();
        for key in constraint.match_label_keys.iter().flatten() {
            if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                let own = selector.get_or_insert_default().match_labels.get_or_insert_default();
                own.insert(key.clone(), value.clone());
            }
        }
        let counts_self = selector.as_ref().is_some_and(|selector| selector_matches(selector, labels));
        // No selector counts no pods; an empty one counts all.
        let none = || LabelSelector {
            match_expressions: Some(vec![api::LabelSelectorRequirement::default()]),
            match_labels: None,
        };
        Self {
            key: constraint.topology_key.clone(),
            skew_max: i64::from(constraint.max_skew),
            domains_min: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            counted: Counted::Selector(Box::new(selector.unwrap_or_else(none))),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            domains: HashMap::new(),
            counts_self,
        }
    }

    fn counts(&self, other: &PodInfo, namespace: &str) -> bool {
        if other.namespace() != namespace || other.pod.metadata.deletion_timestamp.is_some() {
            return false;
        }
        match &self.counted {
            Counted::Selector(selector) => selector_matches(selector, other.labels()),
            Counted::Siblings(uid) => controller_of(&other.pod.metadata).is_some_and(|own| own.uid == *uid),
        }
    }

    fn eligible(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honor_affinity || node_affinity::matches(pod, node))
            && (!self.honor_taints || taint_toleration::untolerated(pod, node.taints()).is_none())
    }

    /// Matching pods of the emptiest domain; none when there are fewer domains than asked for.
    fn least(&self) -> i64 {
        if self.domains.len() < self.domains_min {
            return 0;
        }
        self.domains.values().copied().min().unwrap_or(0)
    }
}

fn count(constraints: &mut [Constraint], pod: &PodInfo, snapshot: &Snapshot, needs_all_keys: bool) {
    let keys: Vec<String> = constraints.iter().map(|constraint| constraint.key.clone()).collect();
    for node in snapshot.nodes.iter().filter(|node| node.node.is_some()) {
        if needs_all_keys && keys.iter().any(|key| node.label(key).is_none()) {
            continue;
        }
        for constraint in &mut *constraints {
            let Some(value) = node.label(&constraint.key) else { continue };
            if !constraint.eligible(pod, node) {
                continue;
            }
            let matching = node.pods.iter().filter(|other| constraint.counts(other, pod.namespace())).count();
            *constraint.domains.entry(value.to_owned()).or_default() += i64::try_from(matching).unwrap_or(0);
        }
    }
}
