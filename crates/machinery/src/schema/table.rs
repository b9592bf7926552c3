//! Reads the schema table into its form in memory.

use std::collections::HashMap;

use super::{Field, FieldType, Gvk, MapType, Schema, Type, TypeId};

pub(super) const REQUIRED: u16 = 1;
pub(super) const VALUE: u16 = 1 << 1;
pub(super) const SHOWN: u16 = 1 << 2;
pub(super) const LIST_ATOMIC: u16 = 1 << 3;
pub(super) const LIST_SET: u16 = 1 << 4;
pub(super) const MAP_ATOMIC: u16 = 1 << 5;
pub(super) const MAP_GRANULAR: u16 = 1 << 6;
pub(super) const MERGE: u16 = 1 << 7;
pub(super) const REPLACE: u16 = 1 << 8;
pub(super) const RETAIN_KEYS: u16 = 1 << 9;
pub(super) const MERGE_KEY: u16 = 1 << 10;
pub(super) const DEFAULT: u16 = 1 << 11;
pub(super) const PROTO_TYPE: u16 = 1 << 12;
pub(super) const NULL: u16 = 1 << 13;
pub(super) const EMPTY: u16 = 1 << 14;

/// Levels of arrays and maps within each other, at most.
const LEVELS_MAX: usize = 4;

/// Types by their code, and the rows that are being read.
struct Reader {
    types: HashMap<&'static str, &'static FieldType>,
    key_lists: Vec<&'static str>,
}

/// Reads the table. What is read lives as long as the program.
pub(super) fn parse(table: &'static str) -> Schema {
    let mut reader = Reader { types: field_types(table), key_lists: vec![""] };
    let mut rows: Vec<Field> = Vec::with_capacity(4096);
    let mut heads: Vec<(&'static str, usize)> = Vec::with_capacity(1024);
    let mut at = 0;
    for line in table.lines() {
        match line.strip_prefix("= ") {
            Some(head) => heads.push((head, rows.len())),
            None => rows.extend(reader.field(line, at)),
        }
        at += line.len() + 1;
    }
    let rows: &'static [Field] = Vec::leak(shrunk(rows));
    let ends = heads.iter().skip(1).map(|(_, start)| *start).chain([rows.len()]);
    let types: Vec<Type> =
        heads.iter().zip(ends).map(|((head, start), end)| parse_type(head, &rows[*start..end])).collect();
    let of_type = |(i, ty): (usize, &Type)| {
        let id = TypeId(i as u16);
        ty.gvks().map(move |gvk| (gvk, id)).collect::<Vec<_>>()
    };
    let mut kinds: Vec<(Gvk, TypeId)> = types.iter().enumerate().flat_map(of_type).collect();
    kinds.sort_unstable();
    Schema { types, kinds: shrunk(kinds), keys: reader.keys() }
}

fn shrunk<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

fn parse_type(head: &'static str, fields: &'static [Field]) -> Type {
    let (name, head) = head.split_once(' ').unwrap_or((head, ""));
    let map_type = match head.split(' ').next() {
        Some("a") => Some(MapType::Atomic),
        Some("g") => Some(MapType::Granular),
        _ => None,
    };
    Type { name, fields, map_type, head }
}

impl Reader {
    fn field(&mut self, line: &'static str, at: usize) -> Option<Field> {
        let mut parts = line.split(' ');
        let (name, code) = (parts.next()?, parts.next()?);
        let mut field = Field {
            ty: self.types.get(code)?,
            at: u32::try_from(at).ok()?,
            flags: 0,
            name_len: u8::try_from(name.len()).ok()?,
            keys: 0,
        };
        for part in parts {
            match part.split_once('=') {
                None => field.flags |= flag(part),
                Some(("M", keys)) => field.keys = self.key_list(keys),
                Some(("K", _)) => field.flags |= MERGE_KEY,
                Some(("P", _)) => field.flags |= PROTO_TYPE,
                Some(("D", _)) => field.flags |= DEFAULT,
                Some(_) => {}
            }
        }
        Some(field)
    }

    /// The number of a list of keys.
    fn key_list(&mut self, keys: &'static str) -> u8 {
        let at = self.key_lists.iter().position(|known| *known == keys).unwrap_or_else(|| {
            self.key_lists.push(keys);
            self.key_lists.len() - 1
        });
        u8::try_from(at).unwrap_or_default()
    }

    fn keys(self) -> Vec<&'static [&'static str]> {
        let split = |keys: &&'static str| -> &'static [&'static str] {
            Vec::leak(keys.split(',').filter(|key| !key.is_empty()).collect())
        };
        self.key_lists.iter().map(split).collect()
    }
}

fn flag(letter: &str) -> u16 {
    match letter {
        "!" => REQUIRED,
        "v" => VALUE,
        "w" => SHOWN,
        "n" => NULL,
        "e" => EMPTY,
        "A" => LIST_ATOMIC,
        "S" => LIST_SET,
        "a" => MAP_ATOMIC,
        "g" => MAP_GRANULAR,
        "m" => MERGE,
        "r" => REPLACE,
        "k" => RETAIN_KEYS,
        _ => 0,
    }
}

/// Every type that a field has, once, by its code. Those without arrays and maps come first, so that the others can refer
/// to them.
fn field_types(table: &'static str) -> HashMap<&'static str, &'static FieldType> {
    let lines = table.lines().filter(|line| !line.starts_with("= "));
    let codes = lines.filter_map(|line| line.split(' ').nth(1));
    let inner = |code: &'static str| (0..=level(code)).map(move |depth| &code[depth..]);
    let mut codes: Vec<&'static str> = codes.flat_map(inner).collect();
    codes.sort_unstable_by_key(|code| (level(code), *code));
    codes.dedup();
    let mut known = HashMap::with_capacity(codes.len());
    for wanted in 0..LEVELS_MAX {
        let codes: Vec<&'static str> = codes.iter().copied().filter(|code| level(code) == wanted).collect();
        let types: Vec<FieldType> = codes.iter().filter_map(|code| field_type(code, &known)).collect();
        known.extend(codes.iter().copied().zip(Vec::leak(shrunk(types)).iter()));
    }
    known
}

/// How many arrays and maps are around the innermost type.
fn level(code: &str) -> usize {
    code.bytes().take_while(|byte| matches!(byte, b'[' | b'{')).count()
}

fn field_type(code: &str, known: &HashMap<&'static str, &'static FieldType>) -> Option<FieldType> {
    let rest = code.get(1..)?;
    Some(match code.as_bytes().first()? {
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
        b'[' => FieldType::Array(known.get(rest)?),
        b'{' => FieldType::Map(known.get(rest)?),
        _ => return None,
    })
}
