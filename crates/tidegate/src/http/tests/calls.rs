//! Calls that go well.

use super::*;
use http::{StatusCode, Version};

#[tokio::test]
async fn one_connection_carries_call_after_call() {
    let (mut connection, mut peer) = pair().await;
    for round in 0..3 {
        let request = async {
            let text = peer.request().await;
            peer.write(OK).await;
            text
        };
        let path = format!("/users/{round}?q=1#part");
        let (head, seen) = tokio::join!(connection.send(get(&path)), request);
        let head = head.unwrap();
        assert_eq!((head.status, head.version), (StatusCode::OK, Version::HTTP_11));
        assert_eq!(head.headers["content-length"], "2");
        assert!(seen.starts_with(&format!("GET /users/{round}?q=1 HTTP/1.1\r\n")), "{seen}");
        assert!(!connection.reusable(), "the body is still to be read");
        assert_eq!(connection.body().await.unwrap(), "ok");
        assert_eq!(connection.body().await.unwrap(), "", "it was read");
        assert!(connection.reusable());
    }
}

#[tokio::test]
async fn what_a_call_needs_is_added_and_nothing_else() {
    let (mut connection, mut peer) = pair().await;
    let host = peer.stream.local_addr().unwrap();
    let mut seen = Vec::new();
    let mut framed = call(Method::POST, "http://elsewhere.example/x", "abc");
    framed.headers_mut().insert("content-length", "99".parse().unwrap());
    framed.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
    let mut own = get("/");
    own.headers_mut().insert("host", "mine.example".parse().unwrap());
    own.headers_mut().insert("accept-encoding", "identity".parse().unwrap());
    for request in [get("/"), call(Method::POST, "/", ""), framed, own] {
        let (head, request) = tokio::join!(connection.send(request), peer.answer(OK));
        head.unwrap();
        connection.body().await.unwrap();
        seen.push(request);
    }
    let added = format!("host: {host}\r\naccept-encoding: gzip, br, zstd\r\n");
    assert_eq!(seen[0], format!("GET / HTTP/1.1\r\n{added}\r\n"));
    assert_eq!(seen[1], format!("POST / HTTP/1.1\r\n{added}content-length: 0\r\n\r\n"));
    assert_eq!(seen[2], format!("POST /x HTTP/1.1\r\n{added}content-length: 3\r\n\r\nabc"));
    assert_eq!(seen[3], "GET / HTTP/1.1\r\nhost: mine.example\r\naccept-encoding: identity\r\n\r\n");
}

#[tokio::test]
async fn base_headers_are_not_doubled() {
    let (listener, address) = listen().await;
    let connector = connector(address, Options::default());
    let mut connection = connector.connect().await.unwrap();
    let mut peer = Peer::accept(&listener).await;
    let mut request = get("/");
    *request.headers_mut() = connector.base_headers();
    let (head, seen) = tokio::join!(connection.send(request), peer.answer(OK));
    head.unwrap();
    assert_eq!(seen, format!("GET / HTTP/1.1\r\nhost: {address}\r\naccept-encoding: gzip, br, zstd\r\n\r\n"));
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let (mut connection, mut peer) = pair().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let head = answered(&mut connection, &mut peer, format!("{interim}{OK}")).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(connection.body().await.unwrap(), "ok");
}

#[tokio::test]
async fn answers_without_a_body_end_at_once() {
    let (mut connection, mut peer) = pair().await;
    for (method, answer) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\ncontent-encoding: gzip\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5000\r\n\r\n"),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let (head, _) = tokio::join!(connection.send(call(method, "/", "")), peer.answer(answer));
        head.unwrap();
        assert!(connection.reusable(), "after {answer}");
        assert_eq!(connection.body().await.unwrap(), "");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let (mut connection, mut peer) = pair().await;
    let moved = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let head = answered(&mut connection, &mut peer, moved).await;
    assert_eq!(head.status, StatusCode::FOUND);
    drop(connection);
    assert_eq!(peer.next_byte().await.unwrap(), None, "nothing was sent again");
}

#[tokio::test]
async fn connection_close_ends_the_connection() {
    let (mut connection, mut peer) = pair().await;
    let last = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    answered(&mut connection, &mut peer, last).await;
    assert_eq!(connection.body().await.unwrap(), "ok");
    assert!(!connection.reusable());
    connection.closed().await;
}

#[tokio::test]
async fn a_body_may_end_with_the_connection() {
    let (mut connection, mut peer) = pair().await;
    let server = async {
        peer.answer("HTTP/1.0 200 OK\r\n\r\nall ").await;
        peer.write("of it").await;
        drop(peer);
    };
    let (head, ()) = tokio::join!(connection.send(get("/")), server);
    assert_eq!(head.unwrap().version, Version::HTTP_10);
    assert_eq!(connection.body().await.unwrap(), "all of it");
    assert!(!connection.reusable());
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_was_read() {
    let (mut connection, mut peer) = pair().await;
    let large = call(Method::POST, "/", vec![b'x'; 32 << 20]);
    let server = async {
        peer.stream.read_u8().await.unwrap();
        peer.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
    };
    let (head, ()) = tokio::join!(connection.send(large), server);
    assert_eq!(head.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(connection.body().await.unwrap(), "no");
    assert!(!connection.reusable(), "half a request is still in it");
}

#[tokio::test]
async fn the_next_address_is_tried() {
    // `localhost` may be [::1] first, where nobody listens.
    let (listener, address) = listen().await;
    let origin = origin(format!("http://localhost:{}", address.port()));
    let connector = Connector::new(origin, Options::default()).unwrap();
    for _ in 0..2 {
        let mut connection = connector.connect().await.unwrap();
        let mut peer = Peer::accept(&listener).await;
        let (head, seen) = tokio::join!(connection.send(get("/")), peer.answer(OK));
        head.unwrap();
        assert!(seen.contains(&format!("host: localhost:{}\r\n", address.port())), "{seen}");
    }
}
