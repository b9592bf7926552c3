//! Facts and arithmetic of the Kubernetes API, without any IO.
//!
//! | module | what it knows |
//! |---|---|
//! | [`schema`] | every type of the API, field by field |
//! | [`resources`] | every resource that is served, with its verbs, names and table columns |
//! | [`decode`] | bytes to objects: JSON and YAML, strict about types and fields |
//! | [`codec`] | protobuf, as Go clients write built-in kinds |
//! | [`patch`] | JSON patch, merge patch, strategic merge patch |
//! | [`selector`] | label and field selectors |
//! | [`quantity`] | `500m`, `1Gi` |
//! | [`names`] | what may be a name |
//! | [`status`], [`field`] | errors in upstream's words |
//! | [`meta`] | `metadata` of objects held as JSON |
//! | [`metrics`] | numbers for Prometheus |
//! | [`internal`], [`unified`] | objects in messages, and what differs between two |
//! | [`serialize`], [`time`], [`hash`], [`text`] | writing things as upstream writes them |

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod codec;
pub mod decode;
pub mod field;
pub mod hash;
pub mod internal;
pub mod meta;
pub mod metrics;
pub mod names;
pub mod patch;
#[cfg(test)]
mod properties;
pub mod quantity;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod serialize;
pub mod status;
pub mod text;
pub mod time;
pub mod unified;
