//! Step-by-step progress with timings on the terminal.

use std::io::Write;
use std::time::{Duration, Instant};

/// Prints each step with the time since the command began.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    began: Instant,
}

impl Progress {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// A step is done.
    pub(crate) fn step(&self, what: &str) {
        say(&format!("  {:>8}  {what}", millis(self.began.elapsed())));
    }
}

/// A line without a time.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed terminal must not stop the cluster.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn millis(elapsed: Duration) -> String {
    format!("{} ms", elapsed.as_millis())
}
