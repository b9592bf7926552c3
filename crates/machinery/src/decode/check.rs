//! Documents against the schema: types, unknown fields, and the forms that Go would give to values.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::mistakes::Mistakes;
use super::times::{Layout, MICROSECONDS, SECONDS};
use super::{DecodeError, Place, Strict, go_names};
use crate::patch::kind_of;
use crate::quantity::Quantity;
use crate::schema::{Field, FieldType, Schema, Type, TypeId};

/// Checks the document against the type and brings it into the form in which Go would write it back: nulls and what
/// `omitempty` leaves out are dropped, what Go always writes is there, quantities and times are made canonical, fields that
/// the type does not have are removed.
///
/// Returns the removed fields, each as `unknown field "spec.foo"`.
///
/// # Errors
/// [`DecodeError::Type`] with Go's message, for the first value that does not fit. The document may be half changed then.
pub fn check(value: &mut Value, ty: TypeId) -> Result<Vec<String>, DecodeError> {
    run(value, ty).map_err(|mistakes| mistakes.first())
}

/// The same for a document that was read from this JSON: what stands first there is the first that does not fit.
///
/// # Errors
/// As [`check`].
pub fn check_source(value: &mut Value, ty: TypeId, source: &[u8]) -> Result<Vec<String>, DecodeError> {
    run(value, ty).map_err(|mistakes| mistakes.first_in(source))
}

fn run(value: &mut Value, ty: TypeId) -> Result<Vec<String>, Mistakes> {
    let schema = Schema::builtin();
    let mut checker =
        Checker { schema, strict: Strict::default(), stack: Vec::new(), mistakes: Mistakes::default() };
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    checker.structure(value, schema.ty(ty), Place::Top);
    if checker.mistakes.is_empty() { Ok(checker.strict.0) } else { Err(checker.mistakes) }
}

struct Checker {
    schema: &'static Schema,
    strict: Strict,
    /// Fields on the way here, each with the struct that has it: what Go's messages quote.
    stack: Vec<(&'static Type, &'static Field)>,
    mistakes: Mistakes,
}

impl Checker {
    /// Notes a value that is of another type than Go's.
    fn mistyped(&mut self, what: &str, go_type: &str, place: Place<'_>) {
        let into = match self.stack.last() {
            None => "Go value".to_owned(),
            Some((owner, _)) => {
                let steps = self.stack.iter().flat_map(|(ty, field)| go_names::steps(ty, field));
                let path: Vec<&str> = steps.collect();
                format!("Go struct field {}.{}", owner.short_name(), path.join("."))
            }
        };
        let message = format!("json: cannot unmarshal {what} into {into} of type {go_type}");
        self.mistakes.add(message, &place);
    }

    /// Notes a number that Go's type cannot hold.
    fn misfit(&mut self, number: &Number, go_type: &str, place: Place<'_>) {
        self.mistyped(&format!("number {number}"), go_type, place);
        self.mistakes.quotes(&place, number);
    }

    /// Go's name of a type in the field where the checker is.
    fn go_type(&self, ty: &FieldType) -> String {
        match self.stack.last() {
            Some((owner, field)) => go_names::of_value(owner, field, ty),
            None => go_names::of_type(ty),
        }
    }

    fn structure(&mut self, value: &mut Value, ty: &'static Type, place: Place<'_>) {
        let Value::Object(map) = value else {
            return self.mistyped(kind_of(value), &go_names::of_struct(ty), place);
        };
        let mut gone: Vec<String> = Vec::new();
        for (key, value) in map.iter_mut() {
            let place = Place::Field(&place, key);
            match ty.field(key) {
                None => {
                    self.strict.report("unknown field", &place);
                    gone.push(key.clone());
                }
                Some(field) if value.is_null() && !keeps_null(field) => gone.push(key.clone()),
                Some(field) => {
                    self.stack.push((ty, field));
                    self.value(value, field.ty, place);
                    self.stack.pop();
                    if field.omits(value) && !is_reset(&place) {
                        gone.push(key.clone());
                    } else if field.nothing_is_null() && is_nothing(value) {
                        *value = Value::Null;
                    }
                }
            }
        }
        for key in gone {
            map.remove(&key);
        }
        complete(map, ty);
    }

