//! Defaults as data: a table of `path = JSON` lines.
//!
//! `spec.ports[].protocol = "TCP"` sets `protocol` in each element of `spec.ports` that has none. What the path leads
//! through must exist already, so a line that makes a parent (`spec.strategy = {}`) stands before those that fill it.
//! With `?=` an empty text and 0 count as missing, as they do for fields that upstream does not keep behind a pointer.

use serde_json::Value;

/// A compiled table.
pub(super) struct Rules(Vec<Rule>);

struct Rule {
    path: Vec<Step>,
    field: &'static str,
    value: Value,
    /// Whether an empty text and 0 are replaced, too.
    empty_too: bool,
}

#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Each,
}

impl Rules {
    /// Compiles a table. Empty lines and `#` comments are skipped.
    ///
    /// # Panics
    /// On a malformed line: tables are constants of this program, and a test compiles each.
    pub(super) fn new(table: &'static str) -> Self {
        let lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(Rule::parse).collect())
    }

    /// Fills in what is missing below `object`.
    pub(super) fn apply(&self, object: &mut Value) {
        for rule in &self.0 {
            rule.fill(object, &rule.path);
        }
    }
}

impl Rule {
    #[expect(clippy::panic, reason = "tables are constants of this program")]
    fn parse(line: &'static str) -> Self {
        let strict = line.split_once(" = ").map(|(path, value)| (path, value, false));
        let split = strict.or_else(|| line.split_once(" ?= ").map(|(path, value)| (path, value, true)));
        let parsed = split.and_then(|(path, value, empty_too)| {
            let (parents, field) = path.rsplit_once('.').unwrap_or(("", path));
            Some(Self { path: steps(parents), field, value: serde_json::from_str(value).ok()?, empty_too })
        });
        parsed.unwrap_or_else(|| panic!("not a default: {line}"))
    }

    fn fill(&self, at: &mut Value, path: &[Step]) {
        match path.split_first() {
            Some((Step::Field(name), rest)) => {
                if let Some(next) = at.get_mut(*name) {
                    self.fill(next, rest);
                }
            }
            Some((Step::Each, rest)) => {
                for item in at.as_array_mut().into_iter().flatten() {
                    self.fill(item, rest);
                }
            }
            None => {
                let Some(map) = at.as_object_mut() else { return };
                let Some(slot) = map.get_mut(self.field) else {
                    map.insert(self.field.to_owned(), self.value.clone());
                    return;
                };
                let empty = self.empty_too && (*slot == "" || *slot == 0);
                if slot.is_null() || empty {
                    *slot = self.value.clone();
                }
            }
        }
    }
}

fn steps(path: &'static str) -> Vec<Step> {
    path.split('.')
        .filter(|segment| !segment.is_empty())
        .flat_map(|segment| match segment.strip_suffix("[]") {
            Some(name) => vec![Step::Field(name), Step::Each],
            None => vec![Step::Field(segment)],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fills_what_is_missing_and_nothing_else() {
        let rules = Rules::new(
            r#"
            spec.strategy = {}
            spec.strategy.type = "Rolling"
            spec.ports[].protocol = "TCP"
            spec.probe.httpGet.path = "/"
            spec.seconds ?= 3
            spec.mode ?= "Fast"
            spec.strict = 1
            kind = "X"
            "#,
        );
        let mut object = json!({"spec": {"ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}, {"protocol": null}],
                "seconds": 0, "mode": "", "strict": 0}});
        rules.apply(&mut object);
        let expected = json!({"kind": "X", "spec": {"strategy": {"type": "Rolling"},
            "seconds": 3, "mode": "Fast", "strict": 0,
            "ports": [{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "UDP"}, {"protocol": "TCP"}]}});
        assert_eq!(object, expected);
        rules.apply(&mut object);
        assert_eq!(object, expected, "defaulting twice is defaulting once");
    }
}
