//! Objects as etcd keeps them: without a `resourceVersion`, written by this program or by upstream's API server.

use std::sync::Arc;

use crate::error::ReadError;
use crate::types::{Entry, Event, EventKind, splice};

use super::value::Values;
use super::wire::{KeyValue, WatchEvent, unsigned};

/// The object of a pair, at the revision it was written.
pub(super) fn entry(values: &Values, pair: &KeyValue) -> Result<Entry, ReadError> {
    entry_at(values, pair, unsigned(pair.mod_revision))
}

/// The object of a pair, shown at another revision.
pub(super) fn entry_at(values: &Values, pair: &KeyValue, revision: u64) -> Result<Entry, ReadError> {
    let key = std::str::from_utf8(&pair.key)
        .map_err(|_| ReadError::Damaged(format!("a key is not text: {}", pair.key.escape_ascii())))?;
    let unreadable = |why: &str| ReadError::Damaged(format!("the value of {key} {why}"));
    let draft = values.decode(&pair.value).map_err(|why| unreadable(&why))?;
    let revision_at = revision_at(&draft).ok_or_else(|| unreadable("is not a JSON object with metadata"))?;
    Ok(Entry { key: Arc::from(key), bytes: splice(&draft, revision_at, revision), revision, revision_at })
}

/// What a watch event tells; none when the state before it, which an [`Event`] has, is no longer kept.
pub(super) fn event(values: &Values, event: &WatchEvent) -> Result<Option<Event>, ReadError> {
    let Some(pair) = &event.kv else { return Ok(None) };
    let previous = event.prev_kv.as_ref().map(|pair| entry(values, pair)).transpose()?;
    let kind = kind(event.kind, pair);
    let entry = match (kind, &event.prev_kv) {
        (EventKind::Deleted, Some(before)) => entry_at(values, before, unsigned(pair.mod_revision))?,
        (EventKind::Created, _) | (EventKind::Modified, Some(_)) => entry(values, pair)?,
        (EventKind::Deleted | EventKind::Modified, None) => return Ok(None),
    };
    Ok(Some(Event { kind, entry, previous }))
}

/// What the feed is told: of the state before, only a deletion needs to know.
pub(super) fn change(values: &Values, event: &WatchEvent) -> Result<Option<(EventKind, Entry)>, ReadError> {
    let Some(pair) = &event.kv else { return Ok(None) };
    let kind = kind(event.kind, pair);
    let entry = match (kind, &event.prev_kv) {
        (EventKind::Deleted, Some(before)) => entry_at(values, before, unsigned(pair.mod_revision))?,
        (EventKind::Deleted, None) => return Ok(None),
        (EventKind::Created | EventKind::Modified, _) => entry(values, pair)?,
    };
    Ok(Some((kind, entry)))
}

fn kind(kind: i32, pair: &KeyValue) -> EventKind {
    match kind {
        1 => EventKind::Deleted,
        _ if pair.create_revision == pair.mod_revision => EventKind::Created,
        _ => EventKind::Modified,
    }
}

/// Where the first member of `metadata` stands, or its closing brace: where a `resourceVersion` belongs.
fn revision_at(object: &[u8]) -> Option<u32> {
    let mut scan = Scan { bytes: object, at: 0 };
    scan.expect(b'{')?;
    loop {
        let name = scan.string()?;
        scan.expect(b':')?;
        if name == b"metadata" {
            scan.expect(b'{')?;
            scan.space();
            return u32::try_from(scan.at).ok();
        }
        scan.value()?;
        scan.expect(b',')?;
    }
}

/// A walk over JSON that checks no more than it needs to find its way.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.space();
        let found = self.bytes.get(self.at) == Some(&wanted);
        self.at += 1;
        found.then_some(())
    }

    /// The inside of a string, escapes as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.bytes.get(start..self.at - 1)
    }

    /// Steps over a value.
    fn value(&mut self) -> Option<()> {
        self.space();
        let mut depth = 0_usize;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b',' | b'}' | b']' if depth == 0 => return Some(()),
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_revision_is_found_wherever_metadata_stands() {
        for (object, before) in [
            (r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"#),
            (
                r#"{"kind":"A","apiVersion":"v1","metadata":{}}"#,
                r#"{"kind":"A","apiVersion":"v1","metadata":{"#,
            ),
            (
                "{ \"kind\" : \"A\\\"}\" ,\n \"metadata\" : {\n \"a\":1}}",
                "{ \"kind\" : \"A\\\"}\" ,\n \"metadata\" : {\n ",
            ),
            (
                r#"{"data":{"metadata":{"a":["]",{}]}},"n":-1.5e3,"b":null,"metadata":{"#,
                r#"{"data":{"metadata":{"a":["]",{}]}},"n":-1.5e3,"b":null,"metadata":{"#,
            ),
        ] {
            assert_eq!(revision_at(object.as_bytes()), Some(before.len() as u32), "{object}");
        }
        for object in [
            "",
            "1",
            "[]",
            "{}",
            r#"{"a":1}"#,
            r#"{"metadata":1}"#,
            r#"{"a":"metadata"#,
            r#"{"a\"#,
            r#"{"a":{"metadata":{}}}"#,
        ] {
            assert_eq!(revision_at(object.as_bytes()), None, "{object}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (value, words) in
            [(&b"k8s:enc:aescbc:v1:key1:xyz"[..], "is encrypted"), (b"plain", "is not a JSON object")]
        {
            let pair = KeyValue { key: "/registry/a".into(), value: value.into(), ..KeyValue::default() };
            let error = entry(&Values::new(None), &pair).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("/registry/a"), "{error}");
        }
    }

    #[test]
    fn upstreams_newline_is_left_out() {
        let value = b"{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n";
        let pair = KeyValue {
            key: "/registry/configmaps/d/a".into(),
            value: value[..].into(),
            mod_revision: 7,
            ..KeyValue::default()
        };
        let entry = entry(&Values::new(None), &pair).unwrap();
        assert_eq!(entry.bytes, r#"{"kind":"ConfigMap","metadata":{"resourceVersion":"7","name":"a"}}"#);
        assert_eq!(entry.draft().bytes, value.trim_ascii_end());
    }
}
