//! Refusals of what only Windows has, and of what it has not.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::value::{flag, has, text};
use super::every_container;

const CREDENTIAL_SPEC_MAX: usize = 64 * 1024;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;
/// Fields of a pod's security context, and of the pod, that Windows does not know, in upstream's order.
const NOT_OF_POD: [(&str, bool); 15] = [
    ("appArmorProfile", true),
    ("seLinuxOptions", true),
    ("hostUsers", false),
    ("hostPID", false),
    ("hostIPC", false),
    ("seccompProfile", true),
    ("fsGroup", true),
    ("fsGroupChangePolicy", true),
    ("sysctls", true),
    ("shareProcessNamespace", false),
    ("runAsUser", true),
    ("runAsGroup", true),
    ("supplementalGroups", true),
    ("supplementalGroupsPolicy", true),
    ("seLinuxChangePolicy", true),
];
const NOT_OF_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// The system that the pod says it is for.
pub(super) fn os(spec: &Value, path: &Path) -> Errors {
    if !has(spec, "os") {
        return Errors::new();
    }
    let at = path.child("os");
    match text(&spec["os"], "name") {
        "" => vec![FieldError::required(&at.child("name"), "")],
        "linux" => for_linux(spec, path),
        "windows" => for_windows(spec, path),
        other => vec![FieldError::not_supported(&at, other, &["linux", "windows"])],
    }
}

fn for_linux(spec: &Value, path: &Path) -> Errors {
    let places = std::iter::once((spec, path.clone())).chain(every_container(spec, path));
    let refuse = |at: Path| {
        let at = at.child("securityContext").child("windowsOptions");
        FieldError::forbidden(&at, "windows options cannot be set for a linux pod")
    };
    places
        .filter(|(place, _)| has(&place["securityContext"], "windowsOptions"))
        .map(|(_, at)| refuse(at))
        .collect()
}

fn for_windows(spec: &Value, path: &Path) -> Errors {
    const DETAIL: &str = "cannot be set for a windows pod";
    let mut errors = Errors::new();
    for (field, in_context) in NOT_OF_POD {
        let (place, at) = if in_context {
            (&spec["securityContext"], path.child("securityContext"))
        } else {
            (spec, path.clone())
        };
        let set = match field {
            "hostPID" | "hostIPC" => flag(place, field),
            "sysctls" => place.get(field).is_some_and(|sysctls| !check::is_zero(sysctls)),
            _ => has(place, field),
        };
        if set {
            errors.push(FieldError::forbidden(&at.child(field), DETAIL));
        }
    }
    for (container, at) in every_container(spec, path) {
        let set = NOT_OF_CONTAINER.into_iter().filter(|field| has(&container["securityContext"], field));
        errors.extend(
            set.map(|field| FieldError::forbidden(&at.child("securityContext").child(field), DETAIL)),
        );
    }
    errors
}

/// Containers that are processes of the host: all of a pod, or none.
pub(super) fn host_process(spec: &Value, path: &Path) -> Errors {
    let process = |place: &Value| place.pointer("/securityContext/windowsOptions/hostProcess")?.as_bool();
    let pod = process(spec);
    let (mut all, mut of_host) = (0, 0);
    let mut errors = Errors::new();
    for (container, at) in every_container(spec, path) {
        all += 1;
        let own = process(container);
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let at = at.child("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(FieldError::invalid(&at, own, detail));
        }
        of_host += u32::from(own.or(pod).unwrap_or_default());
    }
    if of_host == 0 {
        return errors;
    }
    if of_host != all {
        let detail =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", detail));
    }
    if !flag(spec, "hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, detail));
    }
    errors
}

/// `windowsOptions` of a security context.
pub(super) fn options(context: &Value, path: &Path) -> Errors {
    let (options, path) = (&context["windowsOptions"], path.child("windowsOptions"));
    let mut errors = Errors::new();
    if let Some(name) = options.get("gmsaCredentialSpecName").and_then(Value::as_str) {
        let at = path.child("gmsaCredentialSpecName");
        errors.extend(check::named(&at, name, names::dns1123_subdomain(name)));
    }
    if let Some(credentials) = options.get("gmsaCredentialSpec").and_then(Value::as_str) {
        let why = match credentials.len() {
            0 => Some("gmsaCredentialSpec cannot be an empty string"),
            length if length > CREDENTIAL_SPEC_MAX => Some("gmsaCredentialSpec size must be under 64 KiB"),
            _ => None,
        };
        errors
            .extend(why.map(|why| FieldError::invalid(&path.child("gmsaCredentialSpec"), credentials, why)));
    }
    if let Some(name) = options.get("runAsUserName").and_then(Value::as_str) {
        let at = path.child("runAsUserName");
        errors.extend(user_name(name).into_iter().map(|why| FieldError::invalid(&at, name, why)));
    }
    errors
}

/// Why this is no name of a user, with or without a domain.
fn user_name(name: &str) -> Vec<&'static str> {
    const NOT_IN_USER: &str = "\"/\\:;|=,+*?<>@[]";
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.contains(|c: char| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    if name.matches('\\').count() > 1 {
        return vec!["runAsUserName cannot contain more than one backslash"];
    }
    let (domain, user) = name.split_once('\\').map_or((None, name), |(domain, user)| (Some(domain), user));
    let mut reasons = Vec::new();
    let mut refuse = |wrong: bool, why| {
        if wrong {
            reasons.push(why);
        }
    };
    let domain_length = domain.map_or(0, str::len);
    refuse(domain_length >= DOMAIN_MAX, "runAsUserName's Domain length must be under 256 characters");
    refuse(
        domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)),
        "runAsUserName's Domain doesn't match the NetBios nor the DNS format",
    );
    refuse(user.is_empty(), "runAsUserName's User cannot be empty");
    refuse(user.len() > USER_MAX, "runAsUserName's User length must not be longer than 104 characters");
    refuse(
        !user.is_empty() && user.chars().all(|c| c == '.' || c == ' '),
        "runAsUserName's User cannot contain only periods or spaces",
    );
    refuse(
        user.contains(|c| NOT_IN_USER.contains(c)),
        "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
    );
    reasons
}

fn is_net_bios(domain: &str) -> bool {
    const LENGTH_MAX: usize = 15;
    let length = domain.chars().count();
    !domain.starts_with('.')
        && (1..=LENGTH_MAX).contains(&length)
        && !domain.contains(|c| "\\/:*?\"<>|".contains(c))
}

fn is_dns(domain: &str) -> bool {
    const LABEL_MAX: usize = 63;
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= LABEL_MAX
            && outer(bytes.first())
            && outer(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_may_have_a_domain() {
        for (name, reasons) in [
            ("user", 0),
            ("NT AUTHORITY\\SYSTEM", 0),
            ("example.com\\user", 0),
            ("", 1),
            ("a\\b\\c", 1),
            ("a\tb", 1),
            (".domain\\user", 1),
            ("domain\\", 1),
            ("...", 1),
            ("us:er", 1),
        ] {
            assert_eq!(user_name(name).len(), reasons, "{name}");
        }
    }
}
