//! The outgoing HTTP client: connections that the engine owns, one call at a time.
//!
//! There is no pool in here and nothing happens by itself. The engine decides how many
//! [`Connection`]s exist; each is owned by one worker, which connects first, asks for its
//! permit only then, and sends at once, so that `[send, response]` is as tight as it can be.
//! A call is written at most once: nothing is sent again, no redirect is followed, no
//! environment variable chooses a proxy.
//!
//! ```text
//! Connector::connect ─► Connection ─► send ─► Head ─► body ─► Bytes
//!                           ▲                                   │
//!                           └───────── while reusable ──────────┘
//! ```
//!
//! Dropping a [`Connection`] in the middle of a call aborts it: the kernel throws away what it
//! has not sent yet, so that a call given up on cannot reach the server later. (With HTTP/2 the
//! TCP connection is shared, and the stream is reset instead.)

mod connection;
mod connector;
mod decode;
mod dial;
mod error;
mod http2;
mod once;
mod origin;
mod tls;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use connection::{Connection, Head};
pub use connector::Connector;
pub use error::{CallError, CallFault, ConnectError, Sent, SetupError};
pub use once::{OnceError, once};
pub use origin::{Origin, Proxy};
pub use transport::{Connect, Exchange};

/// How to connect, and what no call may exceed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// From the look-up of the name to the end of the TLS handshake. Default 10 s.
    pub connect_timeout: Duration,
    /// From the start of [`Connection::send`] to the last byte of the body. Default 30 s.
    pub call_timeout: Duration,
    /// Bytes of a response's status line and headers. Default 64 KiB.
    pub max_head: usize,
    /// Bytes of a response's body, after decompression. Default 16 MiB.
    pub max_body: usize,
    /// PEM files with certificates to trust besides the system's.
    pub ca: Vec<PathBuf>,
    /// When to speak HTTP/2.
    pub http2: Http2,
    /// The proxy to go through. None unless set: no environment variable is read.
    pub proxy: Option<Proxy>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            max_head: 64 << 10,
            max_body: 16 << 20,
            ca: Vec::new(),
            http2: Http2::default(),
            proxy: None,
        }
    }
}

/// When to speak HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Http2 {
    /// On `https` where the server chooses it (ALPN).
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Never,
    /// Always, without asking the server; the only way to HTTP/2 on `http`.
    PriorKnowledge,
}
