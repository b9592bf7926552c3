//! Schemas of types, from the schema table.

use std::collections::BTreeSet;

use descriptions::{Index, TypeDescription};
use machinery::schema::{Field, FieldType, ListType, MapType, Presence, Schema, Type, TypeId};
use serde_json::{Map, Value, json};

use super::enums;

/// The two forms of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const FIELDS_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
/// Says of `apiVersion` and `kind` what holds for every kind.
const ANY_KIND: &str = "io.k8s.api.core.v1.ConfigMap";

impl Dialect {
    /// A reference to a definition.
    pub fn reference(self, name: &str) -> Value {
        let place = match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{place}{name}")})
    }

    /// The definition of a type whose values are no structs; `None` for structs.
    fn scalar(self, name: &str) -> Option<Value> {
        Some(match (name, self) {
            (TIME | MICRO_TIME, _) => json!({"type": "string", "format": "date-time"}),
            (QUANTITY, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (QUANTITY, Dialect::V2) => json!({"type": "string"}),
            (INT_OR_STRING, Dialect::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            (INT_OR_STRING, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
            (PATCH | RAW_EXTENSION | FIELDS_V1, _) => json!({"type": "object"}),
            _ if name.starts_with(EXTENSIONS) && !name.ends_with("JSONSchemaProps") => json!({}),
            _ => return None,
        })
    }
}

/// Definitions of types and of all that they refer to, by name.
pub(super) struct Definitions<'a> {
    dialect: Dialect,
    described: &'a Index<'a>,
    types: BTreeSet<TypeId>,
}

impl<'a> Definitions<'a> {
    pub fn new(dialect: Dialect, described: &'a Index<'a>) -> Definitions<'a> {
        Definitions { dialect, described, types: BTreeSet::new() }
    }

    /// Adds a type and everything it refers to.
    pub fn add(&mut self, id: TypeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if self.types.insert(id) {
                let fields = Schema::builtin().ty(id).fields;
                open.extend(fields.iter().filter_map(|field| referred(field.ty, field.proto_type())));
            }
        }
    }

    /// Calls `write` with each definition, in order of their names, which is that of their numbers.
    pub fn each(&self, mut write: impl FnMut(&str, &Value)) {
        let schema = Schema::builtin();
        for ty in self.types.iter().map(|id| schema.ty(*id)) {
            write(ty.name, &self.definition(ty));
        }
    }

    fn definition(&self, ty: &Type) -> Value {
        let described = self.described.of(ty.name);
        let mut value = self.dialect.scalar(ty.name).unwrap_or_else(|| self.structure(ty, described));
        let text = match (described, ty.short_name().strip_suffix("List")) {
            (Some(described), _) => described.text().to_owned(),
            (None, Some(kind)) => format!("{}List is a list of {kind}.", kind),
            (None, None) => String::new(),
        };
        if !text.is_empty() {
            value["description"] = text.into();
        }
        value
    }

    fn structure(&self, ty: &Type, described: Option<TypeDescription<'_>>) -> Value {
        let mut map = Map::new();
        map.insert("type".into(), "object".into());
        let required: Vec<&str> = ty.required().collect();
        if !required.is_empty() {
            map.insert("required".into(), json!(required));
        }
        if !ty.fields.is_empty() {
            let property = |field: &Field| {
                let text = described.map_or_else(|| self.of_list(field.name()), |d| d.field(field.name()));
                let mut property = property(field, text, self.dialect);
                if let Some(values) = enums::of(ty.name, field.name()) {
                    element_of(&mut property)["enum"] = values;
                }
                (field.name().to_owned(), property)
            };
            map.insert("properties".into(), ty.fields.iter().map(property).collect::<Map<_, _>>().into());
        }
        if let Some(map_type) = ty.map_type {
            map.insert("x-kubernetes-map-type".into(), map_type_name(map_type).into());
        }
        if let Some(union) = ty.union() {
            let members: Map<String, Value> =
                union.members().map(|(field, value)| (field.to_owned(), value.into())).collect();
            let mut value = json!({"fields-to-discriminateBy": members});
            if !union.discriminator.is_empty() {
                value["discriminator"] = union.discriminator.into();
            }
            map.insert("x-kubernetes-unions".into(), json!([value]));
        }
        let gvks: Vec<Value> = ty
            .gvks()
            .map(|gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind}))
            .collect();
        if !gvks.is_empty() {
            map.insert("x-kubernetes-group-version-kind".into(), gvks.into());
        }
        map.into()
    }

    /// Lists, whose types are not described, all have the same fields.
    fn of_list(&self, field: &str) -> Option<&'a str> {
        match field {
            "items" => Some("The objects, in order of namespace and name."),
            "metadata" => {
                Some("Standard list metadata: the resource version, and how to go on with a list in parts.")
            }
            other => self.described.of(ANY_KIND).and_then(|kind| kind.field(other)),
        }
    }
}

/// The named type that a value has, within lists and maps.
fn referred(ty: &FieldType, opaque: Option<&str>) -> Option<TypeId> {
    let name = match ty {
        FieldType::Ref(id) => return Some(*id),
        FieldType::Array(item) | FieldType::Map(item) => return referred(item, opaque),
        other => scalar_name(other, opaque)?,
    };
    Schema::builtin().by_name(&name)
}

