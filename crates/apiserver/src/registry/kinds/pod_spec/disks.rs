//! Refusals of volumes that are disks and file systems somewhere on the network.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::shape::csi_driver;
use super::super::value::{has, int, list, text};
use super::sources::{Whose, secret_missing};

const LUN_MAX: i64 = 255;
const TENANT_MAX: usize = 64;
const PORTAL_MAX: usize = 64;

fn lun(volume: &Value, path: &Path) -> Option<FieldError> {
    let lun = int(volume, "lun").unwrap_or_default();
    (!(0..=LUN_MAX).contains(&lun))
        .then(|| FieldError::invalid(&path.child("lun"), lun, names::range_error(0, LUN_MAX)))
}

/// Why the name of a volume and its portal are too long together.
pub(super) fn portal_too_long(iscsi: &Value, name: &str) -> Option<&'static str> {
    let length = name.len() + 1 + text(iscsi, "targetPortal").len();
    (has(iscsi, "initiatorName") && length > PORTAL_MAX).then_some(
        "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
    )
}

pub(super) fn iscsi(volume: &Value, whose: Whose, path: &Path) -> Errors {
    let mut errors: Errors = check::required(volume, "iqn", path).into_iter().collect();
    if errors.is_empty() {
        errors.extend(initiator(text(volume, "iqn"), whose, &path.child("iqn")));
    }
    errors.extend(lun(volume, path));
    if secret_missing(volume, &["chapAuthDiscovery", "chapAuthSession"]) {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if whose == Whose::Cluster && has(volume, "secretRef") {
        errors.extend(check::required(&volume["secretRef"], "name", &path.child("secretRef")));
    }
    if has(volume, "initiatorName") {
        errors.extend(initiator(text(volume, "initiatorName"), whose, &path.child("initiatorname")));
    }
    errors
}

/// `iqn.2001-04.com.example:storage`, `eui.` or `naa.` and a number.
fn initiator(name: &str, whose: Whose, path: &Path) -> Option<FieldError> {
    let alphanumeric =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let numbered = |rest: &str, length| rest.get(1..).is_some_and(|number| alphanumeric(number, length));
    let fits = match name.get(..3) {
        Some("iqn") => is_qualified(name),
        Some("eui") => name.get(3..).is_some_and(|rest| numbered(rest, 16)),
        Some("naa") => name.get(3..).is_some_and(|rest| numbered(rest, 32)),
        _ if whose == Whose::Cluster => false,
        _ => {
            let detail = "must be valid format starting with iqn, eui, or naa";
            return Some(FieldError::invalid(path, name, detail));
        }
    };
    (!fits).then(|| FieldError::invalid(path, name, "must be valid format"))
}

/// `iqn.` year `-` month `.` authority `:` name
fn is_qualified(name: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let parse = || {
        let (date, rest) = name.strip_prefix("iqn.")?.split_once('.')?;
        let (year, month) = date.split_once('-')?;
        let (authority, unit) = rest.split_once(':')?;
        let dated = year.len() == 4 && month.len() == 2 && digits(year) && digits(month);
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        let named = !authority.is_empty() && authority.bytes().all(letters);
        let plain = |c: char| !",;*&$|".contains(c) && !c.is_ascii_whitespace();
        Some(dated && named && !unit.is_empty() && unit.chars().all(plain))
    };
    parse().unwrap_or_default()
}

pub(super) fn flocker(volume: &Value, _: Whose, path: &Path) -> Errors {
    let (name, uuid) = (text(volume, "datasetName"), text(volume, "datasetUUID"));
    let mut errors = Errors::new();
    match (name, uuid) {
        ("", "") => {
            errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
        }
        (_, "") | ("", _) => {}
        _ => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", detail));
        }
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
    errors
}

/// The secret of a volume. That of the cluster's volumes is in some namespace.
pub(super) fn secret_ref(volume: &Value, whose: Whose, path: &Path) -> Errors {
    if !has(volume, "secretRef") {
        return Errors::new();
    }
    let (secret, at) = (&volume["secretRef"], path.child("secretRef"));
    let mut errors: Errors = check::required(secret, "name", &at).into_iter().collect();
    if whose == Whose::Cluster {
        errors.extend(check::required(secret, "namespace", &at));
    }
    errors
}

pub(super) fn quobyte(volume: &Value, _: Whose, path: &Path) -> Errors {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, at) = (text(volume, "registry"), path.child("registry"));
    let mut errors = Errors::new();
    if registry.is_empty() {
        errors.push(FieldError::required(&at, PAIRS));
    } else if text(volume, "tenant").len() > TENANT_MAX {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), detail));
    } else {
        let wrong = registry.split(',').filter(|pair| !is_host_and_port(pair));
        errors.extend(wrong.map(|_| FieldError::invalid(&at, registry, PAIRS)));
    }
    errors.extend(check::required(volume, "volume", path));
    errors
}

