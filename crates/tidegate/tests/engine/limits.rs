//! Limits hold, pauses hold, and waiting costs nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tidegate::{Ended, Report};
use tidegate_sim::{RetryAfter, SimConfig, Stats};

use crate::setting::{Provider, Setting, config, in_time};

/// A provider with jitter before its check and a service time after it.
fn jittery(limits: &[&str]) -> Provider {
    Provider::start(SimConfig {
        jitter: "uniform 0..10ms".parse().unwrap(),
        service: "lognormal 15ms 0.5".parse().unwrap(),
        ..config(limits, &[])
    })
}

#[track_caller]
fn assert_clean(report: &Report, stats: &Stats, rows: u64) {
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    assert_eq!((stats.rejected, stats.served_200, stats.served_twice), (0, rows, 0), "{stats:?}");
    let summary = &report.summary;
    assert_eq!((summary.rows, summary.ok, summary.attempts, summary.throttled), (rows, rows, rows, 0));
    for limit in &summary.limits {
        assert!(limit.worst_window.is_none_or(|worst| worst <= limit.allows), "{summary:?}");
    }
}

#[tokio::test]
async fn a_rolling_window_is_kept_and_used() {
    let provider = jittery(&["rolling 400/s"]);
    let setting = Setting::new(&provider, 2_000).limits(&["400/s"]);
    let report = setting.run().await;
    let stats = provider.sim.stats();
    assert_clean(&report, &stats, 2_000);
    setting.assert_each_row_once(2_000);
    // A test that never meets the limit proves nothing.
    assert!(stats.worst_window.unwrap().accepted > 300);
    assert!(setting.results().iter().all(|row| row["attempts"] == 1));
}

#[tokio::test]
async fn a_burst_uses_the_window_at_once_and_keeps_it() {
    let provider = jittery(&["rolling 50/500ms"]);
    let mut setting = Setting::new(&provider, 150).limits(&["50/500ms"]);
    setting.file.quota.pace = Some("burst".to_owned());
    assert_clean(&setting.run().await, &provider.sim.stats(), 150);
    assert!(provider.sim.stats().worst_window.unwrap().accepted > 40);
}

#[tokio::test]
async fn a_bucket_is_kept() {
    let provider = jittery(&["bucket 200/s capacity 10"]);
    let setting = Setting::new(&provider, 200).limits(&["200/s bucket 10"]);
    assert_clean(&setting.run().await, &provider.sim.stats(), 200);
}

#[tokio::test]
async fn concurrency_is_kept_and_used() {
    let provider = jittery(&["concurrency 5"]);
    let mut setting = Setting::new(&provider, 200);
    setting.file.quota.concurrency = Some(5);
    let report = setting.run().await;
    assert_clean(&report, &provider.sim.stats(), 200);
    assert_eq!(provider.sim.stats().greatest_concurrency, 5);
    assert_eq!(report.summary.peak_in_flight, 5);
}

#[tokio::test]
async fn without_a_limit_all_connections_work() {
    let provider = Provider::start(SimConfig { service: "2ms".parse().unwrap(), ..SimConfig::default() });
    let setting = Setting::new(&provider, 3_000).connections(16);
    assert_clean(&setting.run().await, &provider.sim.stats(), 3_000);
    setting.assert_each_row_once(3_000);
    assert_eq!(provider.sim.stats().greatest_concurrency, 16);
}

#[tokio::test]
async fn a_retry_after_silences_the_whole_quota_and_costs_no_attempt() {
    const CONNECTIONS: usize = 8;
    let provider = Provider::start(SimConfig {
        service: "5ms".parse().unwrap(),
        ..config(&[], &["pause after 60 for 1s"])
    });
    let mut setting = Setting::new(&provider, 200).connections(CONNECTIONS);
    setting.file.retry.attempts = Some(1);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(200);
    assert_eq!(report.summary.ok, 200);
    // What was in flight when the pause began met it, and nothing after that.
    let stats = provider.sim.stats();
    assert!((1..=CONNECTIONS as u64).contains(&stats.faults.pause), "{stats:?}");
    assert_eq!(report.summary.throttled, stats.faults.pause);
    assert_eq!(report.summary.retried_by_cause["429"], stats.faults.pause);
}

#[tokio::test]
async fn one_connection_meets_a_pause_once() {
    let provider = Provider::start(config(&[], &["pause after 10 for 1s"]));
    let setting = Setting::new(&provider, 30).connections(1);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.throttled), (30, 1));
    assert_eq!(provider.sim.stats().faults.pause, 1);
}

#[tokio::test]
async fn a_pause_longer_than_allowed_stops_the_job() {
    let provider = Provider::start(config(&[], &["pause after 10 for 90s"]));
    let mut setting = Setting::new(&provider, 30).connections(1);
    setting.file.retry.max_pause = Some("30s".to_owned());
    let report = setting.run().await;
    let Ended::Stopped(why) = report.ended else { panic!("{report:?}") };
    assert!(why.contains("1m 30s") && why.contains("max_pause = 30s"), "{why}");
    assert_eq!(setting.ended().len(), 10);
}

#[tokio::test]
async fn silence_is_heeded_in_every_form() {
    for retry_after in [RetryAfter::Decimal, RetryAfter::HttpDate, RetryAfter::Iso, RetryAfter::Millis] {
        let provider = Provider::start(SimConfig { retry_after, ..config(&[], &["pause after 10 for 90s"]) });
        let mut setting = Setting::new(&provider, 30).connections(1);
        setting.file.retry.max_pause = Some("30s".to_owned());
        let report = setting.run().await;
        let Ended::Stopped(why) = report.ended else { panic!("{retry_after}: {report:?}") };
        // Dates have whole seconds, and are never taken too early.
        assert!(why.contains("asks for silence: it is back in 1m 3"), "{retry_after}: {why}");
    }
}

#[tokio::test]
#[ignore = "takes 9 s"]
async fn a_connection_is_made_for_a_permit_that_is_near_and_not_kept_up_until_then() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{{line}}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    // Not joined: it ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Relaxed);
            std::thread::spawn(move || answer_all(&stream.unwrap()));
        }
    });
    // The second permit comes after more than twice the time that a connection is kept idle.
    let report = Setting::with_input(&url, b"a\nb\n").limits(&["1/9s"]).connections(1).run().await;
    assert_eq!((report.summary.ok, connections.load(Relaxed)), (2, 2));
}

fn answer_all(mut stream: &TcpStream) {
    for line in BufReader::new(stream).lines() {
        if line.is_ok_and(|line| line.is_empty()) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn waiting_for_a_slow_limit_costs_no_time_of_the_processor() {
    /// Hundredths of a second that this thread, which drives the engine, has been running.
    fn used() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
    let provider = Provider::easy();
    let setting = Setting::new(&provider, 3).limits(&["1/s"]);
    let (run, handle) = setting.prepare().unwrap();
    let before = used();
    let report = in_time(run.drive()).await;
    assert_eq!(report.summary.ok, 3);
    assert!(used() - before < 50, "{} of some 200 hundredths", used() - before);
    drop(handle);
}
