//! One connection, one call at a time.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep};

use super::connector::Shared;
use super::decode::Decoder;
use super::http2::Stream;
use super::wire::{CallState, Transport};
use super::{CallError, CallFault, Sent};

/// Status line and headers of an answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Head {
    /// The status; never 1xx, except 101.
    pub status: StatusCode,
    /// The protocol's version.
    pub version: Version,
    /// The headers, as they came.
    pub headers: HeaderMap,
}

impl From<http::response::Parts> for Head {
    fn from(parts: http::response::Parts) -> Self {
        let http::response::Parts { status, version, headers, .. } = parts;
        Self { status, version, headers }
    }
}

/// A connection of HTTP/1.1, or a stream's place on a connection of HTTP/2.
///
/// It carries one call after the other: [`send`](Self::send), then [`body`](Self::body), then the
/// next if it is still [`reusable`](Self::reusable). In between, [`closed`](Self::closed) tells
/// when the server hangs up.
///
/// The future of `send` or `body` may be dropped, which gives the call up; the connection is then
/// to be dropped as well. Dropping it in the middle of a call resets it (see the
/// [module](super)).
pub struct Connection {
    link: Link,
    shared: Arc<Shared>,
    /// One timer for all calls: moving it is far cheaper than making one per call.
    timer: Pin<Box<Sleep>>,
    body: Option<PendingBody>,
}

/// The body of the current answer, not yet asked for.
struct PendingBody {
    incoming: Incoming,
    /// What `Content-Length` promises.
    length: Option<u64>,
    decoder: Result<Option<Decoder>, CallFault>,
}

impl Connection {
    pub(super) fn new(link: Link, shared: Arc<Shared>) -> Self {
        let timer = Box::pin(sleep(shared.options.call_timeout));
        Self { link, shared, timer, body: None }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// Of the URI only path and query are used. `Host`, `Accept-Encoding` and `Content-Length`
    /// are added; the first two can be set by the caller. The call's time starts to run here.
    /// On a connection that is not [`reusable`](Self::reusable) nothing is sent.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<Head, CallError> {
        if !self.reusable() {
            return Err(CallError { sent: Sent::NotSent, fault: CallFault::Closed });
        }
        self.timer.as_mut().reset(Instant::now() + self.shared.options.call_timeout);
        let timer = self.timer.as_mut();
        let answer = match &mut self.link {
            Link::Http1(link) => {
                link.call.begin();
                let answer = link.sender.try_send_request(self.shared.request_http1(request));
                drive(Some(&mut link.driver), timer, pin!(answer)).await
            }
            Link::Http2(stream) => {
                let answer = stream.sender.try_send_request(self.shared.request_http2(request));
                drive(None, timer, pin!(answer)).await
            }
        };
        match answer {
            Some(Ok(response)) => {
                let (head, incoming) = response.into_parts();
                Ok(self.answered(head, incoming))
            }
            Some(Err(error)) => Err(self.failed(error)),
            None => {
                let sent = self.link.sent();
                self.link.close();
                Err(CallError { sent, fault: CallFault::Timeout(self.shared.options.call_timeout) })
            }
        }
    }

    /// Reads the rest of the answer, decompressed. A body of one piece is not copied.
    ///
    /// Stops as soon as the limit is passed. Empty if there is no answer, or if it was read.
    /// The bytes may keep the buffer alive that they were read into, 8 KiB or more: copy what is
    /// kept for long.
    pub async fn body(&mut self) -> Result<Bytes, CallError> {
        let Some(body) = self.body.take() else { return Ok(Bytes::new()) };
        match self.collect(body).await {
            Ok(bytes) => {
                self.link.finish();
                Ok(bytes)
            }
            Err(fault) => {
                self.link.close();
                Err(CallError { sent: Sent::Answered, fault })
            }
        }
    }

    /// Whether the connection can carry another call: the last answer was read to its end, and
    /// nobody closed the connection.
    pub fn reusable(&self) -> bool {
        self.body.is_none() && self.link.is_usable()
    }

    /// Resolves when the server closes the connection. For the time between calls; may be
    /// dropped and asked again.
    pub async fn closed(&mut self) {
        match &mut self.link {
            Link::Http1(link) => poll_fn(|cx| link.driver.poll_ended(cx)).await,
            Link::Http2(stream) => stream.closed().await,
        }
    }

    fn answered(&mut self, head: http::response::Parts, incoming: Incoming) -> Head {
        let head = Head::from(head);
        if incoming.is_end_stream() {
            self.link.finish();
        } else {
            let length =
                head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let decoder = Decoder::for_headers(&head.headers, self.shared.options.max_body);
            self.body = Some(PendingBody { incoming, length, decoder });
        }
        head
    }

    fn failed(&mut self, mut error: TrySendError<Request<Full<Bytes>>>) -> CallError {
        // hyper gives a message back that it has not begun to write.
        let sent = if error.take_message().is_some() { Sent::NotSent } else { self.link.sent() };
        self.link.close();
        CallError { sent, fault: CallFault::of_head(&error.into_error()) }
    }

