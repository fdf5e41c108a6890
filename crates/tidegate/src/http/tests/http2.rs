//! HTTP/2: streams, and what their ends mean.

use std::sync::Arc;

use h2::server::{Connection as Server, SendResponse};
use h2::{Reason, RecvStream};
use http::{Response, StatusCode, Version};
use tokio::sync::Notify;

use super::tls::{Identity, secure};
use super::*;

type Call = (Request<RecvStream>, SendResponse<Bytes>);

fn prior_knowledge() -> Options {
    Options { http2: Http2::PriorKnowledge, ..Options::default() }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(peer: Peer<S>, streams: u32) -> Server<S, Bytes> {
    let mut server = h2::server::Builder::new();
    server.max_concurrent_streams(streams).handshake(peer.stream).await.unwrap()
}

/// Answers every call with `respond` until the client is gone.
async fn serve<S>(mut server: Server<S, Bytes>, mut respond: impl FnMut(Call))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(call)) = server.accept().await {
        respond(call);
    }
}

fn echo((request, mut responder): Call) {
    let body = format!("{} {}", request.method(), request.uri());
    let mut stream = responder.send_response(Response::new(()), false).unwrap();
    stream.send_data(body.into(), true).unwrap();
}

#[tokio::test]
async fn workers_share_a_connection() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let peer = Peer::accept(&listener).await;
        drop(listener);
        serve(handshake(peer, 100).await, echo).await;
    });
    let connector = connector(address, prior_knowledge());
    let mut one = connector.connect().await.unwrap();
    let mut other = connector.connect().await.unwrap();
    for round in 0..3 {
        let path = format!("/{round}?x");
        let (first, second) = tokio::join!(one.send(get(&path)), other.send(get("/other")));
        assert_eq!(first.unwrap().version, Version::HTTP_2);
        second.unwrap();
        assert_eq!(one.body().await.unwrap(), format!("GET http://{address}{path}"));
        assert_eq!(other.body().await.unwrap(), format!("GET http://{address}/other"));
        assert!(one.reusable() && other.reusable());
    }
}

#[tokio::test]
async fn a_full_connection_gets_a_sibling() {
    let (listener, address) = listen().await;
    let (accepted, mut count) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let peer = Peer::accept(&listener).await;
            accepted.send(()).unwrap();
            tokio::spawn(async move { serve(handshake(peer, 2).await, echo).await });
        }
    });
    let connector = connector(address, prior_knowledge());
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(connector.connect().await.unwrap());
    }
    // The server's limit comes with its first answer; a worker takes note with its next call.
    for _ in 0..2 {
        workers[0].send(get("/")).await.unwrap();
        workers[0].body().await.unwrap();
    }
    assert!(!workers[0].reusable(), "three where two are allowed");
    workers.remove(0);
    assert!(workers[0].reusable() && workers[1].reusable());
    let mut third = connector.connect().await.unwrap();
    third.send(get("/")).await.unwrap();
    assert!(count.try_recv().is_ok() && count.try_recv().is_ok() && count.try_recv().is_err());
}

#[tokio::test]
async fn the_server_chooses_by_alpn() {
    for (offered, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let identity = Identity::new("127.0.0.1", offered);
        let options = identity.options();
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let mut peer = identity.accept(Peer::accept(&listener).await).await.unwrap();
            if version == Version::HTTP_2 {
                serve(handshake(peer, 100).await, echo).await;
            } else {
                peer.answer(OK).await;
            }
        });
        let mut connection = secure(address, options).connect().await.unwrap();
        assert_eq!(connection.send(get("/")).await.unwrap().version, version);
        assert!(!connection.body().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn http1_only_is_kept_to() {
    let identity = Identity::new("127.0.0.1", &["h2", "http/1.1"]);
    let options = Options { http2: Http2::Never, ..identity.options() };
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        identity.accept(Peer::accept(&listener).await).await.unwrap().answer(OK).await;
    });
    let mut connection = secure(address, options).connect().await.unwrap();
    assert_eq!(connection.send(get("/")).await.unwrap().version, Version::HTTP_11);
}

#[tokio::test]
async fn headers_are_those_of_http2() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let peer = Peer::accept(&listener).await;
        serve(handshake(peer, 100).await, |(request, mut responder)| {
            assert!(request.headers().get("host").is_none());
            assert_eq!(request.headers()["accept-encoding"], "gzip, br, zstd");
            assert_eq!(request.headers()["content-length"], "3");
            let teapot = request.uri().authority().is_some_and(|authority| authority == "mine.example");
            let status = if teapot { StatusCode::IM_A_TEAPOT } else { StatusCode::OK };
            responder.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
        })
        .await;
    });
    let mut connection = connector(address, prior_knowledge()).connect().await.unwrap();
    let mut request = call(Method::POST, "/", "abc");
    request.headers_mut().insert("host", "mine.example".parse().unwrap());
    let head = connection.send(request).await.unwrap();
    assert_eq!(head.status, StatusCode::IM_A_TEAPOT);
    assert!(connection.reusable(), "there was no body");
}

