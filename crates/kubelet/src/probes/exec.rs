//! `exec`: a command in the container that must exit with 0.

use std::time::Duration;

use container::{Runtime, RuntimeError};

use super::Attempt;

/// Bytes of output that an event carries.
const OUTPUT_MAX: usize = 10 * 1024;

/// Runs the command once.
pub(crate) async fn probe(
    runtime: &dyn Runtime,
    container_id: &str,
    command: Vec<String>,
    timeout: Duration,
) -> Attempt {
    let shown = command.join(" ");
    match runtime.exec_sync(container_id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Attempt::Success,
        Ok(output) => {
            let mut text = output.stdout;
            text.extend(output.stderr);
            text.truncate(OUTPUT_MAX);
            Attempt::failure(String::from_utf8_lossy(&text).into_owned())
        }
        Err(RuntimeError::Timeout(_)) => {
            Attempt::failure(format!("command timed out: {shown:?} timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Attempt::Error(error.to_string()),
    }
}
