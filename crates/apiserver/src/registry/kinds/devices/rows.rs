//! Cells of rules about devices and of questions about pools of them.

use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, since};
use super::super::value::{has, int, list, text};

/// Name, key, value, effect, since when, age.
pub(super) fn taint_rule(rule: &Value, now: i64) -> Vec<Value> {
    let taint = &rule["spec"]["taint"];
    let added = if has(taint, "timeAdded") { since(text(taint, "timeAdded"), now) } else { String::new() };
    let mut cells = vec![json!(meta::name(rule))];
    cells.extend(["key", "value", "effect"].map(|field| json!(text(taint, field))));
    cells.extend([json!(added), age(rule, now)]);
    cells
}

/// Name, driver, four sums over the pools, pools in error, pools, state, when it was completed.
pub(super) fn pool_status(request: &Value, now: i64) -> Vec<Value> {
    let status = &request["status"];
    let pools = list(status, "pools");
    let count = int(status, "poolCount").unwrap_or_default();
    let ended = list(status, "conditions")
        .iter()
        .find(|c| matches!(text(c, "type"), "Complete" | "Failed") && text(c, "status") == "True");
    let (complete, failed) = match ended.map(|condition| text(condition, "type")) {
        Some("Complete") => (ended, false),
        ended => (None, ended.is_some()),
    };
    let state = match complete {
        Some(_) if count > i64::try_from(pools.len()).unwrap_or(i64::MAX) => {
            format!("Complete ({}/{count} pools)", pools.len())
        }
        Some(_) => "Complete".to_owned(),
        None if failed => "Failed".to_owned(),
        None => "Pending".to_owned(),
    };
    let known = status.is_object() && !failed;
    let shown = |number: i64| json!(if known { number.to_string() } else { "-".to_owned() });
    let sum = |field: &str| shown(pools.iter().filter_map(|pool| int(pool, field)).sum());
    let wrong = pools.iter().filter(|pool| has(pool, "validationError")).count();
    let mut cells = vec![json!(meta::name(request)), json!(text(&request["spec"], "driver"))];
    cells.extend(["totalDevices", "availableDevices", "allocatedDevices", "unavailableDevices"].map(sum));
    cells.extend([shown(i64::try_from(wrong).unwrap_or(i64::MAX)), json!(count), json!(state)]);
    cells.push(json!(complete.map_or("<none>".to_owned(), |c| since(text(c, "lastTransitionTime"), now))));
    cells
}
