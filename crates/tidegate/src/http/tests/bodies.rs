//! Bodies: framing, limits, decompression.

use std::io::Write as _;

use super::*;

fn head(more: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{more}\r\n")
}

fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        head(&format!("content-encoding: {coding}\r\ncontent-length: {}\r\n", body.len())).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// What the client makes of an answer; the peer stays open.
async fn body_of(options: Options, answer: impl AsRef<[u8]>) -> Result<Bytes, CallError> {
    let (mut connection, mut peer) = pair_with(options).await;
    answered(&mut connection, &mut peer, answer).await;
    let body = connection.body().await;
    assert_eq!(connection.reusable(), body.is_ok(), "{body:?}");
    body
}

/// What the client makes of an answer after which the peer closes.
async fn cut_body_of(answer: impl AsRef<[u8]>) -> CallError {
    let (mut connection, mut peer) = pair().await;
    answered(&mut connection, &mut peer, answer).await;
    drop(peer);
    let error = connection.body().await.unwrap_err();
    assert!(error.sent == Sent::Answered && !connection.reusable());
    error
}

fn small(max_body: usize) -> Options {
    Options { max_body, ..Options::default() }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 3).unwrap()
}

/// Brotli without compression: RFC 7932, section 9. There is no encoder here.
fn brotli(data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (block, part) in data.chunks(1 << 16).enumerate() {
        // [window of 16 bits: 0] last: 0, size of the length: 00, length − 1: 16 bits, stored: 1
        let bits = ((part.len() as u32 - 1) << 3) | (1 << 19);
        let bits = if block == 0 { bits << 1 } else { bits };
        stream.extend_from_slice(&bits.to_le_bytes()[..3]);
        stream.extend_from_slice(part);
    }
    stream.push(0b11);
    stream
}

type Encode = fn(&[u8]) -> Vec<u8>;

const CODINGS: [(&str, Encode); 6] = [
    ("gzip", gzip),
    ("X-GZIP", gzip),
    ("deflate", zlib),
    ("deflate", bare_deflate),
    ("zstd", zstd),
    ("br", brotli),
];

