//! ClusterTrustBundles: certificates that are trusted, of one signer or of nobody in particular.

use std::collections::BTreeMap;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::{Value, json};

use super::super::cells::or_none;
use super::super::check;
use super::super::plain::Plain;
use super::super::signers;
use super::super::value::text;
use crate::registry::strategy::Generic;

const BUNDLE_MAX: usize = 1 << 20;

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        validate: signer_and_name,
        validate_create: |object| anchors(text(&object["spec"], "trustBundle")),
        validate_update: |object, old| {
            let (new, was) = [object, old].map(|object| text(&object["spec"], "trustBundle")).into();
            let mut errors = if new == was { Errors::new() } else { anchors(new) };
            errors.extend(check::immutable(
                object,
                old,
                "/spec/signerName",
                &Path::new("spec").child("signerName"),
            ));
            errors
        },
        row: Some(|object, _| {
            vec![json!(meta::name(object)), json!(or_none(text(&object["spec"], "signerName")))]
        }),
        selectable: &["spec.signerName"],
        ..Plain::new(generic)
    }
}

fn signer_and_name(object: &Value) -> Errors {
    let (signer, path) = (text(&object["spec"], "signerName"), Path::new("spec").child("signerName"));
    let mut errors = name(object);
    if !signer.is_empty() {
        errors.extend(signers::name(signer, &path));
    }
    errors
}

/// A bundle of a signer is called after it.
fn name(object: &Value) -> Errors {
    let (signer, name) = (text(&object["spec"], "signerName"), meta::name(object));
    let path = Path::new("metadata").child("name");
    let refuse = |detail: String| vec![FieldError::invalid(&path, name, detail)];
    if signer.is_empty() {
        if name.contains(':') {
            let detail = "ClusterTrustBundle without signer name must not have \":\" in its name";
            return refuse(detail.to_owned());
        }
        return check::named(&path, name, names::dns1123_subdomain(name));
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => check::named(&path, name, names::dns1123_subdomain(rest)),
        None => {
            refuse(format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"))
        }
    }
}

fn anchors(bundle: &str) -> Errors {
    let path = Path::new("spec").child("trustBundle");
    if bundle.len() > BUNDLE_MAX {
        return vec![FieldError::too_long(&path, BUNDLE_MAX)];
    }
    let refuse = |detail: String| FieldError::invalid(&path, "<value omitted>", detail);
    let mut errors = Errors::new();
    let mut seen: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for (i, block) in auth::pem_blocks(bundle.as_bytes()).into_iter().enumerate() {
        if block.label != "CERTIFICATE" {
            errors.push(refuse(format!("entry {i} has bad block type: {}", block.label)));
            continue;
        }
        match auth::certificate(&block.der) {
            None => errors.push(refuse(format!("entry {i} does not parse as X.509"))),
            Some(facts) if !facts.is_ca => {
                errors.push(refuse(format!("entry {i} does not have the CA bit set")));
            }
            Some(facts) => seen.entry(facts.digest).or_default().push(i),
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if seen.is_empty() {
        return vec![refuse("at least one trust anchor must be provided".to_owned())];
    }
    let twice = seen.into_values().filter(|indices| indices.len() > 1);
    twice
        .map(|indices| {
            let listed: Vec<String> = indices.iter().map(ToString::to_string).collect();
            refuse(format!("duplicate trust anchor (indices [{}])", listed.join(" ")))
        })
        .collect()
}
