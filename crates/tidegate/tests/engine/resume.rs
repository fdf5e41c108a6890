//! The same command carries on where it stopped.

use std::fs;
use std::io::Write;

use tidegate::Ended;
use tidegate::job::JobError;
use tidegate_sim::SimConfig;

use crate::setting::{Provider, Setting, config};

#[tokio::test]
async fn the_first_rows_are_tried_and_the_full_run_continues() {
    let provider = Provider::easy();
    let mut setting = Setting::new(&provider, 50).connections(4);
    setting.head = Some(10);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Head), "{report:?}");
    setting.assert_each_row_once(10);

    setting.head = None;
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(50);
    assert_eq!((report.summary.rows, report.summary.attempts), (50, 40));
    assert_eq!(provider.sim.stats().arrived, 50);
}

#[tokio::test]
async fn a_head_longer_than_the_input_finishes_it() {
    let provider = Provider::easy();
    let mut setting = Setting::new(&provider, 3);
    setting.head = Some(10);
    assert!(matches!(setting.run().await.ended, Ended::Finished));
    setting.assert_each_row_once(3);
}

#[tokio::test]
async fn a_finished_job_sends_nothing_and_reports_the_same() {
    let provider = Provider::easy();
    let setting = Setting::with_input(&provider.url("/status/{line}"), b"200\n404\n200\n");
    let first = setting.run().await;
    let again = setting.run().await;
    assert!(matches!(again.ended, Ended::Finished), "{again:?}");
    let counts = |report: &tidegate::Report| {
        (report.summary.rows, report.summary.ok, report.summary.failed, report.failures_allowed)
    };
    assert_eq!(counts(&first), (3, 2, 1, false));
    assert_eq!(counts(&again), counts(&first));
    assert_eq!((again.summary.attempts, provider.sim.stats().arrived), (0, 3));
}

#[tokio::test]
async fn a_torn_last_line_is_mended_and_its_row_sent_again() {
    let provider = Provider::easy();
    let setting = Setting::new(&provider, 20).connections(1);
    setting.run().await;
    let whole = fs::read(setting.output()).unwrap();
    fs::write(setting.output(), &whole[..whole.len() - 7]).unwrap();
    let report = setting.run().await;
    setting.assert_each_row_once(20);
    assert_eq!(report.summary.attempts, 1);
}

#[tokio::test]
async fn an_input_that_has_grown_is_the_same_job() {
    let provider = Provider::easy();
    let setting = Setting::new(&provider, 5);
    setting.run().await;
    let input = setting.file.input.path.as_ref().unwrap();
    fs::OpenOptions::new().append(true).open(input).unwrap().write_all(b"u5\nu6\n").unwrap();
    let report = setting.run().await;
    setting.assert_each_row_once(7);
    assert_eq!(report.summary.attempts, 2);
}

#[tokio::test]
async fn another_job_in_the_same_output_is_refused() {
    let provider = Provider::easy();
    let mut setting = Setting::new(&provider, 5);
    setting.run().await;
    setting.file.request.url = Some(provider.url("/v1/users/x{line}"));
    let Err(error) = setting.prepare() else { panic!("it was taken") };
    assert!(matches!(&error, JobError::OtherJob { .. }), "{error}");
    assert!(error.hint().is_some());
    setting.assert_each_row_once(5);
}

#[tokio::test]
async fn an_output_in_use_is_refused_until_its_run_ends() {
    let provider = Provider::easy();
    let setting = Setting::new(&provider, 5);
    let (run, handle) = setting.prepare().unwrap();
    assert!(matches!(setting.prepare(), Err(JobError::Sink(_))));
    run.drive().await;
    // The handle is still there; the output is free all the same.
    assert!(setting.prepare().is_ok());
    drop(handle);
}

#[tokio::test]
async fn a_changed_input_is_refused() {
    let provider = Provider::easy();
    let setting = Setting::new(&provider, 3_000).connections(8);
    setting.run().await;
    let input = setting.file.input.path.as_ref().unwrap();
    let text = fs::read_to_string(input).unwrap();
    let arrived = provider.sim.stats().arrived;
    let refused = |text: &str, what: &str| {
        fs::write(input, text).unwrap();
        let Err(error) = setting.prepare() else { panic!("{what} was taken") };
        assert!(matches!(&error, JobError::Source(_)), "{error}");
        assert!(error.to_string().contains(what) && error.hint().is_some(), "{error}");
    };
    refused(&text.replace("u2500\n", "u2500x\n"), "to 2999");
    refused(&text.replace("u1\n", "v1\n"), "something differs in rows 0 to ");
    refused(&text.replace("u2999\n", ""), "it had 3000 rows or more, and has 2999");
    fs::write(input, format!("{text}u3000\n")).unwrap();
    let report = setting.run().await;
    assert_eq!((report.summary.attempts, report.summary.rows), (1, 3_001));
    assert_eq!(provider.sim.stats().arrived, arrived + 1);
}

#[tokio::test]
async fn results_end_up_in_the_order_of_the_input() {
    let provider =
        Provider::start(SimConfig { service: "uniform 0..20ms".parse().unwrap(), ..config(&[], &[]) });
    let mut setting = Setting::new(&provider, 500).connections(16);
    setting.file.output.order = Some("input".to_owned());
    setting.head = Some(200);
    setting.run().await;
    let indices = |setting: &Setting| -> Vec<u64> {
        setting.results().iter().map(|row| row["index"].as_u64().unwrap()).collect()
    };
    assert!(!indices(&setting).is_sorted(), "they come as they come until the job is finished");
    setting.head = None;
    setting.run().await;
    assert_eq!(indices(&setting), (0..500).collect::<Vec<_>>());
    // What comes later is put behind what is in order already.
    let input = setting.file.input.path.as_ref().unwrap();
    let more: Vec<String> = (500..700).map(|i| format!("u{i}\n")).collect();
    fs::OpenOptions::new().append(true).open(input).unwrap().write_all(more.concat().as_bytes()).unwrap();
    setting.run().await;
    assert_eq!(indices(&setting), (0..700).collect::<Vec<_>>());
    setting.assert_each_row_once(700);
    let again = setting.run().await;
    assert_eq!((again.summary.attempts, again.summary.rows), (0, 700));
    assert!(!setting.folder().join("out.tidegate/reserve").exists());
}
