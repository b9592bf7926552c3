//! Lifecycle hooks: `postStart` and `preStop`.

use std::time::Duration;

use api::{Container, LifecycleHandler};
use container::Runtime;

use crate::probes::{Attempt, http, port};

/// Runs a handler to its end or to the deadline. An error is the reason in words.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    container: &Container,
    container_id: &str,
    host: &str,
    handler: &LifecycleHandler,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        return match runtime.exec_sync(container_id, command, timeout).await {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => Err(format!(
                "command '{shown}' exited with {}: {}",
                output.exit_code,
                String::from_utf8_lossy(&output.stderr).trim_end()
            )),
            Err(error) => Err(format!("command '{shown}' failed: {error}")),
        };
    }
    if let Some(action) = &handler.http_get {
        let target = http::target(action, container, host)?;
        return match http::probe(&target, timeout).await {
            Attempt::Success => Ok(()),
            Attempt::Failure { output, .. } => Err(output),
            Attempt::Error(error) => Err(error),
        };
    }
    if let Some(action) = &handler.sleep {
        let length = Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0));
        tokio::time::sleep(length.min(timeout)).await;
        return Ok(());
    }
    if let Some(action) = &handler.tcp_socket {
        port(&action.port, container)?;
    }
    Err("invalid handler: an exec, httpGet or sleep action is required".to_owned())
}
