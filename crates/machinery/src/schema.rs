//! Every type of the Kubernetes 1.37 API, from a compact table compiled into the program.
//!
//! # The table (`tables/schema.txt`)
//! Lines; parts of a line are separated by single spaces. A line `= …` begins a type, the lines after it are its fields,
//! sorted by name. Types are sorted by name and numbered in order, from 0.
//!
//! ```text
//! = <OpenAPI name> [a|g] [U=<discriminator>:<field>=<value>,…] [<group>/<version>/<Kind> …]
//!                                  a: atomic for server-side apply, g: granular; U: the fields are a union
//! <field> <type> [<attribute> …]
//! ```
//! Types: `b` bool, `i` int32, `l` int64, `d` double, `s` string, `y` bytes, `t` Time, `u` MicroTime, `x` IntOrString,
//! `q` Quantity, `*` anything, `#N` type number N, `[T` array of T, `{T` map of T.
//!
//! Attributes: `!` required; `v` a value that is left out when zero, `w` a value that is there when zero, else a pointer, list
//! or map, with `n` one that is null when unset, `e` a list that counts when nothing is in it;
//! `A` atomic list, `S` set, `M=key,key` list-map; `a` atomic map or struct, `g` granular one;
//! `m` patch strategy merge, `r` replace, `k` retainKeys; `K=key` patch merge key; `p=N` protobuf number, `p=M.N` number N inside the
//! embedded message M; `P=type` protobuf type when
//! the field's type does not tell it; `D=json` default.
//!
//! The table is written by `cargo run -p knarr-machinery --example distil`.
//!
//! In memory a field is 16 bytes that point into the text; what is seldom asked for is read from there.

use std::sync::{LazyLock, OnceLock};

use serde_json::Value;

mod table;

static TABLE: &str = include_str!("../tables/schema.txt");

/// Number of a type in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u16);

/// A group, version and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    /// API group, empty for the core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// One struct of the API.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    /// OpenAPI name, like `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Fields, sorted by name. Empty for scalars and for structs that carry no fields.
    pub fields: &'static [Field],
    /// Whether server-side apply takes the struct as one value.
    pub map_type: Option<MapType>,
    /// What the table says after the name.
    head: &'static str,
}

/// How server-side apply treats a map or struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// As one value.
    Atomic,
    /// Entry by entry.
    Granular,
}

/// Fields of which at most one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Union {
    /// The field that says which one is set; empty when none does.
    pub discriminator: &'static str,
    /// `field=Value,…`
    members: &'static str,
}

/// One field of a struct.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Type of the value.
    pub ty: &'static FieldType,
    /// Where the line begins in the table.
    at: u32,
    /// Single-letter attributes, and whether there are others.
    flags: u16,
    name_len: u8,
    /// Number of the list's keys.
    keys: u8,
}

/// What stands for an unset field in Go, and so in protobuf and in defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing: a pointer, list or map.
    Pointer,
    /// The zero value, which JSON leaves out.
    Value,
    /// The zero value, in JSON too.
    Shown,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// As one value.
    Atomic,
    /// Items are values, each there once.
    Set,
    /// Items are identified by these fields.
    Map(&'static [&'static str]),
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    Array(&'static FieldType),
    /// A map with string keys.
    Map(&'static FieldType),
}

/// All types.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    /// Sorted.
    kinds: Vec<(Gvk, TypeId)>,
    /// Keys of list-maps, by the numbers that fields have.
    keys: Vec<&'static [&'static str]>,
}

impl Type {
    /// The field of this JSON name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let at = self.fields.binary_search_by(|f| f.name().cmp(name)).ok()?;
        self.fields.get(at)
    }

    /// Names of the required fields.
    pub fn required(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter(|f| f.required()).map(Field::name)
    }

    /// The last part of the name, which is Go's name of the struct: `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The kinds that this type is the schema of.
    pub fn gvks(&self) -> impl Iterator<Item = Gvk> {
        self.head.split(' ').filter_map(|part| {
            let (group, rest) = part.split_once('/')?;
            let (version, kind) = rest.split_once('/')?;
            Some(Gvk { group, version, kind })
        })
    }

    /// The union that the fields are.
    pub fn union(&self) -> Option<Union> {
        let text = self.head.split(' ').find_map(|part| part.strip_prefix("U="))?;
        let (discriminator, members) = text.split_once(':')?;
        Some(Union { discriminator, members })
    }
}

impl Union {
    /// Each field with the value that the discriminator has for it.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.members.split(',').filter_map(|member| member.split_once('='))
    }
}

