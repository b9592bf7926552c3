//! Which families of addresses a Service has, in a cluster that has IPv4 only
//! (upstream `pkg/registry/core/service/storage/alloc.go`, `initIPFamilyFields`).

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::super::kinds::core::service_rules;
use super::super::kinds::value::{has, list, map, put, strings, text};

const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";
const SINGLE: &str = "SingleStack";

/// Fills in the families and the policy, or refuses what this cluster cannot give.
pub(super) fn settle(service: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    let name = meta::name(service).to_owned();
    let Some(spec) = service.get_mut("spec").filter(|spec| text(spec, "type") != "ExternalName") else {
        return Ok(());
    };
    let before = old.map(|old| &old["spec"]);
    if before.is_some_and(|before| prefers_as_before(spec, before)) {
        return Ok(());
    }
    default_policy(spec, before);
    let refuse = |errors: Errors| match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("", "Service", &name, errors)),
    };
    let known = before.map_or_else(Vec::new, |before| strings(before, "clusterIPs"));
    refuse(service_rules::families(spec, &known, &Path::new("spec")))?;
    let mut errors = before.map_or_else(Errors::new, |before| reduce(spec, before));
    errors.extend(infer(spec));
    refuse(errors)?;
    if is_free(spec) {
        complete_free(spec);
        return Ok(());
    }
    refuse(unavailable(spec))?;
    if list(spec, "ipFamilies").is_empty() {
        put(spec, "ipFamilies", json!(["IPv4"]));
    }
    Ok(())
}

/// Services that like to have both families are never changed by themselves.
fn prefers_as_before(spec: &Value, before: &Value) -> bool {
    let policy = |spec: &Value| text(spec, "ipFamilyPolicy") == PREFER;
    policy(spec)
        && (policy(before) || !has(before, "ipFamilyPolicy"))
        && ["type", "clusterIPs", "ipFamilies"].iter().all(|field| spec.get(field) == before.get(field))
}

fn default_policy(spec: &mut Value, before: Option<&Value>) {
    if has(spec, "ipFamilyPolicy") {
        return;
    }
    let before = before.map(|before| text(before, "ipFamilyPolicy")).filter(|policy| !policy.is_empty());
    let policy = before.unwrap_or(if is_free(spec) { REQUIRE } else { SINGLE }).to_owned();
    put(spec, "ipFamilyPolicy", policy);
}

/// Without address and without selector: whoever makes the endpoints says what they are.
fn is_free(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None" && map(spec, "selector").is_none()
}

/// One family is enough from now on; that has to be said.
fn reduce(spec: &mut Value, before: &Value) -> Errors {
    let mut errors = Errors::new();
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, was) = (list(spec, field).to_vec(), list(before, field));
        if text(spec, "ipFamilyPolicy") == SINGLE {
            if now == was && now.len() > 1 {
                put(spec, field, json!(now[..1]));
            }
        } else if !now.is_empty() && now.len() < was.len() {
            errors
                .push(policy_error(spec, &format!("must be 'SingleStack' to release the secondary {what}")));
        }
    }
    errors
}

fn policy_error(spec: &Value, detail: &str) -> FieldError {
    let path = Path::new("spec").child("ipFamilyPolicy");
    FieldError::invalid(&path, text(spec, "ipFamilyPolicy"), detail)
}

/// Takes families from the addresses that are asked for.
fn infer(spec: &mut Value) -> Errors {
    let mut errors = Errors::new();
    if text(spec, "ipFamilyPolicy") == SINGLE {
        for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if list(spec, field).len() == 2 {
                let detail = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                errors.push(policy_error(spec, &detail));
            }
        }
    }
    let mut families = list(spec, "ipFamilies").to_vec();
    let addresses: Vec<String> = strings(spec, "clusterIPs").into_iter().map(str::to_owned).collect();
    for (i, address) in addresses.iter().enumerate().take_while(|(_, address)| *address != "None") {
        if i < families.len() {
            continue;
        }
        if address.contains(':') {
            let path = Path::new("spec").child("clusterIPs").index(i);
            let detail = "IPv6 is not configured on this cluster";
            errors.push(FieldError::invalid(&path, spec["clusterIPs"].clone(), detail));
        } else {
            families.push("IPv4".into());
        }
    }
    if !families.is_empty() {
        put(spec, "ipFamilies", families);
    }
    errors
}

fn complete_free(spec: &mut Value) {
    let mut families = list(spec, "ipFamilies").to_vec();
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if families.len() < 2 && text(spec, "ipFamilyPolicy") != SINGLE {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
    put(spec, "ipFamilies", families);
}

fn unavailable(spec: &Value) -> Errors {
    let mut errors = Errors::new();
    if text(spec, "ipFamilyPolicy") == REQUIRE {
        errors.push(policy_error(spec, "this cluster is not configured for dual-stack services"));
    }
    let path = Path::new("spec").child("ipFamilies");
    for (i, family) in strings(spec, "ipFamilies").into_iter().enumerate().filter(|(_, f)| *f != "IPv4") {
        errors.push(FieldError::invalid(&path.index(i), family, "not configured on this cluster"));
    }
    errors
}
