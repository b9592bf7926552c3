//! Selectors: which objects of a list are meant.

mod field;
mod label;
mod lexer;

pub use field::{FieldSelector, Term};
pub use label::{LabelSelector, Operator, Requirement};

use thiserror::Error;

/// Why a selector could not be read; the message is upstream's and belongs in a 400 answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);

#[cfg(test)]
mod tests;
