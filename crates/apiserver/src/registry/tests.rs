//! The engine driven in-process, over a store in memory and over etcd.

mod admission;
mod allocation;
mod applying;
mod binding;
mod components;
mod conformance;
mod deletion;
mod evictions;
mod golden;
pub(super) mod harness;
mod histories;
mod lasting;
mod objects;
mod ownership;
mod patching;
mod reading;
mod replacing;
mod selecting;
mod start;
mod stores;
mod subresources;
mod versions;
mod watching;