    fn value(&mut self, value: &mut Value, ty: &'static FieldType, place: Place<'_>) {
        match (ty, value) {
            (FieldType::Any, _) => {}
            (FieldType::Ref(id), value) => self.structure(value, self.schema.ty(*id), place),
            (FieldType::Array(item), Value::Array(list)) => {
                for (i, value) in list.iter_mut().enumerate() {
                    self.element(value, item, Place::Item(&place, i));
                }
            }
            (FieldType::Map(item), Value::Object(map)) => {
                for (key, value) in map.iter_mut() {
                    self.element(value, item, Place::Field(&place, key));
                }
            }
            (scalar, value) => self.scalar(value, scalar, place),
        }
    }

    /// A null among the items of a list or map is Go's zero value.
    fn element(&mut self, value: &mut Value, ty: &'static FieldType, place: Place<'_>) {
        if value.is_null() {
            match zero(ty) {
                Some(zero) => *value = zero,
                None => return,
            }
        }
        self.value(value, ty, place);
    }

    /// A value that is neither struct, nor the list or map that it should be.
    fn scalar(&mut self, value: &mut Value, ty: &FieldType, place: Place<'_>) {
        match ty {
            FieldType::Bool if value.is_boolean() => {}
            FieldType::Double if value.is_number() => {}
            FieldType::String | FieldType::IntOrString if value.is_string() => {}
            FieldType::Int32 => self.integer(value, ty, i64::from(i32::MIN)..=i64::from(i32::MAX), place),
            FieldType::Int64 => self.integer(value, ty, i64::MIN..=i64::MAX, place),
            FieldType::IntOrString => {
                self.integer(value, &FieldType::Int32, i64::from(i32::MIN)..=i64::from(i32::MAX), place);
                self.mistakes.ends_at(&place);
            }
            FieldType::Bytes => self.bytes(value, place),
            FieldType::Time => self.time(value, &SECONDS, place),
            FieldType::MicroTime => self.time(value, &MICROSECONDS, place),
            FieldType::Quantity => self.quantity(value, place),
            _ => self.mistyped(kind_of(value), &self.go_type(ty), place),
        }
    }

    fn integer(&mut self, value: &Value, ty: &FieldType, range: RangeInclusive<i64>, place: Place<'_>) {
        match value {
            Value::Number(number) if number.as_i64().is_some_and(|n| range.contains(&n)) => {}
            Value::Number(number) => self.misfit(number, &self.go_type(ty), place),
            _ => self.mistyped(kind_of(value), &self.go_type(ty), place),
        }
    }

    /// Bytes are base64 text, or a list of numbers.
    fn bytes(&mut self, value: &mut Value, place: Place<'_>) {
        match value {
            Value::String(text) => {
                // Go ignores line ends, and writes its own form back.
                let packed = text.replace(['\r', '\n'], "");
                if STANDARD.decode(&packed).is_err() {
                    let message = format!("illegal base64 data at input byte {}", illegal_byte(&packed));
                    self.mistakes.add(message, &place);
                }
                *text = packed;
            }
            Value::Array(list) => {
                let numbered = list.iter().enumerate();
                let bytes: Vec<u8> =
                    numbered.map(|(i, item)| self.byte(item, Place::Item(&place, i))).collect();
                *value = Value::String(STANDARD.encode(bytes));
            }
            _ => self.mistyped(kind_of(value), "[]uint8", place),
        }
    }

