//! Messages: the fields of the schema's types, in the order and nesting that they have in protobuf.

use std::sync::OnceLock;

use crate::schema::{Field, FieldType, Presence, Schema, TypeId};

/// A message: its fields, sorted by number.
#[derive(Debug, Default)]
pub(super) struct Message(pub Vec<Slot>);

/// One field of a message.
#[derive(Debug)]
pub(super) struct Slot {
    pub number: u32,
    pub holds: Holds,
}

/// What a field of a message is in JSON.
#[derive(Debug)]
pub(super) enum Holds {
    /// Several fields of the same object, which are a message of their own in protobuf only.
    Inlined(Message),
    /// One field.
    Field(Entry),
}

/// A field of the JSON object.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: &'static str,
    pub rule: Rule,
}

/// How often a field occurs.
#[derive(Debug)]
pub(super) enum Rule {
    One(Shape, Presence),
    Many(Shape),
    /// A map with string keys.
    Map(Shape),
}

/// A single value.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    Bytes,
    Time,
    MicroTime,
    IntOrString,
    Quantity,
    /// `RawExtension`, `JSON` or `FieldsV1`: a message of one field with JSON text.
    Raw,
    /// A list within a list or map: a message of one repeated field.
    Wrapped(Box<Shape>),
    Message(TypeId),
    /// `PartialObjectMetadata`.
    PartialMetadata,
    /// `JSONSchemaPropsOrArray`.
    SchemaOrArray,
    /// `JSONSchemaPropsOrBool`.
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`.
    SchemaOrStrings,
}

/// The message of a kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root {
    Type(TypeId),
    /// `PartialObjectMetadata`.
    Metadata,
    /// `PartialObjectMetadataList`.
    MetadataList,
    /// `RangeAllocation`.
    RangeAllocation,
}

impl Root {
    pub fn type_id(self) -> Option<TypeId> {
        match self {
            Self::Type(id) => Some(id),
            Self::Metadata | Self::MetadataList | Self::RangeAllocation => None,
        }
    }

    pub fn message(self) -> &'static Message {
        match self {
            Self::Type(id) => of(id),
            Self::Metadata => &PLANS.get_or_init(Plans::new).metadata,
            Self::MetadataList => &PLANS.get_or_init(Plans::new).metadata_list,
            Self::RangeAllocation => &PLANS.get_or_init(Plans::new).range_allocation,
        }
    }
}

impl Message {
    /// The field of a number.
    pub fn slot(&self, number: u32) -> Option<&Slot> {
        let at = self.0.binary_search_by_key(&number, |slot| slot.number).ok()?;
        self.0.get(at)
    }
}

/// The message of a type.
pub(super) fn of(id: TypeId) -> &'static Message {
    let plans = PLANS.get_or_init(Plans::new);
    match plans.messages.get(usize::from(id.0)) {
        Some(plan) => plan.get_or_init(|| plans.message(id)),
        // Numbers come from the schema, which the list is as long as.
        None => &plans.empty,
    }
}

/// `JSONSchemaProps`, of which the special messages are made.
pub(super) fn json_schema_props() -> Option<TypeId> {
    PLANS.get_or_init(Plans::new).json_schema_props
}

static PLANS: OnceLock<Plans> = OnceLock::new();

struct Plans {
    /// By number of the type; each made at its first use.
    messages: Vec<OnceLock<Message>>,
    json_schema_props: Option<TypeId>,
    metadata: Message,
    metadata_list: Message,
    range_allocation: Message,
    empty: Message,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

impl Plans {
    fn new() -> Self {
        let schema = Schema::builtin();
        let meta = |name: &str| schema.by_name(&format!("{META}.{name}"));
        let object_meta = || single(1, "metadata", meta("ObjectMeta"));
        let metadata = Message(object_meta().into_iter().collect());
        let items = Slot {
            number: 2,
            holds: Holds::Field(Entry { name: "items", rule: Rule::Many(Shape::PartialMetadata) }),
        };
        let list = single(1, "metadata", meta("ListMeta")).into_iter().chain([items]).collect();
        let range = [(2, "range", Shape::String), (3, "data", Shape::Bytes)];
        let range = range.map(|(number, name, shape)| shown(number, name, shape));
        let props = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        Self {
            messages: schema.iter().map(|_| OnceLock::new()).collect(),
            json_schema_props: schema.by_name(props),
            metadata,
            metadata_list: Message(list),
            range_allocation: Message(object_meta().into_iter().chain(range).collect()),
            empty: Message::default(),
        }
    }

    fn message(&self, id: TypeId) -> Message {
        let ty = Schema::builtin().ty(id);
        let mut message = Message::default();
        for field in ty.fields {
            let mut path: Vec<u32> = field.proto().collect();
            let Some(number) = path.pop() else { continue };
            let Some(rule) = rule(ty.name, field) else { continue };
            let slot = Slot { number, holds: Holds::Field(Entry { name: field.name(), rule }) };
            insert(&mut message, &path, slot);
        }
        message
    }
}

fn single(number: u32, name: &'static str, ty: Option<TypeId>) -> Option<Slot> {
    Some(shown(number, name, Shape::Message(ty?)))
}

fn shown(number: u32, name: &'static str, shape: Shape) -> Slot {
    let rule = Rule::One(shape, Presence::Shown);
    Slot { number, holds: Holds::Field(Entry { name, rule }) }
}

/// Puts a field where it belongs, within the inlined messages that it is in.
fn insert(message: &mut Message, within: &[u32], slot: Slot) {
    let Some((&outer, rest)) = within.split_first() else {
        let at = message.0.partition_point(|have| have.number < slot.number);
        message.0.insert(at, slot);
        return;
    };
    let at = message.0.partition_point(|have| have.number < outer);
    if message.0.get(at).is_none_or(|have| have.number != outer) {
        message.0.insert(at, Slot { number: outer, holds: Holds::Inlined(Message::default()) });
    }
    if let Holds::Inlined(inner) = &mut message.0[at].holds {
        insert(inner, rest, slot);
    }
}

fn rule(type_name: &str, field: &Field) -> Option<Rule> {
    let special = field.proto_type();
    Some(match field.ty {
        // The one list that is a message in protobuf without being in another list or map.
        FieldType::Array(item) if field.name() == "verbs" && type_name.ends_with(".meta.v1.APIResource") => {
            Rule::One(Shape::Wrapped(Box::new(shape(item, None)?)), Presence::Pointer)
        }
        FieldType::Array(item) => Rule::Many(shape(item, special)?),
        FieldType::Map(item) => Rule::Map(shape(item, special)?),
        single => Rule::One(shape(single, special)?, field.presence()),
    })
}

fn shape(ty: &FieldType, special: Option<&str>) -> Option<Shape> {
    Some(match ty {
        FieldType::Bool => Shape::Bool,
        FieldType::Int32 => Shape::Int32,
        FieldType::Int64 => Shape::Int64,
        FieldType::Double => Shape::Double,
        FieldType::String => Shape::String,
        FieldType::Bytes => Shape::Bytes,
        FieldType::Time => Shape::Time,
        FieldType::MicroTime => Shape::MicroTime,
        FieldType::IntOrString => Shape::IntOrString,
        FieldType::Quantity => Shape::Quantity,
        FieldType::Ref(id) => Shape::Message(*id),
        FieldType::Array(item) => Shape::Wrapped(Box::new(shape(item, special)?)),
        FieldType::Any => match special {
            Some("RawExtension" | "JSON" | "FieldsV1") => Shape::Raw,
            Some("JSONSchemaPropsOrArray") => Shape::SchemaOrArray,
            Some("JSONSchemaPropsOrBool") => Shape::SchemaOrBool,
            Some("JSONSchemaPropsOrStringArray") => Shape::SchemaOrStrings,
            _ => return None,
        },
        FieldType::Map(_) => return None,
    })
}
