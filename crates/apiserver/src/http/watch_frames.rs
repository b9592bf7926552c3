//! Watches in protobuf: each line of JSON becomes a frame.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use machinery::codec::protobuf;
use machinery::status::Status;
use serde_json::Value;

use crate::{ApiBody, BoxError};

/// The same events as length-delimited frames. Pieces of the body are whole lines, as watches write them.
pub(super) fn protobuf_frames(body: ApiBody) -> ApiBody {
    let frames = BodyStream::new(body).filter_map(|frame| async move {
        match frame {
            Ok(frame) => Some(Ok(Frame::data(frames_of(&frame.into_data().ok()?)))),
            Err(error) => Some(Err::<_, BoxError>(error)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn frames_of(lines: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        out.extend_from_slice(&frame_of(line));
    }
    out.freeze()
}

fn frame_of(line: &[u8]) -> Vec<u8> {
    let framed = serde_json::from_slice::<Value>(line).map_err(|error| error.to_string()).and_then(|event| {
        let event_type = event["type"].as_str().unwrap_or_default();
        protobuf::watch_frame(event_type, &event["object"]).map_err(|error| error.to_string())
    });
    framed.unwrap_or_else(|error| {
        let status = Status::internal(format!("encoding a watch event: {error}"));
        // A Status of ours has a form; were it not so, the client would see nothing of this event.
        protobuf::watch_frame("ERROR", &status.to_json()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_line_becomes_a_frame() {
        let line =
            br#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}}"#;
        let lines = [line.as_slice(), b"\n", line.as_slice(), b"\n"].concat();
        let body = protobuf_frames(crate::http::full(lines));
        let bytes = body.collect().await.expect("a body").to_bytes();
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        let frame = protobuf::watch_frame("ADDED", &object).expect("a frame");
        assert_eq!(bytes, [frame.as_slice(), frame.as_slice()].concat());
        assert!(!frame_of(b"{}").is_empty());
    }
}
