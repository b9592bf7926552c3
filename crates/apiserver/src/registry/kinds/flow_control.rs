//! `flowcontrol.apiserver.k8s.io`: which requests are handled first, and what every cluster starts with.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::cells::{age, or_none};
use super::check;
use super::match_rules::lonely_star;
use super::plain::Plain;
use super::value::{flag, has, int, list, put, strings, text};
use crate::registry::strategy::Generic;

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals queues to flows.
const HASH_BITS: u8 = 60;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Says that the server may bring an object's specification up to date.
pub(in crate::registry) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const LEVEL: &str = r#"
spec.limited.nominalConcurrencyShares = 30
spec.limited.lendablePercent = 0
spec.limited.limitResponse.queuing.queues ?= 64
spec.limited.limitResponse.queuing.handSize ?= 8
spec.limited.limitResponse.queuing.queueLengthLimit ?= 50
spec.exempt.nominalConcurrencyShares = 0
spec.exempt.lendablePercent = 0
"#;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "flowschemas" => Plain {
            defaults: "spec = {}\nspec.matchingPrecedence ?= 1000",
            validate: schema,
            validate_status: |object, _| statuses(object),
            row: Some(schema_row),
            row_rank: precedence,
            ..base
        },
        "prioritylevelconfigurations" => Plain {
            defaults: LEVEL,
            complete: exempt_level,
            validate: level,
            validate_status: |object, _| statuses(object),
            row: Some(level_row),
            ..base
        },
        _ => return None,
    })
}

fn exempt_level(object: &mut Value) {
    if let Some(spec) =
        object.get_mut("spec").filter(|spec| text(spec, "type") == "Exempt" && !has(spec, "exempt"))
    {
        put(spec, "exempt", json!({"nominalConcurrencyShares": 0, "lendablePercent": 0}));
    }
}

/// An object that every cluster has.
pub(in crate::registry) struct Initial {
    /// Whether nobody may change it.
    pub mandatory: bool,
    /// The object.
    pub object: Value,
}

/// What every cluster starts with; levels come before the schemas that name them.
pub(in crate::registry) fn initial() -> &'static [Initial] {
    static INITIAL: LazyLock<Vec<Initial>> = LazyLock::new(|| {
        let mut objects: Vec<Initial> = Vec::new();
        let lines = include_str!("flow_control.txt").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (line.starts_with(' '), objects.last_mut()) {
                (true, Some(last)) => add_rule(&mut last.object, &words),
                _ => objects.push(one_initial(&words)),
            }
        }
        objects
    });
    &INITIAL
}

fn one_initial(words: &[&str]) -> Initial {
    let word = |i: usize| words.get(i).copied().unwrap_or_default();
    let number = |i: usize| word(i).parse::<i64>().unwrap_or_default();
    let mandatory = word(1).ends_with('!');
    let (kind, spec) = if word(0) == "level" {
        let shares = json!({"nominalConcurrencyShares": number(2), "lendablePercent": number(3)});
        ("PriorityLevelConfiguration", level_spec(shares, words.get(4..).unwrap_or_default()))
    } else {
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": word(2)},
            "matchingPrecedence": number(3),
            "rules": [{"subjects": word(5).split(',').map(subject).collect::<Vec<_>>()}],
        });
        if word(4) != "-" {
            spec["distinguisherMethod"] = json!({"type": word(4)});
        }
        ("FlowSchema", spec)
    };
    let metadata = json!({"name": word(1).trim_end_matches('!'), "annotations": {AUTOUPDATE: "true"}});
    let object = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
    Initial { mandatory, object }
}

fn level_spec(mut shares: Value, words: &[&str]) -> Value {
    let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match (words, numbers.as_slice()) {
        (["exempt"], _) => json!({"type": "Exempt", "exempt": shares}),
        (_, [queues, hand, length]) => {
            shares["limitResponse"] = json!({"type": "Queue", "queuing":
                {"queues": queues, "handSize": hand, "queueLengthLimit": length}});
            json!({"type": "Limited", "limited": shares})
        }
        _ => {
            shares["limitResponse"] = json!({"type": "Reject"});
            json!({"type": "Limited", "limited": shares})
        }
    }
}

fn subject(word: &str) -> Value {
    match word.split_once(':') {
        Some(("G", name)) => json!({"kind": "Group", "group": {"name": name}}),
        Some(("U", name)) => json!({"kind": "User", "user": {"name": name}}),
        other => {
            let (_, account) = other.unwrap_or_default();
            let (namespace, name) = account.split_once('/').unwrap_or_default();
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
        }
    }
}

