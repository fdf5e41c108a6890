//! Stop rather than bury rows.

use std::net::TcpListener;

use tidegate::Ended;
use tidegate::job::StatusOrWord;
use tidegate_sim::SimConfig;

use crate::setting::{Provider, Setting, config, in_time, until};

#[tokio::test]
async fn a_revoked_key_stops_the_job_and_a_good_one_finishes_it() {
    let provider = Provider::start(config(&[], &["unauthorized after 30"]));
    let setting = Setting::new(&provider, 80).connections(4);
    let report = setting.run().await;
    let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
    assert!(why.contains("401"), "{why}");
    assert_eq!((setting.results().len(), setting.failures().len()), (30, 0));
    assert_eq!(report.summary.rows, 30);

    let provider = provider.replace(SimConfig::default());
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(80);
    assert_eq!((report.summary.ok, report.summary.attempts), (80, 50));
    assert_eq!(provider.sim.stats().arrived, 50);
}

#[tokio::test]
async fn a_job_whose_first_answers_all_fail_buries_nothing() {
    let provider = Provider::easy();
    // More connections than failures: some still come in while the job is stopping.
    let mut setting = Setting::new(&provider, 500).connections(32);
    setting.file.request.url = Some(provider.url("/status/404?{line}"));
    let report = setting.run().await;
    let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
    assert!(why.contains("first 20") && why.contains("404"), "{why}");
    assert_eq!(setting.ended(), Vec::<u64>::new());
    assert_eq!((report.summary.rows, report.summary.failed), (0, 0));
    assert!(provider.sim.stats().arrived < 20 + 32);
}

#[tokio::test]
async fn early_failures_are_written_when_the_job_goes_well_after_all() {
    let provider = Provider::easy();
    let input = "404\n".repeat(19) + "200\n" + &"404\n".repeat(30);
    let setting = Setting::with_input(&provider.url("/status/{line}"), input.as_bytes()).connections(1);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(50);
    assert_eq!((report.summary.ok, report.summary.failed), (1, 49));
}

#[tokio::test]
async fn a_short_job_that_fails_as_a_whole_ends_with_its_failures() {
    let provider = Provider::easy();
    let setting = Setting::with_input(&provider.url("/status/{line}"), b"404\n410\n");
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    assert_eq!(setting.failures().len(), 2);
}

#[tokio::test]
async fn too_many_failures_stop_the_job() {
    let provider = Provider::easy();
    for good in ["200\n", ""] {
        let input = good.to_owned() + &"404\n".repeat(100);
        let mut setting =
            Setting::with_input(&provider.url("/status/{line}"), input.as_bytes()).connections(1);
        setting.file.output.max_failed = Some(StatusOrWord::Number(5));
        let report = setting.run().await;
        let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
        assert!(why.contains("max-failed"), "{why}");
        assert_eq!(setting.failures().len(), 6);
        assert!(!report.failures_allowed);
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_stops_the_job() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setting = Setting::with_input(&format!("http://{free}/{{line}}"), b"a\nb\n");
    let report = setting.run().await;
    let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
    assert!(why.contains("refused") && why.contains("5 times"), "{why}");
    assert_eq!((setting.ended().len(), report.summary.attempts), (0, 0));
}

#[tokio::test]
async fn an_interrupted_job_finishes_what_is_in_flight_and_carries_on() {
    let provider = Provider::start(SimConfig { service: "10ms".parse().unwrap(), ..SimConfig::default() });
    let setting = Setting::new(&provider, 200).connections(4);
    let (run, handle) = setting.prepare().unwrap();
    let watch = async {
        until(|| handle.snapshot().ok >= 40).await;
        handle.interrupt();
    };
    let (report, ()) = in_time(async { tokio::join!(run.drive(), watch) }).await;
    assert!(matches!(report.ended, Ended::Interrupted), "{report:?}");
    let first = setting.ended().len() as u64;
    assert!((40..200).contains(&first), "{first}");
    assert_eq!(report.summary.rows, first);

    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(200);
    let stats = provider.sim.stats();
    assert_eq!((stats.arrived, stats.served_twice), (200, 0));
    assert!(!report.summary.resumed_after_kill);
}

#[tokio::test]
async fn a_second_interrupt_does_not_wait_for_answers() {
    let provider = Provider::start(config(&[], &["hang 100%"]));
    let setting = Setting::new(&provider, 20).connections(4);
    let (run, handle) = setting.prepare().unwrap();
    let watch = async {
        until(|| handle.snapshot().in_flight == 4).await;
        handle.interrupt();
        assert!(handle.waiting().unwrap().contains("in flight"));
        handle.interrupt();
        handle.interrupt();
    };
    let (report, ()) = in_time(async { tokio::join!(run.drive(), watch) }).await;
    assert!(matches!(report.ended, Ended::Interrupted), "{report:?}");
    assert_eq!(setting.ended().len(), 0);
    // The calls given up on are gone for the provider, too.
    until(|| provider.sim.stats().in_service == 0).await;
}

#[tokio::test]
async fn a_post_that_was_cut_off_is_not_sent_again() {
    let provider = Provider::start(config(&[], &["hang 100%"]));
    let mut setting = Setting::new(&provider, 4).connections(4).post(&provider);
    setting.file.output.drain = Some("0s".to_owned());
    let (run, handle) = setting.prepare().unwrap();
    let watch = async {
        until(|| provider.sim.stats().arrived == 4).await;
        handle.interrupt();
    };
    let (report, ()) = in_time(async { tokio::join!(run.drive(), watch) }).await;
    assert!(matches!(report.ended, Ended::Interrupted), "{report:?}");
    setting.assert_each_row_once(4);
    assert!(setting.unknown().iter().all(|row| row["error"]["kind"] == "unknown"));
    assert_eq!((report.summary.failed, report.summary.unknown), (0, 4));
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    assert_eq!(provider.sim.stats().arrived, 4);
}

#[tokio::test]
async fn an_interrupt_ends_a_pause() {
    let provider = Provider::start(config(&[], &["pause after 5 for 90s"]));
    let setting = Setting::new(&provider, 20).connections(1);
    let (run, handle) = setting.prepare().unwrap();
    let watch = async {
        until(|| handle.waiting().is_some_and(|why| why.contains("silence"))).await;
        handle.interrupt();
    };
    let (report, ()) = in_time(async { tokio::join!(run.drive(), watch) }).await;
    assert!(matches!(report.ended, Ended::Interrupted), "{report:?}");
    assert_eq!(setting.ended(), [0, 1, 2, 3, 4]);
}
