//! What can go wrong, and whether the server may have seen the call.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a [`Connector`](super::Connector) could not be made. Nothing was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The URL is neither `http` nor `https`.
    #[error("URLs with the scheme `{scheme}` are not supported, only `http` and `https`")]
    Scheme {
        /// What stood before the `:`.
        scheme: String,
    },
    /// The URL carries a user name or password.
    #[error("the URL holds a user name or a password")]
    Userinfo,
    /// The proxy's URL cannot be used; it is not repeated, since it may hold a password.
    #[error("the proxy's URL cannot be used: {reason}")]
    Proxy {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// HTTP/2 with prior knowledge was asked for through a proxy to an `http` origin.
    #[error("HTTP/2 with prior knowledge cannot go through a proxy to an `http` URL")]
    Http2OverProxy,
    /// A file of `ca` cannot be read as PEM, or has no usable certificate.
    #[error("cannot read certificates from {path}: {reason}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificates, and none were given.
    #[error("no trusted certificates were found on this system")]
    NoRoots,
    /// TLS cannot be configured.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl SetupError {
    /// What the user can do about it, for a `hint:` line.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoHost => Some("write it like https://api.example.com/v1/users"),
            Self::Userinfo => Some("send it as a header, e.g. `Authorization: Basic …`"),
            Self::Proxy { .. } => Some("expected http://[USER:PASSWORD@]HOST:PORT"),
            Self::Ca { .. } => Some("expected a PEM file with -----BEGIN CERTIFICATE----- blocks"),
            Self::NoRoots => Some("install the package ca-certificates, or name a PEM file"),
            Self::Scheme { .. } | Self::Http2OverProxy | Self::Tls(_) => None,
        }
    }
}

/// Why there is no connection. No call was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name could not be resolved.
    #[error("cannot find the address of {host}: {source}")]
    Dns {
        /// The name that was looked up: the origin's, or the proxy's.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("{host}:{port} refused the connection")]
    Refused {
        /// Host of the origin, or of the proxy.
        host: String,
        /// Port.
        port: u16,
    },
    /// The TLS handshake failed, or the certificate is not trusted.
    #[error("no secure connection to {host}: {source}")]
    Tls {
        /// The origin's host.
        host: String,
        /// What TLS said.
        source: io::Error,
    },
    /// It took longer than [`Options::connect_timeout`](super::Options::connect_timeout).
    #[error("{host} could not be connected to within {after:?}")]
    Timeout {
        /// The origin's host.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// The proxy did not open a tunnel.
    #[error("the proxy {proxy} opened no tunnel: {reason}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Its status, or what went wrong.
        reason: String,
    },
    /// Any other failure of the network.
    #[error("cannot connect to {host}: {source}")]
    Io {
        /// Host of the origin, or of the proxy.
        host: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether the server may have seen, and counted, a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not one byte of it left: it can be sent again, and nothing was counted.
    NotSent,
    /// Some of it may have left, and no answer came.
    Unknown,
    /// Its head was answered; only the body of the answer failed.
    Answered,
}

/// A call that failed.
#[derive(Debug, Error)]
#[error("{fault}")]
pub struct CallError {
    /// Whether the server may have seen it.
    pub sent: Sent,
    /// What went wrong.
    pub fault: CallFault,
}

/// What went wrong with a call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallFault {
    /// The server closed the connection before it answered.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Reset(io::Error),
    /// HTTP/2: the server says that it did *not* process the call (`REFUSED_STREAM`, or
    /// `GOAWAY` with an older stream), so that sending it again buys nothing twice.
    /// It did read it, so it may have counted it.
    #[error("the server refused to process the call")]
    Refused,
    /// [`Options::call_timeout`](super::Options::call_timeout) went by.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The body ended too early.
    #[error("the body of the answer was cut short")]
    Truncated,
    /// The body is longer than [`Options::max_body`](super::Options::max_body).
    #[error("the body of the answer is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes, after decompression.
        limit: usize,
    },
    /// The body is not what its `Content-Encoding` says.
    #[error("the body of the answer is not valid {coding}: {source}")]
    Coding {
        /// `gzip`, `br`, `zstd` or `deflate`.
        coding: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// The body has a `Content-Encoding` that nobody asked for.
    #[error("the body of the answer has the unknown encoding `{0}`")]
    UnknownCoding(String),
    /// The answer is not valid HTTP, or its head is larger than
    /// [`Options::max_head`](super::Options::max_head).
    #[error("the answer is not valid HTTP: {0}")]
    Protocol(String),
}

impl CallFault {
    /// What a failure before the head, as hyper reports it, means.
    pub(super) fn of_head(error: &hyper::Error) -> Self {
        Self::of(error, Self::Closed)
    }

    /// What a failure within the body, as hyper reports it, means.
    pub(super) fn of_body(error: &hyper::Error) -> Self {
        Self::of(error, Self::Truncated)
    }

    fn of(error: &hyper::Error, ended: Self) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return ended;
        }
        let message = with_causes(error);
        if let Some(h2) = cause::<h2::Error>(error) {
            if h2.reason() == Some(h2::Reason::REFUSED_STREAM) || (h2.is_go_away() && h2.is_remote()) {
                return Self::Refused;
            }
            if let Some(io) = h2.get_io() {
                return Self::of_io(io, ended, message);
            }
        }
        match cause::<io::Error>(error) {
            Some(io) => Self::of_io(io, ended, message),
            None => Self::Protocol(message),
        }
    }

    fn of_io(error: &io::Error, ended: Self, message: String) -> Self {
        use io::ErrorKind::{BrokenPipe, InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            UnexpectedEof => ended,
            // An HTTP/2 connection that ended under its streams is reported like this.
            BrokenPipe if error.raw_os_error().is_none() => ended,
            InvalidData | InvalidInput => Self::Protocol(message),
            kind => {
                Self::Reset(error.raw_os_error().map_or_else(|| kind.into(), io::Error::from_raw_os_error))
            }
        }
    }
}

/// The error of type `E` among the causes.
fn cause<E: StdError + 'static>(error: &hyper::Error) -> Option<&E> {
    std::iter::successors(error.source(), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// The message with those of its causes, since hyper's own say little.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&error| error.source()) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    text
}
