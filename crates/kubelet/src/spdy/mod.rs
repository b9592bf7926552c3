//! SPDY/3.1, the server's side, as far as exec, attach and port-forward use it: streams opened by the client.
//!
//! Flow control is by the transport: clients of Kubernetes never send window updates, so windows are not kept, and a
//! stream that is not read stops the connection as it does upstream.

mod dictionary;
mod frame;
mod session;

pub(crate) use session::{Incoming, Session, StreamReader, StreamWriter};
