//! Entries of `metadata.managedFields`: who set which fields how (apimachinery `managedfields/internal/managedfields.go`).

use std::cmp::Ordering;

use machinery::text::{go_json, go_quote};
use serde_json::{Map, Value, json};

use super::set::{Malformed, Set, touches};

/// Who owns fields. Applies of one manager are one entry, whatever version they are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name of the manager.
    pub manager: String,
    /// Whether it applies, or writes in another way.
    pub applied: bool,
    /// Version that it writes in; empty for appliers.
    pub api_version: String,
    /// The subresource that it writes to; empty for the resource itself.
    pub subresource: String,
}

/// Fields of an entry, read when they are needed.
#[derive(Debug, Clone)]
enum Fields {
    Stored(Value),
    Read(Set),
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose it is.
    pub owner: Owner,
    /// Version that the fields are in.
    pub api_version: String,
    /// When the owner last changed something.
    pub time: Option<String>,
    fields: Fields,
}

impl Owner {
    fn operation(&self) -> &'static str {
        if self.applied { "Apply" } else { "Update" }
    }

    /// The text that owners are sorted by in messages: upstream's identifier.
    pub fn identifier(&self) -> String {
        let mut parts = Vec::new();
        let fields = [
            ("manager", self.manager.as_str()),
            ("operation", self.operation()),
            ("apiVersion", &self.api_version),
            ("subresource", &self.subresource),
        ];
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            parts.push(format!("\"{key}\":{}", go_json(&value.into())));
        }
        format!("{{{}}}", parts.join(","))
    }

    /// The owner as conflicts name it.
    pub fn describe(&self) -> String {
        let mut text = go_quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", go_quote(&self.subresource)));
        }
        if !self.applied {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

impl Entry {
    /// A new entry.
    pub fn new(owner: Owner, api_version: &str, time: Option<String>, set: Set) -> Self {
        Self { owner, api_version: api_version.to_owned(), time, fields: Fields::Read(set) }
    }

    /// The fields.
    pub fn set(&mut self) -> &mut Set {
        if let Fields::Stored(fields) = &self.fields {
            self.fields = Fields::Read(Set::from_json(fields));
        }
        match &mut self.fields {
            Fields::Read(set) => set,
            Fields::Stored(_) => unreachable!("read above"),
        }
    }

    /// A copy of the fields.
    pub fn to_set(&self) -> Set {
        match &self.fields {
            Fields::Stored(fields) => Set::from_json(fields),
            Fields::Read(set) => set.clone(),
        }
    }

    /// Takes fields away.
    pub fn lose(&mut self, set: &Set) {
        let affected = match &self.fields {
            Fields::Stored(fields) => touches(fields, set),
            Fields::Read(_) => true,
        };
        if affected {
            self.set().remove(set);
        }
    }

    /// Whether no field is left.
    pub fn is_empty(&self) -> bool {
        match &self.fields {
            Fields::Stored(fields) => fields.as_object().is_none_or(Map::is_empty),
            Fields::Read(set) => set.is_empty(),
        }
    }

    /// Reads an entry; one that the server wrote need not be checked.
    fn read(entry: &Value, ours: bool) -> Result<Self, Malformed> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let applied = match text("operation") {
            "Apply" => true,
            "Update" => false,
            _ => return Err(Malformed),
        };
        if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
            return Err(Malformed);
        }
        let fields = entry.get("fieldsV1").unwrap_or(&Value::Null);
        let fields = if ours { Fields::Stored(fields.clone()) } else { Fields::Read(Set::parse(fields)?) };
        Ok(Self {
            owner: Owner {
                manager: text("manager").to_owned(),
                applied,
                api_version: if applied { String::new() } else { text("apiVersion").to_owned() },
                subresource: text("subresource").to_owned(),
            },
            api_version: text("apiVersion").to_owned(),
            time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            fields,
        })
    }

    fn into_json(self) -> Value {
        let fields = match self.fields {
            Fields::Stored(fields) => fields,
            Fields::Read(set) => set.to_json(),
        };
        let mut entry = json!({
            "operation": self.owner.operation(),
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
        });
        entry["fieldsV1"] = fields;
        let texts = [
            ("manager", self.owner.manager),
            ("subresource", self.owner.subresource),
            ("time", self.time.unwrap_or_default()),
        ];
        for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
            entry[key] = value.into();
        }
        entry
    }

    fn order(&self, other: &Self) -> Ordering {
        // Times are all of one length and in UTC, so that text order is theirs.
        let key = |entry: &Self| (entry.owner.operation(), entry.time.clone());
        let names = |entry: &'_ Self| {
            (entry.owner.manager.clone(), entry.api_version.clone(), entry.owner.subresource.clone())
        };
        key(self).cmp(&key(other)).then_with(|| names(self).cmp(&names(other)))
    }
}

/// Reads the entries that the server has stored.
pub fn stored(fields: Option<&Value>) -> Vec<Entry> {
    read(fields, true).unwrap_or_default()
}

/// Reads entries that a client sent.
///
/// # Errors
/// When one is malformed.
pub fn sent(fields: Option<&Value>) -> Result<Vec<Entry>, Malformed> {
    read(fields, false)
}

fn read(fields: Option<&Value>, ours: bool) -> Result<Vec<Entry>, Malformed> {
    let mut entries: Vec<Entry> = Vec::new();
    for entry in fields.and_then(Value::as_array).into_iter().flatten() {
        let entry = Entry::read(entry, ours)?;
        match entries.iter_mut().find(|have| have.owner == entry.owner) {
            // Of two entries of one owner upstream keeps the later.
            Some(have) => *have = entry,
            None => entries.push(entry),
        }
    }
    Ok(entries)
}

/// Whether a client asks to forget all entries: with an empty list, or one with an empty entry.
pub fn is_reset(fields: Option<&Value>) -> bool {
    match fields.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// The entries as they are stored, in upstream's order; null when there are none.
pub fn to_json(mut entries: Vec<Entry>) -> Value {
    entries.retain(|entry| !entry.is_empty());
    entries.sort_by(Entry::order);
    if entries.is_empty() { Value::Null } else { entries.into_iter().map(Entry::into_json).collect() }
}

/// Whether two lists of stored entries are the same but for their times, and not the same.
pub fn differ_in_time_only(a: &Value, b: &Value) -> bool {
    let (Some(left), Some(right)) = (a.as_array(), b.as_array()) else { return false };
    let same = |(a, b): (&Value, &Value)| {
        let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
        let rest = |map: &'_ Map<String, Value>| map.iter().filter(|(key, _)| *key != "time").count();
        rest(a) == rest(b) && a.iter().all(|(key, value)| key == "time" || b.get(key) == Some(value))
    };
    a != b && left.len() == right.len() && left.iter().zip(right).all(same)
}
