//! Shares the fuzz targets between the fuzzers.
#![allow(missing_docs)]

#[path = "targets.rs"]
mod targets;

pub use targets::*;
