//! Every type of the Kubernetes 1.37 API, from a compact table compiled into the program.
//!
//! # The table (`tables/schema.txt`)
//! Lines; parts of a line are separated by single spaces. A line `= …` begins a type, the lines after it are its fields,
//! sorted by name. Types are numbered in order, from 0.
//!
//! ```text
//! = <OpenAPI name> [a|g] [<group>/<version>/<Kind> …]     a: atomic for server-side apply, g: granular
//! <field> <type> [<attribute> …]
//! ```
//! Types: `b` bool, `i` int32, `l` int64, `d` double, `s` string, `y` bytes, `t` Time, `u` MicroTime, `x` IntOrString,
//! `q` Quantity, `*` anything, `#N` type number N, `[T` array of T, `{T` map of T.
//!
//! Attributes: `!` required; `A` atomic list, `S` set, `M=key,key` list-map; `a` atomic map or struct, `g` granular one;
//! `m` patch strategy merge, `r` replace, `k` retainKeys; `K=key` patch merge key; `p=N` protobuf number, `p=M.N` number N inside the
//! embedded message M; `P=type` protobuf type when
//! the field's type does not tell it; `D=json` default.
//!
//! The table is written by `cargo run -p knarr-machinery --example distil`.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

static TABLE: &str = include_str!("../tables/schema.txt");

/// Number of a type in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u16);

/// A group, version and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gvk {
    /// API group, empty for the core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// One struct of the API.
#[derive(Debug)]
pub struct Type {
    /// OpenAPI name, like `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Fields, sorted by name. Empty for scalars and for structs that carry no fields.
    pub fields: Vec<Field>,
    /// Whether server-side apply takes the struct as one value.
    pub map_type: Option<MapType>,
    /// The kinds that this type is the schema of.
    pub gvks: Vec<Gvk>,
}

/// How server-side apply treats a map or struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// As one value.
    Atomic,
    /// Entry by entry.
    Granular,
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Type of the value.
    pub ty: FieldType,
    /// Whether the OpenAPI document calls it required.
    pub required: bool,
    /// Default that the OpenAPI document tells.
    pub default: Option<Value>,
    /// How server-side apply treats the list; `None` is atomic.
    pub list_type: Option<ListType>,
    /// How server-side apply treats the map or struct, when the field overrides its type.
    pub map_type: Option<MapType>,
    /// Strategic merge patch: strategies of the field; all false is upstream's default (replace lists, merge structs).
    pub patch: PatchStrategy,
    /// Strategic merge patch: which field identifies an item of the list.
    pub patch_merge_key: Option<&'static str>,
    /// Protobuf field number; `None` where there is none.
    pub proto: Option<u32>,
    /// Protobuf numbers of the embedded messages that the field lives in, outermost first, where JSON has it inlined.
    pub proto_in: Vec<u32>,
    /// Protobuf type, where `ty` does not tell it: names of opaque messages and of wrapped lists.
    pub proto_type: Option<&'static str>,
}

/// Strategies of `patchStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists are merged by key, or as sets.
    pub merge: bool,
    /// The value is replaced as a whole.
    pub replace: bool,
    /// `$retainKeys` is sent along.
    pub retain_keys: bool,
}

/// How server-side apply merges a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// As one value.
    Atomic,
    /// Items are values, each there once.
    Set,
    /// Items are identified by these fields.
    Map(Vec<&'static str>),
}

/// Type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    /// A boolean.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A floating-point number.
    Double,
    /// Text.
    String,
    /// Base64 text.
    Bytes,
    /// RFC 3339, to the second.
    Time,
    /// RFC 3339, to the microsecond.
    MicroTime,
    /// A whole number or text.
    IntOrString,
    /// A quantity, as text or number.
    Quantity,
    /// Any JSON (`RawExtension`, `JSON`, `FieldsV1`, …); [`Field::proto_type`] says which.
    Any,
    /// A struct.
    Ref(TypeId),
    /// A list.
    Array(Box<FieldType>),
    /// A map with string keys.
    Map(Box<FieldType>),
}

/// All types.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    names: HashMap<&'static str, TypeId>,
    kinds: HashMap<Gvk, TypeId>,
}

impl Type {
    /// The field of this JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|f| f.name.cmp(name)).ok()?;
        self.fields.get(at)
    }

    /// Names of the required fields.
    pub fn required(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.fields.iter().filter(|f| f.required).map(|f| f.name)
    }

    /// The last part of the name, which is Go's name of the struct: `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