#[tokio::test]
async fn ends_of_streams_and_what_they_mean() {
    let head_seen = Arc::new(Notify::new());
    let signal = Arc::clone(&head_seen);
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let peer = Peer::accept(&listener).await;
        serve(handshake(peer, 100).await, |(request, mut responder)| match request.uri().path() {
            "/refused" => responder.send_reset(Reason::REFUSED_STREAM),
            "/cancelled" => responder.send_reset(Reason::INTERNAL_ERROR),
            "/silent" => {
                tokio::spawn(async move { std::future::poll_fn(|cx| responder.poll_reset(cx)).await });
            }
            _ => {
                let mut stream = responder.send_response(Response::new(()), false).unwrap();
                stream.send_data("half".into(), false).unwrap();
                let head_seen = Arc::clone(&signal);
                tokio::spawn(async move {
                    head_seen.notified().await;
                    stream.send_reset(Reason::INTERNAL_ERROR);
                });
            }
        })
        .await;
    });
    let options = Options { http2: Http2::PriorKnowledge, ..short_timeout() };
    let mut connection = connector(address, options).connect().await.unwrap();

    let error = connection.send(get("/refused")).await.unwrap_err();
    assert!(error.sent == Sent::Unknown && matches!(error.fault, CallFault::Refused), "{error:?}");
    let error = connection.send(get("/cancelled")).await.unwrap_err();
    assert!(error.sent == Sent::Unknown && matches!(error.fault, CallFault::Protocol(_)), "{error:?}");
    let error = connection.send(get("/silent")).await.unwrap_err();
    assert!(error.sent == Sent::Unknown && matches!(error.fault, CallFault::Timeout(_)), "{error:?}");
    connection.send(get("/half")).await.unwrap();
    head_seen.notify_one();
    let error = connection.body().await.unwrap_err();
    assert!(error.sent == Sent::Answered, "{error:?}");
    assert!(connection.reusable(), "only streams failed");
}

#[tokio::test]
async fn going_away_ends_the_connection() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut server = handshake(Peer::accept(&listener).await, 100).await;
        echo(server.accept().await.unwrap().unwrap());
        server.graceful_shutdown();
        assert!(server.accept().await.is_none(), "no other call came");
    });
    let connector = connector(address, prior_knowledge());
    let mut connection = connector.connect().await.unwrap();
    connection.send(get("/")).await.unwrap();
    connection.body().await.unwrap();
    connection.closed().await;
    assert!(!connection.reusable());
    let error = connection.send(get("/")).await.unwrap_err();
    assert_eq!(error.sent, Sent::NotSent, "{error:?}");
}

#[tokio::test]
async fn a_connection_lost_under_its_streams_is_unknown() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut server = handshake(Peer::accept(&listener).await, 100).await;
        let call = server.accept().await.unwrap().unwrap();
        drop(server);
        drop(call);
    });
    let mut connection = connector(address, prior_knowledge()).connect().await.unwrap();
    let error = connection.send(get("/")).await.unwrap_err();
    assert_eq!(error.sent, Sent::Unknown, "{error:?}");
    assert!(matches!(error.fault, CallFault::Closed | CallFault::Reset(_)), "{error:?}");
    connection.closed().await;
    assert!(!connection.reusable());
}

#[tokio::test]
async fn bodies_are_bounded_and_decoded() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let peer = Peer::accept(&listener).await;
        serve(handshake(peer, 100).await, |(request, mut responder)| {
            let response = Response::builder().header("content-encoding", "zstd").body(()).unwrap();
            let mut stream = responder.send_response(response, false).unwrap();
            let length = if request.uri().path() == "/large" { 2000 } else { 1000 };
            stream.send_data(zstd::encode_all(&vec![7; length][..], 1).unwrap().into(), true).unwrap();
        })
        .await;
    });
    let options = Options { max_body: 1000, ..prior_knowledge() };
    let mut connection = connector(address, options).connect().await.unwrap();
    connection.send(get("/large")).await.unwrap();
    let error = connection.body().await.unwrap_err();
    assert!(matches!(error.fault, CallFault::TooLarge { limit: 1000 }), "{error:?}");
    connection.send(get("/small")).await.unwrap();
    assert_eq!(connection.body().await.unwrap(), vec![7; 1000]);
}
