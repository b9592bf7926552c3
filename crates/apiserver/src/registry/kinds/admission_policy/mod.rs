//! Admission policies and their bindings.

mod params;
mod rows;

use std::collections::BTreeSet;

use machinery::field::{Errors, FieldError, Path};
use machinery::{meta, names};
use serde_json::Value;

use super::expressions::{self, Scope, Wanted};
use super::plain::Plain;
use super::value::{has, list, strings, text};
use super::{check, match_rules};
use crate::registry::strategy::Generic;
use params::{param_kind, param_ref};
use rows::{binding_row, policy_row};

const POLICY: &str = r#"
spec = {}
spec.failurePolicy = "Fail"
spec.matchConstraints.matchPolicy = "Equivalent"
spec.matchConstraints.namespaceSelector = {}
spec.matchConstraints.objectSelector = {}
spec.matchConstraints.resourceRules[].scope = "*"
spec.matchConstraints.excludeResourceRules[].scope = "*"
"#;

const BINDING: &str = r#"
spec.matchResources.matchPolicy = "Equivalent"
spec.matchResources.namespaceSelector = {}
spec.matchResources.objectSelector = {}
spec.matchResources.resourceRules[].scope = "*"
spec.matchResources.excludeResourceRules[].scope = "*"
"#;

const STATUS: &str = "
status.typeChecking.expressionWarnings[].warning   required
status.typeChecking.expressionWarnings[].fieldRef  required
status.conditions                                  conditions
";

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_MAX: usize = 5 << 10;

/// The strategy of a resource, when it is one of these.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain {
        validate_create: reserved_name,
        update_warnings: |object, _| reserved_warning(object),
        ..Plain::new(generic)
    };
    Some(match plural {
        "validatingadmissionpolicies" => Plain {
            defaults: POLICY,
            status_checks: STATUS,
            validate: validating,
            row: Some(|o, now| policy_row(o, "validations", now)),
            ..base
        },
        "mutatingadmissionpolicies" => Plain {
            defaults: POLICY,
            validate: mutating,
            row: Some(|o, now| policy_row(o, "mutations", now)),
            ..base
        },
        "validatingadmissionpolicybindings" => Plain {
            defaults: BINDING,
            checks: "spec struct\nspec.policyName required\nspec.validationActions required",
            validate: |object| {
                let mut errors = binding(object);
                errors.extend(actions(&object["spec"], &Path::new("spec").child("validationActions")));
                errors
            },
            row: Some(binding_row),
            ..base
        },
        "mutatingadmissionpolicybindings" => {
            Plain { defaults: BINDING, validate: mutating_binding, row: Some(binding_row), ..base }
        }
        _ => return None,
    })
}

const RESERVED: &str = "names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot be \
                        managed via the API";

fn is_reserved(object: &Value) -> bool {
    meta::name(object).ends_with(".static.k8s.io")
}

/// Names that are kept for what a server reads from files.
pub(super) fn reserved_name(object: &Value) -> Errors {
    let path = Path::new("metadata").child("name");
    let error = || FieldError::invalid(&path, meta::name(object), RESERVED);
    is_reserved(object).then(error).into_iter().collect()
}

/// The same for what has such a name from before.
pub(super) fn reserved_warning(object: &Value) -> Vec<String> {
    is_reserved(object).then(|| format!("metadata.name: {RESERVED}")).into_iter().collect()
}

/// Variables of a policy that may be spoken of, with what they are.
type Variables = Vec<(String, cel::Type)>;

/// What policies of both kinds have in common, and their variables. Those that mutate are asked about fewer operations.
fn policy(object: &Value, mutates: bool) -> (Errors, Variables) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors =
        check::known(spec, "failurePolicy", &["Fail", "Ignore"], &path).into_iter().collect();
    if has(spec, "paramKind") {
        errors.extend(param_kind(&spec["paramKind"], &path.child("paramKind")));
    }
    let at = path.child("matchConstraints");
    if has(spec, "matchConstraints") {
        errors.extend(match_resources(&spec["matchConstraints"], &at));
        if list(&spec["matchConstraints"], "resourceRules").is_empty() {
            errors.push(FieldError::required(&at.child("resourceRules"), ""));
        }
        if mutates {
            errors.extend(mutable_operations(&spec["matchConstraints"], &at));
        }
    } else {
        errors.push(FieldError::required(&at, ""));
    }
    errors.extend(match_rules::conditions(spec, &path));
    let mut variables = Variables::new();
    for (i, variable) in list(spec, "variables").iter().enumerate() {
        let scope = Scope::of(spec, &variables);
        let (wrong, of) = one_variable(variable, scope, &path.child("variables").index(i));
        errors.extend(wrong);
        variables.extend(of.map(|of| (text(variable, "name").to_owned(), of)));
    }
    (errors, variables)
}

