//! What plugins say, and how their words become one message.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Highest score a plugin gives a node.
pub(crate) const SCORE_MAX: i64 = 100;

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The plugin that refused.
    pub plugin: &'static str,
    /// Reasons in upstream's words.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether no eviction of other pods could help.
    pub unresolvable: bool,
}

impl Rejection {
    /// A refusal that evicting pods might lift.
    pub(crate) fn new(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, reasons: vec![reason.into()], unresolvable: false }
    }

    /// A refusal that stays whatever is evicted.
    pub(crate) fn unresolvable(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { unresolvable: true, ..Self::new(plugin, reason) }
    }
}

/// A plugin's decision about one node.
pub(crate) type Verdict = Result<(), Rejection>;

/// Why no node can take a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// Number of nodes there are.
    pub nodes: usize,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    /// A reason that holds whatever the node, e.g. an unbound volume.
    pub general: Option<String>,
    /// The plugins that refused: what they look at decides when to try again.
    pub plugins: Vec<&'static str>,
}

impl Unschedulable {
    pub(crate) fn note(&mut self, rejection: Rejection) {
        for reason in rejection.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
        if !self.plugins.contains(&rejection.plugin) {
            self.plugins.push(rejection.plugin);
        }
    }
}

impl std::fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available", self.nodes)?;
        if let Some(general) = &self.general {
            return write!(f, ": {general}.");
        }
        let mut parts: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        if parts.is_empty() { f.write_str(".") } else { write!(f, ": {}.", parts.join(", ")) }
    }
}

impl std::error::Error for Unschedulable {}

/// Stretches scores so that the highest is [`SCORE_MAX`]; `reverse` turns them around.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores.iter_mut() {
        let stretched = if highest == 0 { 0 } else { *score * SCORE_MAX / highest };
        *score = if reverse { SCORE_MAX - stretched } else { stretched };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_reasons() {
        let mut none = Unschedulable { nodes: 3, ..Unschedulable::default() };
        none.note(Rejection::new("a", "node(s) were unschedulable"));
        none.note(Rejection {
            plugin: "b",
            reasons: vec!["Insufficient cpu".into(), "Insufficient memory".into()],
            unresolvable: false,
        });
        none.note(Rejection::new("b", "Insufficient cpu"));
        let want = "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu.";
        assert_eq!(none.to_string(), want);
        assert_eq!(Unschedulable::default().to_string(), "no nodes available to schedule pods");
    }

    #[test]
    fn scores_are_stretched() {
        let cases = [(vec![1, 2, 4], false, vec![25, 50, 100]), (vec![0, 0], true, vec![100, 100])];
        for (mut scores, reverse, want) in cases {
            normalize(&mut scores, reverse);
            assert_eq!(scores, want);
        }
    }
}