    async fn collect(&mut self, body: PendingBody) -> Result<Bytes, CallFault> {
        let PendingBody { mut incoming, length, decoder } = body;
        let limit = self.shared.options.max_body;
        let Some(mut decoder) = decoder? else {
            return self.collect_plain(incoming, length, limit).await;
        };
        let mut is_empty = true;
        while let Some(part) = self.part(&mut incoming).await? {
            is_empty = false;
            decoder.write(&part)?;
        }
        // Some servers label the absence of a body.
        if is_empty { Ok(Bytes::new()) } else { decoder.finish().map(Bytes::from) }
    }

    async fn collect_plain(
        &mut self,
        mut incoming: Incoming,
        length: Option<u64>,
        limit: usize,
    ) -> Result<Bytes, CallFault> {
        let too_large = || CallFault::TooLarge { limit };
        if length.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let Some(first) = self.part(&mut incoming).await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large());
        }
        if incoming.is_end_stream() {
            return Ok(first);
        }
        let Some(second) = self.part(&mut incoming).await? else { return Ok(first) };
        // The length is a promise within the limit: room for all of it saves copies.
        let capacity = length.map_or(first.len() + second.len(), |length| length as usize);
        let mut whole = Vec::with_capacity(capacity);
        whole.extend_from_slice(&first);
        let mut part = second;
        loop {
            if part.len() > limit - whole.len() {
                return Err(too_large());
            }
            whole.extend_from_slice(&part);
            if incoming.is_end_stream() {
                break;
            }
            match self.part(&mut incoming).await? {
                Some(next) => part = next,
                None => break,
            }
        }
        Ok(whole.into())
    }

    /// The next piece of the body.
    async fn part(&mut self, incoming: &mut Incoming) -> Result<Option<Bytes>, CallFault> {
        loop {
            let timer = self.timer.as_mut();
            let driver = match &mut self.link {
                Link::Http1(link) => Some(&mut link.driver),
                Link::Http2(_) => None,
            };
            let frame = pin!(poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)));
            match drive(driver, timer, frame)
                .await
                .map(|frame| frame.map(|frame| frame.map(Frame::into_data)))
            {
                Some(None) => return Ok(None),
                Some(Some(Ok(Ok(data)))) => return Ok(Some(data)),
                // Trailers: nobody asked for them.
                Some(Some(Ok(Err(_trailers)))) => {}
                Some(Some(Err(error))) => return Err(CallFault::of_body(&error)),
                None => return Err(CallFault::Timeout(self.shared.options.call_timeout)),
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("reusable", &self.reusable()).finish_non_exhaustive()
    }
}

/// What carries the calls.
pub(super) enum Link {
    Http1(Box<Http1Link>),
    Http2(Stream),
}

impl Link {
    fn is_usable(&self) -> bool {
        match self {
            Self::Http1(link) => link.is_usable(),
            Self::Http2(stream) => stream.is_usable(),
        }
    }

    /// Whether the current call may have reached the server.
    fn sent(&self) -> Sent {
        match self {
            Self::Http1(link) if !link.call.is_written() => Sent::NotSent,
            Self::Http1(_) | Self::Http2(_) => Sent::Unknown,
        }
    }

    /// The current call is over, and its answer was read.
    fn finish(&self) {
        if let Self::Http1(link) = self {
            link.call.finish();
        }
    }

    /// The current call is given up: whatever of it is still here must never be written.
    fn close(&mut self) {
        if let Self::Http1(link) = self {
            link.driver.0 = None;
        }
    }
}

/// A connection of HTTP/1.1.
pub(super) struct Http1Link {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    call: Arc<CallState>,
}

impl Http1Link {
    pub(super) async fn open(transport: Transport, max_head: usize) -> Result<Self, hyper::Error> {
        let call = Arc::clone(transport.call());
        let (sender, connection) =
            http1::Builder::new().max_header_size(max_head).handshake(TokioIo::new(transport)).await?;
        let mut driver = Driver(Some(connection));
        // The first poll makes the sender ready.
        driver.poll(&mut Context::from_waker(Waker::noop()));
        Ok(Self { sender, driver, call })
    }

    fn is_usable(&self) -> bool {
        let between_calls = !self.call.is_open() && !self.call.is_unflushed();
        between_calls && self.driver.0.is_some() && self.sender.is_ready()
    }
}

/// hyper's state machine, until it has ended. It is polled by whoever waits for its results
/// instead of by a task of its own: that spares two switches between tasks per call.
struct Driver(Option<http1::Connection<TokioIo<Transport>, Full<Bytes>>>);

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(cx).is_ready()
        {
            // How it ended is told to the call that it ended.
            self.0 = None;
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx);
        if self.0.is_none() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Waits for a result of the connection, and drives the connection meanwhile if it is ours to
/// drive. None if the time is up first.
async fn drive<F: Future>(
    mut driver: Option<&mut Driver>,
    mut timer: Pin<&mut Sleep>,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    poll_fn(|cx| {
        let polled = match &mut driver {
            None => future.as_mut().poll(cx),
            Some(driver) => {
                // Results appear only while we drive, so nobody has to wake us for them. (Should
                // tokio's budget be used up, the timer below sees to a new turn.)
                let mut unwoken = Context::from_waker(Waker::noop());
                match future.as_mut().poll(&mut unwoken) {
                    Poll::Pending => {
                        driver.poll(cx);
                        future.as_mut().poll(&mut unwoken)
                    }
                    ready @ Poll::Ready(_) => ready,
                }
            }
        };
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
        }
    })
    .await
}
