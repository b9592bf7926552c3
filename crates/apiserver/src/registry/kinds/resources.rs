//! Names of resources and amounts of them (upstream `pkg/apis/core/helper` and its validation).

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::check;

const CONTAINER: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
/// Resources that a quota counts in whole units.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
/// Resources that a quota measures.
const MEASURED: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
];
const HUGE_PAGES: &str = "hugepages-";

/// Whether the resource is Kubernetes' own: without a domain, or with `kubernetes.io`.
pub(super) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is memory in pages of a size.
pub(super) fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether more may be promised than there is.
pub(super) fn allows_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// Whether a device plugin (or anybody with a domain) provides it.
pub(super) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether only whole units make sense.
pub(super) fn is_integer(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

fn is_quota_huge_pages(name: &str) -> bool {
    is_huge_pages(name) || name.strip_prefix("requests.").is_some_and(is_huge_pages)
}

/// Whether a quota may limit it, of those without a domain.
pub(super) fn is_standard_for_quota(name: &str) -> bool {
    COUNTED.contains(&name) || MEASURED.contains(&name) || is_quota_huge_pages(name)
}

/// Any resource: known, or with a domain.
pub(super) fn name(name: &str, path: &Path) -> Errors {
    if CONTAINER.contains(&name) {
        return Errors::new();
    }
    let errors = check::named(path, name, names::qualified_name(name));
    let standard = || name == "storage" || is_standard_for_quota(name);
    if errors.is_empty() && !name.contains('/') && !standard() {
        return vec![FieldError::invalid(path, name, "must be a standard resource type or fully qualified")];
    }
    errors
}

/// A resource that a container may ask for.
pub(super) fn container_name(name: &str, path: &Path) -> Errors {
    if CONTAINER.contains(&name) {
        return Errors::new();
    }
    let mut errors = self::name(name, path);
    if !name.contains('/') {
        if !is_huge_pages(name) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errors
}

/// A resource that a quota may limit.
pub(super) fn quota_name(name: &str, path: &Path) -> Errors {
    let mut errors = self::name(name, path);
    if !name.contains('/') && !is_standard_for_quota(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
    errors
}

/// An amount of a resource: not negative, and whole where only that makes sense.
pub(super) fn amount(name: &str, value: &Value, path: &Path) -> Errors {
    match check::quantity(value, path) {
        Err(error) => vec![error],
        Ok(quantity) if is_integer(name) && quantity.millis() % 1000 != 0 => {
            vec![FieldError::invalid(path, quantity.to_string(), "must be an integer")]
        }
        Ok(_) => Errors::new(),
    }
}

/// Pages come whole. `None` when the name is not one of huge pages.
pub(super) fn indivisible_pages(name: &str, quantity: &Quantity) -> Option<String> {
    let size = Quantity::parse(name.strip_prefix(HUGE_PAGES)?).map_or(0, |size| size.value());
    let whole = size > 0 && quantity.value() % size == 0;
    (!whole).then(|| format!("{quantity} is not positive integer multiple of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        for (name, native, extended, integer, overcommit) in [
            ("cpu", true, false, false, true),
            ("hugepages-2Mi", true, false, false, false),
            ("example.com/gpu", false, true, true, false),
            ("count/pods", false, true, true, false),
            ("scheduling.kubernetes.io/foo", true, false, false, true),
            ("pods", true, false, true, true),
        ] {
            let have = (is_native(name), is_extended(name), is_integer(name), allows_overcommit(name));
            assert_eq!(have, (native, extended, integer, overcommit), "{name}");
        }
    }

    #[test]
    fn pages_come_whole() {
        for (name, amount, fits) in [
            ("hugepages-2Mi", "4Mi", true),
            ("hugepages-2Mi", "3Mi", false),
            ("hugepages-x", "1", false),
            ("cpu", "1", true),
        ] {
            let amount = Quantity::parse(amount).expect("an amount");
            assert_eq!(indivisible_pages(name, &amount).is_none(), fits, "{name} {amount}");
        }
    }
}
