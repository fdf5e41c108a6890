//! TLS: whom it trusts, and which protocol comes of it.

use std::path::PathBuf;
use std::sync::Arc;

use http::Version;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

/// A server's side of TLS, and the PEM file that makes a client trust it.
pub(super) struct Identity {
    acceptor: TlsAcceptor,
    pub(super) ca: PathBuf,
    _folder: TempDir,
}

impl Identity {
    /// A self-signed certificate for `name`.
    pub(super) fn new(name: &str, protocols: &[&str]) -> Self {
        let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let folder = TempDir::new().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca, _folder: folder }
    }

    pub(super) fn options(&self) -> Options {
        Options { ca: vec![self.ca.clone()], ..Options::default() }
    }

    pub(super) async fn accept(&self, peer: Peer) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
        Ok(Peer { stream: self.acceptor.accept(peer.stream).await? })
    }
}

pub(super) fn secure(address: SocketAddr, options: Options) -> Connector {
    Connector::new(origin(format!("https://{address}")), options).unwrap()
}

#[tokio::test]
async fn a_named_authority_is_trusted() {
    let identity = Identity::new("127.0.0.1", &["http/1.1"]);
    let (listener, address) = listen().await;
    let server = async {
        let mut peer = identity.accept(Peer::accept(&listener).await).await.unwrap();
        let first = peer.answer(OK).await;
        peer.answer(OK).await;
        first
    };
    let client = async {
        let mut connection = secure(address, identity.options()).connect().await.unwrap();
        for _ in 0..2 {
            let head = connection.send(get("/")).await.unwrap();
            assert_eq!(head.version, Version::HTTP_11);
            assert_eq!(connection.body().await.unwrap(), "ok");
        }
        connection
    };
    let (mut connection, seen) = tokio::join!(client, server);
    assert!(seen.contains(&format!("host: {address}\r\n")), "{seen}");
    connection.closed().await;
}

#[tokio::test]
async fn others_are_not() {
    let unknown = Identity::new("127.0.0.1", &[]);
    let other_name = Identity::new("other.example", &[]);
    let trusted = Identity::new("127.0.0.1", &[]);
    for (server, options) in [(&unknown, trusted.options()), (&other_name, other_name.options())] {
        let (listener, address) = listen().await;
        let connector = secure(address, options);
        let accept = async { server.accept(Peer::accept(&listener).await).await.map(|_| ()) };
        let (connected, accepted) = tokio::join!(connector.connect(), accept);
        let error = connected.unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
        assert!(accepted.is_err(), "the server is told");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_not_sent_anything() {
    let (listener, address) = listen().await;
    let connector = secure(address, Identity::new("127.0.0.1", &[]).options());
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer
    };
    let (connected, _peer) = tokio::join!(connector.connect(), server);
    assert!(matches!(connected.unwrap_err(), ConnectError::Tls { .. }));
}

#[tokio::test]
async fn a_reset_before_the_answer_is_unknown() {
    let identity = Identity::new("127.0.0.1", &["http/1.1"]);
    let (listener, address) = listen().await;
    let server = async {
        let mut peer = identity.accept(Peer::accept(&listener).await).await.unwrap();
        peer.request().await;
    };
    let client = async {
        let mut connection = secure(address, identity.options()).connect().await.unwrap();
        connection.send(get("/")).await.unwrap_err()
    };
    let (error, ()) = tokio::join!(client, server);
    assert!(error.sent == Sent::Unknown && matches!(error.fault, CallFault::Closed), "{error:?}");
}

#[test]
fn files_that_hold_no_certificates_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    for content in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let options = Options { ca: vec![path.clone()], ..Options::default() };
        let error = Connector::new(origin("https://a.example"), options).unwrap_err();
        assert!(matches!(&error, SetupError::Ca { path: named, .. } if *named == path), "{error}");
        assert!(error.hint().is_some());
    }
}
