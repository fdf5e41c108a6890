//! A provider that misbehaves: each row ends as one result or one failure, and the counts agree.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use tidegate::job::{FlagOrWord, ProbeSection};
use tidegate::{Ended, Report};
use tidegate_sim::{SimConfig, Stats};

use crate::setting::{Provider, Setting, config};

#[track_caller]
fn assert_counts_agree(report: &Report, setting: &Setting, stats: &Stats) {
    let summary = &report.summary;
    assert_eq!(summary.attempts, stats.arrived, "{summary:?} {stats:?}");
    assert_eq!(summary.ok, setting.results().len() as u64);
    assert_eq!(summary.failed, setting.failures().len() as u64);
    assert_eq!(summary.unknown, setting.unknown().len() as u64);
    assert_eq!(summary.rows, summary.ok + summary.failed + summary.unknown);
    assert_eq!(summary.retried, summary.retried_by_cause.values().sum::<u64>());
    let sends: u64 = setting
        .results()
        .iter()
        .chain(&setting.failures())
        .chain(&setting.unknown())
        .map(|row| row["attempts"].as_u64().unwrap())
        .sum();
    assert_eq!(sends, summary.attempts);
    assert_eq!(stats.in_service, 0);
}

#[tokio::test]
async fn statuses_that_pass_are_tried_again() {
    let provider = Provider::start(config(&[], &["status 503 20%"]));
    let setting = Setting::new(&provider, 300).connections(8);
    let report = setting.run().await;
    let stats = provider.sim.stats();
    setting.assert_each_row_once(300);
    assert_counts_agree(&report, &setting, &stats);
    assert!(stats.faults.status > 0 && report.summary.ok >= 295, "{report:?}");
    assert_eq!(stats.served_200, report.summary.ok);
    let last_tries = report.summary.failed;
    assert_eq!(report.summary.retried_by_cause["503"], stats.faults.status - last_tries);
}

#[tokio::test]
async fn resets_hangs_and_cut_bodies_lose_no_row() {
    let provider = Provider::start(SimConfig {
        service: "1ms".parse().unwrap(),
        ..config(&[], &["reset 10%", "hang 2%", "truncate 2%", "html 2%"])
    });
    let mut setting = Setting::new(&provider, 500).connections(16);
    setting.file.request.timeout = Some("500ms".to_owned());
    let report = setting.run().await;
    let stats = provider.sim.stats();
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(500);
    assert_counts_agree(&report, &setting, &stats);
    let faults = &stats.faults;
    assert!(faults.reset > 0 && faults.hang > 0 && faults.truncate > 0 && faults.html > 0, "{faults:?}");
    assert_eq!(report.summary.ok, stats.served_200 + faults.html);
    let tried_again = report.summary.retried + report.summary.failed;
    assert_eq!(tried_again, faults.reset + faults.hang + faults.truncate);
    assert_eq!(report.summary.retried_by_cause["timeout"], faults.hang);
    let texts = setting.results().iter().filter(|row| row["text"].is_string()).count() as u64;
    assert_eq!(texts, faults.html);
}