fn is_host_and_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(_, port)| !port.contains(':')),
        None => pair.bytes().filter(|b| *b == b':').count() == 1,
    }
}

pub(super) fn fibre_channel(volume: &Value, _: Whose, path: &Path) -> Errors {
    let (targets, ids) = (list(volume, "targetWWNs"), list(volume, "wwids"));
    let at = path.child("targetWWNs");
    let mut errors = Errors::new();
    if targets.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&at, detail));
    }
    if targets.is_empty() {
        return errors;
    }
    if !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&at, volume["targetWWNs"].clone(), detail));
    }
    if has(volume, "lun") {
        errors.extend(lun(volume, path));
    } else {
        let detail = "lun is required if targetWWNs is specified";
        errors.push(FieldError::required(&path.child("lun"), detail));
    }
    errors
}

pub(super) fn azure(disk: &Value, _: Whose, path: &Path) -> Errors {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let (kind, uri) = (text(disk, "kind"), text(disk, "diskURI"));
    let mut errors = Errors::new();
    errors.extend(check::known(disk, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path));
    errors.extend(check::known(disk, "kind", &["Dedicated", "Managed", "Shared"], path));
    let (start, shown) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if has(disk, "kind") && !uri.starts_with(start) {
        errors.push(FieldError::not_supported(&path.child("diskURI"), uri, &[shown]));
    }
    errors
}

pub(super) fn storage_os(volume: &Value, whose: Whose, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["volumeName", "volumeNamespace"] {
        let name = text(volume, field);
        if !name.is_empty() {
            errors.extend(check::named(&path.child(field), name, names::dns1123_label(name)));
        }
    }
    errors.extend(secret_ref(volume, whose, path));
    errors
}

pub(super) fn csi(volume: &Value, whose: Whose, path: &Path) -> Errors {
    const SECRETS: [&str; 4] = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    let mut errors = csi_driver(text(volume, "driver"), &path.child("driver"));
    if whose == Whose::Cluster {
        errors.extend(check::required(volume, "volumeHandle", path));
        for field in SECRETS.into_iter().filter(|field| has(volume, field)) {
            errors.extend(secret_elsewhere(&volume[field], &path.child(field)));
        }
        return errors;
    }
    if has(volume, "nodePublishSecretRef") {
        let name = text(&volume["nodePublishSecretRef"], "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("nodePublishSecretRef").child("name"), ""));
        } else {
            errors.extend(check::named(&path.child("name"), name, names::dns1123_subdomain(name)));
        }
    }
    errors
}

/// Says why a text is no name.
type Rule = fn(&str) -> Vec<String>;

/// A secret in some namespace.
fn secret_elsewhere(secret: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let rules: [(&str, Rule); 2] = [("name", names::dns1123_subdomain), ("namespace", names::dns1123_label)];
    for (field, rule) in rules {
        let (name, at) = (text(secret, field), path.child(field));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else {
            errors.extend(check::named(&at, name, rule(name)));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initiators_have_one_of_three_forms() {
        for (name, fits) in [
            ("iqn.2015-02.example.com:test", true),
            ("iqn.2015-02.example.com:init.name", true),
            ("iqn.2015-02.example.com", false),
            ("iqn.2015-2.example.com:test", false),
            ("iqn.2015-02.example.com:a b", false),
            ("eui.0123456789ABCDEF", true),
            ("eui.0123456789ABCDEFG", false),
            ("naa.62004567BA64678D0123456789ABCDEF", true),
            ("naa.1", false),
            ("other", false),
            ("", false),
        ] {
            assert_eq!(initiator(name, Whose::Pod, &Path::root()).is_none(), fits, "{name}");
        }
    }
}