fn add_rule(object: &mut Value, words: &[&str]) {
    let list = |word: &str| -> Vec<String> {
        word.split(',').map(|one| if one == "core" { String::new() } else { one.to_owned() }).collect()
    };
    let rule = &mut object["spec"]["rules"][0];
    let mut add = |field: &str, one: Value| match rule[field].as_array_mut() {
        Some(rules) => rules.push(one),
        None => rule[field] = json!([one]),
    };
    let resources = |verbs: &str, group: &str, resources: &str, cluster: bool| {
        let mut rule = json!({"verbs": list(verbs), "apiGroups": list(group), "resources": list(resources),
            "namespaces": ["*"]});
        if cluster {
            rule["clusterScope"] = true.into();
        }
        rule
    };
    match words {
        ["*"] => {
            add("resourceRules", resources("*", "*", "*", true));
            add("nonResourceRules", json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        }
        [verbs, urls] => {
            add("nonResourceRules", json!({"verbs": list(verbs), "nonResourceURLs": list(urls)}));
        }
        [verbs, group, names, rest @ ..] => {
            add("resourceRules", resources(verbs, group, names, !rest.is_empty()));
        }
        _ => {}
    }
}

/// Mandatory objects are what they are.
fn must_equal(object: &Value, kind: &str, except: &str) -> Option<FieldError> {
    let name = meta::name(object);
    let fixed = initial()
        .iter()
        .find(|one| one.mandatory && meta::kind(&one.object) == kind && meta::name(&one.object) == name)?;
    let without = |spec: &Value| {
        let mut spec = spec.clone();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, value| key != except && !value.is_null());
        }
        spec
    };
    let detail = format!("spec of '{name}' must equal the fixed value");
    (without(&object["spec"]) != without(&fixed.object["spec"]))
        .then(|| FieldError::invalid(&Path::new("spec"), object["spec"].clone(), detail))
}

fn statuses(object: &Value) -> Errors {
    let path = Path::new("status").child("conditions");
    let mut seen = BTreeSet::new();
    let mut errors = Errors::new();
    for (i, condition) in list(&object["status"], "conditions").iter().enumerate() {
        let (kind, at) = (text(condition, "type"), path.index(i).child("type"));
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&at, kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&at, "must not be empty"));
        }
    }
    errors
}

