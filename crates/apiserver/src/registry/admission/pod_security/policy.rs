//! What the labels of a namespace ask of its pods.

use std::fmt;

use machinery::field::{Errors, FieldError, Path};
use serde_json::{Map, Value};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much pods may do, from everything to little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

const LEVELS: [(&str, Level); 3] =
    [("privileged", Level::Privileged), ("baseline", Level::Baseline), ("restricted", Level::Restricted)];

/// A level as it was in a minor version of Kubernetes; `None` is the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standard {
    pub level: Level,
    pub minor: Option<u32>,
}

const ANYTHING: Standard = Standard { level: Level::Privileged, minor: None };

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LEVELS.iter().find(|(_, level)| *level == self.level).map_or("", |(name, _)| name);
        match self.minor {
            Some(minor) => write!(f, "{name}:v1.{minor}"),
            None => write!(f, "{name}:latest"),
        }
    }
}

/// The standards of a namespace: which pods are refused, and of which users are warned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub enforce: Standard,
    pub warn: Standard,
}

impl Policy {
    /// The policy of a namespace, and what is wrong with its labels. A level that nobody knows is the strictest for refusals
    /// and none for warnings.
    pub(super) fn of(namespace: &Value) -> (Self, Errors) {
        let mut read = Labels { labels: namespace.pointer("/metadata/labels"), errors: Errors::new() };
        let (level, known) = read.level("enforce", Level::Restricted);
        let enforce = Standard { level: level.unwrap_or(Level::Privileged), minor: read.minor("enforce").1 };
        // Audited is what nobody here writes down, but its labels have to be right.
        read.level("audit", Level::Privileged);
        read.minor("audit");
        let warned = read.level("warn", Level::Privileged).0;
        let (told, minor) = read.minor("warn");
        let mut warn = Standard { level: warned.unwrap_or(Level::Privileged), minor };
        if warned.is_none() && known && enforce.level > ANYTHING.level {
            let minor = if told { warn.minor } else { enforce.minor };
            warn = Standard { level: enforce.level, minor };
        }
        (Self { enforce, warn }, read.errors)
    }
}

struct Labels<'a> {
    labels: Option<&'a Value>,
    errors: Errors,
}

impl Labels<'_> {
    fn get(&self, label: &str) -> Option<String> {
        let labels: &Map<String, Value> = self.labels?.as_object()?;
        labels.get(&format!("{PREFIX}{label}")).map(|value| value.as_str().unwrap_or_default().to_owned())
    }

    /// The level of a mode, `otherwise` when it is none, and whether it is a known one.
    fn level(&mut self, mode: &str, otherwise: Level) -> (Option<Level>, bool) {
        let Some(given) = self.get(mode) else { return (None, false) };
        match LEVELS.iter().find(|(name, _)| *name == given) {
            Some((_, level)) => (Some(*level), true),
            None => {
                let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
                self.refuse(mode, &given, &format!("must be one of {}", names.join(", ")));
                (Some(otherwise), false)
            }
        }
    }

    /// The version of a mode, and whether it is told.
    fn minor(&mut self, mode: &str) -> (bool, Option<u32>) {
        let label = format!("{mode}-version");
        let Some(given) = self.get(&label) else { return (false, None) };
        let number = given.strip_prefix("v1.").filter(|n| *n == "0" || !n.starts_with('0'));
        let minor = number
            .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|number| number.parse().ok());
        if minor.is_none() && given != "latest" {
            self.refuse(&label, &given, "must be \"latest\" or \"v1.x\"");
        }
        (true, minor)
    }

    fn refuse(&mut self, label: &str, given: &str, why: &str) {
        let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{label}"));
        self.errors.push(FieldError::invalid(&path, given, why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_make_a_policy() {
        for (labels, enforce, warn, errors) in [
            (json!({}), "privileged:latest", "privileged:latest", 0),
            (json!({"enforce": "baseline"}), "baseline:latest", "baseline:latest", 0),
            (
                json!({"enforce": "restricted", "enforce-version": "v1.25", "warn": "baseline"}),
                "restricted:v1.25",
                "baseline:latest",
                0,
            ),
            (json!({"enforce": "baseline", "enforce-version": "v1.0"}), "baseline:v1.0", "baseline:v1.0", 0),
            (
                json!({"enforce": "baseline", "enforce-version": "v1.5", "warn-version": "v1.9"}),
                "baseline:v1.5",
                "baseline:v1.9",
                0,
            ),
            (json!({"enforce": "none"}), "restricted:latest", "privileged:latest", 1),
            (json!({"warn": "none", "warn-version": "v1.01"}), "privileged:latest", "privileged:latest", 2),
            (json!({"audit": "none", "audit-version": "1.2"}), "privileged:latest", "privileged:latest", 2),
        ] {
            let labels: Map<String, Value> = labels
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))
                .collect();
            let (policy, found) = Policy::of(&json!({"metadata": {"labels": labels}}));
            assert_eq!(policy.enforce.to_string(), enforce, "{labels:?}");
            assert_eq!(policy.warn.to_string(), warn, "{labels:?}");
            assert_eq!(found.len(), errors, "{labels:?}");
        }
    }
}
