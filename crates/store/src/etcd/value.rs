//! What etcd holds for an object: protobuf for kinds that upstream keeps so, else JSON. Either is read, whoever wrote it.
//!
//! # Guarantees
//! What is read is, byte for byte, what was written: an object that protobuf would change in any way is kept as JSON, which
//! upstream reads just as well.

use std::borrow::Cow;

use bytes::Bytes;
use machinery::codec::protobuf::{self, Envelope};
use machinery::serialize::to_draft;
use serde::Deserialize;

use crate::types::Draft;

/// Groups of upstream's other two API servers, which write JSON.
const GROUPS_IN_JSON: [&str; 2] = ["apiextensions.k8s.io/", "apiregistration.k8s.io/"];
/// What a value in protobuf begins with.
const PROTOBUF: &[u8] = b"k8s\0";
/// What an encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// The value for an object.
pub(super) fn encode(draft: &Draft) -> Bytes {
    to_protobuf(&draft.bytes).map_or_else(|| draft.bytes.clone(), Bytes::from)
}

fn to_protobuf(json: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        api_version: Cow<'a, str>,
    }
    let head: Head<'_> = serde_json::from_slice(json).ok()?;
    let in_json = GROUPS_IN_JSON.iter().any(|group| head.api_version.starts_with(group));
    if in_json || !protobuf::knows(&head.api_version, &head.kind) {
        return None;
    }
    let message = protobuf::encode(&serde_json::from_slice(json).ok()?).ok()?;
    let again = to_draft(&protobuf::decode(&message).ok()?).0;
    (again == json).then_some(message)
}

/// The object's JSON; the error says what the value is instead.
pub(super) fn decode(value: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if value.starts_with(PROTOBUF) {
        return from_protobuf(value).map(Cow::Owned);
    }
    if value.starts_with(ENCRYPTED) {
        return Err("is encrypted".to_owned());
    }
    // Upstream ends objects with a newline, which would end a watch event's line.
    Ok(Cow::Borrowed(value.trim_ascii_end()))
}

fn from_protobuf(value: &[u8]) -> Result<Vec<u8>, String> {
    let object = protobuf::decode(value).map_err(|error| match Envelope::open(value) {
        Ok(envelope) => {
            format!(
                "is {} of {} in protobuf, which cannot be read: {error}",
                envelope.kind, envelope.api_version
            )
        }
        Err(_) => format!("is protobuf that cannot be read: {error}"),
    })?;
    Ok(to_draft(&object).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(json: &str) -> Draft {
        Draft { bytes: Bytes::copy_from_slice(json.as_bytes()), revision_at: 0 }
    }

    #[test]
    fn built_in_kinds_are_kept_as_protobuf_and_come_back_as_they_were() {
        for json in [
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"\"\n"}}"#,
            r#"{"kind":"RangeAllocation","apiVersion":"v1","metadata":{"creationTimestamp":null},"data":"Bg==","range":"30000-32767"}"#,
            r#"{"kind":"Endpoints","apiVersion":"v1","metadata":{"generation":3},"subsets":[{"addresses":[{"ip":"10.0.0.1"}]}]}"#,
            r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"e","namespace":"d"},"count":1,"firstTimestamp":"2026-01-02T03:04:05Z","involvedObject":{},"lastTimestamp":"2026-01-02T03:04:05Z","reportingComponent":"","reportingInstance":"","source":{}}"#,
        ] {
            let value = encode(&draft(json));
            assert!(value.starts_with(PROTOBUF), "{json}");
            assert_eq!(decode(&value).unwrap(), json.as_bytes());
        }
    }

    #[test]
    fn what_protobuf_would_change_is_kept_as_json() {
        for json in [
            // Fields that it does not have, or that would be added.
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"more":1}"#,
            r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"a"}}"#,
            // Kinds that upstream keeps so.
            r#"{"kind":"APIService","apiVersion":"apiregistration.k8s.io/v1","metadata":{"name":"a"},"spec":{},"status":{}}"#,
            r#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"}}"#,
            r#"{"metadata":{}}"#,
            "no object",
        ] {
            assert_eq!(encode(&draft(json)), json);
            assert_eq!(decode(json.as_bytes()).unwrap(), json.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let envelope = b"k8s\0\n\x0a\n\x02v1\x12\x04Nope\x12\0\x1a\0\"\0";
        for (value, words) in [
            (&envelope[..], "is Nope of v1 in protobuf, which cannot be read"),
            (b"k8s\0\xff", "is protobuf that cannot be read"),
            (b"k8s:enc:aescbc:v1:key1:xyz", "is encrypted"),
        ] {
            let error = decode(value).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
