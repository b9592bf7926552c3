//! Tolerations from several places as one list (upstream `pkg/util/tolerations`).

use serde_json::Value;

use crate::registry::kinds::value::{int, text};

/// Both lists in one, without tolerations that another one makes needless.
pub(super) fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::with_capacity(all.len());
    for (i, toleration) in all.iter().enumerate() {
        let later = || all[i + 1..].iter().any(|other| other != toleration && covers(other, toleration));
        if !merged.iter().any(|other| covers(other, toleration)) && !later() {
            merged.push((*toleration).clone());
        }
    }
    merged
}

/// Whether whoever has the first bears all that one with the second bears.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let same = |field: &str| text(wide, field) == text(narrow, field);
    let seconds = |toleration: &Value| int(toleration, "tolerationSeconds");
    let operator = text(wide, "operator");
    let any_key = text(wide, "key").is_empty() && operator == "Exists";
    if !same("key") && !any_key {
        return false;
    }
    if !same("effect") && !text(wide, "effect").is_empty() {
        return false;
    }
    let ends_sooner = |most: i64| seconds(narrow).is_none_or(|wanted| wanted > most);
    if text(wide, "effect") == "NoExecute" && seconds(wide).is_some_and(ends_sooner) {
        return false;
    }
    match operator {
        "Equal" | "" => text(narrow, "operator") == "Equal" && same("value"),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_covered_goes() {
        let all = json!({"operator": "Exists"});
        let key = json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"});
        let one = json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"});
        let brief = json!({"key": "e", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let longer = json!({"key": "e", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
        for (first, second, merged) in [
            (vec![&one], vec![&key], vec![&key]),
            (vec![&key], vec![&one], vec![&key]),
            (vec![&key, &one], vec![&all], vec![&all]),
            (vec![&one], vec![&one], vec![&one]),
            (vec![&brief], vec![&longer], vec![&longer]),
            (vec![&one], vec![&brief], vec![&one, &brief]),
        ] {
            let [first, second, merged] =
                [first, second, merged].map(|list| list.into_iter().cloned().collect::<Vec<Value>>());
            assert_eq!(merge(&first, &second), merged, "{first:?} {second:?}");
        }
    }
}
