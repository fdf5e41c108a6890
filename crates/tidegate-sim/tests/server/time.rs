//! What takes its time, and what the provider's clock shows.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tidegate_sim::{RetryAfter, SimConfig};

use crate::client::{Answer, Client, Provider, config};

fn date(answer: &Answer, name: &str) -> SystemTime {
    httpdate::parse_http_date(answer.header(name).unwrap()).unwrap()
}

#[test]
fn the_clock_decides_about_dates_and_calendars() {
    // Half a minute of margin for a slow machine before midnight.
    let clock = "2026-10-25T23:59:30.5+01:00".parse().unwrap();
    let base = config(&["calendar 2/day zone Europe/Berlin"], &[]);
    let provider =
        Provider::start(SimConfig { clock: Some(clock), retry_after: RetryAfter::HttpDate, ..base });
    let mut client = provider.connect();
    let start = httpdate::parse_http_date("Sun, 25 Oct 2026 22:59:30 GMT").unwrap();
    let midnight = httpdate::parse_http_date("Sun, 25 Oct 2026 23:00:00 GMT").unwrap();
    for path in ["/echo", "/nowhere", "/_stats"] {
        let shown = date(&client.get(path), "date");
        assert!((start..midnight).contains(&shown), "{path}: {shown:?}");
    }
    let rejected = client.get("/echo");
    assert_eq!((rejected.status, date(&rejected, "retry-after")), (429, midnight));

    // A reset turns the clock back.
    client.get("/_reset");
    assert_eq!([(); 3].map(|()| client.get("/echo").status), [200, 200, 429]);
    assert!((start..midnight).contains(&date(&client.get("/echo"), "date")));
}

#[test]
fn a_day_ends_while_the_provider_runs() {
    // Half a second later clocks on the Azores leap from midnight to one.
    let clock = "2026-03-28T23:59:59.5-01:00".parse().unwrap();
    let base = config(&["calendar 1/day zone Atlantic/Azores"], &[]);
    let provider = Provider::start(SimConfig { clock: Some(clock), ..base });
    let mut client = provider.connect();
    let uptime = || provider.stats()["uptime_ms"].as_u64().unwrap();
    loop {
        client.get("/_reset");
        assert_eq!(client.get("/echo").status, 200);
        if uptime() < 500 {
            break;
        }
    }
    while uptime() <= 500 {}
    assert_eq!([(); 2].map(|()| client.get("/echo").status), [200, 429]);
}

#[test]
fn bodies_take_their_time_in_pieces_behind_the_head() {
    let base = config(&["concurrency 1"], &[]);
    let provider = Provider::start(SimConfig { body: "1h".parse().unwrap(), ..base });
    let mut slow = provider.connect();
    slow.send("GET", "/v1/users/1", "", b"");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        slow.0.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    assert_eq!(provider.get("/echo").status, 429, "in service until the last byte");
    slow.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(slow.0.read(&mut [0]).is_err(), "no byte of it is due yet");
    drop(slow);
    provider.wait_for("in_service", 0);
}

#[test]
fn the_first_piece_comes_long_before_the_last() {
    let provider = Provider::start(SimConfig { body: "8s".parse().unwrap(), ..SimConfig::default() });
    let mut slow = provider.connect();
    slow.send("GET", "/big?bytes=4", "", b"");
    let mut head = Vec::new();
    while !head.ends_with(b"x") {
        let mut byte = [0];
        slow.0.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.ends_with(b"\r\n\r\nx"));
    assert_eq!(provider.stats()["in_service"], json!(1));
}

#[test]
fn slow_bodies_are_whole() {
    let provider = Provider::start(SimConfig { body: "40ms".parse().unwrap(), ..SimConfig::default() });
    let mut client = provider.connect();
    let uptime = |client: &mut Client| client.get("/_stats").json()["uptime_ms"].as_u64().unwrap();
    let start = uptime(&mut client);
    assert_eq!(client.get("/v1/users/7").json()["id"], json!("7"));
    assert!(uptime(&mut client) - start >= 38);
    for size in [0, 1, 3, 1_000_000] {
        let big = client.get(&format!("/big?bytes={size}"));
        assert_eq!((big.status, big.body.len(), big.cut), (200, size, false));
    }
    assert_eq!(client.get("/status/204").status, 204);
    assert_eq!(client.call("HEAD", "/v1/users/7", "", b"").status, 200);
}

#[test]
fn a_stall_counts_those_that_have_gone_when_it_ends() {
    let base = config(&["rolling 5/h"], &["stall after 1 for 2s"]);
    let provider = Provider::start(SimConfig { service: "1ms".parse().unwrap(), ..base });
    assert_eq!(provider.get("/echo").status, 200);
    let mut gone = [provider.connect(), provider.connect(), provider.connect()];
    for client in &mut gone {
        client.send("GET", "/echo", "", b"");
    }
    provider.wait_for("faults/stall", 3);
    drop(gone);
    // Those that stay are answered when it is over.
    let mut stays = provider.connect();
    stays.0.write_all(b"GET /v1/users/1 HTTP/1.1\r\nhost: sim\r\n\r\n").unwrap();
    provider.wait_for("faults/stall", 4);
    assert_eq!(provider.stats()["arrived"], json!(1));
    assert_eq!(stays.answer(false).unwrap().status, 200);
    provider.wait_for("arrived", 5);
    provider.wait_for("in_service", 0);
    assert_eq!(provider.get("/echo").status, 429);
    assert_eq!(provider.stats()["accepted"], json!(5));
}
