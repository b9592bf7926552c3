//! `scheduling.k8s.io`: priority classes, and groups of pods that are scheduled together.

use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::cells::{age, count};
use super::check;
use super::plain::Plain;
use super::value::{flag, has, int, list, text};
use crate::registry::strategy::Generic;

/// Highest priority that users may give.
const USER_MAX: i64 = 1_000_000_000;
/// Classes of the system, and their priorities.
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// Two levels of groups within groups are looked into; upstream permits four.
const WORKLOAD: &str = "
spec                          struct union=podGroupTemplates|compositePodGroupTemplates
spec.controllerRef            immutable
spec.controllerRef.apiGroup   subdomain
spec.controllerRef.kind       required segment
spec.controllerRef.name       required segment
spec.podGroupTemplates        items=8 unique=name fixed
spec.podGroupTemplates[].name                                required label
spec.podGroupTemplates[].schedulingPolicy                    struct union=basic|gang
spec.podGroupTemplates[].schedulingPolicy.basic              immutable
spec.podGroupTemplates[].schedulingPolicy.gang               no-set no-unset
spec.podGroupTemplates[].schedulingPolicy.gang.minCount      required min=1
spec.podGroupTemplates[].schedulingConstraints               immutable
spec.podGroupTemplates[].schedulingConstraints.topology      items=1
spec.podGroupTemplates[].schedulingConstraints.topology[].key required label-key
spec.podGroupTemplates[].resourceClaims                      items=4 unique=name immutable
spec.podGroupTemplates[].resourceClaims[].name               required label
spec.podGroupTemplates[].resourceClaims[].resourceClaimName          subdomain
spec.podGroupTemplates[].resourceClaims[].resourceClaimTemplateName  subdomain
spec.podGroupTemplates[].disruptionMode                      immutable
spec.podGroupTemplates[].priorityClassName                   subdomain immutable
spec.podGroupTemplates[].priority                            max=1000000000 immutable
spec.podGroupTemplates[].preemptionPolicy                    one-of=Never|PreemptLowerPriority immutable
spec.compositePodGroupTemplates  items=8 unique=name fixed
spec.compositePodGroupTemplates[].name                       required label
spec.compositePodGroupTemplates[].schedulingPolicy           struct union=basic|gang
spec.compositePodGroupTemplates[].schedulingPolicy.basic     immutable
spec.compositePodGroupTemplates[].schedulingPolicy.gang      no-set no-unset
spec.compositePodGroupTemplates[].schedulingPolicy.gang.minGroupCount required min=1
spec.compositePodGroupTemplates[].priorityClassName          subdomain immutable
spec.compositePodGroupTemplates[].priority                   max=1000000000 immutable
spec.compositePodGroupTemplates[].preemptionPolicy           one-of=Never|PreemptLowerPriority immutable
spec.compositePodGroupTemplates[].podGroupTemplates          items=8 unique=name fixed
spec.compositePodGroupTemplates[].podGroupTemplates[].name   required label
spec.compositePodGroupTemplates[].podGroupTemplates[].schedulingPolicy struct union=basic|gang
";

const POD_GROUP: &str = "
spec                                   struct
spec.parentCompositePodGroupName       subdomain immutable
spec.workloadRef                       immutable
spec.workloadRef.workloadName          required subdomain
spec.workloadRef.templateName          required label
spec.schedulingPolicy                  struct union=basic|gang
spec.schedulingPolicy.basic            immutable
spec.schedulingPolicy.gang             no-set no-unset
spec.schedulingPolicy.gang.minCount    required min=1
spec.schedulingConstraints             immutable
spec.schedulingConstraints.topology    items=1
spec.schedulingConstraints.topology[].key required label-key
spec.resourceClaims                    items=4 unique=name immutable
spec.resourceClaims[].name             required label
spec.resourceClaims[].resourceClaimName          subdomain
spec.resourceClaims[].resourceClaimTemplateName  subdomain
spec.disruptionMode                    immutable union=single|all
spec.priorityClassName                 subdomain immutable
spec.priority                          max=1000000000 immutable
spec.preemptionPolicy                  one-of=Never|PreemptLowerPriority immutable
";

