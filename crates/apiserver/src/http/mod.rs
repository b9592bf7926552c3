//! What is read from and written to HTTP: request lines, queries, media types, bodies and answers.

mod accept;
mod body;
mod media_type;
mod object;
mod pretty;
mod query;
mod request_info;
mod respond;
pub(crate) mod router;
mod warnings;
mod watch_frames;

pub use accept::{Accept, Format, MediaRange, Offer, Transform, parse_accept};
pub(crate) use accept::{FORMATS, MEDIA_TYPES};
pub use body::{BODY_BYTES_MAX, empty, full, read_limited};
pub(crate) use object::{BodyError, delete_options, read_object};
pub use query::{Query, percent_decode, percent_encode};
pub use request_info::{RequestInfo, RequestInfoError};
pub(crate) use respond::{Wishes, gzip, json, raw_json, respond, status, text};

#[cfg(test)]
mod protobuf_kinds_tests;
#[cfg(test)]
mod protobuf_tests;
