//! Messages to JSON values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::plan::{self, Entry, Holds, Message, Root, Rule, Shape};
use super::reader::{Reader, Wire};
use super::{DecodeError, Envelope, PREFIX, kind_of};
use crate::decode::{self, DEPTH_MAX, Limits, Media, SIZE_MAX};
use crate::schema::Presence;
use crate::time;

/// Seconds since 1970 of the year 1, which is Go's zero time.
const ZERO_TIME: i64 = -62_135_596_800;
/// The end of the year 9999, after which there is no RFC 3339.
const LAST_TIME: i64 = 253_402_300_799;

/// Reads `runtime.Unknown`.
pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                let mut meta = Reader::new(bytes_of(wire, "typeMeta")?);
                while let Some((number, wire)) = meta.field()? {
                    match number {
                        1 => envelope.api_version = text(wire, "apiVersion")?,
                        2 => envelope.kind = text(wire, "kind")?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = bytes_of(wire, "raw")?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Reads an object of the kind that it names.
pub(super) fn object(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let envelope = Envelope::open(bytes)?;
    let Envelope { api_version, kind, raw } = envelope;
    let Some(root) = kind_of(&api_version, &kind) else {
        return Err(DecodeError::Kind { api_version, kind });
    };
    let mut object = message(raw, root.message(), depth)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

/// Reads a message.
pub(super) fn message(
    bytes: &[u8],
    message: &Message,
    depth: usize,
) -> Result<Map<String, Value>, DecodeError> {
    let mut into = Map::new();
    merge(bytes, message, &mut into, depth)?;
    Ok(into)
}

/// Reads a message into an object that earlier parts of it may have filled.
fn merge(
    bytes: &[u8],
    message: &Message,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match message.slot(number).map(|slot| &slot.holds) {
            None => {}
            Some(Holds::Inlined(inner)) => merge(bytes_of(wire, "inline")?, inner, into, depth + 1)?,
            Some(Holds::Field(entry)) => field(entry, wire, into, depth)?,
        }
    }
    Ok(())
}

fn field(
    entry: &Entry,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    let name = entry.name;
    match &entry.rule {
        Rule::One(shape, presence) => {
            let before = into.remove(name).unwrap_or_default();
            let value = single(shape, wire, name, before, depth)?;
            if !is_left_out(shape, *presence, &value) {
                into.insert(name.to_owned(), value);
            }
        }
        Rule::Many(shape) => {
            let slot = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = slot else { return Ok(()) };
            match wire {
                Wire::Bytes(packed) if matches!(shape, Shape::Bool | Shape::Int32 | Shape::Int64) => {
                    let mut reader = Reader::new(packed);
                    while !reader.is_empty() {
                        list.push(integer(shape, reader.varint()?));
                    }
                }
                wire => list.push(single(shape, wire, name, Value::Null, depth)?),
            }
        }
        Rule::Map(shape) => {
            let slot = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(map) = slot else { return Ok(()) };
            let (key, value) = map_entry(bytes_of(wire, name)?, shape, name, depth)?;
            map.insert(key, value);
        }
    }
    Ok(())
}

fn map_entry(
    bytes: &[u8],
    shape: &Shape,
    name: &'static str,
    depth: usize,
) -> Result<(String, Value), DecodeError> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => key = text(wire, name)?,
            2 => value = Some(single(shape, wire, name, Value::Null, depth + 1)?),
            _ => {}
        }
    }
    Ok((key, value.unwrap_or_else(|| zero(shape))))
}

/// Whether upstream's JSON has no field for this value.
fn is_left_out(shape: &Shape, presence: Presence, value: &Value) -> bool {
    match (shape, value) {
        // The default of a schema may be null; elsewhere null is "not there".
        (Shape::Raw, Value::Null) => presence != Presence::Pointer,
        (_, Value::Null) => true,
        _ if presence != Presence::Value => false,
        (_, Value::Bool(set)) => !set,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::Object(map)) => map.is_empty(),
        (_, Value::Array(list)) => list.is_empty(),
    }
}

fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Bool | Shape::SchemaOrBool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::IntOrString | Shape::Double => Value::from(0),
        Shape::String | Shape::Bytes => Value::from(""),
        Shape::Quantity => Value::from("0"),
        Shape::Message(_) | Shape::PartialMetadata => Value::Object(Map::new()),
        Shape::Wrapped(_) => Value::Array(Vec::new()),
        Shape::Time | Shape::MicroTime | Shape::Raw | Shape::SchemaOrArray | Shape::SchemaOrStrings => {
            Value::Null
        }
    }
}

