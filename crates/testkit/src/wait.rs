//! Waiting for a condition with a deadline: tests never sleep for luck.

use std::time::{Duration, Instant};

use anyhow::bail;

const POLL: Duration = Duration::from_millis(25);

/// Calls `look` until it answers `Some`, at most for `limit`. The error names what was waited for and what was seen last.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("{what}: not within {limit:?}; last: {seen}");
        }
        std::thread::sleep(POLL);
    }
}

/// [`until`] for a condition with no result.
pub fn eventually(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    until(what, limit, || look().map(|done| done.then_some(())))
}