fn schema(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let (precedence, at) =
        (int(spec, "matchingPrecedence").unwrap_or_default(), path.child("matchingPrecedence"));
    let mut refuse = |detail: String| errors.push(FieldError::invalid(&at, precedence, detail));
    if precedence <= 0 {
        refuse("must be a positive value".to_owned());
    }
    if precedence > PRECEDENCE_MAX {
        refuse(format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && meta::name(object) != "exempt" {
        refuse("only the schema named 'exempt' may have matchingPrecedence 1".to_owned());
    }
    let methods = ["ByNamespace", "ByUser"];
    let method = &spec["distinguisherMethod"];
    if method.is_object() && !methods.contains(&text(method, "type")) {
        let at = path.child("distinguisherMethod").child("type");
        errors.push(FieldError::not_supported(&at, json!({"Type": text(method, "type")}), &methods));
    }
    let (name, at) = (
        text(&spec["priorityLevelConfiguration"], "name"),
        path.child("priorityLevelConfiguration").child("name"),
    );
    match name {
        "" => errors.push(FieldError::required(&at, "must reference a priority level")),
        name => errors.extend(check::named(&at, name, names::dns1123_subdomain(name))),
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        errors.extend(one_rule(rule, &path.child("rules").index(i)));
    }
    errors.extend(must_equal(object, "FlowSchema", ""));
    errors.extend(statuses(object));
    errors
}

fn one_rule(rule: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (subjects, at) = (list(rule, "subjects"), path.child("subjects"));
    if subjects.is_empty() {
        errors.push(FieldError::required(&at, "subjects must contain at least one value"));
    }
    for (i, subject) in subjects.iter().enumerate() {
        errors.extend(one_subject(subject, &at.index(i)));
    }
    let (resources, urls) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (i, rule) in resources.iter().enumerate() {
        errors.extend(resource_rule(rule, &path.child("resourceRules").index(i)));
    }
    for (i, rule) in urls.iter().enumerate() {
        errors.extend(url_rule(rule, &path.child("nonResourceRules").index(i)));
    }
    errors
}

fn one_subject(subject: &Value, path: &Path) -> Errors {
    const KINDS: [(&str, &str); 3] =
        [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "kind");
    let Some((_, field)) = KINDS.into_iter().find(|(known, _)| *known == kind) else {
        return vec![FieldError::not_supported(&path.child("kind"), kind, &KINDS.map(|(kind, _)| kind))];
    };
    let (named, at) = (&subject[field], path.child(field));
    let mut errors = Errors::new();
    if named.is_null() {
        errors.push(FieldError::required(&at, format!("{field} is required when subject kind is '{kind}'")));
    } else {
        let (name, at) = (text(named, "name"), at.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if kind == "ServiceAccount" && name != "*" {
            errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
        }
    }
    if kind == "ServiceAccount" && !named.is_null() {
        let (namespace, at) = (text(named, "namespace"), at.child("namespace"));
        match namespace {
            "" => errors.push(FieldError::required(&at, "must specify namespace for service account")),
            name => errors.extend(check::named(&at, name, names::dns1123_label(name))),
        }
    }
    for field_order in ["user", "serviceAccount", "group"] {
        let Some((kind, field)) =
            KINDS.into_iter().find(|(other, field)| *field == field_order && *other != kind)
        else {
            continue;
        };
        if has(subject, field) {
            let detail = format!("{field} is forbidden when subject kind is not '{kind}'");
            errors.push(FieldError::forbidden(&path.child(field), detail));
        }
    }
    errors
}

fn verbs(rule: &Value, path: &Path) -> Errors {
    let (verbs, at) = (strings(rule, "verbs"), path.child("verbs"));
    if verbs.is_empty() {
        return vec![FieldError::required(&at, "verbs must contain at least one value")];
    }
    if verbs.contains(&"*") {
        return lonely_star(rule, "verbs", "verbs", path).into_iter().collect();
    }
    let known = verbs.iter().all(|verb| VERBS.contains(verb));
    if known { Errors::new() } else { vec![FieldError::not_supported(&at, rule["verbs"].clone(), &VERBS)] }
}

fn resource_rule(rule: &Value, path: &Path) -> Errors {
    let mut errors = verbs(rule, path);
    for (field, one, others) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        if list(rule, field).is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(FieldError::required(&path.child(field), detail));
        }
        errors.extend(lonely_star(rule, field, others, path));
    }
    let (namespaces, at) = (strings(rule, "namespaces"), path.child("namespaces"));
    if namespaces.is_empty() && !flag(rule, "clusterScope") {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&at, detail));
    } else if namespaces.contains(&"*") {
        errors.extend(lonely_star(rule, "namespaces", "namespaces", path));
    } else {
        for (i, name) in namespaces.into_iter().enumerate() {
            let intro = "each member of this list must be '*' or a DNS-1123 label; ";
            let reasons = names::dns1123_label(name).into_iter().map(|reason| format!("{intro}{reason}"));
            errors.extend(check::named(&at.index(i), name, reasons.collect()));
        }
    }
    errors
}

fn url_rule(rule: &Value, path: &Path) -> Errors {
    let mut errors = verbs(rule, path);
    let (urls, at) = (strings(rule, "nonResourceURLs"), path.child("nonResourceURLs"));
    if urls.is_empty() {
        errors.push(FieldError::required(&at, "nonResourceURLs must contain at least one value"));
    } else if urls.contains(&"*") {
        errors.extend(lonely_star(rule, "nonResourceURLs", "non-resource URLs", path));
    } else {
        for (i, url) in urls.into_iter().enumerate() {
            errors.extend(wrong_url(url).map(|why| FieldError::invalid(&at.index(i), url, why)));
        }
    }
    errors
}

