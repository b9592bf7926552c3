//! Network policies.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::{age, selector};
use super::super::plain::Plain;
use super::super::value::{has, int, list, put, strings, text};
use super::super::{addresses, check};
use crate::registry::strategy::Generic;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const DIRECTIONS: [&str; 2] = ["Egress", "Ingress"];

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        defaults: "spec.ingress[].ports[].protocol = \"TCP\"\nspec.egress[].ports[].protocol = \"TCP\"",
        complete: defaults,
        checks: "spec.ingress[].from[].ipBlock.cidr required\nspec.egress[].to[].ipBlock.cidr required",
        validate_create: |object| validate(object, &[]),
        validate_update: |object, old| validate(object, &ranges(old)),
        row: Some(row),
        warnings,
        update_warnings: |object, _| warnings(object),
        ..Plain::new(generic)
    }
}

/// Ranges that are written in an unusual way.
fn warnings(policy: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = Path::new("spec").child(direction);
        for (i, rule) in list(&policy["spec"], direction).iter().enumerate() {
            for (j, peer) in list(rule, peers).iter().enumerate() {
                let path = path.index(i).child(peers).index(j).child("ipBlock");
                warnings.extend(range_warnings(&peer["ipBlock"], &path));
            }
        }
    }
    warnings
}

fn range_warnings(block: &Value, path: &Path) -> Vec<String> {
    let mut warnings = addresses::range_warnings(text(block, "cidr"), &path.child("cidr"));
    for (i, range) in strings(block, "except").into_iter().enumerate() {
        warnings.extend(addresses::range_warnings(range, &path.child("except").index(i)));
    }
    warnings
}

fn defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| list(spec, "policyTypes").is_empty()) else {
        return;
    };
    let egress = !list(spec, "egress").is_empty();
    put(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
}

/// Peers with where they stand.
fn peers(object: &Value) -> impl Iterator<Item = (&Value, Path)> {
    let directions = [("ingress", "from"), ("egress", "to")];
    directions.into_iter().flat_map(|(direction, peers)| {
        list(&object["spec"], direction).iter().enumerate().flat_map(move |(i, rule)| {
            let at = Path::new("spec").child(direction).index(i).child(peers);
            list(rule, peers).iter().enumerate().map(move |(j, peer)| (peer, at.index(j)))
        })
    })
}

/// All ranges of addresses that a policy names.
fn ranges(object: &Value) -> Vec<&str> {
    let blocks = peers(object).filter_map(|(peer, _)| peer.get("ipBlock"));
    blocks.flat_map(|block| std::iter::once(text(block, "cidr")).chain(strings(block, "except"))).collect()
}

/// All that is wrong with a policy; ranges that stood there before (`known`) may stay whatever they are.
fn validate(object: &Value, known: &[&str]) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = check::selector(&spec["podSelector"], &path.child("podSelector"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in list(spec, direction).iter().enumerate() {
            let at = path.child(direction).index(i);
            for (j, one) in list(rule, "ports").iter().enumerate() {
                errors.extend(port(one, &at.child("ports").index(j)));
            }
            for (j, one) in list(rule, peers).iter().enumerate() {
                errors.extend(peer(one, known, &at.child(peers).index(j)));
            }
        }
    }
    let (types, at) = (list(spec, "policyTypes"), path.child("policyTypes"));
    if types.len() > DIRECTIONS.len() {
        let detail = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(&at, spec["policyTypes"].clone(), detail));
        return errors;
    }
    for (i, kind) in types.iter().enumerate() {
        let kind = kind.as_str().unwrap_or_default();
        if !DIRECTIONS.contains(&kind) {
            errors.push(FieldError::not_supported(&at.index(i), kind, &["Ingress", "Egress"]));
        }
    }
    errors
}

fn port(port: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let protocol = text(port, "protocol");
    if has(port, "protocol") && !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(&path.child("protocol"), protocol, &PROTOCOLS));
    }
    let (first, last) = (&port["port"], int(port, "endPort"));
    let (at, end) = (path.child("port"), path.child("endPort"));
    let refuse = |last: i64, detail: &str| FieldError::invalid(&end, last, detail);
    match (first, last) {
        (Value::Null, Some(last)) => {
            errors.push(refuse(last, "may not be specified when `port` is not specified"));
        }
        (Value::Null, None) => {}
        (Value::String(_), last) => {
            errors.extend(last.map(|last| refuse(last, "may not be specified when `port` is non-numeric")));
            errors.extend(check::port_or_name(first, &at));
        }
        (first, last) => {
            errors.extend(check::port_or_name(first, &at));
            let Some(last) = last else { return errors };
            if first.as_i64().is_some_and(|first| last < first) {
                // Upstream shows the first port here.
                errors.push(FieldError::invalid(
                    &end,
                    first.clone(),
                    "must be greater than or equal to `port`",
                ));
            }
            errors.extend(check::port(last, &end));
        }
    }
    errors
}

fn peer(peer: &Value, known: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let selectors = ["podSelector", "namespaceSelector"].into_iter().filter(|field| has(peer, field));
    let mut count = 0;
    for field in selectors {
        count += 1;
        errors.extend(check::selector(&peer[field], &path.child(field)));
    }
    if has(peer, "ipBlock") {
        errors.extend(block(&peer["ipBlock"], known, &path.child("ipBlock")));
        if count > 0 {
            errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    }
    errors
}

fn block(block: &Value, known: &[&str], path: &Path) -> Errors {
    let (cidr, at) = (text(block, "cidr"), path.child("cidr"));
    if cidr.is_empty() {
        return Errors::new();
    }
    let mut errors: Errors = addresses::new_range(cidr, known, &at).into_iter().collect();
    let Some(range) = addresses::lenient_range(cidr) else { return errors };
    for (i, except) in strings(block, "except").into_iter().enumerate() {
        let at = path.child("except").index(i);
        errors.extend(addresses::new_range(except, known, &at));
        if addresses::lenient_range(except).is_some_and(|except| !range.strictly_holds(&except)) {
            errors.push(FieldError::invalid(&at, except, "must be a strict subset of `cidr`"));
        }
    }
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    vec![json!(meta::name(object)), selector(&object["spec"]["podSelector"]), age(object, now)]
}
