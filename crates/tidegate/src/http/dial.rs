//! From a name to a connected, perhaps encrypted socket.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::tls::ALPN_H2;
use super::wire::{Transport, Wire};
use super::{ConnectError, Origin, Proxy};

/// How long a resolved name is used for: hundreds of workers connect at once.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// The way to an origin.
pub(super) struct Dialer {
    pub(super) origin: Origin,
    pub(super) proxy: Option<Proxy>,
    /// Set for `https`.
    pub(super) tls: Option<TlsConnector>,
    pub(super) connect_timeout: Duration,
    resolved: Mutex<Option<Resolved>>,
}

struct Resolved {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Dialer {
    pub(super) fn new(
        origin: Origin,
        proxy: Option<Proxy>,
        tls: Option<TlsConnector>,
        connect_timeout: Duration,
    ) -> Self {
        Self { origin, proxy, tls, connect_timeout, resolved: Mutex::new(None) }
    }

    /// Connects; the second value tells whether the server chose HTTP/2.
    pub(super) async fn dial(&self) -> Result<(Transport, bool), ConnectError> {
        let origin = &self.origin;
        let (host, port) = match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (origin.host(), origin.port()),
        };
        let wire = Wire::new(self.tcp(host, port).await?);
        let Some(tls) = &self.tls else { return Ok((Transport::plain(wire), false)) };
        let wire = match &self.proxy {
            Some(proxy) => tunnel(wire, proxy, origin).await?,
            None => wire,
        };
        let failed = |source| ConnectError::Tls { host: origin.host().to_owned(), source };
        let name = ServerName::try_from(origin.host().to_owned())
            .map_err(|error| failed(io::Error::new(ErrorKind::InvalidInput, error)))?;
        let stream = tls.connect(name, wire).await.map_err(failed)?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        Ok((Transport::tls(stream), h2))
    }

    /// Tries one address after the other, each for its share of the time.
    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolve(host, port).await?;
        let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
        for (tried, address) in addresses.iter().enumerate() {
            let share = self.connect_timeout / (addresses.len() - tried) as u32;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    if tried > 0 {
                        self.prefer(*address).await;
                    }
                    return match tcp.set_nodelay(true) {
                        Ok(()) => Ok(tcp),
                        Err(source) => Err(ConnectError::Io { host: host.to_owned(), source }),
                    };
                }
                Ok(Err(error)) => failure = error,
                Err(_elapsed) => failure = ErrorKind::TimedOut.into(),
            }
        }
        // The name may have moved.
        *self.resolved.lock().await = None;
        let host = host.to_owned();
        Err(match failure.kind() {
            ErrorKind::ConnectionRefused => ConnectError::Refused { host, port },
            ErrorKind::TimedOut => ConnectError::Timeout { host, after: self.connect_timeout },
            _ => ConnectError::Io { host, source: failure },
        })
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        // Held during the look-up: whoever else connects waits for this one's answer.
        let mut resolved = self.resolved.lock().await;
        if let Some(known) = resolved.as_ref().filter(|known| known.at.elapsed() < RESOLVED_FOR) {
            return Ok(known.addresses.clone());
        }
        let failed = |source| ConnectError::Dns { host: host.to_owned(), source };
        let addresses: Vec<_> = lookup_host((host, port)).await.map_err(failed)?.collect();
        if addresses.is_empty() {
            return Err(failed(ErrorKind::NotFound.into()));
        }
        *resolved = Some(Resolved { addresses: addresses.clone(), at: Instant::now() });
        Ok(addresses)
    }

    /// Puts the address that works first, so that a dead one is waited for once only.
    async fn prefer(&self, address: SocketAddr) {
        if let Some(known) = self.resolved.lock().await.as_mut()
            && let Some(place) = known.addresses.iter().position(|&known| known == address)
        {
            known.addresses.swap(0, place);
        }
    }
}

/// Asks the proxy for a tunnel to the origin.
async fn tunnel(wire: Wire, proxy: &Proxy, origin: &Origin) -> Result<Wire, ConnectError> {
    let refuse =
        |reason: String| ConnectError::Proxy { proxy: format!("{}:{}", proxy.host(), proxy.port()), reason };
    let host = origin.authority().host();
    let target = format!("{host}:{}", origin.port());
    let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(HOST, &target);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| refuse(error.to_string()))?;

    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(wire)).await;
    let (mut sender, mut connection) = handshake.map_err(|error| refuse(error.to_string()))?;
    let mut response = pin!(sender.send_request(request));
    let response = std::future::poll_fn(|cx| {
        let ended = connection.poll_without_shutdown(cx).map(|_| ());
        match response.as_mut().poll(cx) {
            // The connection has ended and still gave no answer: there will be none.
            std::task::Poll::Pending if ended.is_ready() => response.as_mut().poll(cx),
            polled => polled,
        }
    });
    let response = response.await.map_err(|error| refuse(error.to_string()))?;
    if !response.status().is_success() {
        return Err(refuse(format!("it answered {}", response.status())));
    }
    let parts = connection.into_parts();
    if parts.read_buf.is_empty() {
        Ok(parts.io.into_inner())
    } else {
        Err(refuse("it sent bytes of its own into the tunnel".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn dialer() -> Dialer {
        let origin = Origin::try_from(&"http://a.invalid".parse().unwrap()).unwrap();
        Dialer::new(origin, None, None, Duration::from_secs(5))
    }

    async fn know(dialer: &Dialer, addresses: &[SocketAddr]) {
        *dialer.resolved.lock().await = Some(Resolved { addresses: addresses.to_vec(), at: Instant::now() });
    }

    #[tokio::test]
    async fn the_address_that_works_is_preferred_until_none_does() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (works, refuses) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);

        let dialer = dialer();
        know(&dialer, &[refuses, works]).await;
        dialer.tcp("a.invalid", 80).await.unwrap();
        assert_eq!(dialer.resolve("a.invalid", 80).await.unwrap(), [works, refuses]);

        know(&dialer, &[refuses]).await;
        let error = dialer.tcp("a.invalid", 80).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { host, port: 80 } if host == "a.invalid"));
        assert!(dialer.resolved.lock().await.is_none(), "the next one asks again");
    }
}
