//! The Common Expression Language as Kubernetes uses it: what an expression says (`parser`), whether it makes sense
//! (`check`, `literals`) in an environment (`env`, `kubernetes`), what it may `cost`, and what cel-go would print about it (`issue`).
//!
//! Nothing here reads a clock, a file or a socket. A compiled expression keeps its tree with an identity for each node, the
//! types and references found for them, so that cost estimates and evaluation need no second look at the text.

pub mod ast;
mod check;
mod compile;
pub mod cost;
pub mod env;
mod functions;
mod issue;
pub mod kubernetes;
mod literals;
mod names;
mod parser;
mod types;

pub use check::{Checked, Reference};
pub use compile::{Compiled, Refusal, compile};
pub use issue::{Issue, Source, display};
pub use names::is_identifier;
pub use types::Type;
