//! Service accounts.

use machinery::meta;
use serde_json::{Value, json};

use super::super::cells::age;
use super::super::plain::Plain;
use super::super::value::{each, text};
use crate::registry::strategy::Generic;

const MOUNTABLE_ONLY: &str = "kubernetes.io/enforce-mountable-secrets";

pub(super) fn plain(generic: Generic) -> Plain {
    Plain {
        prepare: names_of_secrets,
        prepare_update: |account, _| names_of_secrets(account),
        warnings,
        update_warnings: |account, old| {
            if meta::annotation(old, MOUNTABLE_ONLY).is_some() { Vec::new() } else { warnings(account) }
        },
        row: Some(|account, now| vec![json!(meta::name(account)), age(account, now)]),
        ..Plain::new(generic)
    }
}

/// Secrets of an account are in its own namespace: nothing but their names counts.
fn names_of_secrets(account: &mut Value) {
    for secret in each(account, "secrets") {
        *secret = match text(secret, "name") {
            "" => json!({}),
            name => json!({ "name": name }),
        };
    }
}

fn warnings(account: &Value) -> Vec<String> {
    let what = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    let annotated = meta::annotation(account, MOUNTABLE_ONLY).is_some();
    annotated.then(|| format!("metadata.annotations[{MOUNTABLE_ONLY}]: {what}")).into_iter().collect()
}
