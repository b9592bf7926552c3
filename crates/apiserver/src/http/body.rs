//! Bodies of requests and answers.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use machinery::status::Status;

use crate::ApiBody;

/// Largest body of a request to a resource, bytes; the same as upstream's.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// A body of known bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> ApiBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body without bytes.
#[must_use]
pub fn empty() -> ApiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Reads a whole body of at most [`BODY_BYTES_MAX`].
///
/// # Errors
/// 413 when it is longer, 400 when it breaks off.
pub async fn read_limited(mut body: ApiBody) -> Result<Bytes, Status> {
    let too_large = || Status::request_too_large(format!("limit is {BODY_BYTES_MAX}"));
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Status::bad_request(format!("failed to read the request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        // Most bodies are one piece, which need not be copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