/// Name of the definition that a value of no struct has; `None` for plain JSON values.
fn scalar_name(ty: &FieldType, opaque: Option<&str>) -> Option<String> {
    Some(match (ty, opaque) {
        (FieldType::Time, _) => TIME.to_owned(),
        (FieldType::MicroTime, _) => MICRO_TIME.to_owned(),
        (FieldType::IntOrString, _) => INT_OR_STRING.to_owned(),
        (FieldType::Quantity, _) => QUANTITY.to_owned(),
        (FieldType::Any, Some("RawExtension")) => RAW_EXTENSION.to_owned(),
        (FieldType::Any, Some("FieldsV1")) => FIELDS_V1.to_owned(),
        (FieldType::Any, Some(name)) => format!("{}{}", EXTENSIONS.trim_end_matches("JSON"), name),
        _ => return None,
    })
}

fn map_type_name(map_type: MapType) -> &'static str {
    match map_type {
        MapType::Atomic => "atomic",
        MapType::Granular => "granular",
    }
}

fn property(field: &Field, text: Option<&str>, dialect: Dialect) -> Value {
    let mut extras = Map::new();
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        extras.insert("description".into(), text.into());
    }
    // Swagger 2 documents have no defaults upstream: old clients would have sent them.
    if let Some(default) =
        field.default().or_else(|| zero(field.ty, field.presence())).filter(|_| dialect == Dialect::V3)
    {
        extras.insert("default".into(), default);
    }
    match field.list_type() {
        Some(ListType::Atomic) => {
            extras.insert("x-kubernetes-list-type".into(), "atomic".into());
        }
        Some(ListType::Set) => {
            extras.insert("x-kubernetes-list-type".into(), "set".into());
        }
        Some(ListType::Map(keys)) => {
            extras.insert("x-kubernetes-list-type".into(), "map".into());
            extras.insert("x-kubernetes-list-map-keys".into(), json!(keys));
        }
        None => {}
    }
    if let Some(map_type) = field.map_type() {
        extras.insert("x-kubernetes-map-type".into(), map_type_name(map_type).into());
    }
    let patch = field.patch();
    // In the order of the tags in upstream's types.
    let strategies = [(patch.merge, "merge"), (patch.replace, "replace"), (patch.retain_keys, "retainKeys")];
    let strategies: Vec<&str> =
        strategies.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    if !strategies.is_empty() {
        extras.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
    }
    if let Some(key) = field.patch_merge_key() {
        extras.insert("x-kubernetes-patch-merge-key".into(), key.into());
    }
    with_extras(value(field.ty, field.proto_type(), dialect), extras, dialect)
}

/// The zero value that Go gives to what is not a pointer and not left out of JSON (kube-openapi `mustEnforceDefault`).
fn zero(ty: &FieldType, presence: Presence) -> Option<Value> {
    match (ty, presence) {
        (_, Presence::Pointer) => None,
        (FieldType::Ref(_), _) => Some(json!({})),
        (_, Presence::Value) => None,
        (FieldType::Bool, _) => Some(false.into()),
        (FieldType::Int32 | FieldType::Int64 | FieldType::Double, _) => Some(0.into()),
        (FieldType::String, _) => Some("".into()),
        _ => None,
    }
}

/// In OpenAPI 3 nothing may stand beside a `$ref`, so the reference is wrapped.
fn with_extras(mut value: Value, extras: Map<String, Value>, dialect: Dialect) -> Value {
    if extras.is_empty() {
        return value;
    }
    if dialect == Dialect::V3 && value.get("$ref").is_some() {
        value = json!({"allOf": [value]});
    }
    if let Some(map) = value.as_object_mut() {
        map.extend(extras);
    }
    value
}

fn value(ty: &FieldType, opaque: Option<&str>, dialect: Dialect) -> Value {
    if let Some(name) = scalar_name(ty, opaque) {
        return dialect.reference(&name);
    }
    match ty {
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::Int32 => json!({"type": "integer", "format": "int32"}),
        FieldType::Int64 => json!({"type": "integer", "format": "int64"}),
        FieldType::Double => json!({"type": "number", "format": "double"}),
        FieldType::Bytes => json!({"type": "string", "format": "byte"}),
        FieldType::Ref(id) => dialect.reference(Schema::builtin().ty(*id).name),
        FieldType::Array(items) => json!({"type": "array", "items": value(items, opaque, dialect)}),
        FieldType::Map(values) => {
            json!({"type": "object", "additionalProperties": value(values, opaque, dialect)})
        }
        FieldType::Any => json!({"type": "object"}),
        _ => json!({"type": "string"}),
    }
}

/// The schema of what a list or map consists of; of other fields their own.
fn element_of(property: &mut Value) -> &mut Value {
    let elements = ["items", "additionalProperties"].into_iter().find(|key| property.get(*key).is_some());
    match elements {
        Some(key) => &mut property[key],
        None => property,
    }
}
