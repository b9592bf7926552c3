//! Schemas of types, from the schema table.

use std::collections::BTreeSet;

use machinery::schema::{Field, FieldType, ListType, MapType, Schema, Type, TypeId};
use serde_json::{Map, Value, json};

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
/// Body of every patch.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Types that the table treats as scalars, which documents name.
const SCALARS: [&str; 5] = [TIME, MICRO_TIME, QUANTITY, INT_OR_STRING, PATCH];

impl Dialect {
    /// A reference to a definition.
    pub fn reference(self, name: &str) -> Value {
        let place = match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{place}{name}")})
    }

    /// The definition of a named scalar.
    fn scalar(self, name: &str) -> Value {
        match (name, self) {
            (TIME | MICRO_TIME, _) => json!({"type": "string", "format": "date-time"}),
            (QUANTITY, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (INT_OR_STRING, Dialect::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            (INT_OR_STRING, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
            (PATCH, _) => json!({"type": "object"}),
            _ => json!({"type": "string"}),
        }
    }
}

/// Definitions of types and of all that they refer to, by name.
pub(super) struct Definitions {
    dialect: Dialect,
    types: BTreeSet<TypeId>,
}

impl Definitions {
    pub fn new(dialect: Dialect) -> Definitions {
        Definitions { dialect, types: BTreeSet::new() }
    }

    /// Adds a type and everything it refers to.
    pub fn add(&mut self, id: TypeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if self.types.insert(id) {
                let fields = &Schema::builtin().ty(id).fields;
                open.extend(fields.iter().filter_map(|field| referred(field.ty)));
            }
        }
    }

    /// Adds a type by its OpenAPI name, if there is such a type.
    pub fn add_named(&mut self, name: &str) {
        if let Some(id) = Schema::builtin().by_name(name) {
            self.add(id);
        }
    }

    /// Calls `write` with each definition, in order of their names.
    pub fn each(&self, mut write: impl FnMut(&str, &Value)) {
        let schema = Schema::builtin();
        let mut types: Vec<&Type> = self.types.iter().map(|id| schema.ty(*id)).collect();
        types.retain(|ty| !SCALARS.contains(&ty.name));
        let mut names: Vec<(&str, Option<&Type>)> = types.into_iter().map(|ty| (ty.name, Some(ty))).collect();
        names.extend(SCALARS.map(|name| (name, None)));
        names.sort_by_key(|(name, _)| *name);
        for (name, ty) in names {
            let definition = ty.map_or_else(|| self.dialect.scalar(name), |ty| definition(ty, self.dialect));
            write(name, &definition);
        }
    }
}

fn referred(ty: &FieldType) -> Option<TypeId> {
    match ty {
        FieldType::Ref(id) => Some(*id),
        FieldType::Array(item) | FieldType::Map(item) => referred(item),
        _ => None,
    }
}

fn definition(ty: &Type, dialect: Dialect) -> Value {
    let mut map = Map::new();
    map.insert("type".into(), "object".into());
    let required: Vec<&str> = ty.required().collect();
    if !required.is_empty() {
        map.insert("required".into(), json!(required));
    }
    if !ty.fields.is_empty() {
        let properties: Map<String, Value> =
            ty.fields.iter().map(|field| (field.name().to_owned(), property(field, dialect))).collect();
        map.insert("properties".into(), properties.into());
    }
    if let Some(map_type) = ty.map_type {
        map.insert("x-kubernetes-map-type".into(), map_type_name(map_type).into());
    }
    let gvks: Vec<Value> =
        ty.gvks().map(|gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})).collect();
    if !gvks.is_empty() {
        map.insert("x-kubernetes-group-version-kind".into(), gvks.into());
    }
    Value::Object(map)
}

fn map_type_name(map_type: MapType) -> &'static str {
    match map_type {
        MapType::Atomic => "atomic",
        MapType::Granular => "granular",
    }
}

fn property(field: &Field, dialect: Dialect) -> Value {
    let mut extras = Map::new();
    if let Some(default) = field.default() {
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
    let strategies = [
        (field.patch().merge, "merge"),
        (field.patch().replace, "replace"),
        (field.patch().retain_keys, "retainKeys"),
    ];
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

fn value(ty: &FieldType, proto_type: Option<&str>, dialect: Dialect) -> Value {
    match ty {
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::Int32 => json!({"type": "integer", "format": "int32"}),
        FieldType::Int64 => json!({"type": "integer", "format": "int64"}),
        FieldType::Double => json!({"type": "number", "format": "double"}),
        FieldType::String => json!({"type": "string"}),
        FieldType::Bytes => json!({"type": "string", "format": "byte"}),
        FieldType::Time => dialect.reference(TIME),
        FieldType::MicroTime => dialect.reference(MICRO_TIME),
        FieldType::IntOrString => dialect.reference(INT_OR_STRING),
        FieldType::Quantity => dialect.reference(QUANTITY),
        // `JSON` may be anything at all, the others are objects of a kind that is not known here.
        FieldType::Any if proto_type.is_some_and(|name| name.ends_with("JSON")) => json!({}),
        FieldType::Any => json!({"type": "object"}),
        FieldType::Ref(id) => dialect.reference(Schema::builtin().ty(*id).name),
        FieldType::Array(item) => json!({"type": "array", "items": value(item, None, dialect)}),
        FieldType::Map(item) => json!({"type": "object", "additionalProperties": value(item, None, dialect)}),
    }
}