#[tokio::test]
async fn a_post_whose_outcome_is_unknown_is_not_sent_again() {
    let provider = Provider::start(config(&[], &["reset 30%"]));
    let setting = Setting::new(&provider, 100).connections(4).post(&provider);
    let report = setting.run().await;
    let stats = provider.sim.stats();
    setting.assert_each_row_once(100);
    assert_counts_agree(&report, &setting, &stats);
    assert_eq!((stats.arrived, report.summary.retried), (100, 0));
    assert_eq!((report.summary.failed, report.summary.unknown), (0, stats.faults.reset));
    for failure in setting.unknown() {
        assert_eq!((&failure["error"]["kind"], &failure["attempts"]), (&"unknown".into(), &1.into()));
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_done_is_never_left_undone() {
    let provider = Provider::start(config(&[], &["reset 100%"]));
    let setting = Setting::new(&provider, 50).connections(1).post(&provider);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Stopped(_)), "{report:?}");
    // The job stops for its first failures, but another run must not buy them twice.
    assert_eq!(setting.ended(), (0..20).collect::<Vec<_>>());
    assert_eq!(provider.sim.stats().arrived, 20);
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let provider = Provider::start(config(&[], &["reset 20%"]));
    let setting = Setting::new(&provider, 100)
        .connections(4)
        .post(&provider)
        .header("Idempotency-Key", "job-7-{{ index }}");
    let report = setting.run().await;
    setting.assert_each_row_once(100);
    assert!(report.summary.ok > 95 && report.summary.retried_by_cause["network"] > 0, "{report:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_fails_its_row_only() {
    let provider = Provider::easy();
    let mut setting = Setting::with_input(&provider.url("/big?bytes={line}"), b"10\n5000\n20\n1000\n1001\n");
    setting.file.request.max_body = Some(1_000);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    assert_eq!((report.summary.ok, report.summary.failed), (3, 2));
    for failure in setting.failures() {
        assert_eq!(failure["error"]["kind"], "body_too_large");
        assert!(failure["index"] == 1 || failure["index"] == 4);
    }
    assert_eq!(provider.sim.stats().arrived, 5);
}

#[tokio::test]
async fn statuses_are_results_where_they_are_accepted() {
    let provider = Provider::easy();
    let mut setting = Setting::with_input(&provider.url("/status/{line}"), b"200\n404\n403\n204\n");
    setting.file.output.accept =
        Some(["2xx", "404"].map(|s| tidegate::job::StatusOrWord::Word(s.to_owned())).to_vec());
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.failed), (3, 1));
    assert_eq!(setting.failures()[0]["status"], 403);
    assert!(!report.failures_allowed);
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_is_cut_short() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{{line}}", listener.local_addr().unwrap());
    // Not joined: it ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(&stream).lines().take_while(|line| !line.as_ref().unwrap().is_empty());
            if head.count() > 0 {
                stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 10\r\n\r\n{}").unwrap();
            }
        }
    });
    let setting = Setting::with_input(&url, b"a\nb\n").connections(1);
    let report = setting.run().await;
    let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
    assert!(why.contains("401"), "{why}");
    assert_eq!((setting.ended().len(), report.summary.attempts), (0, 1));
}

#[tokio::test]
async fn idempotency_keys_are_the_same_in_all_attempts_and_runs() {
    let provider = Provider::start(config(&[], &["reset 40%"]));
    let mut setting = Setting::new(&provider, 40).connections(4).post(&provider);
    setting.file.request.idempotency_key = Some(FlagOrWord::Word("X-Request-Key".to_owned()));
    let report = setting.run().await;
    setting.assert_each_row_once(40);
    assert!(report.summary.retried > 0 && report.summary.unknown == 0, "{report:?}");
}

fn asking(provider: &Provider, path: &str) -> Setting {
    let mut setting = Setting::new(provider, 60).connections(4).post(provider);
    setting.file.retry.unknown = Some("probe".to_owned());
    let url = Some(provider.url(path));
    setting.file.retry.probe = Some(ProbeSection { url, ..ProbeSection::default() });
    setting
}

#[tokio::test]
async fn the_provider_is_asked_whether_it_has_a_row() {
    let provider = Provider::start(config(&[], &["reset 30%"]));
    let setting = asking(&provider, "/v1/users/{line}");
    let report = setting.run().await;
    setting.assert_each_row_once(60);
    let asked = report.summary.retried_by_cause["unknown"];
    let told = setting.results().iter().filter(|row| row["body"]["object"].is_null()).count() as u64;
    assert!(asked > 5 && told > 0, "{report:?}");
    // No POST was sent twice: all that a row was sent for besides were questions.
    assert_eq!(told + report.summary.unknown, asked, "{report:?}");
    assert!(!report.summary.retried_by_cause.contains_key("missing"));
}

#[tokio::test]
async fn a_row_that_the_provider_has_not_got_is_sent_again() {
    let provider = Provider::start(config(&[], &["reset 30%"]));
    let setting = asking(&provider, "/status/404");
    let report = setting.run().await;
    setting.assert_each_row_once(60);
    assert!(report.summary.retried_by_cause["missing"] > 0, "{report:?}");
    assert!(report.summary.ok >= 55, "{report:?}");
    assert!(setting.results().iter().all(|row| !row["body"]["object"].is_null()));
}

#[test]
fn a_probe_must_say_how_to_ask_and_stay_at_home() {
    let provider = Provider::easy();
    let mut setting = asking(&provider, "/v1/users/{line}");
    setting.file.retry.probe.as_mut().unwrap().url = Some("http://127.0.0.1:1/{line}".to_owned());
    let refused = |setting: &Setting| setting.prepare().map(|_| ()).unwrap_err();
    assert!(refused(&setting).to_string().contains("leads to"));
    setting.file.retry.probe = None;
    assert!(refused(&setting).hint().unwrap().contains("[retry.probe]"));
}
