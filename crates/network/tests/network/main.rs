//! The network in real namespaces: bridge, addresses, Services, DNS and leaving nothing behind.
//!
//! Every test runs in a network namespace that it makes itself, so nothing changes on the machine. That needs root;
//! without, each test says so and ends.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod clean;
mod dns;
mod fake_api;
mod host;
mod pods;
mod services;
