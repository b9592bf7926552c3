//! Go's names of types and the way to a field, as messages about wrong values quote them.

use std::fmt::Write as _;

use crate::schema::{Field, FieldType, Schema, Type};

/// What the types of the API do not tell; the file's head says how. Read only when there is something to tell.
const TABLE: &str = include_str!("../../tables/go_names.txt");

/// What the table has for a field or an embedded struct.
fn noted(ty: &Type, key: &str) -> Option<&'static str> {
    let is_of_type = |name: &str| ty.name.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    let line = TABLE.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| is_of_type(name))?;
    line.1.split(' ').filter_map(|part| part.split_once(':')).find(|(k, _)| *k == key).map(|(_, name)| name)
}

/// What stands for a field in a path: its name, after those of the structs in which Go has it embedded.
pub(super) fn steps(ty: &Type, field: &Field) -> Vec<&'static str> {
    let mut steps = Vec::new();
    let mut numbers = String::new();
    for number in field.proto() {
        let _ = write!(numbers, "{}{number}", if numbers.is_empty() { "" } else { "." });
        steps.extend(noted(ty, &numbers));
    }
    // Protobuf has version and kind around the object.
    if numbers.is_empty() && matches!(field.name(), "apiVersion" | "kind") {
        steps.push("TypeMeta");
    }
    steps.push(field.name());
    steps
}

/// The type of a value that a field is or has in it.
pub(super) fn of_value(owner: &Type, field: &Field, ty: &FieldType) -> String {
    let mut name = noted(owner, field.name());
    let mut at = field.ty;
    while at != ty {
        match at {
            FieldType::Array(item) | FieldType::Map(item) => {
                at = item;
                name = name.and_then(of_item);
            }
            _ => return of_type(ty),
        }
    }
    name.map_or_else(|| of_type(ty), str::to_owned)
}

/// The type of the items of a list or map, when its name tells it.
fn of_item(name: &'static str) -> Option<&'static str> {
    let of_map = |name: &'static str| Some(name.strip_prefix("map[")?.split_once(']')?.1);
    name.strip_prefix("[]").or_else(|| of_map(name))
}

/// The name that follows from the type alone.
pub(super) fn of_type(ty: &FieldType) -> String {
    match ty {
        FieldType::Bool => "bool".to_owned(),
        FieldType::Int32 => "int32".to_owned(),
        FieldType::Int64 => "int64".to_owned(),
        FieldType::Double => "float64".to_owned(),
        FieldType::String => "string".to_owned(),
        FieldType::Bytes => "[]uint8".to_owned(),
        FieldType::Time => "v1.Time".to_owned(),
        FieldType::MicroTime => "v1.MicroTime".to_owned(),
        FieldType::IntOrString => "intstr.IntOrString".to_owned(),
        FieldType::Quantity => "resource.Quantity".to_owned(),
        FieldType::Any => "interface {}".to_owned(),
        FieldType::Ref(id) => of_struct(Schema::builtin().ty(*id)),
        FieldType::Array(item) => format!("[]{}", of_type(item)),
        // Nearly all maps of quantities are of this named type.
        FieldType::Map(item) if **item == FieldType::Quantity => "v1.ResourceList".to_owned(),
        FieldType::Map(item) => format!("map[string]{}", of_type(item)),
    }
}

/// A struct with its package: `v1.PodSpec`.
pub(super) fn of_struct(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::decode::check;

    /// What is said about an object of the kind.
    fn said(group: &str, kind: &str, mut object: Value) -> String {
        let ty = Schema::builtin().kind(group, "v1", kind).expect("a kind");
        check(&mut object, ty).expect_err("a mistake").to_string()
    }

    #[test]
    fn values_of_named_types() {
        let container = |field: &str, value: Value| json!({"spec": {"containers": [{field: value}]}});
        let capabilities =
            |added: Value| container("securityContext", json!({"capabilities": {"add": added}}));
        for (object, want) in [
            (
                json!({"metadata": {"uid": 1}}),
                "number into Go struct field ObjectMeta.metadata.uid of type types.UID",
            ),
            (
                container("imagePullPolicy", json!(1)),
                "number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
            ),
            (
                capabilities(json!("x")),
                "string into Go struct field Capabilities.spec.containers.securityContext.capabilities.add of type []v1.Capability",
            ),
            (
                capabilities(json!([{}])),
                "object into Go struct field Capabilities.spec.containers.securityContext.capabilities.add of type v1.Capability",
            ),
            (
                container("resources", json!({"limits": 1})),
                "number into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
            ),
        ] {
            assert_eq!(said("", "Pod", object), format!("json: cannot unmarshal {want}"));
        }
        let review = json!({"spec": {"extra": {"a": ["b", 1]}}});
        assert_eq!(
            said("authorization.k8s.io", "SubjectAccessReview", review),
            "json: cannot unmarshal number into Go struct field SubjectAccessReviewSpec.spec.extra of type string"
        );
        let review = json!({"spec": {"extra": {"a": 1}}});
        assert_eq!(
            said("authorization.k8s.io", "SubjectAccessReview", review),
            "json: cannot unmarshal number into Go struct field SubjectAccessReviewSpec.spec.extra of type v1.ExtraValue"
        );
    }

    #[test]
    fn fields_of_embedded_structs() {
        let env =
            json!({"spec": {"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": 1}}}]}]}});
        for (group, kind, object, want) in [
            (
                "",
                "Pod",
                json!({"spec": {"volumes": [{"emptyDir": "x"}]}}),
                "string into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource",
            ),
            (
                "",
                "Pod",
                env,
                "number into Go struct field ConfigMapKeySelector.spec.containers.env.valueFrom.configMapKeyRef.LocalObjectReference.name of type string",
            ),
            (
                "apps",
                "StatefulSet",
                json!({"spec": {"volumeClaimTemplates": [{"kind": 1}]}}),
                "number into Go struct field PersistentVolumeClaim.spec.volumeClaimTemplates.TypeMeta.kind of type string",
            ),
            (
                "admissionregistration.k8s.io",
                "ValidatingAdmissionPolicy",
                json!({"spec": {"matchConstraints": {"resourceRules": [{"scope": 1}]}}}),
                "number into Go struct field NamedRuleWithOperations.spec.matchConstraints.resourceRules.RuleWithOperations.Rule.scope of type v1.ScopeType",
            ),
        ] {
            assert_eq!(said(group, kind, object), format!("json: cannot unmarshal {want}"));
        }
    }

    #[test]
    fn every_name_is_of_something() {
        let schema = Schema::builtin();
        for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
            let (name, rest) = line.split_once(' ').expect("names");
            let types: Vec<&Type> =
                schema.iter().map(|(_, ty)| ty).filter(|ty| ty.name.ends_with(&format!(".{name}"))).collect();
            let [ty] = types[..] else { panic!("{} types are called {name}", types.len()) };
            for (key, _) in rest.split(' ').filter_map(|part| part.split_once(':')) {
                let known = match key.starts_with(|c: char| c.is_ascii_digit()) {
                    true => ty.fields.iter().any(|field| steps(ty, field).len() > 1),
                    false => ty.field(key).is_some(),
                };
                assert!(known, "{key} of {name}");
            }
        }
    }
}
