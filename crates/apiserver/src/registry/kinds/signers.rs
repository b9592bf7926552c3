//! Names of signers (upstream: `pkg/apis/core/validation/names.go`).

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::text::go_quote;

use super::check;

const DOMAIN_MAX: usize = 253;
const NAME_MAX: usize = DOMAIN_MAX + 253 + 63 + 1 + 1;

/// Whether a signer is one of Kubernetes' own.
pub(super) fn is_kubernetes(name: &str) -> bool {
    let host = name.split('/').next().unwrap_or_default();
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

/// What is wrong with a name as `example.com/signer`.
pub(super) fn name(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![FieldError::invalid(path, name, detail)];
    };
    let mut errors = Errors::new();
    if domain.len() > DOMAIN_MAX {
        errors.push(FieldError::too_long(path, DOMAIN_MAX));
    }
    errors.extend(first_wrong(domain, names::dns1123_label, path));
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, detail));
    }
    errors.extend(first_wrong(rest, names::dns1123_subdomain, path));
    if name.len() > NAME_MAX {
        errors.push(FieldError::too_long(path, NAME_MAX));
    }
    errors
}

/// The first part between dots that does not fit.
fn first_wrong(parts: &str, format: fn(&str) -> Vec<String>, path: &Path) -> Errors {
    for part in parts.split('.') {
        let reasons = format(part);
        if !reasons.is_empty() {
            let explained =
                reasons.into_iter().map(|reason| format!("validating label {}: {reason}", go_quote(part)));
            return check::named(path, parts, explained.collect());
        }
    }
    Errors::new()
}