#[tokio::test]
async fn chunks_make_one_body() {
    let chunked = head("transfer-encoding: chunked\r\n")
        + "4\r\nall \r\n1;extension=1\r\no\r\n4\r\nf it\r\n0\r\ntrailer: 1\r\n\r\n";
    assert_eq!(body_of(Options::default(), chunked).await.unwrap(), "all of it");
    let empty = head("transfer-encoding: chunked\r\n") + "0\r\n\r\n";
    assert_eq!(body_of(Options::default(), empty).await.unwrap(), "");
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let large: Vec<u8> = (0..4 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    for framing in ["", "chunked"] {
        let (mut connection, mut peer) = pair().await;
        let answer = if framing.is_empty() {
            head(&format!("content-length: {}\r\n", large.len()))
        } else {
            head("transfer-encoding: chunked\r\n") + &format!("{:x}\r\n", large.len())
        };
        let server = async {
            peer.answer(answer).await;
            peer.write(&large).await;
            if framing == "chunked" {
                peer.write("\r\n0\r\n\r\n").await;
            }
        };
        let client = async {
            connection.send(get("/")).await.unwrap();
            connection.body().await.unwrap()
        };
        let (body, ()) = tokio::join!(client, server);
        assert!(body == large && connection.reusable());
    }
}

#[tokio::test]
async fn every_coding_is_undone() {
    let large: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    for (coding, encode) in CODINGS {
        for data in [b"hello".as_slice(), &vec![7; 100_000], &large] {
            let (mut connection, mut peer) = pair().await;
            let answer = coded(coding, &encode(data));
            let client = async {
                connection.send(get("/")).await.unwrap();
                connection.body().await
            };
            let (body, _) = tokio::join!(client, peer.answer(answer));
            assert!(body.unwrap() == data, "{coding}");
            assert!(connection.reusable());
        }
    }
    assert_eq!(body_of(Options::default(), coded("identity", b"as it is")).await.unwrap(), "as it is");
    assert_eq!(
        body_of(Options::default(), head("content-encoding: gzip\r\ncontent-length: 0\r\n")).await.unwrap(),
        ""
    );
    let unlabelled_end = head("content-encoding: br\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n";
    assert_eq!(body_of(Options::default(), unlabelled_end).await.unwrap(), "");
}

#[tokio::test]
async fn brotli_by_a_real_encoder() {
    let compressed = [
        27, 116, 0, 56, 29, 169, 83, 159, 60, 92, 131, 144, 157, 209, 137, 180, 44, 11, 3, 73, 65, 20, 193,
        173, 24, 240, 121, 95, 61, 152, 10,
    ];
    let body = body_of(Options::default(), coded("br", &compressed)).await.unwrap();
    assert_eq!(body, "tidegate ".repeat(12) + "ends here");
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say() {
    for (coding, encode) in CODINGS {
        let whole = encode(&vec![7; 100_000]);
        for wrong in [&whole[..whole.len() - 1], b"\x78\x9cplain text"] {
            let error = body_of(Options::default(), coded(coding, wrong)).await.unwrap_err();
            assert_eq!(error.sent, Sent::Answered);
            assert!(matches!(error.fault, CallFault::Coding { .. }), "{coding}: {error:?}");
        }
    }
    for unknown in ["compress", "gzip, br"] {
        let error = body_of(Options::default(), coded(unknown, b"x")).await.unwrap_err();
        assert!(matches!(error.fault, CallFault::UnknownCoding(name) if name == unknown));
    }
}

#[tokio::test]
async fn the_limit_is_exact() {
    for (answer, length) in [
        (head("content-length: 5\r\n") + "12345", 5),
        (head("transfer-encoding: chunked\r\n") + "2\r\n12\r\n3\r\n345\r\n0\r\n\r\n", 5),
    ] {
        assert_eq!(body_of(small(length), &answer).await.unwrap().len(), length);
        let error = body_of(small(length - 1), &answer).await.unwrap_err();
        assert!(matches!(error.fault, CallFault::TooLarge { limit } if limit == length - 1), "{error:?}");
    }
    for (coding, encode) in CODINGS {
        let answer = coded(coding, &encode(b"12345"));
        assert_eq!(body_of(small(5), &answer).await.unwrap(), "12345");
        let error = body_of(small(4), &answer).await.unwrap_err();
        assert!(matches!(error.fault, CallFault::TooLarge { limit: 4 }), "{coding}: {error:?}");
    }
}

#[tokio::test]
async fn too_much_is_not_waited_for() {
    // None of these ever ends: only one that stops early gets an answer.
    let announced = head("content-length: 1000001\r\n");
    let streamed = head("transfer-encoding: chunked\r\n") + "400\r\n" + &"x".repeat(0x400) + "\r\n";
    for answer in [announced, streamed] {
        let error = body_of(small(1000), answer).await.unwrap_err();
        assert!(matches!(error.fault, CallFault::TooLarge { limit: 1000 }), "{error:?}");
    }
    let bombs = CODINGS.map(|(coding, encode)| (coding, encode(&vec![0; 1 << 20])));
    for (coding, bomb) in bombs {
        let mut answer =
            head(&format!("content-encoding: {coding}\r\ncontent-length: 900000000\r\n")).into_bytes();
        answer.extend_from_slice(&bomb[..bomb.len() / 2]);
        let error = body_of(small(10_000), answer).await.unwrap_err();
        assert!(matches!(error.fault, CallFault::TooLarge { limit: 10_000 }), "{coding}: {error:?}");
    }
}

#[tokio::test]
async fn a_zstd_window_is_bounded() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(b"small, but asks for 128 MiB").unwrap();
    let greedy = encoder.finish().unwrap();
    let error = body_of(Options::default(), coded("zstd", &greedy)).await.unwrap_err();
    assert!(matches!(error.fault, CallFault::Coding { coding: "zstd", .. }), "{error:?}");
}

#[tokio::test]
async fn bodies_cut_short() {
    let chunked = head("transfer-encoding: chunked\r\n");
    for answer in [
        head("content-length: 10\r\n"),
        head("content-length: 10\r\n") + "123456789",
        chunked.clone(),
        chunked.clone() + "5\r\n123",
        chunked.clone() + "5\r\n12345\r\n",
        chunked.clone() + "5\r\n12345\r\n0\r\n",
    ] {
        let error = cut_body_of(&answer).await;
        assert!(matches!(error.fault, CallFault::Truncated), "{answer}: {error:?}");
    }
    let error = cut_body_of(chunked + "five\r\n12345\r\n").await;
    assert!(matches!(error.fault, CallFault::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn a_reset_within_the_body_was_answered() {
    let (mut connection, mut peer) = pair().await;
    answered(&mut connection, &mut peer, head("content-length: 10\r\n") + "123").await;
    peer.reset();
    let error = connection.body().await.unwrap_err();
    assert!(error.sent == Sent::Answered && matches!(error.fault, CallFault::Reset(_)), "{error:?}");
}

#[tokio::test]
async fn the_time_limit_includes_the_body() {
    let (mut connection, mut peer) = pair_with(short_timeout()).await;
    answered(&mut connection, &mut peer, head("content-length: 10\r\n") + "123").await;
    let error = connection.body().await.unwrap_err();
    assert!(error.sent == Sent::Answered && matches!(error.fault, CallFault::Timeout(_)), "{error:?}");
}
