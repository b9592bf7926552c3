//! How objects of one version become those of another.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::{Value, json};

use super::super::check;
use super::super::value::{flag, has, strings, text};
use super::super::webhooks::client_config;

/// The versions of the question that the server can ask.
const KNOWN: [&str; 2] = ["v1", "v1beta1"];

/// Whether a conversion of before could be asked for; one that could not may stay so.
pub(super) fn was_understood(conversion: &Value) -> bool {
    let versions = strings(&conversion["webhook"], "conversionReviewVersions");
    versions.is_empty() || versions.iter().any(|version| KNOWN.contains(version))
}

/// `spec.conversion`; paths are those of the form that upstream keeps.
pub(super) fn conversion(spec: &Value, needs_known: bool, path: &Path) -> Errors {
    let (conversion, mut errors) = (&spec["conversion"], Errors::new());
    let (strategy, at) = (text(conversion, "strategy"), path.child("strategy"));
    if strategy != "None" && flag(spec, "preserveUnknownFields") {
        let detail = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid(&at, strategy, detail));
    }
    errors.extend(check::one_of(conversion, "strategy", &["None", "Webhook"], path));
    let (webhook, at) = (&conversion["webhook"], path.child("webhookClientConfig"));
    let versions_at = path.child("conversionReviewVersions");
    let versions = strings(webhook, "conversionReviewVersions");
    if strategy == "Webhook" {
        errors.extend(match has(webhook, "clientConfig") {
            true => client_config(&webhook["clientConfig"], &at),
            false => vec![FieldError::required(&at, "required when strategy is set to Webhook")],
        });
        errors.extend(review_versions(&versions, needs_known, &versions_at));
        return errors;
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if has(webhook, "clientConfig") {
        errors.push(FieldError::forbidden(&at, detail));
    }
    if !versions.is_empty() {
        errors.push(FieldError::forbidden(&versions_at, detail));
    }
    errors
}

fn review_versions(versions: &[&str], needs_known: bool, path: &Path) -> Errors {
    if versions.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    for (i, version) in versions.iter().enumerate() {
        if versions[..i].contains(version) {
            errors.push(FieldError::invalid(&path.index(i), *version, "duplicate version"));
        } else {
            errors.extend(check::named(&path.index(i), version, names::dns1035_label(version)));
        }
    }
    if needs_known && !versions.iter().any(|version| KNOWN.contains(version)) {
        let detail = format!("must include at least one of {}", KNOWN.join(", "));
        errors.push(FieldError::invalid(path, json!(versions), detail));
    }
    errors
}
