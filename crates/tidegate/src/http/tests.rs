//! Over real loopback sockets, against peers that are scripted byte by byte.

mod bodies;
mod calls;
mod failures;
mod http2;
mod proxies;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The server's end of a connection.
struct Peer<S = TcpStream> {
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads one request: head, and body if it has a length.
    async fn request(&mut self) -> String {
        let mut seen = Vec::new();
        loop {
            let byte = self.stream.read_u8().await.expect("a whole head");
            seen.push(byte);
            if seen.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let head = String::from_utf8(seen).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.stream.read_exact(&mut body).await.unwrap();
        head + std::str::from_utf8(&body).unwrap()
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads a request and answers it.
    async fn answer(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let request = self.request().await;
        self.write(bytes).await;
        request
    }

    /// What comes next: none at the end of the stream.
    async fn next_byte(&mut self) -> std::io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.stream.read(&mut byte).await? == 1).then_some(byte[0]))
    }
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        Self { stream: listener.accept().await.unwrap().0 }
    }

    /// Closes with a reset instead of an orderly end.
    fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn origin(url: impl AsRef<str>) -> Origin {
    Origin::try_from(&url.as_ref().parse::<Uri>().unwrap()).unwrap()
}

fn connector(address: SocketAddr, options: Options) -> Connector {
    Connector::new(origin(format!("http://{address}")), options).unwrap()
}

/// A connection and the server's end of it.
async fn pair_with(options: Options) -> (Connection, Peer) {
    let (listener, address) = listen().await;
    let connection = connector(address, options).connect().await.unwrap();
    (connection, Peer::accept(&listener).await)
}

async fn pair() -> (Connection, Peer) {
    pair_with(Options::default()).await
}

fn call(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    Request::builder().method(method).uri(path).body(body.into()).unwrap()
}

fn get(path: &str) -> Request<Bytes> {
    call(Method::GET, path, "")
}

/// Sends `get("/")` while the peer answers it with `bytes`.
async fn answered(connection: &mut Connection, peer: &mut Peer, bytes: impl AsRef<[u8]>) -> Head {
    let (head, _request) = tokio::join!(connection.send(get("/")), peer.answer(bytes));
    head.unwrap()
}

fn short_timeout() -> Options {
    Options { call_timeout: Duration::from_millis(50), ..Options::default() }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The engine runs its workers as tasks.
#[test]
fn futures_are_send() {
    fn check<T: Send>(_: T) {}
    fn all(connector: &'static Connector, connection: &'static mut Connection) {
        check(connector.connect());
        check(connection.send(get("/")));
    }
    fn rest(connection: &'static mut Connection, other: &'static mut Connection) {
        check(connection.body());
        check(other.closed());
    }
    let _ = (all, rest);
}
