//! Documents against the schema: types, unknown fields, and the forms that Go would give to values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::times::{Layout, MICROSECONDS, SECONDS};
use super::{DecodeError, Place, Strict};
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
/// [`DecodeError::Type`] with Go's message, for the first value of a wrong type. The document may be half changed then.
pub fn check(value: &mut Value, ty: TypeId) -> Result<Vec<String>, DecodeError> {
    let schema = Schema::builtin();
    let mut checker = Checker { schema, strict: Strict::default(), stack: Vec::new() };
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    checker.structure(value, schema.ty(ty), Place::Top)?;
    Ok(checker.strict.0)
}

struct Checker {
    schema: &'static Schema,
    strict: Strict,
    /// JSON names of the fields on the way here, and the struct that has the last one: what Go's messages quote.
    stack: Vec<(&'static Type, &'static str)>,
}

type Checked = Result<(), DecodeError>;

impl Checker {
    /// Go's message about a value that does not fit.
    fn mistyped(&self, what: &str, go_type: &str) -> DecodeError {
        let Some((owner, _)) = self.stack.last() else {
            return DecodeError::Type(format!(
                "json: cannot unmarshal {what} into Go value of type {go_type}"
            ));
        };
        let path: Vec<&str> = self.stack.iter().map(|(_, field)| *field).collect();
        DecodeError::Type(format!(
            "json: cannot unmarshal {what} into Go struct field {}.{} of type {go_type}",
            owner.short_name(),
            path.join(".")
        ))
    }

    fn unfit(&self, value: &Value, ty: &FieldType) -> DecodeError {
        self.mistyped(kind_of(value), &self.go_type(ty))
    }

    fn structure(&mut self, value: &mut Value, ty: &'static Type, place: Place<'_>) -> Checked {
        let Value::Object(map) = value else {
            return Err(self.mistyped(kind_of(value), &go_name(ty)));
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
                    self.stack.push((ty, field.name()));
                    self.value(value, field.ty, place)?;
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
        Ok(())
    }

    fn value(&mut self, value: &mut Value, ty: &'static FieldType, place: Place<'_>) -> Checked {
        match ty {
            FieldType::Any => Ok(()),
            FieldType::Ref(id) => self.structure(value, self.schema.ty(*id), place),
            FieldType::Array(item) => {
                let Value::Array(list) = value else { return Err(self.unfit(value, ty)) };
                for (i, value) in list.iter_mut().enumerate() {
                    self.element(value, item, Place::Item(&place, i))?;
                }
                Ok(())
            }
            FieldType::Map(item) => {
                let Value::Object(map) = value else { return Err(self.unfit(value, ty)) };
                for (key, value) in map.iter_mut() {
                    self.element(value, item, Place::Field(&place, key))?;
                }
                Ok(())
            }
            scalar => self.scalar(value, scalar),
        }
    }

    /// A null among the items of a list or map is Go's zero value.
    fn element(&mut self, value: &mut Value, ty: &'static FieldType, place: Place<'_>) -> Checked {
        if value.is_null() {
            match zero(ty) {
                Some(zero) => *value = zero,
                None => return Ok(()),
            }
        }
        self.value(value, ty, place)
    }

    fn scalar(&self, value: &mut Value, ty: &FieldType) -> Checked {
        match ty {
            FieldType::Bool if value.is_boolean() => Ok(()),
            FieldType::Double if value.is_number() => Ok(()),
            FieldType::String if value.is_string() => Ok(()),
            FieldType::Int32 => self.integer(value, ty, i64::from(i32::MIN)..=i64::from(i32::MAX)),
            FieldType::Int64 => self.integer(value, ty, i64::MIN..=i64::MAX),
            FieldType::IntOrString if value.is_string() => Ok(()),
            FieldType::IntOrString => {
                self.integer(value, &FieldType::Int32, i64::from(i32::MIN)..=i64::from(i32::MAX))
            }
            FieldType::Bytes => self.bytes(value),
            FieldType::Time => self.time(value, &SECONDS),
            FieldType::MicroTime => self.time(value, &MICROSECONDS),
            FieldType::Quantity => quantity(value),
            _ => Err(self.unfit(value, ty)),
        }
    }

    fn integer(&self, value: &Value, ty: &FieldType, range: std::ops::RangeInclusive<i64>) -> Checked {
        let Value::Number(number) = value else { return Err(self.unfit(value, ty)) };
        match number.as_i64() {
            Some(n) if range.contains(&n) => Ok(()),
            _ => Err(self.mistyped(&format!("number {number}"), &self.go_type(ty))),
        }
    }

    fn bytes(&self, value: &mut Value) -> Checked {
        let Value::String(text) = value else { return Err(self.mistyped(kind_of(value), "[]uint8")) };
        // Go ignores line ends, and writes its own form back.
        let packed = text.replace(['\r', '\n'], "");
        match STANDARD.decode(&packed) {
            Ok(_) if packed.len() == text.len() => Ok(()),
            Ok(_) => {
                *text = packed;
                Ok(())
            }
            Err(_) => {
                let message = format!("illegal base64 data at input byte {}", illegal_byte(&packed));
                Err(DecodeError::Type(message))
            }
        }
    }

    fn time(&self, value: &mut Value, layout: &Layout) -> Checked {
        let Value::String(text) = value else { return Err(self.mistyped(kind_of(value), "string")) };
        match (layout.parse)(text) {
            Some(time) => {
                *text = (layout.print)(time);
                Ok(())
            }
            None => Err(DecodeError::Type(layout.error(text))),
        }
    }

    fn go_type(&self, ty: &FieldType) -> String {
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
            FieldType::Ref(id) => go_name(self.schema.ty(*id)),
            FieldType::Array(item) => format!("[]{}", self.go_type(item)),
            // The maps of quantities are all of this named type.
            FieldType::Map(item) if **item == FieldType::Quantity => "v1.ResourceList".to_owned(),
            FieldType::Map(item) => format!("map[string]{}", self.go_type(item)),
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

/// Go's name of a struct, with its package: `v1.PodSpec`.
fn go_name(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
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

fn quantity(value: &mut Value) -> Checked {
    let quantity = Quantity::from_json(value).map_err(|error| DecodeError::Type(error.to_string()))?;
    let canonical = quantity.to_string();
    if value.as_str() != Some(canonical.as_str()) {
        *value = Value::String(canonical);
    }
    Ok(())
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
