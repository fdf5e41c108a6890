use std::io::{self, Read};
use std::time::Duration;

use serde_json::json;
use tidegate_sim::{RetryAfter, SimConfig};

use crate::client::{Provider, config};

fn provider(fault: &str) -> Provider {
    Provider::start(config(&["rolling 1000/h"], &[fault]))
}

#[test]
fn resets_come_before_any_byte() {
    let provider = provider("reset 100%");
    let mut client = provider.connect();
    client.send("GET", "/v1/users/1", "", b"");
    assert_eq!(client.answer(false).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let stats = provider.stats();
    assert_eq!(
        (&stats["accepted"], &stats["served_200"], &stats["in_service"]),
        (&json!(1), &json!(0), &json!(0))
    );
    assert_eq!(stats["faults"]["reset"], json!(1));
}

#[test]
fn hanging_requests_get_nothing() {
    let provider = provider("hang 100%");
    let mut client = provider.connect();
    client.send("GET", "/v1/users/1", "", b"");
    client.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let error = client.0.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    assert_eq!(provider.stats()["faults"]["hang"], json!(1));
}

#[test]
fn truncated_answers_announce_more_than_they_send() {
    let provider = provider("truncate 100%");
    let mut client = provider.connect();
    let answer = client.get("/v1/users/1");
    assert_eq!((answer.status, answer.cut), (200, true));
    assert!(!answer.body.is_empty());
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0, "the connection is closed");
    let stats = provider.stats();
    assert_eq!((&stats["faults"]["truncate"], &stats["served_200"]), (&json!(1), &json!(0)));
    assert_eq!(stats["in_service"], json!(0));
}

#[test]
fn html_comes_with_status_200() {
    let provider = provider("html 100%");
    let answer = provider.get("/v1/users/1");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(answer.body.starts_with(b"<!DOCTYPE html>"));
    let stats = provider.stats();
    assert_eq!((&stats["faults"]["html"], &stats["served_200"]), (&json!(1), &json!(0)));
}

#[test]
fn statuses_are_injected() {
    let provider = provider("status 503 100%");
    assert_eq!(provider.get("/v1/users/1").status, 503);
    assert_eq!(provider.stats()["faults"]["status"], json!(1));
}

#[test]
fn rejected_requests_suffer_no_faults() {
    let provider = Provider::start(config(&["rolling 1/h"], &["status 500 100%"]));
    let mut client = provider.connect();
    assert_eq!([client.get("/echo").status, client.get("/echo").status], [500, 429]);
}

#[test]
fn revoked_keys_get_401() {
    let provider = provider("unauthorized after 2");
    let mut client = provider.connect();
    let statuses = [(); 4].map(|()| client.get("/v1/users/1").status);
    assert_eq!(statuses, [200, 200, 401, 401]);
    let stats = provider.stats();
    assert_eq!((&stats["arrived"], &stats["accepted"]), (&json!(4), &json!(2)));
    assert_eq!(stats["faults"]["unauthorized"], json!(2));
}

#[test]
fn pauses_say_how_long_even_if_limits_do_not() {
    let pause = |retry_after| {
        let base = config(&["rolling 1000/h"], &["pause after 1 for 2h"]);
        let provider = Provider::start(SimConfig { retry_after, ..base });
        let mut client = provider.connect();
        assert_eq!(client.get("/echo").status, 200);
        let answer = client.get("/echo");
        assert_eq!((answer.status, &answer.json()["error"]["limit"]), (429, &json!(null)));
        let stats = provider.stats();
        assert_eq!((&stats["rejected"], &stats["faults"]["pause"]), (&json!(0), &json!(1)));
        answer
    };
    assert_eq!(pause(RetryAfter::None).header("retry-after"), Some("7200"));
    assert_eq!(pause(RetryAfter::Millis).header("retry-after-ms"), Some("7200000"));
}

#[test]
fn the_seed_decides_who_suffers() {
    let struck = |seed| {
        let provider = Provider::start(SimConfig { seed, ..config(&[], &["status 503 30%", "html 30%"]) });
        let mut client = provider.connect();
        let answers: Vec<_> =
            (0..60).map(|_| client.get("/v1/users/1")).map(|answer| (answer.status, answer.body)).collect();
        let stats = provider.stats();
        let count = |wanted: u16| answers.iter().filter(|(status, _)| *status == wanted).count() as u64;
        assert_eq!(stats["faults"]["status"], json!(count(503)));
        let good = stats["served_200"].as_u64().unwrap();
        assert_eq!(good + stats["faults"]["html"].as_u64().unwrap(), count(200));
        assert!(good > 0 && good < count(200));
        answers
    };
    assert_eq!(struck(1), struck(1));
    assert_ne!(struck(1), struck(2));
}
