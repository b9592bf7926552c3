//! Refusals of a Job's policies: what becomes of it when pods fail or succeed.

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{has, int, list, text};

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const RULES_MAX: usize = 20;
const CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_MAX: usize = 64 * 1024;

pub(super) fn validate(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if has(spec, "podFailurePolicy") {
        let at = path.child("podFailurePolicy").child("rules");
        let rules = list(&spec["podFailurePolicy"], "rules");
        if rules.len() > RULES_MAX {
            errors.push(FieldError::too_many(&at, rules.len(), RULES_MAX));
        }
        for (i, rule) in rules.iter().enumerate() {
            errors.extend(failure_rule(spec, rule, &at.index(i)));
        }
    }
    if has(spec, "successPolicy") {
        errors.extend(success(spec, &path.child("successPolicy")));
    }
    errors.extend(replacement(spec, &path.child("podReplacementPolicy")));
    errors
}

fn failure_rule(spec: &Value, rule: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let action = text(rule, "action");
    if action == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(&path.child("action"), action, detail));
    }
    errors.extend(choice(rule, "action", &ACTIONS, path));
    let codes = &rule["onExitCodes"];
    if codes.is_object() {
        errors.extend(exit_codes(spec, codes, &path.child("onExitCodes")));
    }
    let conditions = list(rule, "onPodConditions");
    errors.extend(pod_conditions(conditions, &path.child("onPodConditions")));
    let detail = match (codes.is_object(), conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return errors,
    };
    errors.push(FieldError::invalid(path, Value::Null, detail).without_value());
    errors
}

fn pod_conditions(patterns: &[Value], path: &Path) -> Errors {
    let mut errors = Errors::new();
    if patterns.len() > PATTERNS_MAX {
        errors.push(FieldError::too_many(path, patterns.len(), PATTERNS_MAX));
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let (at, kind) = (path.index(i), text(pattern, "type"));
        errors.extend(check::named(&at.child("type"), kind, names::qualified_name(kind)));
        errors.extend(choice(pattern, "status", &["False", "True", "Unknown"], &at));
    }
    errors
}

/// A required enumeration; when it is missing its values are told.
fn choice(object: &Value, field: &str, allowed: &[&str], path: &Path) -> Option<FieldError> {
    let told = || allowed.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(" ");
    let error = check::one_of(object, field, allowed, path)?;
    Some(if text(object, field).is_empty() {
        error.with_detail(format!("valid values: [{}]", told()))
    } else {
        error
    })
}

fn exit_codes(spec: &Value, codes: &Value, path: &Path) -> Errors {
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    let mut errors: Errors = choice(codes, "operator", &OPERATORS, path).into_iter().collect();
    let pod = &spec["template"]["spec"];
    let container = text(codes, "containerName");
    let known = ["containers", "initContainers"].into_iter().flat_map(|field| list(pod, field));
    if has(codes, "containerName") && !known.map(|c| text(c, "name")).any(|name| name == container) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(&path.child("containerName"), container, detail));
    }
    let (values, at) = (list(codes, "values"), path.child("values"));
    if values.is_empty() {
        errors.push(FieldError::invalid(&at, codes["values"].clone(), "at least one value is required"));
    } else if values.len() > CODES_MAX {
        errors.push(FieldError::too_many(&at, values.len(), CODES_MAX));
    }
    let values: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    let mut seen = BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        if *value == 0 && text(codes, "operator") == "In" {
            errors.push(FieldError::invalid(&at.index(i), 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(value) {
            errors.push(FieldError::duplicate(&at.index(i), *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(&at, codes["values"].clone(), "must be ordered"));
    }
    errors
}

fn success(spec: &Value, path: &Path) -> Errors {
    let policy = &spec["successPolicy"];
    if text(spec, "completionMode") != "Indexed" {
        let error = FieldError::invalid(path, policy.clone(), "requires indexed completion mode");
        return vec![error.as_struct("SuccessPolicy")];
    }
    let (rules, at) = (list(policy, "rules"), path.child("rules"));
    let mut errors = Errors::new();
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&at, detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&at, rules.len(), RULES_MAX));
    }
    let completions = int(spec, "completions").unwrap_or_default();
    for (i, rule) in rules.iter().enumerate() {
        errors.extend(success_rule(rule, completions, &at.index(i)));
    }
    errors
}

fn success_rule(rule: &Value, completions: i64, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if !has(rule, "succeededCount") && !has(rule, "succeededIndexes") {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, detail));
    }
    let indexes = text(rule, "succeededIndexes");
    if indexes.len() > INDEXES_MAX {
        errors.push(FieldError::too_long(&path.child("succeededIndexes"), INDEXES_MAX));
    }
    let total = match count_indexes(indexes, completions) {
        Ok(total) => total,
        Err(why) => {
            let detail = format!("error parsing succeededIndexes: {why}");
            errors.push(FieldError::invalid(&path.child("succeededIndexes"), indexes, detail));
            0
        }
    };
    errors.extend(check::non_negative(rule, "succeededCount", path));
    let Some(count) = int(rule, "succeededCount") else { return errors };
    let at = path.child("succeededCount");
    if count > completions {
        let detail =
            format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(FieldError::invalid(&at, count, detail));
    }
    if has(rule, "succeededIndexes") && count > total {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(&at, count, detail));
    }
    errors
}

/// How many indexes a text as `1,3-5` names.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut last: Option<i64> = None;
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = index_interval(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

pub(super) fn index_interval(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = interval.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |text: &str| {
        let number: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number < completions { Ok(number) } else { Err(format!("too large index: {text:?}")) }
    };
    let first = number(parts.first().copied().unwrap_or_default())?;
    match parts.get(1) {
        None => Ok((first, first)),
        Some(end) => match number(end)? {
            end if first < end => Ok((first, end)),
            end => Err(format!("non-increasing order, previous: {first}, current: {end}")),
        },
    }
}

fn replacement(spec: &Value, path: &Path) -> Option<FieldError> {
    let policy = text(spec, "podReplacementPolicy");
    let allowed: &[&str] =
        if has(spec, "podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    (has(spec, "podReplacementPolicy") && !allowed.contains(&policy))
        .then(|| FieldError::not_supported(path, policy, allowed))
}
