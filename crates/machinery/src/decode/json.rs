//! JSON documents, with repeated fields noted.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, DecodeError, Decoded, Media, Place, Strict, repair, scanner};

/// Said by upstream's scanner, and by [`Seed`] when it gives up.
const TOO_DEEP: &str = "exceeded max depth";

pub(super) fn decode(bytes: &[u8], depth: usize) -> Result<Decoded, DecodeError> {
    match read(bytes, depth) {
        Ok(decoded) => Ok(decoded),
        Err(error) => explain(bytes, depth, &error),
    }
}

fn read(bytes: &[u8], depth: usize) -> Result<Decoded, serde_json::Error> {
    let (value, notes) = read_noting(bytes, depth, &Watched::default())?;
    Ok(Decoded { value, duplicates: notes.strict.0, media: Media::Json })
}

/// Notes repeated fields and what is watched for.
fn read_noting(bytes: &[u8], depth: usize, watched: &Watched) -> Result<(Value, Notes), serde_json::Error> {
    let notes = RefCell::new(Notes::default());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // The seed counts depth itself, with a limit of its own.
    deserializer.disable_recursion_limit();
    let seed = Seed { place: Place::Top, depth, notes: &notes, watched };
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, notes.into_inner()))
}

/// What to look out for when a document is read again; nearly always nothing.
#[derive(Default)]
struct Watched {
    /// Complaints about fields that are not in the type.
    unknown: HashSet<String>,
    /// Places of values.
    places: HashSet<String>,
}

/// What was seen, in the order in which it stands in the text.
#[derive(Default)]
struct Notes {
    /// Repeated fields, and the unknown ones that were watched for.
    strict: Strict,
    /// The first of the places, and the value that is there.
    first: Option<(String, Box<RawValue>)>,
}

/// Which of the places comes first, and the text of its value.
pub(super) fn first_of(bytes: &[u8], places: &HashSet<String>) -> Option<(String, String)> {
    let watched = Watched { places: places.clone(), ..Watched::default() };
    let text = repair::text(bytes);
    let (place, value) = read_noting(&text, DEPTH_MAX, &watched).ok()?.1.first?;
    Some((place, value.get().to_owned()))
}

/// See [`super::in_order`].
pub(super) fn in_order(bytes: &[u8], unknown: &[String]) -> Vec<String> {
    let watched = Watched { unknown: unknown.iter().cloned().collect(), ..Watched::default() };
    let text = repair::text(bytes);
    let Ok((_, notes)) = read_noting(&text, DEPTH_MAX, &watched) else { return unknown.to_vec() };
    let mut told = notes.strict.0;
    told.retain(|complaint| !unknown.iter().any(|unknown| is_within(complaint, unknown)));
    told
}

/// Whether a complaint is about the repetition of an unknown field, or of one in it: Go does not look there.
fn is_within(complaint: &str, unknown: &str) -> bool {
    let field = unknown.strip_prefix("unknown field").and_then(|field| field.strip_suffix('"'));
    let rest = complaint.strip_prefix("duplicate field").zip(field);
    let rest = rest.and_then(|(repeated, field)| repeated.strip_prefix(field));
    rest.is_some_and(|rest| rest.starts_with(['"', '.', '[']))
}

/// Finds out what Go would say. Text that is not UTF-8, or half of a surrogate pair, is no error to Go.
fn explain(bytes: &[u8], depth: usize, error: &serde_json::Error) -> Result<Decoded, DecodeError> {
    if let Some(message) = scanner::syntax_error(bytes, depth) {
        return Err(if message.ends_with(TOO_DEEP) {
            DecodeError::Limit(message)
        } else {
            DecodeError::Syntax(message)
        });
    }
    let text = repair::text(bytes);
    if *text == *bytes {
        return Err(DecodeError::Syntax(error.to_string()));
    }
    read(&text, depth).map_err(|error| DecodeError::Syntax(error.to_string()))
}

/// Reads a value at a place.
struct Seed<'a> {
    place: Place<'a>,
    /// How many levels may still come below.
    depth: usize,
    notes: &'a RefCell<Notes>,
    watched: &'a Watched,
}

impl Seed<'_> {
    /// Notes a field that does not belong in its type.
    fn note_unknown(&self, place: &Place<'_>) {
        if !self.watched.unknown.is_empty() {
            let mut found = Strict::default();
            found.report("unknown field", place);
            if found.0.iter().all(|complaint| self.watched.unknown.contains(complaint)) {
                self.notes.borrow_mut().strict.report("unknown field", place);
            }
        }
    }

    /// The path of a place, when it is the first of those that are watched for.
    fn awaited(&self, place: &Place<'_>) -> Option<String> {
        if self.watched.places.is_empty() || self.notes.borrow().first.is_some() {
            return None;
        }
        Some(place.path()).filter(|path| self.watched.places.contains(path))
    }

    /// The seed of a value in this one.
    fn inner<'b>(&'b self, place: Place<'b>, depth: usize) -> Seed<'b> {
        Seed { place, depth, notes: self.notes, watched: self.watched }
    }

    fn below<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| E::custom(TOO_DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(path) = self.awaited(&self.place) else { return deserializer.deserialize_any(self) };
        // Who watches for places wants no document.
        self.notes.borrow_mut().first = Some((path, Box::<RawValue>::deserialize(deserializer)?));
        Ok(Value::Null)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.below()?;
        let mut list = Vec::new();
        loop {
            let place = Place::Item(&self.place, list.len());
            match items.next_element_seed(self.inner(place, depth))? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.below()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = Place::Field(&self.place, &key);
            if map.contains_key(&key) {
                self.notes.borrow_mut().strict.report("duplicate field", &place);
            } else {
                self.note_unknown(&place);
            }
            let value = entries.next_value_seed(self.inner(place, depth))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
