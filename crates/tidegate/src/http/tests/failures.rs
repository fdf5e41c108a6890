//! Calls that fail, and whether the server may have seen them.

use std::io::{ErrorKind, Read as _, Write as _};

use super::*;

fn closed(error: &CallError) -> bool {
    matches!(error.fault, CallFault::Closed)
}

#[tokio::test]
async fn a_close_while_idle_is_noticed_and_nothing_is_sent() {
    let (mut connection, mut peer) = pair().await;
    answered(&mut connection, &mut peer, OK).await;
    connection.body().await.unwrap();
    let idle = tokio::time::timeout(Duration::from_millis(20), connection.closed()).await;
    assert!(idle.is_err(), "it is still open");

    drop(peer);
    connection.closed().await;
    assert!(!connection.reusable());
    let error = connection.send(get("/")).await.unwrap_err();
    assert!(error.sent == Sent::NotSent && closed(&error), "{error:?}");
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_end_an_idle_connection() {
    let (mut connection, mut peer) = pair().await;
    peer.write("HTTP/1.1 408 Request Timeout\r\n\r\n").await;
    connection.closed().await;
    assert!(!connection.reusable());
}

/// A connection that had one call, and whose server then closed it without the client's runtime
/// having had a chance to see that. The server has read the call, or else its end is a reset.
async fn closed_unseen(read: bool) -> Connection {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (close, wait) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _length = if read { stream.read(&mut request) } else { stream.peek(&mut request) }.unwrap();
        stream.write_all(OK.as_bytes()).unwrap();
        wait.recv().unwrap();
    });
    let mut connection = connector(address, Options::default()).connect().await.unwrap();
    connection.send(get("/")).await.unwrap();
    connection.body().await.unwrap();
    close.send(()).unwrap();
    server.join().unwrap();
    assert!(connection.reusable(), "nobody looked");
    connection
}

#[tokio::test]
async fn a_write_that_the_kernel_refuses_was_not_sent() {
    let error = closed_unseen(false).await.send(get("/")).await.unwrap_err();
    assert_eq!(error.sent, Sent::NotSent, "{error:?}");
}

#[tokio::test]
async fn a_write_into_a_closed_connection_is_unknown() {
    // The kernel takes the bytes, and nobody can know that the server threw them away.
    let error = closed_unseen(true).await.send(get("/")).await.unwrap_err();
    assert_eq!(error.sent, Sent::Unknown, "{error:?}");
}

#[tokio::test]
async fn no_answer_is_unknown() {
    let (mut connection, mut peer) = pair().await;
    let server = async {
        peer.request().await;
        drop(peer);
    };
    let (answer, ()) = tokio::join!(connection.send(get("/")), server);
    let error = answer.unwrap_err();
    assert!(error.sent == Sent::Unknown && closed(&error), "{error:?}");

    let (mut connection, mut peer) = pair().await;
    let server = async {
        peer.request().await;
        peer.reset();
    };
    let (answer, ()) = tokio::join!(connection.send(get("/")), server);
    let error = answer.unwrap_err();
    assert_eq!(error.sent, Sent::Unknown);
    assert!(matches!(&error.fault, CallFault::Reset(io) if io.kind() == ErrorKind::ConnectionReset));
    connection.closed().await;
}

#[tokio::test]
async fn half_a_head_is_unknown() {
    let (mut connection, mut peer) = pair().await;
    let server = async {
        peer.answer("HTTP/1.1 200 OK\r\ncontent-le").await;
        drop(peer);
    };
    let (answer, ()) = tokio::join!(connection.send(get("/")), server);
    let error = answer.unwrap_err();
    assert!(error.sent == Sent::Unknown && closed(&error), "{error:?}");
}

#[tokio::test]
async fn a_call_in_time_out_is_unknown_and_reset() {
    let (mut connection, mut peer) = pair_with(short_timeout()).await;
    let (answer, _seen) = tokio::join!(connection.send(get("/")), peer.request());
    let error = answer.unwrap_err();
    assert_eq!(error.sent, Sent::Unknown);
    assert!(matches!(error.fault, CallFault::Timeout(after) if after == short_timeout().call_timeout));
    assert!(!connection.reusable());
    assert_eq!(peer.next_byte().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_the_kernel_holds_of_a_call_given_up_is_dropped() {
    let (mut connection, mut peer) = pair_with(short_timeout()).await;
    let size = 64 << 20;
    let error = connection.send(call(Method::POST, "/", vec![b'x'; size])).await.unwrap_err();
    assert!(error.sent == Sent::Unknown && matches!(error.fault, CallFault::Timeout(_)));
    // The reset throws away what this end has received as well, or at the least what was on the way.
    let mut seen = 0;
    let mut buffer = vec![0; 1 << 20];
    let end = loop {
        match peer.stream.read(&mut buffer).await {
            Ok(0) => panic!("an orderly end"),
            Ok(n) => seen += n,
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert!(seen < size);
}

#[tokio::test]
async fn dropping_resets_in_mid_call_and_closes_otherwise() {
    let (mut connection, mut peer) = pair().await;
    {
        let send = connection.send(get("/"));
        tokio::select! {
            _ = send => panic!("nobody answers"),
            _ = peer.request() => {}
        }
    }
    assert!(!connection.reusable());
    drop(connection);
    assert_eq!(peer.next_byte().await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (mut connection, mut peer) = pair().await;
    answered(&mut connection, &mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nno").await;
    drop(connection);
    assert_eq!(peer.next_byte().await.unwrap_err().kind(), ErrorKind::ConnectionReset, "in mid-body");

    let (mut connection, mut peer) = pair().await;
    answered(&mut connection, &mut peer, OK).await;
    connection.body().await.unwrap();
    drop(connection);
    assert_eq!(peer.next_byte().await.unwrap(), None, "after a whole call");
}

#[tokio::test]
async fn answers_that_are_not_http_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    for answer in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", &long, &many] {
        let (mut connection, mut peer) = pair().await;
        let (answer, _) = tokio::join!(connection.send(get("/")), peer.answer(answer));
        let error = answer.unwrap_err();
        assert!(error.sent == Sent::Unknown && matches!(error.fault, CallFault::Protocol(_)), "{error:?}");
        assert!(!connection.reusable());
    }
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = connector(address, Options::default()).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Refused { port, .. } if *port == address.port()));
    assert_eq!(error.to_string(), format!("{address} refused the connection"));
}

#[tokio::test]
async fn connecting_takes_no_longer_than_allowed() {
    // A queue of one that nobody serves: once it is full, the kernel lets connections hang.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let options = Options { connect_timeout: Duration::from_millis(100), ..Options::default() };
    let connector = connector(listener.local_addr().unwrap(), options);
    let mut queued = Vec::new();
    let error = loop {
        match connector.connect().await {
            Ok(connection) => queued.push(connection),
            Err(error) => break error,
        }
        assert!(queued.len() < 8, "the queue never fills");
    };
    assert!(matches!(error, ConnectError::Timeout { after, .. } if after.as_millis() == 100), "{error}");
}
