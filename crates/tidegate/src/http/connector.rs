//! Makes connections to one origin.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connection::{Http1Link, Link};
use super::decode;
use super::dial::Dialer;
use super::http2::Streams;
use super::{ConnectError, Connection, Http2, Options, Origin, Proxy, SetupError, tls};

/// Makes [`Connection`]s to one origin. Cheap to clone: clones share the trusted certificates,
/// TLS sessions, resolved addresses and HTTP/2 connections.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

/// What all connections to one origin have in common.
pub(super) struct Shared {
    pub(super) options: Options,
    dialer: Dialer,
    host: HeaderValue,
    /// HTTP/2 connections, and the lock under which the first ones are made.
    streams: Mutex<Streams>,
    /// Set once the server was seen to speak HTTP/1.1: workers then connect side by side.
    http1: AtomicBool,
}

impl Connector {
    /// Reads the certificates (for `https`); connects to nothing yet.
    pub fn new(origin: Origin, options: Options) -> Result<Self, SetupError> {
        let prior_knowledge = options.http2 == Http2::PriorKnowledge;
        if prior_knowledge && options.proxy.is_some() && !origin.is_https() {
            return Err(SetupError::Http2OverProxy);
        }
        let tls = if origin.is_https() { Some(tls::connector(&options)?) } else { None };
        let host = HeaderValue::try_from(origin.authority().as_str()).map_err(|_| SetupError::NoHost)?;
        let http1 = options.http2 == Http2::Never || (!origin.is_https() && !prior_knowledge);
        let dialer = Dialer::new(origin, options.proxy.clone(), tls, options.connect_timeout);
        let shared =
            Shared { options, dialer, host, streams: Mutex::default(), http1: AtomicBool::new(http1) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same for another origin.
    pub fn elsewhere(&self, origin: Origin) -> Result<Self, SetupError> {
        Self::new(origin, self.shared.options.clone())
    }

    /// Where the connections lead.
    pub fn origin(&self) -> &Origin {
        &self.shared.dialer.origin
    }

    /// The headers that every call carries. A call that starts from a copy of these costs a little
    /// less than one that has them added by [`Connection::send`].
    pub fn base_headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(HOST, self.shared.host.clone()), (ACCEPT_ENCODING, decode::ACCEPT_ENCODING)])
    }

    /// Opens a connection, or takes a stream of an open HTTP/2 connection with room for one.
    ///
    /// Must be called within a tokio runtime with time and network enabled. No error means that
    /// anything was sent to the origin.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let shared = &self.shared;
        match timeout(shared.options.connect_timeout, shared.link()).await {
            Ok(link) => Ok(Connection::new(link?, Arc::clone(shared))),
            Err(_elapsed) => Err(ConnectError::Timeout {
                host: shared.dialer.origin.host().to_owned(),
                after: shared.options.connect_timeout,
            }),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("origin", self.origin()).finish_non_exhaustive()
    }
}

impl Shared {
    async fn link(&self) -> Result<Link, ConnectError> {
        if !self.http1.load(Ordering::Relaxed) {
            let mut streams = self.streams.lock().await;
            // Whoever held the lock may have learnt that this server speaks HTTP/1.1.
            if !self.http1.load(Ordering::Relaxed) {
                if let Some(stream) = streams.take() {
                    return Ok(Link::Http2(stream));
                }
                let (transport, chose_h2) = self.dialer.dial().await?;
                if chose_h2 || self.options.http2 == Http2::PriorKnowledge {
                    return match streams.open(transport, &self.options).await {
                        Ok(stream) => Ok(Link::Http2(stream)),
                        Err(error) => Err(self.handshake_failed(error)),
                    };
                }
                self.http1.store(true, Ordering::Relaxed);
                drop(streams);
                return self.http1_link(transport).await;
            }
        }
        // One server of many may still choose HTTP/2: it was offered. It then has one worker.
        let (transport, chose_h2) = self.dialer.dial().await?;
        if chose_h2 {
            let mut streams = self.streams.lock().await;
            let opened = streams.open(transport, &self.options).await;
            return opened.map(Link::Http2).map_err(|error| self.handshake_failed(error));
        }
        self.http1_link(transport).await
    }

    async fn http1_link(&self, transport: super::wire::Transport) -> Result<Link, ConnectError> {
        let link = Http1Link::open(transport, self.options.max_head).await;
        link.map(|link| Link::Http1(Box::new(link))).map_err(|error| self.handshake_failed(error))
    }

    fn handshake_failed(&self, error: hyper::Error) -> ConnectError {
        let host = self.dialer.origin.host().to_owned();
        ConnectError::Io { host, source: std::io::Error::other(error) }
    }

    /// Completes a request for HTTP/1.1: target, `Host`, and what else is missing.
    pub(super) fn request_http1(&self, request: Request<Bytes>) -> Request<Full<Bytes>> {
        let (mut parts, body) = request.into_parts();
        let origin = &self.dialer.origin;
        let path = parts.uri.into_parts().path_and_query.unwrap_or_else(root);
        let proxy = self.dialer.proxy.as_ref().filter(|_| !origin.is_https());
        parts.version = Version::HTTP_11;
        parts.uri = match proxy {
            None => Uri::from(path),
            Some(_) => absolute(origin.scheme(), origin.authority(), path),
        };
        let headers = &mut parts.headers;
        let present = Present::of(headers);
        if let Some(authorization) = proxy.and_then(Proxy::authorization) {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        if !present.host {
            headers.insert(HOST, self.host.clone());
        }
        if !present.accept_encoding {
            headers.insert(ACCEPT_ENCODING, decode::ACCEPT_ENCODING);
        }
        if present.framing {
            // hyper would take these at their word, and cut or garble the body if they lied.
            headers.remove(TRANSFER_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        if body.is_empty() && has_body(&parts.method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Request::from_parts(parts, Full::new(body))
    }

    /// Completes a request for HTTP/2: the authority takes the place of `Host`.
    pub(super) fn request_http2(&self, request: Request<Bytes>) -> Request<Full<Bytes>> {
        let (mut parts, body) = request.into_parts();
        let origin = &self.dialer.origin;
        let path = parts.uri.into_parts().path_and_query.unwrap_or_else(root);
        let host = parts.headers.remove(HOST);
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        parts.version = Version::HTTP_2;
        parts.uri = absolute(origin.scheme(), host.as_ref().unwrap_or(origin.authority()), path);
        parts.headers.entry(ACCEPT_ENCODING).or_insert(decode::ACCEPT_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
        Request::from_parts(parts, Full::new(body))
    }
}

/// Which headers a call brings along. One walk over the few there are costs less than a hash
/// look-up for each question.
#[derive(Default)]
struct Present {
    host: bool,
    accept_encoding: bool,
    framing: bool,
}

impl Present {
    fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            present.host |= *name == HOST;
            present.accept_encoding |= *name == ACCEPT_ENCODING;
            present.framing |= *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING;
        }
        present
    }
}

fn absolute(scheme: &Scheme, authority: &Authority, path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path);
    // All three parts are there and valid, which is all that it checks.
    Uri::from_parts(parts).unwrap_or_default()
}

fn root() -> PathAndQuery {
    PathAndQuery::from_static("/")
}

/// Methods that have a body by their meaning: an empty one is said to be empty.
fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
