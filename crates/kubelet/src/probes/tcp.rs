//! `tcpSocket`: a connection that must be accepted.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{Attempt, dial_error, join_host_port, within};

/// Connects once.
pub(crate) async fn probe(host: &str, port: u16, timeout: Duration) -> Attempt {
    let address = join_host_port(host, port);
    match within(timeout, TcpStream::connect((host.trim_matches(['[', ']']), port))).await {
        Some(Ok(_)) => Attempt::Success,
        Some(Err(error)) => dial_error(&address, &error),
        None => Attempt::failure(format!("dial tcp {address}: i/o timeout")),
    }
}
