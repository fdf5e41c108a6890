//! The bytes' way: a socket that knows whether it carried anything of the current call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How far the call on a connection has come. Shared between the [`Connection`](super::Connection)
/// and its socket, which hyper owns; always on one task, hence relaxed.
#[derive(Debug, Default)]
pub(super) struct CallState {
    phase: AtomicU8,
    unflushed: AtomicBool,
}

impl CallState {
    const IDLE: u8 = 0;
    const QUEUED: u8 = 1;
    const WRITTEN: u8 = 2;

    pub(super) fn begin(&self) {
        self.phase.store(Self::QUEUED, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        self.phase.store(Self::IDLE, Ordering::Relaxed);
    }

    /// Between `begin` and `finish`.
    pub(super) fn is_open(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != Self::IDLE
    }

    /// Whether the kernel took a byte since `begin`.
    pub(super) fn is_written(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Self::WRITTEN
    }

    /// Whether some of the request is still in our buffers: an answer may come before that.
    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed.load(Ordering::Relaxed)
    }

    fn wrote(&self) {
        if self.is_open() {
            self.phase.store(Self::WRITTEN, Ordering::Relaxed);
        }
    }
}

/// The socket. Below TLS, so that it sees exactly what the kernel gets.
#[derive(Debug)]
pub(super) struct Wire {
    tcp: TcpStream,
    call: Arc<CallState>,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, call: Arc::default() }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.call.is_open() {
            // The call was given up on: what the kernel still holds of it must not go out later.
            // An error means that the socket is gone already, and its buffer with it.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        if let Poll::Ready(Ok(1..)) = written {
            self.call.wrote();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A connection to the origin, encrypted or not.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    call: Arc<CallState>,
}

#[derive(Debug)]
enum Stream {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

impl Transport {
    pub(super) fn plain(wire: Wire) -> Self {
        Self { call: Arc::clone(&wire.call), stream: Stream::Plain(wire) }
    }

    pub(super) fn tls(tls: TlsStream<Wire>) -> Self {
        Self { call: Arc::clone(&tls.get_ref().0.call), stream: Stream::Tls(Box::new(tls)) }
    }

    pub(super) fn call(&self) -> &Arc<CallState> {
        &self.call
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

/// Not vectored, so that hyper puts head and body together: one `send` costs the kernel measurably
/// less than one `writev`, and the copy of a small body costs nothing beside it.
impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.call.unflushed.store(true, Ordering::Relaxed);
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    /// hyper asks for this when it has written all it has, and only then.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        if flushed.is_ready() {
            self.call.unflushed.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(wire) => Pin::new(wire).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
