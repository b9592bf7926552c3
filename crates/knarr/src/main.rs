//! Knarr: Kubernetes in one program. This crate is the only place that wires the components together.

mod cli;
mod cluster;
mod demo;

use std::process::ExitCode;

/// Gives freed memory back to the system sooner and allocates faster than the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Container monitors re-execute this program and must stay single-threaded: before anything else.
    if let Some(code) = container::reexec() {
        return code;
    }
    cli::run()
}
