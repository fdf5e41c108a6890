//! Providers and runs in trouble: faults, stalls, pauses and kills.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::job::Job;
use crate::provider::Provider;

/// Connections reset, calls that hang, bodies that end early: each row ends once, and both sides
/// count the same.
#[test]
fn faults_lose_nothing_and_are_counted_alike() {
    let provider = Provider::start(&[
        "--limit",
        "rolling 200/s",
        "--service",
        "5ms",
        "--fault",
        "reset 10%",
        "--fault",
        "hang 2%",
        "--fault",
        "truncate 2%",
        "--fault",
        "status 503 3%",
        "--seed",
        "7",
    ]);
    let job = Job::new(1_000);
    job.run(&provider, &["--rate", "200/s", "--timeout", "1s", "--backoff", "50ms..500ms"], &[0, 1]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(1_000);
    let count = |value: &Value| value.as_u64().unwrap();
    assert_eq!(count(&summary["ok"]) + count(&summary["failed"]), 1_000);
    assert_eq!(summary["attempts"], stats["arrived"]);
    assert_eq!(summary["throttled"], stats["rejected"]);
    assert_eq!(count(&stats["rejected"]), 0);
    assert_eq!(summary["ok"], stats["served_200"]);
    assert_eq!(count(&stats["served_twice"]), 0);
    let faults = &stats["faults"];
    for (cause, fault) in [("timeout", "hang"), ("503", "status")] {
        // The last attempt of a row that failed is no retry.
        let retried = summary["retried_by_cause"].get(cause).map_or(0, count);
        assert!(retried <= count(&faults[fault]) && retried > 0, "{cause}: {retried} of {faults}");
    }
}

/// Half of the declared limit is used by somebody else, who has never heard of us; the headers say what is left.
#[test]
fn others_use_half_of_the_limit() {
    for (form, limit) in [("ietf", "fixed 100/6s phase 2s"), ("x", "rolling 100/6s")] {
        let provider =
            Provider::start(&["--limit", limit, "--service", "30ms", &format!("--ratelimit-headers={form}")]);
        let job = Job::new(150);
        let url = provider.url.clone();
        let (stop, stopped) = mpsc::channel();
        let other = thread::spawn(move || {
            let mut sent = 0;
            while stopped.recv_timeout(Duration::from_millis(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
                get(&url, "/v1/users/other");
                sent += 1;
            }
            sent
        });
        let said = job.run(&provider, &["--rate", "100/6s"], &[0]);
        stop.send(()).unwrap();
        let sent = other.join().unwrap();
        let summary = job.summary();
        job.check_rows(150);
        // 150 rows at half of the limit are three periods; the first rejection is how the others are met.
        let periods = (summary["wall_s"].as_f64().unwrap() / 6.0).ceil() as u64;
        let throttled = summary["throttled"].as_u64().unwrap();
        println!(
            "{form}: {periods} periods, {throttled} rejections, the other sent {sent}: {}",
            summary["others"]
        );
        assert!(throttled <= periods + 1 && sent > 60, "{summary}");
        assert!(summary["others"][0]["most"].as_u64().unwrap() > 25, "{summary}");
        assert!(said.contains("others use the key as well"), "{said}");
    }
}

/// Windows do not end with the run: interrupted or killed and started again at once, in bursts that
/// leave nothing of the window free, the job meets no rejection.
#[test]
fn restarts_do_not_forget_what_was_sent() {
    let provider = Provider::start(&["--limit", "rolling 100/3s", "--service", "20ms"]);
    let job = Job::new(500);
    let burst = ["--rate", "100/3s", "--pace", "burst"];
    for (signal, code) in [("INT", Some(130)), ("KILL", None), ("TERM", Some(143)), ("KILL", None)] {
        let served = provider.stats()["accepted"].as_u64().unwrap();
        let mut run = job.command(&provider, &burst).stderr(Stdio::null()).spawn().unwrap();
        // In the middle of a window, with calls behind it and calls in flight.
        while provider.stats()["accepted"].as_u64().unwrap() < served + 60 {
            assert!(run.try_wait().unwrap().is_none(), "ended by itself");
        }
        let sent = Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(run.wait().unwrap().code(), code, "{signal}");
    }
    job.run(&provider, &burst, &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    assert_eq!(stats["rejected"], 0, "{stats}");
    assert_eq!(stats["worst_window"]["accepted"], 100, "the window was never used to the full: {stats}");
    assert_eq!(summary["resumed_after_kill"], true);
    job.check_rows(500);
}

/// A provider that asks for a minute and a half of silence gets it.
#[test]
#[ignore = "waits for 90 s; ./test --long"]
fn a_long_retry_after_is_waited_for() {
    let provider = Provider::start(&["--limit", "rolling 100/s", "--fault", "pause after 150 for 90s"]);
    let job = Job::new(300);
    job.run(&provider, &["--rate", "100/s"], &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(300);
    assert_eq!(summary["ok"], 300);
    assert_eq!(summary["throttled"], stats["faults"]["pause"]);
    assert_eq!(summary["attempts"], stats["arrived"]);
    assert!(summary["wall_s"].as_f64().unwrap() > 90.0);
}

/// A provider that freezes reads on, counts nothing, and counts it all at once when it goes on. By then
/// the client has long given those calls up: had it sent others in their place, they would be too many.
#[test]
fn a_stall_never_fills_a_window_twice() {
    stall("rolling 20/1200ms", "20/1200ms", "stall after 30 for 8s", "6s", 120);
}

#[test]
#[ignore = "waits for more than a minute; ./test --long"]
fn a_long_stall_never_fills_a_window_twice() {
    stall("rolling 100/6s", "100/6s", "stall after 150 for 40s", "30s", 500);
}

fn stall(enforced: &str, declared: &str, fault: &str, timeout: &str, rows: u64) {
    let provider =
        Provider::start(&["--limit", enforced, "--service", "lognormal 60ms 0.5", "--fault", fault]);
    let job = Job::new(rows);
    job.run(&provider, &["--rate", declared, "--timeout", timeout, "--backoff", "50ms..500ms"], &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(rows);
    assert_eq!(stats["rejected"], 0, "{stats}");
    assert_eq!(summary["throttled"], 0);
    assert_eq!(summary["ok"], rows);
    // It is the stall that was survived, and calls of it that were counted after all.
    let count = |value: &Value| value.as_u64().unwrap();
    assert!(count(&stats["faults"]["stall"]) > 1, "{stats}");
    assert!(count(&stats["accepted"]) > rows, "nothing that was given up was counted: {stats}");
}

/// A call of somebody else.
fn get(url: &str, path: &str) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}