    fn byte(&mut self, value: &Value, place: Place<'_>) -> u8 {
        match value {
            Value::Null => {}
            Value::Number(number) => match number.as_u64().map(u8::try_from) {
                Some(Ok(byte)) => return byte,
                _ => self.misfit(number, "uint8", place),
            },
            _ => self.mistyped(kind_of(value), "uint8", place),
        }
        0
    }

    fn time(&mut self, value: &mut Value, layout: &Layout, place: Place<'_>) {
        match value.as_str().map(layout.parse) {
            Some(Some(time)) => *value = Value::String((layout.print)(time)),
            Some(None) => {
                self.mistakes.add(layout.error(value.as_str().unwrap_or_default()), &place);
                self.mistakes.ends_at(&place);
            }
            None => {
                self.mistyped(kind_of(value), "string", place);
                self.mistakes.ends_at(&place);
            }
        }
    }

    fn quantity(&mut self, value: &mut Value, place: Place<'_>) {
        match Quantity::from_json(value) {
            Ok(quantity) => {
                let canonical = quantity.to_string();
                if value.as_str() != Some(canonical.as_str()) {
                    *value = Value::String(canonical);
                }
            }
            Err(error) => {
                self.mistakes.add(error.to_string(), &place);
                self.mistakes.ends_at(&place);
            }
        }
    }
}

/// `apiextensions.k8s.io`'s defaults and enumerations may hold null; everywhere else null means "not there".
fn keeps_null(field: &Field) -> bool {
    field.proto_type() == Some("JSON")
}

/// An object's own `managedFields` tell something even when they are empty: that they are to be forgotten.
fn is_reset(place: &Place<'_>) -> bool {
    matches!(place, Place::Field(Place::Field(Place::Top, "metadata"), "managedFields"))
}

/// Adds what Go writes of a struct whether it is set or not.
fn complete(map: &mut Map<String, Value>, ty: &Type) {
    for (field, unset) in ty.fields.iter().filter_map(|field| Some((field, field.unset()?))) {
        if map.contains_key(field.name()) {
            continue;
        }
        let mut unset = unset.clone();
        if let (FieldType::Ref(id), Value::Object(below)) = (field.ty, &mut unset) {
            complete(below, Schema::builtin().ty(*id));
        }
        map.insert(field.name().to_owned(), unset);
    }
}

/// A list or map in which nothing is; the store's form of objects cannot tell it from one that is not there.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn zero(ty: &FieldType) -> Option<Value> {
    Some(match ty {
        FieldType::Bool => Value::Bool(false),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double | FieldType::IntOrString => Value::from(0),
        FieldType::String | FieldType::Bytes => Value::from(""),
        FieldType::Quantity => Value::from("0"),
        FieldType::Ref(_) => Value::Object(Map::new()),
        FieldType::Array(_) | FieldType::Map(_) | FieldType::Time | FieldType::MicroTime | FieldType::Any => {
            return None;
        }
    })
}

/// Where Go's decoder stops: the first byte outside the alphabet, else the end of what can be decoded.
fn illegal_byte(text: &str) -> usize {
    let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let digits = text.bytes().position(|b| !in_alphabet(b)).unwrap_or(text.len());
    match text.as_bytes().get(digits) {
        Some(b'=') if digits % 4 >= 2 => text.len(),
        Some(_) => digits,
        None => text.len() - text.len() % 4,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_may_be_numbers() {
        let ty = Schema::builtin().kind("", "v1", "Secret").expect("a kind");
        let mut secret = json!({"data": {"a": [104, 105, null], "b": []}});
        check(&mut secret, ty).expect("a secret");
        assert_eq!(secret["data"], json!({"a": "aGkA", "b": ""}));
        for (item, what) in [(json!(256), "number 256"), (json!(-1), "number -1"), (json!({}), "object")] {
            let said = check(&mut json!({"data": {"a": [1, item]}}), ty).expect_err("no byte");
            let want =
                format!("json: cannot unmarshal {what} into Go struct field Secret.data of type uint8");
            assert_eq!(said.to_string(), want);
        }
    }
}
