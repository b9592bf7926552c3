//! Whether one set of rules grants at least what another does: nobody may hand out more than they hold.

use std::collections::BTreeSet;

use super::rule::{Rule, go_list, has, url_matches};
use crate::UserInfo;

/// The parts of `wanted` that `held` does not cover, one verb and one resource each. Empty means covered.
#[must_use]
pub fn covers(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted
        .iter()
        .flat_map(break_down)
        .filter(|part| !held.iter().any(|rule| rule_covers(rule, part)))
        .collect()
}

/// Splits a rule into rules of one verb and one target.
fn break_down(rule: &Rule) -> Vec<Rule> {
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let one = Rule {
                    verbs: verbs.clone(),
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(one);
                } else {
                    let named = |name: &String| Rule { resource_names: vec![name.clone()], ..one.clone() };
                    parts.extend(rule.resource_names.iter().map(named));
                }
            }
        }
        for url in &rule.non_resource_urls {
            parts.push(Rule {
                verbs: verbs.clone(),
                non_resource_urls: vec![url.clone()],
                ..Rule::default()
            });
        }
    }
    parts
}

fn rule_covers(held: &Rule, part: &Rule) -> bool {
    let all = |list: &[String], wanted: &[String]| wanted.iter().all(|value| has(list, value));
    let names = held.resource_names.is_empty()
        || !part.resource_names.is_empty()
            && part.resource_names.iter().all(|name| held.resource_names.contains(name));
    let resources = part.resources.iter().all(|resource| {
        let any_of_subresource = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        has(&held.resources, resource) || any_of_subresource.is_some_and(|any| held.resources.contains(&any))
    });
    let urls =
        part.non_resource_urls.iter().all(|url| held.non_resource_urls.iter().any(|p| url_matches(p, url)));
    all(&held.verbs, &part.verbs) && all(&held.api_groups, &part.api_groups) && resources && names && urls
}

/// Joins rules that differ in the verb only, so that lists are short.
#[must_use]
pub fn compact(rules: &[Rule]) -> Vec<Rule> {
    let mut joined: Vec<Rule> = Vec::new();
    for rule in rules {
        let same_target = |other: &&mut Rule| {
            other.api_groups == rule.api_groups
                && other.resources == rule.resources
                && other.resource_names == rule.resource_names
                && other.non_resource_urls == rule.non_resource_urls
        };
        if let Some(other) = joined.iter_mut().find(same_target) {
            let new: Vec<String> =
                rule.verbs.iter().filter(|verb| !other.verbs.contains(verb)).cloned().collect();
            other.verbs.extend(new);
        } else {
            joined.push(rule.clone());
        }
    }
    joined
}

/// The sentence that refuses to hand out `missing`; `errors` are those met while the user's own rules were resolved.
#[must_use]
pub fn escalation_refusal(user: &UserInfo, missing: &[Rule], errors: &[String]) -> String {
    let rules: BTreeSet<String> = compact(missing).iter().map(Rule::describe).collect();
    let rules: Vec<String> = rules.into_iter().collect();
    let mut message = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        go_list(&user.groups),
        rules.join("\n")
    );
    if !errors.is_empty() {
        message.push_str(&format!("; resolution errors: [{}]", errors.join(" ")));
    }
    message
}
