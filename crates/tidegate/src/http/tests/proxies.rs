//! Through a proxy.

use super::tls::{Identity, secure};
use super::*;

/// `me:s3cret`
const CREDENTIALS: &str = "bWU6czNjcmV0";

fn via(proxy: SocketAddr, options: Options) -> Options {
    Options { proxy: Some(format!("http://me:s3cret@{proxy}").parse().unwrap()), ..options }
}

#[tokio::test]
async fn plain_calls_are_handed_to_it() {
    let (listener, address) = listen().await;
    let connector = Connector::new(origin("http://a.example:81"), via(address, Options::default())).unwrap();
    let mut connection = connector.connect().await.unwrap();
    let mut peer = Peer::accept(&listener).await;
    let (head, seen) = tokio::join!(connection.send(get("/x?y")), peer.answer(OK));
    head.unwrap();
    assert!(seen.starts_with("GET http://a.example:81/x?y HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("proxy-authorization: Basic {CREDENTIALS}\r\n")), "{seen}");
    assert!(seen.contains("host: a.example:81\r\n"), "{seen}");
}

#[tokio::test]
async fn secure_calls_tunnel_through_it() {
    let identity = Identity::new("127.0.0.1", &["http/1.1"]);
    let (listener, address) = listen().await;
    let connector = Connector::new(origin("https://127.0.0.1:8443"), via(address, identity.options()));
    let connector = connector.unwrap();
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        let connect = peer.answer("HTTP/1.1 200 Connection established\r\n\r\n").await;
        let request = identity.accept(peer).await.unwrap().answer(OK).await;
        (connect, request)
    };
    let client = async {
        let mut connection = connector.connect().await.unwrap();
        connection.send(get("/x")).await.unwrap();
        connection.body().await.unwrap()
    };
    let (body, (connect, request)) = tokio::join!(client, server);
    assert_eq!(body, "ok");
    assert!(connect.starts_with("CONNECT 127.0.0.1:8443 HTTP/1.1\r\n"), "{connect}");
    assert!(connect.contains(&format!("proxy-authorization: Basic {CREDENTIALS}\r\n")), "{connect}");
    assert!(request.starts_with("GET /x HTTP/1.1\r\n"), "{request}");
    assert!(!request.contains("proxy-authorization"), "the proxy's password is not the origin's: {request}");
}

#[tokio::test]
async fn a_tunnel_may_be_refused() {
    let identity = Identity::new("127.0.0.1", &[]);
    for (answer, said) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "407"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "bytes of its own"),
        ("what?\r\n\r\n", "invalid HTTP"),
        ("", "closed"),
    ] {
        let (listener, address) = listen().await;
        let connector = secure("127.0.0.1:1".parse().unwrap(), via(address, identity.options()));
        let server = async {
            let mut peer = Peer::accept(&listener).await;
            peer.answer(answer).await;
        };
        let (connected, ()) = tokio::join!(connector.connect(), server);
        let error = connected.unwrap_err();
        let shown = format!("{error} {error:?} {connector:?}");
        assert!(matches!(error, ConnectError::Proxy { .. }) && shown.contains(said), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains(CREDENTIALS), "{shown}");
    }
}

#[test]
fn http2_without_asking_needs_a_tunnel() {
    let options =
        Options { http2: Http2::PriorKnowledge, ..via("127.0.0.1:1".parse().unwrap(), Options::default()) };
    let error = Connector::new(origin("http://a.example"), options).unwrap_err();
    assert!(matches!(error, SetupError::Http2OverProxy));
}