impl Schema {
    /// The table of the program, read at its first use.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Schema> = OnceLock::new();
        BUILTIN.get_or_init(|| Self::parse(TABLE))
    }

    /// The type of a kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        // The map's keys are 'static; a scan of the few candidates would be slower than this one comparison by parts.
        let found = self.kinds.get(&GvkRef { group, version, kind } as &dyn GvkKey)?;
        Some(*found)
    }

    /// The type of a number. Numbers come from this table, so there always is one.
    ///
    /// # Panics
    /// When the number is from elsewhere.
    pub fn ty(&self, id: TypeId) -> &Type {
        &self.types[usize::from(id.0)]
    }

    /// The type of an OpenAPI name.
    pub fn by_name(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// All types, in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().map(|(i, t)| (TypeId(i as u16), t))
    }

    fn parse(table: &'static str) -> Self {
        let mut schema =
            Self { types: Vec::with_capacity(1024), names: HashMap::new(), kinds: HashMap::new() };
        for line in table.lines() {
            match line.strip_prefix("= ") {
                Some(head) => schema.types.push(parse_type(head)),
                None => {
                    if let (Some(ty), Some(field)) = (schema.types.last_mut(), parse_field(line)) {
                        ty.fields.push(field);
                    }
                }
            }
        }
        schema.names = schema.types.iter().enumerate().map(|(i, t)| (t.name, TypeId(i as u16))).collect();
        for (i, ty) in schema.types.iter().enumerate() {
            schema.kinds.extend(ty.gvks.iter().map(|gvk| (*gvk, TypeId(i as u16))));
        }
        schema
    }
}

/// Lets the map of kinds be asked with borrowed parts.
trait GvkKey {
    fn parts(&self) -> (&str, &str, &str);
}

struct GvkRef<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl GvkKey for GvkRef<'_> {
    fn parts(&self) -> (&str, &str, &str) {
        (self.group, self.version, self.kind)
    }
}

impl GvkKey for Gvk {
    fn parts(&self) -> (&str, &str, &str) {
        (self.group, self.version, self.kind)
    }
}

impl std::hash::Hash for dyn GvkKey + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (group, version, kind) = self.parts();
        group.hash(state);
        version.hash(state);
        kind.hash(state);
    }
}

impl PartialEq for dyn GvkKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn GvkKey + '_ {}

impl<'a> std::borrow::Borrow<dyn GvkKey + 'a> for Gvk {
    fn borrow(&self) -> &(dyn GvkKey + 'a) {
        self
    }
}

fn parse_map_type(text: &str) -> Option<MapType> {
    match text {
        "a" => Some(MapType::Atomic),
        "g" => Some(MapType::Granular),
        _ => None,
    }
}

fn parse_type(head: &'static str) -> Type {
    let mut parts = head.split(' ');
    let mut ty =
        Type { name: parts.next().unwrap_or_default(), fields: Vec::new(), map_type: None, gvks: Vec::new() };
    for part in parts {
        let mut gvk = part.split('/');
        match (gvk.next(), gvk.next(), gvk.next()) {
            (Some(group), Some(version), Some(kind)) => ty.gvks.push(Gvk { group, version, kind }),
            _ => ty.map_type = parse_map_type(part),
        }
    }
    ty
}

fn parse_field(line: &'static str) -> Option<Field> {
    let mut parts = line.split(' ');
    let mut field = Field {
        name: parts.next()?,
        ty: parse_field_type(parts.next()?)?,
        required: false,
        default: None,
        list_type: None,
        map_type: None,
        patch: PatchStrategy::default(),
        patch_merge_key: None,
        proto: None,
        proto_in: Vec::new(),
        proto_type: None,
    };
    for part in parts {
        match part.split_once('=') {
            None => flag(&mut field, part),
            Some(("M", keys)) => field.list_type = Some(ListType::Map(keys.split(',').collect())),
            Some(("K", key)) => field.patch_merge_key = Some(key),
            Some(("p", path)) => {
                let mut numbers: Vec<u32> = path.split('.').filter_map(|n| n.parse().ok()).collect();
                field.proto = numbers.pop();
                field.proto_in = numbers;
            }
            Some(("P", name)) => field.proto_type = Some(name),
            Some(("D", json)) => field.default = serde_json::from_str(json).ok(),
            Some(_) => {}
        }
    }
    Some(field)
}

fn flag(field: &mut Field, flag: &str) {
    match flag {
        "!" => field.required = true,
        "A" => field.list_type = Some(ListType::Atomic),
        "S" => field.list_type = Some(ListType::Set),
        "m" => field.patch.merge = true,
        "r" => field.patch.replace = true,
        "k" => field.patch.retain_keys = true,
        other => field.map_type = parse_map_type(other),
    }
}

fn parse_field_type(text: &str) -> Option<FieldType> {
    let rest = text.get(1..)?;
    Some(match text.as_bytes().first()? {
        b'b' => FieldType::Bool,
        b'i' => FieldType::Int32,
        b'l' => FieldType::Int64,
        b'd' => FieldType::Double,
        b's' => FieldType::String,
        b'y' => FieldType::Bytes,
        b't' => FieldType::Time,
        b'u' => FieldType::MicroTime,
        b'x' => FieldType::IntOrString,
        b'q' => FieldType::Quantity,
        b'*' => FieldType::Any,
        b'#' => FieldType::Ref(TypeId(rest.parse().ok()?)),
        b'[' => FieldType::Array(Box::new(parse_field_type(rest)?)),
        b'{' => FieldType::Map(Box::new(parse_field_type(rest)?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
