//! Objects to the bytes that are stored and sent.

use serde_json::{Map, Value};

/// Fields that say what an object is, in the order in which they are written.
const TYPE_FIELDS: [&str; 2] = ["kind", "apiVersion"];

/// The object as JSON without `metadata.resourceVersion`, and the offset in the bytes where the text
/// `"resourceVersion":"N",` is to be inserted to make it whole.
///
/// Kind and version come first, then the metadata, as upstream writes them: lists can leave out what they say of all items
/// ([`type_head`]).
///
/// The offset lies just after the opening brace of `metadata`, and at least one field follows it, so the inserted text
/// may always end in a comma. An object without usable metadata gets `"metadata":{"creationTimestamp":null}`.
pub fn to_draft(object: &Value) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for key in TYPE_FIELDS {
        if let Some(value) = object.get(key) {
            write_entry(&mut out, key, value);
        }
    }
    let offset = write_metadata(&mut out, object.get("metadata"));
    for (key, value) in object.as_object().into_iter().flatten() {
        if key != "metadata" && !TYPE_FIELDS.contains(&key.as_str()) {
            write_entry(&mut out, key, value);
        }
    }
    out.push(b'}');
    (out, offset)
}

/// What the bytes of an object of this kind begin with when [`to_draft`] has written them: everything before `"metadata"`.
pub fn type_head(api_version: &str, kind: &str) -> Vec<u8> {
    let mut out = vec![b'{'];
    write_entry(&mut out, TYPE_FIELDS[0], &kind.into());
    write_entry(&mut out, TYPE_FIELDS[1], &api_version.into());
    out.push(b',');
    out
}

/// Puts a resource version into a draft made by [`to_draft`].
pub fn splice(draft: &[u8], offset: usize, resource_version: &str) -> Vec<u8> {
    let field = format!("\"resourceVersion\":\"{resource_version}\",");
    let mut out = Vec::with_capacity(draft.len() + field.len());
    out.extend_from_slice(&draft[..offset]);
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(&draft[offset..]);
    out
}

fn write_metadata(out: &mut Vec<u8>, metadata: Option<&Value>) -> usize {
    separate(out);
    out.extend_from_slice(b"\"metadata\":{");
    let offset = out.len();
    let empty = Map::new();
    let fields = metadata.and_then(Value::as_object).unwrap_or(&empty);
    for (key, value) in fields.iter().filter(|(key, _)| *key != "resourceVersion") {
        write_entry(out, key, value);
    }
    if out.len() == offset {
        out.extend_from_slice(b"\"creationTimestamp\":null");
    }
    out.push(b'}');
    offset
}

fn write_entry(out: &mut Vec<u8>, key: &str, value: &Value) {
    separate(out);
    write_json(out, key);
    out.push(b':');
    write_json(out, value);
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing a string or a `Value` into memory has no way to fail.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kind_and_version_come_first() {
        let object = json!({"apiVersion": "v1", "data": {}, "kind": "ConfigMap", "metadata": {"name": "a"}});
        let (draft, _) = to_draft(&object);
        let text = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{}}"#;
        assert_eq!(String::from_utf8_lossy(&draft), text);
        assert!(draft.starts_with(&type_head("v1", "ConfigMap")));
        assert!(text[type_head("v1", "ConfigMap").len()..].starts_with("\"metadata\""));
    }

    #[test]
    fn a_spliced_draft_is_the_object() {
        for (object, want) in [
            (
                json!({"kind": "A", "metadata": {"name": "x", "resourceVersion": "7", "uid": "u"}, "spec": {"a": [1]}}),
                json!({"kind": "A", "metadata": {"name": "x", "resourceVersion": "12", "uid": "u"}, "spec": {"a": [1]}}),
            ),
            (json!({"metadata": {"name": "x"}}), json!({"metadata": {"name": "x", "resourceVersion": "12"}})),
            (
                json!({"apiVersion": "v1", "data": {"k": "\"ü\n"}, "metadata": {"annotations": {}}}),
                json!({"apiVersion": "v1", "data": {"k": "\"ü\n"}, "metadata": {"annotations": {}, "resourceVersion": "12"}}),
            ),
            (json!({}), json!({"metadata": {"creationTimestamp": null, "resourceVersion": "12"}})),
        ] {
            let (draft, offset) = to_draft(&object);
            assert!(serde_json::from_slice::<Value>(&draft).is_ok());
            let whole: Value = serde_json::from_slice(&splice(&draft, offset, "12")).expect("valid JSON");
            assert_eq!(whole, want);
        }
    }
}
