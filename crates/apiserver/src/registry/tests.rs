//! The engine driven in-process, over a store in memory.

mod deletion;
mod golden;
pub(super) mod harness;
mod objects;
mod reading;
mod selecting;
mod subresources;
mod watching;
