//! A connection's socket, watched: when an answer has really been written, and how to reset.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::shared::Shared;
use super::state::Ticket;

/// What the socket and the answers of one connection have to tell each other.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    /// Answers that hyper has taken over and not yet flushed.
    unflushed: Mutex<Vec<Ticket>>,
    reset: AtomicBool,
}

/// An accepted request in service. Dropping it means that the answer is complete in hyper's buffer, or will
/// never be; the provider counts it as ended with the next flush, or when the connection ends.
pub(super) struct InService {
    connection: Arc<Connection>,
    ticket: Ticket,
}

/// The socket itself.
pub(super) struct Wire {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, unflushed: Mutex::default(), reset: AtomicBool::new(false) }
    }

    /// Makes the connection end in a TCP reset.
    pub(super) fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    fn release(&self) {
        let mut unflushed = self.unflushed.lock().unwrap_or_else(PoisonError::into_inner);
        if !unflushed.is_empty() {
            self.shared.finish(unflushed.drain(..));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.release();
    }
}

impl InService {
    pub(super) fn new(connection: Arc<Connection>, ticket: Ticket) -> Self {
        Self { connection, ticket }
    }

    /// What the request turned out to cost.
    pub(super) fn costs(&mut self, actual: u64) {
        self.ticket.settlement.actual = actual;
    }
}

impl Drop for InService {
    fn drop(&mut self) {
        let unflushed = &self.connection.unflushed;
        unflushed.lock().unwrap_or_else(PoisonError::into_inner).push(self.ticket);
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::Relaxed) {
            // With zero linger the close that follows sends RST. It can only fail on a socket already gone.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once all it has buffered was written: the answer has left.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.connection.release();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.reset.load(Ordering::Relaxed) {
            // A shutdown would send FIN before the RST.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
