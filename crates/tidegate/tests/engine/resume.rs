//! The same command carries on where it stopped.

use std::fs;
use std::io::Write;

use tidegate::Ended;
use tidegate::job::JobError;

use crate::setting::{Provider, Setting};

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
    // As a kill leaves it.
    fs::write(setting.folder().join("out.tidegate/running"), "").unwrap();
    let report = setting.run().await;
    setting.assert_each_row_once(20);
    assert_eq!(report.summary.attempts, 1);
    assert!(report.summary.resumed_after_kill);
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