const POD_GROUP_STATUS: &str = "
status.conditions                        conditions
status.resourceClaimStatuses             items=4 unique=name
status.resourceClaimStatuses[].resourceClaimName subdomain
";

const COMPOSITE: &str = "
spec                                   struct
spec.parentCompositePodGroupName       subdomain immutable
spec.workloadRef                       required immutable
spec.workloadRef.workloadName          required subdomain
spec.workloadRef.templateName          required label
spec.schedulingPolicy                  struct union=basic|gang immutable
spec.schedulingPolicy.gang.minGroupCount required min=1
spec.schedulingConstraints             immutable
spec.schedulingConstraints.topology    items=1
spec.schedulingConstraints.topology[].key required label-key
spec.disruptionMode                    immutable union=single|all
spec.priorityClassName                 subdomain immutable
spec.priority                          max=1000000000 immutable
spec.preemptionPolicy                  one-of=Never|PreemptLowerPriority immutable
";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "priorityclasses" => Plain {
            defaults: "preemptionPolicy = \"PreemptLowerPriority\"",
            validate_create: validate,
            validate_update,
            // Generations are not counted on: nothing that counts changes.
            regenerates: Some(|_, _| false),
            row: Some(row),
            ..base
        },
        "workloads" => Plain { checks: WORKLOAD, ..base },
        "podgroups" => Plain {
            defaults: "spec.disruptionMode = {\"single\": {}}",
            checks: POD_GROUP,
            status_checks: POD_GROUP_STATUS,
            row: Some(group_row),
            ..base
        },
        "compositepodgroups" => Plain {
            defaults: "spec.disruptionMode = {\"single\": {}}",
            checks: COMPOSITE,
            status_checks: "status.conditions conditions",
            ..base
        },
        _ => return None,
    })
}

fn validate(object: &Value) -> Errors {
    let (name, value) = (meta::name(object), int(object, "value").unwrap_or_default());
    let mut errors = Errors::new();
    if name.starts_with("system-") {
        if let Err(why) = system_class(name, value, flag(object, "globalDefault")) {
            let detail =
                "priority class names with 'system-' prefix are reserved for system use only. error: ";
            let path = Path::new("metadata").child("name");
            errors.push(FieldError::forbidden(&path, format!("{detail}{why}")));
        }
    } else if value > USER_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden(&Path::new("value"), detail));
    }
    let policies = ["PreemptLowerPriority", "Never"];
    errors.extend(check::one_of(object, "preemptionPolicy", &policies, &Path::root()));
    errors
}

/// Why this is not one of the classes of the system (upstream: `pkg/apis/scheduling/v1/helpers.go`).
fn system_class(name: &str, value: i64, is_default: bool) -> Result<(), String> {
    let Some((_, known)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value != *known {
        return Err(format!("value of {name} PriorityClass must be {known}"));
    }
    if is_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

fn validate_update(object: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if int(object, "value").unwrap_or_default() != int(old, "value").unwrap_or_default() {
        errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    errors.extend(check::immutable(object, old, "/preemptionPolicy", &Path::new("preemptionPolicy")));
    errors
}

fn row(object: &Value, now: i64) -> Vec<Value> {
    vec![
        json!(meta::name(object)),
        count(object, "value"),
        json!(flag(object, "globalDefault")),
        age(object, now),
        json!(text(object, "preemptionPolicy")),
    ]
}

fn group_row(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let condition = |kind: &str| {
        list(&object["status"], "conditions").iter().rev().find(|condition| text(condition, "type") == kind)
    };
    let state = match (condition("DisruptionTarget"), condition("PodGroupScheduled")) {
        (Some(disrupted), _) => text(disrupted, "reason"),
        (None, Some(scheduled)) if text(scheduled, "status") == "True" => "Scheduled",
        (None, Some(_)) => "Unschedulable",
        (None, None) => "Pending",
    };
    let workload = &spec["workloadRef"];
    vec![
        json!(meta::name(object)),
        json!(if has(&spec["schedulingPolicy"], "gang") { "Gang" } else { "Basic" }),
        json!(if workload.is_object() { text(workload, "workloadName") } else { "<none>" }),
        json!(state),
        age(object, now),
    ]
}
