//! Objects of every kind, made up from the schema: what one form says, the others say too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::codec::protobuf;
use crate::decode::{self, Media};
use crate::resources::{Resource, Resources};
use crate::schema::{Field, FieldType, Schema, TypeId};

/// Structs within structs, at most.
const DEPTH: usize = 7;

/// Random bytes that objects are made from; zeros when they are used up, which ends the object soon.
struct Source<'a>(std::slice::Iter<'a, u8>);

impl Source<'_> {
    fn below(&mut self, end: u8) -> u8 {
        self.0.next().copied().unwrap_or_default() % end
    }

    fn word(&mut self) -> String {
        let letters = b"abcxyz019-";
        let mut word = String::from("w");
        for _ in 0..self.below(4) {
            word.push(char::from(letters[usize::from(self.below(10))]));
        }
        // Not everything is ASCII.
        if self.below(16) == 1 { format!("{word}é\"\n") } else { word }
    }

    fn structure(&mut self, ty: TypeId, depth: usize) -> Value {
        let mut map = Map::new();
        for field in Schema::builtin().ty(ty).fields {
            if field.proto().next().is_none() || !(field.required() || self.below(3) == 1) {
                continue;
            }
            if let Some(value) = self.value(field.ty, field, depth) {
                map.insert(field.name().to_owned(), value);
            }
        }
        map.into()
    }

    /// A value that is not Go's zero, which some forms leave out.
    fn value(&mut self, ty: &FieldType, field: &Field, depth: usize) -> Option<Value> {
        Some(match ty {
            FieldType::Bool => true.into(),
            FieldType::Int32 => (i32::from(self.below(255)) - 300).into(),
            FieldType::Int64 => (i64::MAX - i64::from(self.below(255))).into(),
            FieldType::Double => (f64::from(self.below(255)) + 0.5).into(),
            FieldType::String => self.word().into(),
            FieldType::Bytes => STANDARD.encode(self.word()).into(),
            FieldType::Time => format!("2026-01-02T03:04:{:02}Z", self.below(60)).into(),
            FieldType::MicroTime => {
                format!("2026-01-02T03:04:05.{:06}Z", u32::from(self.below(255)) * 1000).into()
            }
            FieldType::IntOrString if self.below(2) == 0 => (self.below(100) + 1).into(),
            FieldType::IntOrString => self.word().into(),
            FieldType::Quantity => format!("{}m", u32::from(self.below(255)) * 10 + 1).into(),
            FieldType::Any => return self.opaque(field.proto_type()),
            FieldType::Ref(_) if depth == 0 => return None,
            FieldType::Ref(id) => self.structure(*id, depth - 1),
            FieldType::Array(item) => {
                let count = self.below(2) + 1;
                let items: Vec<Value> = (0..count).filter_map(|_| self.value(item, field, depth)).collect();
                if items.is_empty() {
                    return None;
                }
                items.into()
            }
            FieldType::Map(item) => {
                let value = self.value(item, field, depth)?;
                json!({self.word(): value})
            }
        })
    }

    fn opaque(&mut self, kind: Option<&str>) -> Option<Value> {
        Some(match kind? {
            "RawExtension" => json!({"apiVersion": "v1", "kind": "Any", self.word(): [1, null, {"b": true}]}),
            "FieldsV1" => json!({format!("f:{}", self.word()): {}}),
            "JSON" => json!([self.word(), 1.5]),
            "JSONSchemaPropsOrBool" => self.below(2).eq(&0).into(),
            "JSONSchemaPropsOrArray" => json!({"type": self.word()}),
            _ => json!([self.word()]),
        })
    }
}

/// The resources whose kinds protobuf has.
fn kinds() -> Vec<&'static Resource> {
    let known = |resource: &&Resource| protobuf::knows(&resource.api_version(), resource.kind);
    Resources::builtin().iter().filter(known).collect()
}

fn object(resource: &Resource, bytes: &[u8]) -> Value {
    let ty = resource.type_id.expect("kinds have types");
    let mut object = Source(bytes.iter()).structure(ty, DEPTH);
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.into();
    object
}

/// Where `whole` lacks something that `part` has.
fn lacks(whole: &Value, part: &Value, path: &str) -> Option<String> {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().find_map(|(key, part)| {
            lacks(whole.get(key).unwrap_or(&Value::Null), part, &format!("{path}.{key}"))
        }),
        (Value::Array(whole), Value::Array(part)) if whole.len() == part.len() => {
            whole.iter().zip(part).find_map(|(whole, part)| lacks(whole, part, &format!("{path}[]")))
        }
        _ => (whole != part).then(|| format!("{path}: {whole} for {part}")),
    }
}

/// Goes through all forms, and says what was lost on the way.
fn lost(resource: &Resource, bytes: &[u8]) -> Option<String> {
    let ty = resource.type_id?;
    let made = object(resource, bytes);
    let mut checked = made.clone();
    match decode::check(&mut checked, ty) {
        Ok(dropped) if dropped.is_empty() => {}
        other => return Some(format!("check: {other:?} for {made}")),
    }
    if let Some(lost) = lacks(&checked, &made, "") {
        return Some(format!("check {lost}"));
    }
    let encoded = match protobuf::encode(&checked) {
        Ok(encoded) => encoded,
        Err(error) => return Some(format!("encode: {error} for {made}")),
    };
    let decoded = match protobuf::decode(&encoded) {
        Ok(decoded) => decoded,
        Err(error) => return Some(format!("decode: {error} for {made}")),
    };
    if protobuf::encode(&decoded).as_ref() != Ok(&encoded) {
        return Some(format!("encoded again differently: {made}"));
    }
    let mut again = decoded.clone();
    match decode::check(&mut again, ty) {
        Ok(dropped) if dropped.is_empty() && again == checked => None,
        other => Some(format!("protobuf gives {again}, {other:?} for {checked}")),
    }
}

/// A few objects of every kind, so that none is left to chance.
#[test]
fn every_kind_goes_through_all_forms() {
    assert!(kinds().len() > 90);
    let patterns: [&[u8]; 3] = [&[1; 600], &[1, 4, 7, 2, 10, 1, 1, 33].repeat(75), &[]];
    let mut wrong = Vec::new();
    for resource in kinds() {
        for bytes in patterns {
            wrong.extend(
                lost(resource, bytes).map(|what| format!("{}/{}: {what}", resource.group, resource.kind)),
            );
        }
    }
    assert!(wrong.is_empty(), "{} {}", wrong.len(), wrong.join("\n"));
}

proptest! {
    #![proptest_config(super::cases(500))]

    #[test]
    fn nothing_is_lost_between_json_and_protobuf(
        kind in proptest::sample::select(kinds()),
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        prop_assert_eq!(lost(kind, &bytes), None);
    }

    /// YAML holds JSON, so both readers must see the same in it.
    #[test]
    fn json_reads_alike_as_yaml(
        kind in proptest::sample::select(kinds()),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let text = object(kind, &bytes).to_string();
        let json = decode::object(text.as_bytes(), Media::Json).map(|decoded| decoded.value);
        let yaml = decode::object(text.as_bytes(), Media::Yaml).map(|decoded| decoded.value);
        prop_assert_eq!(json, yaml);
    }

    #[test]
    fn rubbish_is_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::object(&bytes, Media::Json);
        let _ = decode::object(&bytes, Media::Yaml);
        let _ = protobuf::decode(&[b"k8s\0".as_slice(), &bytes].concat());
    }
}
