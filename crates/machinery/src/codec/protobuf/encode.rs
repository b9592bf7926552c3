//! JSON values to messages. Everything is written from the end to the beginning, see [`Writer`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::plan::{self, Entry, Holds, Message, Root, Rule, Shape};
use super::writer::Writer;
use super::{EncodeError, PREFIX, kind_of};
use crate::decode::DEPTH_MAX;
use crate::meta;
use crate::quantity::Quantity;
use crate::schema::Presence;
use crate::time;

type Written = Result<(), EncodeError>;

/// Writes an object of the kind that it names, with prefix and envelope.
pub(super) fn envelope(out: &mut Writer, object: &Value) -> Written {
    let (api_version, kind) = (meta::api_version(object), meta::kind(object));
    let Some(root) = kind_of(api_version, kind) else {
        return Err(EncodeError::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() });
    };
    out.text(4, ""); // contentType: protobuf
    out.text(3, ""); // contentEncoding: none
    out.nested(2, |out| structure(out, root.message(), object, "", 0))?;
    out.nested(1, |out| {
        out.text(2, kind);
        out.text(1, api_version);
        Ok::<_, EncodeError>(())
    })?;
    out.raw(&PREFIX);
    Ok(())
}

fn structure(
    out: &mut Writer,
    message: &Message,
    value: &Value,
    name: &'static str,
    depth: usize,
) -> Written {
    match value {
        Value::Object(map) => fields(out, message, Some(map), depth),
        Value::Null => fields(out, message, None, depth),
        _ => Err(EncodeError::Value(name)),
    }
}

/// Writes a message of an object's fields; without an object, of zero values.
fn fields(out: &mut Writer, message: &Message, map: Option<&Map<String, Value>>, depth: usize) -> Written {
    if depth > DEPTH_MAX {
        return Err(EncodeError::Depth);
    }
    for slot in message.0.iter().rev() {
        match &slot.holds {
            Holds::Inlined(inner) => out.nested(slot.number, |out| fields(out, inner, map, depth + 1))?,
            Holds::Field(entry) => {
                let value = map.and_then(|map| map.get(entry.name));
                let value = value.filter(|value| !value.is_null() || keeps_null(&entry.rule));
                field(out, slot.number, entry, value, depth)?;
            }
        }
    }
    Ok(())
}

/// The default of a schema may be null; elsewhere null is "not there".
fn keeps_null(rule: &Rule) -> bool {
    matches!(rule, Rule::One(Shape::Raw, Presence::Pointer))
}

fn field(out: &mut Writer, number: u32, entry: &Entry, value: Option<&Value>, depth: usize) -> Written {
    let wrong = || EncodeError::Value(entry.name);
    match (&entry.rule, value) {
        (Rule::One(shape, _), Some(value)) => single(out, number, shape, value, entry.name, depth),
        (Rule::One(shape, presence), None) => match presence {
            Presence::Pointer => Ok(()),
            Presence::Value | Presence::Shown => zero(out, number, shape, entry.name, depth),
        },
        (Rule::Many(_) | Rule::Map(_), None) => Ok(()),
        (Rule::Many(shape), Some(value)) => {
            let list = value.as_array().ok_or_else(wrong)?;
            list.iter().rev().try_for_each(|item| single(out, number, shape, item, entry.name, depth))
        }
        (Rule::Map(shape), Some(value)) => {
            let mut entries: Vec<(&String, &Value)> = value.as_object().ok_or_else(wrong)?.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            entries.into_iter().rev().try_for_each(|(key, value)| {
                out.nested(number, |out| {
                    single(out, 2, shape, value, entry.name, depth + 1)?;
                    out.text(1, key);
                    Ok(())
                })
            })
        }
    }
}

/// Writes the zero value of a field that is no pointer.
fn zero(out: &mut Writer, number: u32, shape: &Shape, name: &'static str, depth: usize) -> Written {
    match shape {
        // A slice, of which the empty one is not written.
        Shape::Bytes | Shape::Wrapped(_) => Ok(()),
        _ => single(out, number, shape, &Value::Null, name, depth),
    }
}

