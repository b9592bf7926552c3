//! A running command and a distant client: bytes both ways, and how it ended.

use std::time::Duration;

use bytes::Bytes;
use container::{ExecSession, Reader, RuntimeError, TerminalSize, Writer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Output that waits to be sent, in pieces.
pub(crate) const OUTPUT_QUEUE: usize = 8;
/// Input that waits to be taken, in pieces.
pub(crate) const INPUT_QUEUE: usize = 8;
const PIECE_BYTES: usize = 32 * 1024;
/// Output may come this long after the command's end: of children that still hold its streams.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// How it ended; nothing comes after it.
    Status(Value),
}

/// The client's side.
pub(crate) struct Remote {
    /// Ends when the client closes its input.
    pub stdin: mpsc::Receiver<Bytes>,
    pub resize: mpsc::Receiver<TerminalSize>,
    pub output: mpsc::Sender<Output>,
}

/// How a command's exit code is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Exec: the code is the result.
    ExitCode,
    /// Attach: it is the container's own affair.
    Ignore,
}

/// Connects the two until the command ends or the client leaves.
pub(crate) async fn drive(session: ExecSession, remote: Remote, ending: Ending) {
    let Remote { stdin, resize, output } = remote;
    let ExecSession { stdin: input, stdout, stderr, resize: resizer, exit } = session;
    let feed = feed(stdin, input);
    let resizes = resizes(resize, resizer);
    let read = async {
        let out = copy(stdout, &output, Output::Stdout);
        let err = copy(stderr, &output, Output::Stderr);
        futures::future::join(out, err).await;
    };
    tokio::pin!(feed, resizes, read, exit);
    let (mut fed, mut resized, mut drained) = (false, false, false);
    let result = loop {
        tokio::select! {
            result = &mut exit => break result,
            () = &mut read, if !drained => drained = true,
            () = &mut feed, if !fed => fed = true,
            () = &mut resizes, if !resized => resized = true,
            // Dropping the session hangs up.
            () = output.closed() => return,
        }
    };
    if !drained {
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut read).await;
    }
    let _ = output.send(Output::Status(status(result, ending))).await;
}

async fn feed(mut from: mpsc::Receiver<Bytes>, to: Option<Writer>) {
    let Some(mut to) = to else { return };
    while let Some(data) = from.recv().await {
        if to.write_all(&data).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn resizes(mut from: mpsc::Receiver<TerminalSize>, to: Option<mpsc::Sender<TerminalSize>>) {
    let Some(to) = to else { return };
    while let Some(size) = from.recv().await {
        if to.send(size).await.is_err() {
            return;
        }
    }
}

async fn copy(from: Option<Reader>, to: &mpsc::Sender<Output>, wrap: fn(Bytes) -> Output) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; PIECE_BYTES];
    // A terminal's end is an error of the read.
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 || to.send(wrap(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
            return;
        }
    }
}

/// The Status that the error channel carries.
pub(crate) fn status(result: Result<i32, RuntimeError>, ending: Ending) -> Value {
    match result {
        Ok(0) => success(),
        Ok(_) if ending == Ending::Ignore => success(),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => internal_error(&format!("error executing command in container: {error}")),
    }
}

fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// An internal error in the words of the API.
pub(crate) fn internal_error(message: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {message}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    })
}

/// Reads a terminal size as clients send it: `{"Width":80,"Height":24}`.
pub(crate) fn terminal_size(data: &[u8]) -> Option<TerminalSize> {
    let value: Value = serde_json::from_slice(data).ok()?;
    let of = |name: &str| value[name].as_u64().and_then(|number| u16::try_from(number).ok());
    Some(TerminalSize { width: of("Width")?, height: of("Height")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        assert_eq!(status(Ok(0), Ending::ExitCode)["status"], "Success");
        assert_eq!(status(Ok(7), Ending::Ignore)["status"], "Success");
        let failed = status(Ok(7), Ending::ExitCode);
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0], json!({"reason": "ExitCode", "message": "7"}));
        let broken = status(Err(RuntimeError::Invalid("no shell".into())), Ending::ExitCode);
        assert_eq!(broken["reason"], "InternalError");
    }

    #[test]
    fn sizes() {
        assert_eq!(
            terminal_size(br#"{"Width":80,"Height":24}"#),
            Some(TerminalSize { width: 80, height: 24 })
        );
        assert_eq!(terminal_size(b"{}"), None);
        assert_eq!(terminal_size(br#"{"Width":99999,"Height":24}"#), None);
    }

    #[tokio::test]
    async fn a_command_that_echoes() {
        let (near, far) = tokio::io::duplex(64);
        let (far_read, mut far_write) = tokio::io::split(far);
        let (near_read, near_write) = tokio::io::split(near);
        // What is written to stdin comes back on stdout, then the command ends.
        let echo = tokio::spawn(async move {
            let mut far_read = far_read;
            let mut buffer = [0; 5];
            far_read.read_exact(&mut buffer).await.expect("input");
            far_write.write_all(&buffer).await.expect("output");
            far_write.shutdown().await.expect("end");
        });
        let session = ExecSession {
            stdin: Some(Box::pin(near_write)),
            stdout: Some(Box::pin(near_read)),
            stderr: None,
            resize: None,
            exit: Box::pin(async move {
                echo.await.expect("echo");
                Ok(3)
            }),
        };
        let (stdin_sender, stdin) = mpsc::channel(1);
        let (_resize_sender, resize) = mpsc::channel(1);
        let (output, mut received) = mpsc::channel(8);
        stdin_sender.send(Bytes::from_static(b"hello")).await.expect("send");
        drive(session, Remote { stdin, resize, output }, Ending::ExitCode).await;
        assert_eq!(received.recv().await, Some(Output::Stdout(Bytes::from_static(b"hello"))));
        assert!(
            matches!(received.recv().await, Some(Output::Status(status)) if status["reason"] == "NonZeroExitCode")
        );
        assert_eq!(received.recv().await, None);
    }
}