fn validating(object: &Value) -> Errors {
    const NEITHER: &str = "validations or auditAnnotations must contain at least one item";
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    let (mut errors, variables) = policy(object, false);
    let scope = Scope::of(spec, &variables);
    if validations.is_empty() && annotations.is_empty() {
        errors.push(FieldError::required(&path.child("validations"), NEITHER));
        errors.push(FieldError::required(&path.child("auditAnnotations"), NEITHER));
        return errors;
    }
    for (i, validation) in validations.iter().enumerate() {
        errors.extend(one_validation(validation, scope, &path.child("validations").index(i)));
    }
    let at = path.child("auditAnnotations");
    if annotations.len() > ANNOTATIONS_MAX {
        let detail = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(FieldError::invalid(&at, spec["auditAnnotations"].clone(), detail));
    }
    let mut seen = BTreeSet::new();
    for (i, annotation) in annotations.iter().enumerate() {
        let (key, at) = (text(annotation, "key"), at.index(i));
        errors.extend(one_annotation(annotation, meta::name(object), scope, &at));
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&at.child("key"), key));
        }
    }
    errors
}

fn mutating(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (mut errors, variables) = policy(object, true);
    let scope = Scope::of(spec, &variables);
    let (mutations, at) = (list(spec, "mutations"), path.child("mutations"));
    if mutations.is_empty() {
        errors.push(FieldError::required(&at, "mutations must contain at least one item"));
    }
    for (i, mutation) in mutations.iter().enumerate() {
        errors.extend(one_mutation(mutation, scope, &at.index(i)));
    }
    errors.extend(check::one_of(spec, "reinvocationPolicy", &["IfNeeded", "Never"], &path));
    errors
}

fn one_mutation(mutation: &Value, scope: Scope, path: &Path) -> Errors {
    const KINDS: [(&str, &str); 2] =
        [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
    let kind = text(mutation, "patchType");
    let Some((_, field)) = KINDS.into_iter().find(|(known, _)| *known == kind) else {
        return check::one_of(mutation, "patchType", &KINDS.map(|(kind, _)| kind), path)
            .into_iter()
            .collect();
    };
    let mut errors = Errors::new();
    let at = path.child(field);
    if !has(mutation, field) {
        let detail = format!("must be specified when patchType is {kind}");
        errors.push(FieldError::required(&at, detail));
    } else {
        let wanted = if kind == "JSONPatch" { Wanted::Patch } else { Wanted::Configuration };
        errors.extend(one_patch(&mutation[field], wanted, scope, &at.child("expression")));
    }
    for (_, field) in KINDS.into_iter().filter(|(other, field)| *other != kind && has(mutation, field)) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.push(FieldError::invalid(&path.child(field), format!("{{{field}}}"), detail));
    }
    errors
}

fn one_patch(patch: &Value, wanted: Wanted, scope: Scope, path: &Path) -> Option<FieldError> {
    match text(patch, "expression").trim() {
        "" => Some(FieldError::required(path, "")),
        expression => expressions::admission(expression, wanted, scope, path).err(),
    }
}