impl Field {
    /// JSON name.
    pub fn name(&self) -> &'static str {
        let start = self.at as usize;
        &TABLE[start..start + usize::from(self.name_len)]
    }

    /// What follows the name on the line.
    fn attributes(&self) -> impl Iterator<Item = &'static str> {
        let rest = &TABLE[self.at as usize + usize::from(self.name_len)..];
        rest[..rest.find('\n').unwrap_or(rest.len())].split(' ').skip(2)
    }

    fn attribute(&self, key: &str) -> Option<&'static str> {
        self.attributes().find_map(|part| part.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v))
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether the OpenAPI document calls it required.
    pub fn required(&self) -> bool {
        self.has(table::REQUIRED)
    }

    /// What stands for the unset field.
    pub fn presence(&self) -> Presence {
        if self.has(table::SHOWN) {
            Presence::Shown
        } else if self.has(table::VALUE) {
            Presence::Value
        } else {
            Presence::Pointer
        }
    }

    /// Whether a list or map in which nothing is comes back as null.
    pub fn nothing_is_null(&self) -> bool {
        self.unset() == Some(&Value::Null) && matches!(self.ty, FieldType::Array(_) | FieldType::Map(_))
    }

    /// Whether Go leaves out this value when it writes the field.
    pub fn omits(&self, value: &Value) -> bool {
        let presence = self.presence();
        if presence == Presence::Shown || self.has(table::NULL) || self.has(table::EMPTY) && value.is_array()
        {
            return false;
        }
        let zeros = presence == Presence::Value;
        match (self.ty, value) {
            (FieldType::Any, value) => value.is_null() && self.proto_type() != Some("JSON"),
            (_, Value::Null) => true,
            (FieldType::Array(_) | FieldType::Bytes, value) => {
                value.as_array().is_some_and(Vec::is_empty) || value == ""
            }
            (FieldType::Map(_), value) => value.as_object().is_some_and(serde_json::Map::is_empty),
            (FieldType::Quantity | FieldType::IntOrString, _) => false,
            (_, Value::Object(map)) => zeros && map.is_empty(),
            (_, Value::Bool(flag)) => zeros && !flag,
            (_, Value::String(text)) => zeros && text.is_empty(),
            (_, Value::Number(number)) => zeros && number.as_f64() == Some(0.0),
            (_, Value::Array(_)) => false,
        }
    }

    /// What Go writes for the field when nobody has set it; `None` when it is left out.
    pub fn unset(&self) -> Option<&'static Value> {
        static OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(serde_json::Map::new()));
        static ZERO: LazyLock<Value> = LazyLock::new(|| Value::from(0));
        static EMPTY: Value = Value::String(String::new());
        static QUANTITY: LazyLock<Value> = LazyLock::new(|| Value::from("0"));
        if self.presence() != Presence::Shown {
            return self.has(table::NULL).then_some(&Value::Null);
        }
        Some(match self.ty {
            FieldType::Bool => &Value::Bool(false),
            FieldType::Int32 | FieldType::Int64 | FieldType::Double | FieldType::IntOrString => &ZERO,
            FieldType::String => &EMPTY,
            FieldType::Quantity => &QUANTITY,
            FieldType::Ref(_) => &OBJECT,
            _ => &Value::Null,
        })
    }

    /// Default that the OpenAPI document tells.
    pub fn default(&self) -> Option<Value> {
        if !self.has(table::DEFAULT) {
            return None;
        }
        serde_json::from_str(self.attribute("D")?).ok()
    }

    /// How server-side apply treats the list; `None` is atomic.
    pub fn list_type(&self) -> Option<ListType> {
        if self.has(table::LIST_SET) {
            Some(ListType::Set)
        } else if self.has(table::LIST_ATOMIC) {
            Some(ListType::Atomic)
        } else {
            // Number 0 is "none".
            let keys = Schema::builtin().keys.get(usize::from(self.keys))?;
            (!keys.is_empty()).then_some(ListType::Map(keys))
        }
    }

    /// How server-side apply treats the map or struct, when the field overrides its type.
    pub fn map_type(&self) -> Option<MapType> {
        if self.has(table::MAP_ATOMIC) {
            Some(MapType::Atomic)
        } else {
            self.has(table::MAP_GRANULAR).then_some(MapType::Granular)
        }
    }

    /// Strategic merge patch: strategies of the field; all false is upstream's default (replace lists, merge structs).
    pub fn patch(&self) -> PatchStrategy {
        PatchStrategy {
            merge: self.has(table::MERGE),
            replace: self.has(table::REPLACE),
            retain_keys: self.has(table::RETAIN_KEYS),
        }
    }

    /// Strategic merge patch: which field identifies an item of the list.
    pub fn patch_merge_key(&self) -> Option<&'static str> {
        if self.has(table::MERGE_KEY) { self.attribute("K") } else { None }
    }

    /// Protobuf number, after those of the embedded messages that the field lives in where JSON has it inlined,
    /// outermost first. Empty where there is none.
    pub fn proto(&self) -> impl Iterator<Item = u32> {
        self.attribute("p").into_iter().flat_map(|path| path.split('.')).filter_map(|n| n.parse().ok())
    }

    /// Protobuf type, where `ty` does not tell it: names of opaque messages and of wrapped lists.
    pub fn proto_type(&self) -> Option<&'static str> {
        if self.has(table::PROTO_TYPE) { self.attribute("P") } else { None }
    }
}

impl Schema {
    /// The table of the program, read at its first use.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Schema> = OnceLock::new();
        BUILTIN.get_or_init(|| table::parse(TABLE))
    }

    /// The type of a kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let wanted = (group, version, kind);
        let at = self.kinds.binary_search_by(|(k, _)| (k.group, k.version, k.kind).cmp(&wanted)).ok()?;
        self.kinds.get(at).map(|(_, id)| *id)
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
        let at = self.types.binary_search_by(|ty| ty.name.cmp(name)).ok()?;
        u16::try_from(at).ok().map(TypeId)
    }

    /// All types, in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().map(|(i, t)| (TypeId(i as u16), t))
    }

    /// Everything that the schema says, as text.
    pub fn text() -> &'static str {
        TABLE
    }
}

#[cfg(test)]
mod tests;
