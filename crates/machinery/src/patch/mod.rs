//! The three patches of the API.
//!
//! Each takes the object as it is and the patch, and returns the patched object; nothing is changed in place, so a patch
//! that fails half-way leaves no trace.

mod json;
mod lists;
mod merge;
mod strategic;

use thiserror::Error;

use crate::status::Status;

pub use json::kind_of;
pub use json::{COPIED_BYTES_MAX, OPERATIONS_MAX, json};
pub use merge::merge;
pub use strategic::strategic;

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well-formed but does not fit the object: 422, in a general sentence.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch has too many operations: 413.
    #[error("{0}")]
    TooLarge(String),
    /// Upstream lets the error of its library through: 500 without a reason.
    #[error("{0}")]
    Internal(String),
}

impl PatchError {
    /// The answer of the API.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Malformed(message) => Status::bad_request(message),
            Self::Unprocessable(_) => Status::unprocessable(),
            Self::TooLarge(message) => Status::request_too_large(message),
            Self::Internal(message) => Status::unknown(message),
        }
    }
}

#[cfg(test)]
mod tests;