fn match_resources(resources: &Value, path: &Path) -> Errors {
    let policies = ["Equivalent", "Exact"];
    let mut errors: Errors = check::known(resources, "matchPolicy", &policies, path).into_iter().collect();
    for field in ["namespaceSelector", "objectSelector"] {
        if has(resources, field) {
            errors.extend(check::selector(&resources[field], &path.child(field)));
        } else {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in list(resources, field).iter().enumerate() {
            errors.extend(match_rules::named_rule(rule, &path.child(field).index(i)));
        }
    }
    errors
}

/// What is wrong with a variable, and what it is when that can be told; one that does not compile may be anything.
fn one_variable(variable: &Value, scope: Scope, path: &Path) -> (Errors, Option<cel::Type>) {
    let (name, at) = (text(variable, "name"), path.child("name"));
    let mut errors = Errors::new();
    if name.trim().is_empty() {
        errors.push(FieldError::required(&at, "name is not specified"));
    } else if !cel::is_identifier(name) {
        errors.push(FieldError::invalid(&at, name, "must be a valid CEL identifier"));
    }
    let (expression, at) = (text(variable, "expression"), path.child("expression"));
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&at, "expression is not specified"));
        return (errors, None);
    }
    let of = expressions::admission(expression, Wanted::Variable, scope, &at).unwrap_or_else(|error| {
        errors.push(error);
        cel::Type::Dyn
    });
    (errors, Some(of))
}

fn one_validation(validation: &Value, scope: Scope, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (expression, at) = (text(validation, "expression"), path.child("expression"));
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&at, "expression is not specified"));
    } else {
        errors.extend(expressions::admission(expression, Wanted::Condition, scope, &at).err());
    }
    let (expression, at) = (text(validation, "messageExpression"), path.child("messageExpression"));
    if !expression.is_empty() && expression.trim().is_empty() {
        errors.push(FieldError::invalid(&at, expression, "must be non-empty if specified"));
    } else if !expression.is_empty() {
        errors.extend(expressions::admission(expression, Wanted::Message, scope, &at).err());
    }
    let (message, at) = (text(validation, "message"), path.child("message"));
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&at, message, "must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid(&at, message, "must not contain line breaks"));
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    errors.extend(check::known(validation, "reason", &reasons, path));
    errors
}

fn one_annotation(annotation: &Value, policy: &str, scope: Scope, path: &Path) -> Errors {
    let (key, at) = (text(annotation, "key"), path.child("key"));
    let full = format!("{policy}/{key}");
    let mut errors = if policy.is_empty() {
        vec![FieldError::invalid(&at, key, "requires metadata.name be non-empty")]
    } else {
        check::named(&at, &full, names::qualified_name(&full))
    };
    let (expression, at) = (text(annotation, "valueExpression"), path.child("valueExpression"));
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&at, "valueExpression is not specified"));
    } else if expression.trim().len() > ANNOTATION_EXPRESSION_MAX {
        let detail = format!("must not exceed {ANNOTATION_EXPRESSION_MAX} bytes in length");
        errors.push(FieldError::required(&at, detail));
    } else {
        errors.extend(expressions::admission(expression, Wanted::Annotation, scope, &at).err());
    }
    errors
}

/// What bindings of both kinds have in common.
fn binding(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let name = text(spec, "policyName");
    let mut errors = Errors::new();
    if !name.is_empty() {
        errors.extend(check::named(&path.child("policyName"), name, names::dns1123_subdomain(name)));
    }
    if has(spec, "paramRef") {
        errors.extend(param_ref(&spec["paramRef"], &path.child("paramRef")));
    }
    if has(spec, "matchResources") {
        errors.extend(match_resources(&spec["matchResources"], &path.child("matchResources")));
    }
    errors
}

fn mutating_binding(object: &Value) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors: Errors = check::required(spec, "policyName", &path).into_iter().collect();
    errors.extend(binding(object));
    errors.extend(mutable_operations(&spec["matchResources"], &path.child("matchResources")));
    errors
}

/// What is deleted or does not change is not mutated.
fn mutable_operations(resources: &Value, path: &Path) -> Errors {
    const OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
    let at = path.child("resourceRules").child("operations");
    let operations = list(resources, "resourceRules").iter().flat_map(|rule| strings(rule, "operations"));
    operations
        .filter(|operation| !OPERATIONS.contains(operation))
        .map(|operation| FieldError::not_supported(&at, operation, &OPERATIONS))
        .collect()
}

fn actions(spec: &Value, path: &Path) -> Errors {
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let actions = strings(spec, "validationActions");
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (i, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.push(FieldError::not_supported(&path.index(i), *action, &ACTIONS));
        }
        if !seen.insert(*action) {
            errors.push(FieldError::duplicate(&path.index(i), *action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and \
                      headers serves no purpose)";
        errors.push(FieldError::invalid(path, spec["validationActions"].clone(), detail));
    }
    errors
}
