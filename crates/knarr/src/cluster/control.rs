//! The running program's control interface: a Unix socket only root can open, one JSON request and one JSON answer a
//! connection, each a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use container::Runtime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// A request is a short line; more is not one of ours.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no snapshot.
pub(crate) const OBJECTS_IN_ETCD: &str =
    "the objects of this cluster are in etcd: save and restore them with etcdctl and etcdutl";

/// What the command line asks of the running program.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Request {
    /// Who are you?
    Status,
    /// End the program; containers go on.
    Stop,
    ImportImage {
        archive: PathBuf,
    },
    ListImages,
    RemoveImage {
        image: String,
    },
    /// Write all objects to a new file.
    Snapshot {
        file: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Why the running program could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("the cluster is not running")]
    NotRunning,
    #[error("only root may ask the running cluster; try sudo")]
    NotAllowed,
    #[error("{0}")]
    Refused(String),
    #[error("failed to talk to the running cluster: {0}")]
    Io(#[from] std::io::Error),
}

/// Asks the program that listens on `socket`.
pub(crate) fn call(socket: &Path, request: &Request) -> Result<Value, ControlError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
        std::io::ErrorKind::PermissionDenied => ControlError::NotAllowed,
        _ => ControlError::Io(error),
    })?;
    let mut line = serde_json::to_string(request).map_err(std::io::Error::from)?;
    line.push('\n');
    let mut answer = String::new();
    let asked =
        stream.write_all(line.as_bytes()).and_then(|()| BufReader::new(stream).read_line(&mut answer));
    let cut = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => ControlError::NotRunning,
        _ => ControlError::Io(error),
    };
    // It was about to end, as for a moment after it was killed.
    if asked.map_err(cut)? == 0 {
        return Err(ControlError::NotRunning);
    }
    match serde_json::from_str(&answer).map_err(std::io::Error::from)? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(message) => Err(ControlError::Refused(message)),
    }
}

/// What the control interface acts on.
#[derive(Clone)]
pub(super) struct Controlled {
    pub runtime: Arc<dyn Runtime>,
    /// The store in the data directory; none when objects are in etcd.
    pub store: Option<Arc<store::Embedded>>,
    /// Cancelled to end the program.
    pub stop: CancellationToken,
    /// Told to who asks.
    pub facts: Value,
}

/// Answers requests until the token is cancelled.
pub(super) async fn serve(
    socket: PathBuf,
    controlled: Controlled,
    token: CancellationToken,
) -> anyhow::Result<()> {
    // Left by a run that was killed; the caller holds the cluster's lock.
    let _ = std::fs::remove_file(&socket);
    let listener = tokio::net::UnixListener::bind(&socket)
        .with_context(|| format!("failed to listen on {}", socket.display()))?;
    loop {
        let (stream, _) = tokio::select! {
            () = token.cancelled() => break,
            accepted = listener.accept() => accepted?,
        };
        // One at a time: the callers are people.
        if let Err(error) = answer(stream, &controlled).await {
            tracing::warn!("control request failed: {error}");
        }
    }
    let _ = std::fs::remove_file(&socket);
    Ok(())
}

async fn answer(mut stream: tokio::net::UnixStream, controlled: &Controlled) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let limited = tokio::io::AsyncReadExt::take(read, REQUEST_BYTES_MAX);
    tokio::io::BufReader::new(limited).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            carry_out(request, controlled).await.map_or_else(|e| Answer::Error(format!("{e:#}")), Answer::Ok)
        }
        Err(error) => Answer::Error(format!("not a request: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

async fn carry_out(request: Request, controlled: &Controlled) -> anyhow::Result<Value> {
    let runtime = &controlled.runtime;
    Ok(match request {
        Request::Status => controlled.facts.clone(),
        Request::Stop => {
            controlled.stop.cancel();
            Value::Null
        }
        Request::ImportImage { archive } => json!(runtime.import_image(&archive).await?),
        Request::ListImages => runtime.list_images().await?.iter().map(image_facts).collect(),
        Request::RemoveImage { image } => {
            // The runtime is silent about an image that is not there, as CRI has it; a person wants to know.
            if runtime.image_status(&image).await?.is_none() {
                return Err(container::RuntimeError::NotFound { kind: "image", id: image }.into());
            }
            runtime.remove_image(&image).await?;
            Value::Null
        }
        Request::Snapshot { file } => {
            let store = controlled.store.clone().context(OBJECTS_IN_ETCD)?;
            let made = tokio::task::spawn_blocking(move || store.snapshot(&file)).await??;
            snapshot_facts(&made)
        }
    })
}

/// What is told of a snapshot.
pub(crate) fn snapshot_facts(made: &store::Snapshot) -> Value {
    json!({"revision": made.revision, "objects": made.objects, "bytes": made.bytes})
}

fn image_facts(image: &container::Image) -> Value {
    json!({"id": image.id, "tags": image.repo_tags, "digests": image.repo_digests, "bytes": image.size_bytes})
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_ends_without_an_answer_does_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control");
        let call = || call(&socket, &Request::Status);
        assert!(matches!(call(), Err(ControlError::NotRunning)), "nobody has ever listened");
        let listener = UnixListener::bind(&socket).unwrap();
        for reads in [false, true] {
            std::thread::scope(|scope| {
                let asked = scope.spawn(call);
                let (stream, _) = listener.accept().unwrap();
                if reads {
                    BufReader::new(&stream).read_line(&mut String::new()).unwrap();
                }
                drop(stream);
                assert!(matches!(asked.join().unwrap(), Err(ControlError::NotRunning)), "{reads}");
            });
        }
        drop(listener);
        assert!(matches!(call(), Err(ControlError::NotRunning)), "it was killed");
    }
}
