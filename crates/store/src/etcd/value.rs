//! What etcd holds for an object: protobuf for kinds that upstream keeps so, else JSON. Either is read, whoever wrote it.
//!
//! # Guarantees
//! What this program has written is read byte for byte as it was: an object that protobuf would change in any way is kept as JSON,
//! which upstream reads just as well.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use machinery::codec::protobuf::{self, Envelope};
use machinery::decode;
use machinery::serialize::to_draft;
use serde::Deserialize;
use serde_json::Value;

use crate::types::Draft;

/// Groups of upstream's other two API servers, which write JSON.
const GROUPS_IN_JSON: [&str; 2] = ["apiextensions.k8s.io/", "apiregistration.k8s.io/"];
/// What a value in protobuf begins with.
const PROTOBUF: &[u8] = b"k8s\0";
/// What an encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// What upstream's API servers do whenever they read an object that they, or earlier versions of them, have stored.
pub trait Completion: Send + Sync {
    /// Whether anything is done to objects of this kind.
    fn is_for(&self, api_version: &str, kind: &str) -> bool;

    /// Converts the object to the version it is stored in here, and fills in defaults. Must be idempotent.
    fn complete(&self, object: &mut Value);
}

/// Turns objects into values and back.
pub(super) struct Values {
    completion: Option<Arc<dyn Completion>>,
}

/// The little that has to be known of an object before it is worth reading it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
}

impl Values {
    pub fn new(completion: Option<Arc<dyn Completion>>) -> Values {
        Values { completion }
    }

    /// The value for an object.
    pub fn encode(&self, draft: &Draft) -> Bytes {
        self.to_protobuf(&draft.bytes).map_or_else(|| draft.bytes.clone(), Bytes::from)
    }

    fn to_protobuf(&self, json: &[u8]) -> Option<Vec<u8>> {
        let head: Head<'_> = serde_json::from_slice(json).ok()?;
        let in_json = GROUPS_IN_JSON.iter().any(|group| head.api_version.starts_with(group));
        if in_json || !protobuf::knows(&head.api_version, &head.kind) {
            return None;
        }
        let message = protobuf::encode(&serde_json::from_slice(json).ok()?).ok()?;
        (self.read_protobuf(&message).ok()? == json).then_some(message)
    }

    /// The object's JSON; the error says what the value is instead.
    pub fn decode<'v>(&self, value: &'v [u8]) -> Result<Cow<'v, [u8]>, String> {
        if value.starts_with(PROTOBUF) {
            return self.read_protobuf(value).map(Cow::Owned);
        }
        if value.starts_with(ENCRYPTED) {
            return Err("is encrypted".to_owned());
        }
        // Upstream ends objects with a newline; this program does not, and what it wrote is complete.
        match value.strip_suffix(b"\n") {
            Some(json) => Ok(self.completed(json).map_or(Cow::Borrowed(json), Cow::Owned)),
            None => Ok(Cow::Borrowed(value)),
        }
    }

    /// Upstream's JSON, if there is something to be done to it.
    fn completed(&self, json: &[u8]) -> Option<Vec<u8>> {
        let completion = self.completion.as_ref()?;
        let head: Head<'_> = serde_json::from_slice(json).ok()?;
        if !completion.is_for(&head.api_version, &head.kind) {
            return None;
        }
        let mut object = serde_json::from_slice(json).ok()?;
        completion.complete(&mut object);
        Some(to_draft(&object).0)
    }

    fn read_protobuf(&self, value: &[u8]) -> Result<Vec<u8>, String> {
        let envelope = Envelope::open(value);
        let unreadable = |error: &dyn std::fmt::Display| match &envelope {
            Ok(Envelope { api_version, kind, .. }) => {
                format!("is {kind} of {api_version} in protobuf, which cannot be read: {error}")
            }
            Err(_) => format!("is protobuf that cannot be read: {error}"),
        };
        let mut object = protobuf::decode(value).map_err(|error| unreadable(&error))?;
        // What JSON has of a list or time that is not set, protobuf has not.
        if let Some(ty) = envelope.as_ref().ok().and_then(Envelope::type_id) {
            decode::check(&mut object, ty).map_err(|error| unreadable(&error))?;
        }
        if let Some(completion) = &self.completion {
            completion.complete(&mut object);
        }
        Ok(to_draft(&object).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values = Values { completion: None };

    fn draft(json: &str) -> Draft {
        Draft { bytes: Bytes::copy_from_slice(json.as_bytes()), revision_at: 0 }
    }

    #[test]
    fn built_in_kinds_are_kept_as_protobuf_and_come_back_as_they_were() {
        for json in [
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"\"\n"}}"#,
            r#"{"kind":"RangeAllocation","apiVersion":"v1","metadata":{"creationTimestamp":null},"data":"Bg==","range":"30000-32767"}"#,
            r#"{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"a"},"rules":null}"#,
            r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"e","namespace":"d"},"eventTime":null,"firstTimestamp":null,"involvedObject":{},"lastTimestamp":null,"reportingComponent":"","reportingInstance":"","source":{}}"#,
            r#"{"kind":"Endpoints","apiVersion":"v1","metadata":{"generation":3},"subsets":[{"addresses":[{"ip":"10.0.0.1"}]}]}"#,
            r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"e","namespace":"d"},"count":1,"eventTime":null,"firstTimestamp":"2026-01-02T03:04:05Z","involvedObject":{},"lastTimestamp":"2026-01-02T03:04:05Z","reportingComponent":"","reportingInstance":"","source":{}}"#,
        ] {
            let value = VALUES.encode(&draft(json));
            assert!(value.starts_with(PROTOBUF), "{json}");
            assert_eq!(VALUES.decode(&value).unwrap(), json.as_bytes());
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
            assert_eq!(VALUES.encode(&draft(json)), json);
            assert_eq!(VALUES.decode(json.as_bytes()).unwrap(), json.as_bytes());
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
            let error = VALUES.decode(value).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    struct Labelled;

    impl Completion for Labelled {
        fn is_for(&self, api_version: &str, _kind: &str) -> bool {
            api_version == "v1"
        }

        fn complete(&self, object: &mut Value) {
            object["metadata"]["labels"] = serde_json::json!({"a": "b"});
        }
    }

    #[test]
    fn upstreams_objects_are_completed_and_own_ones_left_alone() {
        let values = Values::new(Some(Arc::new(Labelled)));
        let (bare, labelled) = (
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"a":"b"},"name":"a"}}"#,
        );
        let read = |value: &[u8]| String::from_utf8(values.decode(value).unwrap().into_owned()).unwrap();
        let protobuf = VALUES.encode(&draft(bare));
        assert_eq!(
            (read(&protobuf).as_str(), read(format!("{bare}\n").as_bytes()).as_str()),
            (labelled, labelled)
        );
        // What was written here comes back as it was, in whatever form that takes.
        assert_eq!(
            (read(&values.encode(&draft(bare))), read(&values.encode(&draft(labelled)))),
            (bare.to_owned(), labelled.to_owned())
        );
        let other = "{\"kind\":\"A\",\"apiVersion\":\"example.com/v1\",\"metadata\":{}}\n";
        assert_eq!(read(other.as_bytes()), other.trim_end());
    }
}