/// Reads one value; `before` is what an earlier occurrence of the field left.
fn single(
    shape: &Shape,
    wire: Wire<'_>,
    name: &'static str,
    before: Value,
    depth: usize,
) -> Result<Value, DecodeError> {
    let structure = |root: Root, before: Value| {
        let mut map = match before {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        merge(bytes_of(wire, name)?, root.message(), &mut map, depth + 1)?;
        Ok(Value::Object(map))
    };
    match shape {
        Shape::Bool | Shape::Int32 | Shape::Int64 => match wire {
            Wire::Varint(value) => Ok(integer(shape, value)),
            other => Err(wrong(other, name)),
        },
        Shape::Double => match wire {
            Wire::Fixed64(bytes) => serde_json::Number::from_f64(f64::from_le_bytes(bytes))
                .map(Value::Number)
                .ok_or_else(|| invalid(name, "not a finite number")),
            other => Err(wrong(other, name)),
        },
        Shape::String => text(wire, name).map(Value::String),
        Shape::Bytes => Ok(STANDARD.encode(bytes_of(wire, name)?).into()),
        Shape::Time | Shape::MicroTime => timestamp(shape, bytes_of(wire, name)?, name),
        Shape::IntOrString => int_or_string(bytes_of(wire, name)?, name),
        Shape::Quantity => {
            let found = last(bytes_of(wire, name)?, 1)?.map(|wire| text(wire, name)).transpose()?;
            Ok(found.unwrap_or_else(|| "0".to_owned()).into())
        }
        Shape::Raw => raw(bytes_of(wire, name)?, name, depth),
        Shape::Wrapped(item) => {
            let mut list = Vec::new();
            let mut reader = Reader::new(bytes_of(wire, name)?);
            while let Some((number, wire)) = reader.field()? {
                if number == 1 {
                    list.push(single(item, wire, name, Value::Null, depth + 1)?);
                }
            }
            Ok(Value::Array(list))
        }
        Shape::Message(id) => structure(Root::Type(*id), before),
        Shape::PartialMetadata => structure(Root::Metadata, before),
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            schema_or(shape, bytes_of(wire, name)?, name, depth + 1)
        }
    }
}

fn integer(shape: &Shape, value: u64) -> Value {
    match shape {
        Shape::Bool => Value::Bool(value != 0),
        Shape::Int64 => value.cast_signed().into(),
        // As Go does, of a longer number only the low bits count.
        _ => (value as u32).cast_signed().into(),
    }
}

/// The last occurrence of a field.
fn last(bytes: &[u8], wanted: u32) -> Result<Option<Wire<'_>>, DecodeError> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == wanted {
            found = Some(wire);
        }
    }
    Ok(found)
}

fn timestamp(shape: &Shape, bytes: &[u8], name: &'static str) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = (value as u32).cast_signed(),
            (1 | 2, other) => return Err(wrong(other, name)),
            _ => {}
        }
    }
    if seconds == ZERO_TIME && nanos == 0 {
        return Ok(Value::Null);
    }
    if !(ZERO_TIME..=LAST_TIME).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(invalid(name, "time out of range"));
    }
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let time = Timestamp::from_nanosecond(nanos).map_err(|error| invalid(name, &error.to_string()))?;
    let print = if matches!(shape, Shape::MicroTime) { time::micro } else { time::rfc3339 };
    Ok(print(time).into())
}

fn int_or_string(bytes: &[u8], name: &'static str) -> Result<Value, DecodeError> {
    let (mut kind, mut int, mut string) = (0, 0i32, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => kind = value,
            (2, Wire::Varint(value)) => int = (value as u32).cast_signed(),
            (3, wire) => string = text(wire, name)?,
            (1 | 2, other) => return Err(wrong(other, name)),
            _ => {}
        }
    }
    match kind {
        0 => Ok(int.into()),
        1 => Ok(string.into()),
        _ => Err(invalid(name, "impossible IntOrString.Type")),
    }
}

/// Embedded JSON, or an embedded object of this form.
fn raw(bytes: &[u8], name: &'static str, depth: usize) -> Result<Value, DecodeError> {
    let Some(wire) = last(bytes, 1)? else { return Ok(Value::Null) };
    let bytes = bytes_of(wire, name)?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if bytes.starts_with(&PREFIX) {
        return object(bytes, depth + 1);
    }
    let limits = Limits { size: SIZE_MAX, depth: DEPTH_MAX.saturating_sub(depth) };
    let decoded = decode::object_within(bytes, Media::Json, limits);
    decoded.map(|decoded| decoded.value).map_err(|error| invalid(name, &error.to_string()))
}

/// A schema, or what stands in its place.
fn schema_or(shape: &Shape, bytes: &[u8], name: &'static str, depth: usize) -> Result<Value, DecodeError> {
    let props = plan::json_schema_props().map(Shape::Message);
    let schema = |wire| match &props {
        Some(props) => single(props, wire, name, Value::Null, depth),
        None => Ok(Value::Null),
    };
    let (mut allows, mut single_schema, mut list) = (false, Value::Null, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (shape, number) {
            (Shape::SchemaOrBool, 1) => match wire {
                Wire::Varint(value) => allows = value != 0,
                other => return Err(wrong(other, name)),
            },
            (Shape::SchemaOrBool, 2) | (_, 1) => single_schema = schema(wire)?,
            (Shape::SchemaOrArray, 2) => list.push(schema(wire)?),
            (Shape::SchemaOrStrings, 2) => list.push(text(wire, name)?.into()),
            _ => {}
        }
    }
    Ok(match shape {
        _ if !list.is_empty() => Value::Array(list),
        Shape::SchemaOrBool if single_schema.is_null() => Value::Bool(allows),
        _ => single_schema,
    })
}

fn bytes_of<'a>(wire: Wire<'a>, name: &'static str) -> Result<&'a [u8], DecodeError> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        other => Err(wrong(other, name)),
    }
}

fn text(wire: Wire<'_>, name: &'static str) -> Result<String, DecodeError> {
    let bytes = bytes_of(wire, name)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| invalid(name, "invalid UTF-8"))
}

fn wrong(wire: Wire<'_>, field: &'static str) -> DecodeError {
    DecodeError::WireType { wire_type: wire.wire_type(), field }
}

fn invalid(field: &'static str, why: &str) -> DecodeError {
    DecodeError::Value { field, why: why.to_owned() }
}
