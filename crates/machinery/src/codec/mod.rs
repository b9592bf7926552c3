//! Encodings of objects other than text.

pub mod protobuf;
