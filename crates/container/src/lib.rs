//! Containers on one node: the runtime trait in CRI's terms and the embedded runtime.
//!
//! [`Runtime`] is what the kubelet talks to, [`PodNetwork`] is what gives a pod its address, and [`Embedded`] is
//! the runtime that needs nothing installed. A program that uses it calls [`reexec`] first thing in `main`:
//! the processes that live beside containers are the same program, started again.

mod embedded;
mod runtime;

pub use embedded::{BuiltinImage, Embedded, EmbeddedConfig, NoNetwork, OpenError, REEXEC, cleanup, reexec};
pub use runtime::*;
