//! HTTP/2: one TCP connection carries many workers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;

use super::Options;
use super::wire::Transport;

/// Streams on one TCP connection, unless the server allows fewer.
const MAX_STREAMS: usize = 100;

/// The open HTTP/2 connections to one origin.
#[derive(Default)]
pub(super) struct Streams {
    trunks: Vec<Arc<Trunk>>,
}

impl Streams {
    /// A stream on a connection that has room for one.
    pub(super) fn take(&mut self) -> Option<Stream> {
        self.trunks.retain(|trunk| !trunk.sender.is_closed());
        let free = self.trunks.iter().find(|trunk| trunk.in_use() < trunk.limit());
        free.map(Stream::on)
    }

    /// Opens one more connection on `transport`, and takes its first stream.
    pub(super) async fn open(
        &mut self,
        transport: Transport,
        options: &Options,
    ) -> Result<Stream, hyper::Error> {
        let trunk = Arc::new(Trunk::open(transport, options.max_head).await?);
        let stream = Stream::on(&trunk);
        self.trunks.push(trunk);
        Ok(stream)
    }
}

/// One TCP connection.
struct Trunk {
    sender: SendRequest<Full<Bytes>>,
    in_use: AtomicUsize,
    limit: Arc<AtomicUsize>,
    /// Its other end is dropped when the connection ends.
    ended: watch::Receiver<()>,
}

impl Trunk {
    async fn open(transport: Transport, max_head: usize) -> Result<Self, hyper::Error> {
        let (sender, mut connection) = Builder::new(TokioExecutor::new())
            .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(transport))
            .await?;
        let limit = Arc::new(AtomicUsize::new(MAX_STREAMS));
        let (alive, ended) = watch::channel(());
        let peer_limit = Arc::clone(&limit);
        // Ends with the last sender, or with the connection.
        tokio::spawn(async move {
            let _alive = alive;
            std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                let allowed = connection.current_max_send_streams().clamp(1, MAX_STREAMS);
                peer_limit.store(allowed, Ordering::Relaxed);
                polled
            })
            .await
        });
        Ok(Self { sender, in_use: AtomicUsize::new(0), limit, ended })
    }

    fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }
}

/// One worker's place on a connection.
pub(super) struct Stream {
    pub(super) sender: SendRequest<Full<Bytes>>,
    trunk: Arc<Trunk>,
}

impl Stream {
    fn on(trunk: &Arc<Trunk>) -> Self {
        trunk.in_use.fetch_add(1, Ordering::Relaxed);
        Self { sender: trunk.sender.clone(), trunk: Arc::clone(trunk) }
    }

    /// Whether another call can be made. Not if the server turned out to allow fewer streams
    /// than have been handed out: one after the other then moves to another connection.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.trunk.in_use() <= self.trunk.limit()
    }

    /// Resolves when the connection has ended.
    pub(super) async fn closed(&self) {
        let mut ended = self.trunk.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.trunk.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}
