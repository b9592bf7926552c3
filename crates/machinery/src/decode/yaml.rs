//! YAML documents, read as sigs.k8s.io/yaml reads them: YAML 1.1's plain scalars (`yes` is true, `0644` is 420), keys
//! that are not text turned into text, merge keys, of several documents the first.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Number, Value};

use super::yaml_words::{self, anchor_at};
use super::{DecodeError, Decoded, Media, STRICT_ERRORS_MAX, YAML_WEIGHT_MAX};
use crate::text::{go_print, go_quote};

pub(super) fn decode(bytes: &[u8], depth: usize) -> Result<Decoded, DecodeError> {
    let text = yaml_words::readable(bytes).map_err(|why| complaint(&why))?;
    let mut reader = Reader {
        text,
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        weight: 0,
        duplicates: Vec::new(),
    };
    let value = reader.document(depth)?;
    Ok(Decoded { value, duplicates: reader.duplicates, media: Media::Yaml })
}

/// An anchored value, and what it weighs.
type Anchored = (Value, usize);

struct Reader<'i, I> {
    text: &'i str,
    events: I,
    anchors: HashMap<usize, Anchored>,
    /// Nodes and bytes of text so far, aliases counted in full.
    weight: usize,
    /// Repeated keys, in Go's words.
    duplicates: Vec<String>,
}

/// What go-yaml says, under its name.
fn complaint(message: &str) -> DecodeError {
    DecodeError::Syntax(format!("yaml: {message}"))
}

impl<'i, I: Iterator<Item = Result<(Event<'i>, Span), ScanError>>> Reader<'i, I> {
    fn next(&mut self) -> Result<(Event<'i>, Span), DecodeError> {
        loop {
            match self.events.next() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Err(error)) => return Err(complaint(&yaml_words::message(&error, self.text))),
                Some(Ok((event, span))) => match event {
                    Event::Scalar(..)
                    | Event::Alias(_)
                    | Event::SequenceStart(..)
                    | Event::SequenceEnd
                    | Event::MappingStart(..)
                    | Event::MappingEnd
                    | Event::DocumentEnd
                    | Event::StreamEnd => return Ok((event, span)),
                    _ => {}
                },
            }
        }
    }

    fn document(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let (event, span) = self.next()?;
        match event {
            Event::DocumentEnd | Event::StreamEnd => Ok(Value::Null),
            event => {
                let value = self.node(event, span, depth)?;
                // The document may still turn out to be malformed after its value.
                match self.next()? {
                    (Event::DocumentEnd | Event::StreamEnd, _) => Ok(value),
                    _ => Err(complaint("did not find expected <document start>")),
                }
            }
        }
    }

    fn weigh(&mut self, weight: usize) -> Result<(), DecodeError> {
        self.weight += weight;
        if self.weight > YAML_WEIGHT_MAX {
            return Err(DecodeError::Limit("yaml: document contains excessive aliasing".to_owned()));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'i>, span: Span, depth: usize) -> Result<Value, DecodeError> {
        let before = self.weight;
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.weigh(1 + text.len())?;
                (scalar(&text, style, tag.as_deref())?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(deeper(depth)?)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(deeper(depth)?)?, anchor),
            _ => return Err(complaint("did not find expected node content")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.weight - before));
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Value, DecodeError> {
        let Some((value, weight)) = self.anchors.get(&id).cloned() else {
            let name = anchor_at(self.text, &span.start);
            return Err(complaint(&format!("anchor '{name}' value contains itself")));
        };
        self.weigh(weight)?;
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut list = Vec::new();
        self.weigh(1)?;
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(list)),
                (event, span) => list.push(self.node(event, span, depth)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut map = Map::new();
        let mut merged = Map::new();
        self.weigh(1)?;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(event, span, depth)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth)?;
            if merge {
                merge_into(&mut merged, value)?;
                continue;
            }
            let name = key_text(&key, &value)?;
            if map.contains_key(&name) {
                self.repeated(&key, &span);
            }
            map.insert(name, value);
        }
        for (key, value) in merged {
            map.entry(key).or_insert(value);
        }
        Ok(Value::Object(map))
    }

    /// Notes a key that was there before; the line is that of its value.
    fn repeated(&mut self, key: &Value, value: &Span) {
        if self.duplicates.len() < STRICT_ERRORS_MAX {
            let key = key.as_str().map_or_else(|| key.to_string(), go_quote);
            self.duplicates.push(format!("line {}: key {key} already set in map", value.start.line()));
        }
    }
}

fn deeper(depth: usize) -> Result<usize, DecodeError> {
    depth.checked_sub(1).ok_or_else(|| DecodeError::Limit("yaml: exceeded max depth".to_owned()))
}

/// Takes the entries of a merge key; of several maps the first one counts.
fn merge_into(merged: &mut Map<String, Value>, value: Value) -> Result<(), DecodeError> {
    let maps = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    for map in maps {
        let Value::Object(map) = map else {
            return Err(complaint("map merge requires map or sequence of maps as the value"));
        };
        for (key, value) in map {
            merged.entry(key).or_insert(value);
        }
    }
    Ok(())
}

/// A key as JSON has it; `value` belongs to the message only.
fn key_text(key: &Value, value: &Value) -> Result<String, DecodeError> {
    match key {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => {
            let value = value.as_str().map_or_else(|| go_print(value), go_quote);
            let message = format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {value}");
            Err(DecodeError::Syntax(message))
        }
        other => Err(complaint(&format!("invalid map key: {}", go_print(other)))),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, DecodeError> {
    let core = tag.filter(|t| t.handle() == "tag:yaml.org,2002:").map(Tag::suffix);
    match (core, style) {
        (Some("str"), _) => Ok(Value::from(text)),
        (Some("binary"), _) => {
            use base64::Engine as _;
            let packed: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
            let bytes = bytes.map_err(|_| complaint("!!binary value contains invalid base64 data"))?;
            Ok(Value::from(String::from_utf8_lossy(&bytes)))
        }
        (Some(_), _) => plain(text),
        (None, ScalarStyle::Plain) if tag.is_none() => plain(text),
        _ => Ok(Value::from(text)),
    }
}

/// What a scalar without quotes means in YAML 1.1.
fn plain(text: &str) -> Result<Value, DecodeError> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Err(no_json("+Inf")),
        "-.inf" | "-.Inf" | "-.INF" => return Err(no_json("-Inf")),
        ".nan" | ".NaN" | ".NAN" => return Err(no_json("NaN")),
        _ => integer(text).or_else(|| float(text)).unwrap_or_else(|| Value::from(text)),
    };
    Ok(value)
}

/// A number that JSON does not have.
fn no_json(number: &str) -> DecodeError {
    DecodeError::Syntax(format!("json: unsupported value: {number}"))
}

/// A whole number in any of the notations of Go's `strconv.ParseInt` with base 0; underscores are ignored.
fn integer(text: &str) -> Option<Value> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return None;
    }
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // Rust's parser would take another sign.
    let magnitude = u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))?;
    if negative {
        return i64::try_from(-i128::from(magnitude)).ok().map(Value::from);
    }
    Some(Value::from(magnitude))
}

/// A number with point or exponent. A whole one becomes an integer, as it does on its way through Go's JSON.
fn float(text: &str) -> Option<Value> {
    let text = text.replace('_', "");
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let shaped =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.bytes().any(|b| b.is_ascii_digit());
    let number: f64 = text.parse().ok().filter(|_| shaped)?;
    let whole = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    if whole { Some(Value::from(number as i64)) } else { Number::from_f64(number).map(Value::Number) }
}