/// Writes one value; null is the zero value.
fn single(
    out: &mut Writer,
    number: u32,
    shape: &Shape,
    value: &Value,
    name: &'static str,
    depth: usize,
) -> Written {
    let message = |out: &mut Writer, root: Root| {
        out.nested(number, |out| structure(out, root.message(), value, name, depth + 1))
    };
    match shape {
        Shape::Message(id) => message(out, Root::Type(*id)),
        Shape::PartialMetadata => message(out, Root::Metadata),
        Shape::Wrapped(item) => out.nested(number, |out| match value {
            Value::Null => Ok(()),
            Value::Array(list) => {
                list.iter().rev().try_for_each(|value| single(out, 1, item, value, name, depth + 1))
            }
            _ => Err(EncodeError::Value(name)),
        }),
        Shape::Raw => out.nested(number, |out| {
            if !value.is_null() {
                out.text(1, &value.to_string());
            }
            Ok(())
        }),
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            out.nested(number, |out| schema_or(out, shape, value, name, depth + 1))
        }
        scalar => self::scalar(out, number, scalar, value).ok_or(EncodeError::Value(name)),
    }
}

/// Writes a schema, or what may stand in its place.
fn schema_or(out: &mut Writer, shape: &Shape, value: &Value, name: &'static str, depth: usize) -> Written {
    let schema = |out: &mut Writer, number: u32, value: &Value| match plan::json_schema_props() {
        Some(id) => single(out, number, &Shape::Message(id), value, name, depth),
        None => Err(EncodeError::Value(name)),
    };
    match (shape, value) {
        (Shape::SchemaOrBool, Value::Object(_)) => {
            schema(out, 2, value)?;
            out.integer(1, 1);
        }
        (Shape::SchemaOrBool, Value::Bool(allows)) => out.integer(1, i64::from(*allows)),
        (Shape::SchemaOrBool, Value::Null) => out.integer(1, 0),
        (_, Value::Object(_)) => schema(out, 1, value)?,
        (Shape::SchemaOrArray, Value::Array(list)) => {
            list.iter().rev().try_for_each(|item| schema(out, 2, item))?;
        }
        (Shape::SchemaOrStrings, Value::Array(list)) => {
            for item in list.iter().rev() {
                out.text(2, item.as_str().ok_or(EncodeError::Value(name))?);
            }
        }
        (_, Value::Null) => {}
        _ => return Err(EncodeError::Value(name)),
    }
    Ok(())
}

/// Writes what is no message of the schema; none when the value is of another type.
fn scalar(out: &mut Writer, number: u32, shape: &Shape, value: &Value) -> Option<()> {
    let unset = value.is_null();
    match shape {
        Shape::Bool => out.integer(number, i64::from(if unset { false } else { value.as_bool()? })),
        Shape::Int32 | Shape::Int64 => out.integer(number, if unset { 0 } else { value.as_i64()? }),
        Shape::Double => out.double(number, if unset { 0.0 } else { value.as_f64()? }),
        Shape::String => out.text(number, if unset { "" } else { value.as_str()? }),
        Shape::Bytes if unset => out.bytes(number, &[]),
        Shape::Bytes => out.bytes(number, &STANDARD.decode(value.as_str()?).ok()?),
        Shape::Quantity => {
            let text = if unset { "0".to_owned() } else { Quantity::from_json(value).ok()?.to_string() };
            within(out, number, |out| out.text(1, &text));
        }
        Shape::IntOrString => {
            let (kind, int, text) = match value {
                Value::Null => (0, 0, ""),
                Value::String(text) => (1, 0, text.as_str()),
                number => (0, number.as_i64()?, ""),
            };
            within(out, number, |out| {
                out.text(3, text);
                out.integer(2, int);
                out.integer(1, kind);
            });
        }
        Shape::Time | Shape::MicroTime if unset => out.bytes(number, &[]),
        Shape::Time | Shape::MicroTime => {
            let time = time::parse(value.as_str()?)?;
            // Seconds are rounded down, so that what is left is never negative.
            let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
            let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
            let nanos = if matches!(shape, Shape::MicroTime) { nanos / 1000 * 1000 } else { 0 };
            let (seconds, nanos) = (i64::try_from(seconds).ok()?, i64::try_from(nanos).ok()?);
            within(out, number, |out| {
                out.integer(2, nanos);
                out.integer(1, seconds);
            });
        }
        _ => return None,
    }
    Some(())
}

fn within(out: &mut Writer, number: u32, inside: impl FnOnce(&mut Writer)) {
    let Ok(()) = out.nested(number, |out| {
        inside(out);
        Ok::<_, std::convert::Infallible>(())
    });
}