fn wrong_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        url if !url.starts_with('/') => Some("must start with slash"),
        url if url.contains(' ') => Some("must not contain white-space"),
        url if url.contains("//") => Some("must not contain double slash"),
        url if stars > 1 || stars == 1 && !url.ends_with("/*") => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn level(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let kind = text(spec, "type");
    let mut errors = Errors::new();
    if (meta::name(object) == "exempt") != (kind == "Exempt") {
        let detail = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    let (limited, exempt) = (path.child("limited"), path.child("exempt"));
    match kind {
        "Exempt" => {
            if has(spec, "limited") {
                errors.push(FieldError::forbidden(&limited, "must be nil if the type is not Limited"));
            }
            errors.extend(shares(&spec["exempt"], &exempt));
        }
        "Limited" => {
            if has(spec, "exempt") {
                errors.push(FieldError::forbidden(&exempt, "must be nil if the type is Limited"));
            }
            if has(spec, "limited") {
                errors.extend(shares(&spec["limited"], &limited));
                errors.extend(response(&spec["limited"]["limitResponse"], &limited.child("limitResponse")));
            } else {
                errors.push(FieldError::required(&limited, "must not be empty when type is Limited"));
            }
        }
        other => {
            errors.push(FieldError::not_supported(&path.child("type"), other, &["Exempt", "Limited"]));
        }
    }
    errors.extend(must_equal(object, "PriorityLevelConfiguration", "exempt"));
    errors.extend(statuses(object));
    errors
}

fn shares(level: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let field = "nominalConcurrencyShares";
    if let Some(shares) = int(level, field).filter(|shares| *shares < 0) {
        let detail = "must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child(field), shares, detail));
    }
    if let Some(percent) = int(level, "lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(&path.child("lendablePercent"), percent, detail));
    }
    if let Some(percent) = int(level, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child("borrowingLimitPercent"), percent, detail));
    }
    errors
}

fn response(response: &Value, path: &Path) -> Errors {
    let (queuing, at) = (&response["queuing"], path.child("queuing"));
    match (text(response, "type"), queuing.is_object()) {
        ("Reject", true) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            vec![FieldError::forbidden(&at, detail)]
        }
        ("Reject", false) => Errors::new(),
        ("Queue", false) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            vec![FieldError::required(&at, detail)]
        }
        ("Queue", true) => queues(queuing, &at),
        (other, _) => vec![FieldError::not_supported(&path.child("type"), other, &["Queue", "Reject"])],
    }
}

fn queues(queuing: &Value, path: &Path) -> Errors {
    const POSITIVE: &str = "must be positive";
    let number = |field: &str| int(queuing, field).unwrap_or_default();
    let refuse = |field: &str, detail: String| FieldError::invalid(&path.child(field), number(field), detail);
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut errors = Errors::new();
    if number("queueLengthLimit") <= 0 {
        errors.push(refuse("queueLengthLimit", POSITIVE.to_owned()));
    }
    if queues <= 0 {
        errors.push(refuse("queues", POSITIVE.to_owned()));
    } else if queues > QUEUES_MAX {
        errors.push(refuse("queues", format!("must not be greater than {QUEUES_MAX}")));
    }
    if hand <= 0 {
        errors.push(refuse("handSize", POSITIVE.to_owned()));
    } else if hand > queues {
        errors.push(refuse("handSize", format!("should not be greater than queues ({queues})")));
    } else if needs_too_many_bits(queues, hand) {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.push(refuse("handSize", detail));
    }
    errors
}

/// Whether so many choices of queues do not fit into the hash.
fn needs_too_many_bits(queues: i64, hand: i64) -> bool {
    let (queues, hand) = (i32::try_from(queues).unwrap_or(i32::MAX), i32::try_from(hand).unwrap_or(i32::MAX));
    let bits = f64::from(queues).log2() * f64::from(hand);
    bits.ceil() > f64::from(HASH_BITS)
}

fn precedence(object: &Value) -> i64 {
    int(&object["spec"], "matchingPrecedence").unwrap_or_default()
}

fn schema_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let method = text(&spec["distinguisherMethod"], "type");
    let dangling = list(&object["status"], "conditions").iter().find(|c| text(c, "type") == "Dangling");
    vec![
        json!(meta::name(object)),
        json!(text(&spec["priorityLevelConfiguration"], "name")),
        json!(precedence(object)),
        json!(or_none(method)),
        age(object, now),
        json!(dangling.map_or("?", |condition| text(condition, "status"))),
    ]
}

fn level_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let limited = &spec["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let shown = |of: &Value, field: &str| int(of, field).map_or(json!("<none>"), |n| json!(n));
    vec![
        json!(meta::name(object)),
        json!(text(spec, "type")),
        shown(limited, "nominalConcurrencyShares"),
        shown(queuing, "queues"),
        shown(queuing, "handSize"),
        shown(queuing, "queueLengthLimit"),
        age(object, now),
    ]
}
