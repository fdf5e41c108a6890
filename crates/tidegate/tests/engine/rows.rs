//! Rows: broken ones fail alone, slow ones are sent at once, and secrets stay out of outputs.

use std::fs;
use std::path::Path;

use tidegate::Ended;

use crate::setting::{Provider, Setting, until};

const SECRET: &str = "sk-0123456789/abc+def";

#[tokio::test]
async fn a_row_without_a_call_fails_alone() {
    let provider = Provider::easy();
    let input = b"u0\nu1\n..\nu3\n";
    let setting = Setting::with_input(&provider.url("/v1/users/{line}"), input).connections(1);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(4);
    let failures = setting.failures();
    assert_eq!((failures.len(), &failures[0]["error"]["kind"]), (1, &"template".into()));
    let message = failures[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("row 2 (line 3)"), "{message}");
    assert_eq!((failures[0]["attempts"].as_u64(), provider.sim.stats().arrived), (Some(0), 3));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_alone() {
    let provider = Provider::easy();
    let setting = Setting::with_input(&provider.url("/v1/users/{line}"), b"u0\n\xff\xfe\nu2\n");
    let report = setting.run().await;
    setting.assert_each_row_once(3);
    assert_eq!((report.summary.ok, report.summary.failed), (2, 1));
    assert_eq!(setting.failures()[0]["error"]["kind"], "input");
}

#[tokio::test]
async fn thousands_of_rows_that_fail_unsent_do_not_stand_in_the_way() {
    let provider = Provider::easy();
    let input = "u0\n".to_owned() + &"..\n".repeat(5_000) + "u5001\n";
    let setting = Setting::with_input(&provider.url("/v1/users/{line}"), input.as_bytes()).connections(1);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(5_002);
    assert_eq!((report.summary.ok, report.summary.failed), (2, 5_000));
}

#[tokio::test]
async fn keys_stand_in_the_output() {
    let provider = Provider::easy();
    let mut setting = Setting::with_input(&provider.url("/v1/users/{id}"), b"id,name\nu0,a\nu1,b\n");
    setting.file.input.format = Some("csv".to_owned());
    setting.file.input.key = Some("name".to_owned());
    setting.run().await;
    setting.assert_each_row_once(2);
    let mut results = setting.results();
    results.sort_by_key(|row| row["index"].as_u64());
    assert_eq!((&results[1]["key"], &results[1]["input"]["id"]), (&"b".into(), &"u1".into()));
}

#[tokio::test]
async fn a_secret_that_the_provider_repeats_is_masked_everywhere() {
    let provider = Provider::easy();
    let mut setting = Setting::with_input(&provider.url("/echo/{line}?key={{ env.KEY }}"), b"a\nb\n")
        .header("Authorization", "Bearer {{ env.KEY }}")
        .header("X-Trace", "{{ env.KEY }}-{{ index }}");
    setting.env = vec![("KEY", SECRET)];
    let report = setting.run().await;
    assert_eq!(report.summary.ok, 2);
    let echoed = &setting.results()[0]["body"];
    assert_eq!(echoed["headers"]["authorization"], "Bearer ***", "the provider did not see it: {echoed}");
    assert_no_secret_in(setting.folder());
}

#[tokio::test]
async fn a_secret_in_a_reason_to_stop_is_masked() {
    let provider = Provider::easy();
    let input = "a\n".repeat(30);
    let url = provider.url("/redirect?to=/x/{{ env.KEY }}&n={line}");
    let mut setting = Setting::with_input(&url, input.as_bytes()).connections(1);
    setting.env = vec![("KEY", SECRET)];
    let report = setting.run().await;
    let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
    assert!(why.contains("***") && !why.contains("0123456789"), "{why}");
    assert_no_secret_in(setting.folder());
}

#[cfg(unix)]
#[tokio::test]
async fn rows_that_trickle_in_are_sent_at_once() {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    let provider = Provider::easy();
    let mut setting = Setting::new(&provider, 0);
    let (reader, mut writer) = std::io::pipe().unwrap();
    setting.file.input.path = Some(format!("/dev/fd/{}", reader.as_raw_fd()).into());
    writer.write_all(b"u0\n").unwrap(); // a job looks at its first row before it starts
    let (run, handle) = setting.prepare().unwrap();
    let trickle = async {
        for row in 1..5 {
            until(|| handle.snapshot().ok == row).await;
            writeln!(writer, "u{row}").unwrap();
        }
        drop(writer);
    };
    let (report, ()) = crate::setting::in_time(async { tokio::join!(run.drive(), trickle) }).await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(5);
}

#[track_caller]
fn assert_no_secret_in(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_secret_in(&path);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("0123456789"), "{}: {text}", path.display());
        }
    }
}
