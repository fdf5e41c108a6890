//! Many rows in one call.

use std::fs;

use serde_json::{Value, json};
use tidegate::job::FlagOrWord;
use tidegate::{Ended, Report};

use crate::scripted::{Asked, HANGS, HANGS_UP, Scripted, Told};
use crate::setting::{Provider, Setting, in_time, until};

/// A POST for each `batch` of these lines.
fn setting(url: &str, lines: &[String], batch: u64) -> Setting {
    let mut setting = Setting::with_input(url, lines.concat().as_bytes()).connections(4);
    setting.file.request.json = Some(json!({ "items": ["{{ line }}"] }));
    setting.file.request.batch = Some(batch);
    setting.file.output.split = Some("/results".to_owned());
    setting
}

fn lines(rows: u64, name: impl Fn(u64) -> &'static str) -> Vec<String> {
    (0..rows).map(|row| format!("{}{row}\n", name(row))).collect()
}

fn indices(rows: &[Value]) -> Vec<u64> {
    let mut rows: Vec<u64> = rows.iter().map(|row| row["index"].as_u64().unwrap()).collect();
    rows.sort_unstable();
    rows
}

fn items(asked: &Asked) -> Vec<String> {
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    body["items"].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn finished(report: &Report) {
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
}

#[tokio::test]
async fn poisoned_rows_fail_alone() {
    const POISONED: [u64; 3] = [17, 18, 612];
    let provider = Provider::easy();
    let lines = lines(1_010, |row| if POISONED.contains(&row) { "poison" } else { "u" });
    let setting = setting(&provider.url("/v1/batch"), &lines, 50);
    let report = setting.run().await;
    finished(&report);
    setting.assert_each_row_once(1_010);
    assert_eq!(indices(&setting.failures()), POISONED);
    for failure in setting.failures() {
        assert_eq!(failure["error"]["kind"], "status", "{failure}");
    }
    // 21 calls; and for two neighbours and one more, two for each time that 50 are halved.
    let summary = &report.summary;
    assert_eq!(summary.attempts, 21 + summary.retried_by_cause["halved"]);
    assert!(summary.retried_by_cause["halved"] <= 2 * 6 * 3, "{summary:?}");
    assert_eq!(provider.sim.stats().arrived, summary.attempts);

    let again = setting.run().await;
    assert_eq!((again.summary.attempts, again.summary.ok, again.summary.failed), (0, 1_007, 3));
}

#[tokio::test]
async fn each_part_is_judged_by_itself() {
    let provider = Provider::easy();
    let lines = lines(100, |row| if row % 10 == 3 { "bad" } else { "u" });
    let mut setting = setting(&provider.url("/v1/batch"), &lines, 10);
    setting.file.output.success = Some("{{ body.ok }}".to_owned());
    let report = setting.run().await;
    finished(&report);
    setting.assert_each_row_once(100);
    assert_eq!(indices(&setting.failures()), (0..10).map(|i| i * 10 + 3).collect::<Vec<_>>());
    assert_eq!(report.summary.attempts, 10, "no call is sent again for a row that is refused by itself");
    assert_eq!(setting.failures()[0]["body"]["ok"], false);
}

#[tokio::test]
async fn parts_are_found_by_their_keys_and_one_that_is_missing_fails() {
    let provider = Scripted::start(|asked| {
        let ids = items(asked.last().unwrap());
        let found = ids.iter().rev().filter(|id| *id != "u5").map(|id| json!({ "id": id, "v": 1 }));
        Told(200, String::new(), json!({ "found": found.collect::<Vec<_>>() }).to_string())
    });
    let mut setting = setting(&provider.url, &lines(10, |_| "u"), 4);
    setting.file.input.key = Some("line".to_owned());
    setting.file.output.split = Some("/found".to_owned());
    setting.file.output.split_key = Some("/id".to_owned());
    finished(&setting.run().await);
    setting.assert_each_row_once(10);
    assert_eq!(indices(&setting.failures()), [5]);
    assert_eq!(setting.failures()[0]["error"]["kind"], "bad_body");
    assert_eq!(provider.asked().len(), 3);
}

#[tokio::test]
async fn an_answer_that_cannot_be_divided_is_not_bought_twice() {
    let provider = Scripted::start(|_| Told(200, String::new(), r#"{"results":[1,2]}"#.to_owned()));
    let setting = setting(&provider.url, &lines(5, |_| "u"), 5);
    finished(&setting.run().await);
    assert_eq!(indices(&setting.failures()), [0, 1, 2, 3, 4]);
    let message = setting.failures()[0]["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "/results in the answer has 2 elements for 5 rows");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn rows_without_a_call_fail_by_themselves_before_anything_is_sent() {
    let rows: Vec<String> = (0..40)
        .map(|row| match row {
            7 => "{\"name\":1}\n".to_owned(),
            23 => "not json\n".to_owned(),
            row => format!("{{\"id\":\"u{row}\"}}\n"),
        })
        .collect();
    let provider = Provider::easy();
    let mut setting = setting(&provider.url("/v1/batch"), &rows, 20);
    setting.file.input.format = Some("jsonl".to_owned());
    setting.file.request.json = Some(json!(["{{ row.id }}"]));
    let report = setting.run().await;
    finished(&report);
    setting.assert_each_row_once(40);
    assert_eq!(indices(&setting.failures()), [7, 23]);
    assert!(!report.summary.retried_by_cause.contains_key("halved"));
}

#[tokio::test]
async fn rows_of_different_quotas_do_not_share_a_call() {
    let rows: Vec<String> = (0..50).map(|row| format!("u{row},{}\n", row / 20)).collect();
    let provider = Scripted::start(|asked| {
        let results: Vec<Value> = items(asked.last().unwrap()).iter().map(|id| json!({ "id": id })).collect();
        Told(200, String::new(), json!({ "results": results }).to_string())
    });
    let input = format!("id,shop\n{}", rows.concat());
    let mut setting = setting(&provider.url, &[input], 8).limits(&["1000/s"]);
    setting.file.input.format = Some("csv".to_owned());
    setting.file.request.json = Some(json!({ "items": ["{{ row.id }}"] }));
    setting.file.quota.partition = Some("{shop}".to_owned());
    finished(&setting.run().await);
    setting.assert_each_row_once(50);
    for asked in provider.asked() {
        let shops: Vec<u64> = items(&asked).iter().map(|id| id[1..].parse::<u64>().unwrap() / 20).collect();
        assert!(shops.iter().all(|shop| *shop == shops[0]), "{shops:?}");
    }
}

#[tokio::test]
async fn of_an_unknown_outcome_all_rows_are_held() {
    // The second call gets no answer.
    let provider = Scripted::start(|asked| {
        let results: Vec<Value> = items(asked.last().unwrap()).iter().map(|id| json!({ "id": id })).collect();
        let status = if asked.len() == 2 { HANGS_UP } else { 200 };
        Told(status, String::new(), json!({ "results": results }).to_string())
    });
    let setting = setting(&provider.url, &lines(12, |_| "u"), 4).connections(1);
    finished(&setting.run().await);
    setting.assert_each_row_once(12);
    assert_eq!(indices(&setting.unknown()), [4, 5, 6, 7]);
    assert_eq!(provider.asked().len(), 3);
}

#[tokio::test]
async fn what_was_sent_together_is_sent_again_together() {
    // The second call hangs until the run is ended, and was perhaps done.
    let provider = Scripted::start(|asked| {
        if asked.len() == 2 {
            return Told(HANGS, String::new(), String::new());
        }
        let results: Vec<Value> = items(asked.last().unwrap()).iter().map(|id| json!({ "id": id })).collect();
        Told(200, String::new(), json!({ "results": results }).to_string())
    });
    let mut setting = setting(&provider.url, &lines(12, |_| "u"), 4).connections(1);
    setting.file.request.idempotency_key = Some(FlagOrWord::Flag(true));
    let (run, handle) = setting.prepare().unwrap();
    let run = tokio::spawn(run.drive());
    until(|| provider.asked().len() == 2).await;
    handle.interrupt();
    handle.interrupt();
    let report = in_time(run).await.unwrap();
    assert!(matches!(report.ended, Ended::Interrupted), "{report:?}");
    assert_eq!(setting.ended(), [0, 1, 2, 3]);

    // Even if calls are to carry fewer now.
    setting.file.request.batch = Some(3);
    finished(&setting.run().await);
    setting.assert_each_row_once(12);
    let asked = provider.asked();
    let calls: Vec<Vec<String>> = asked.iter().map(items).collect();
    assert_eq!(calls[2], calls[1]);
    assert_eq!(asked[2].idempotency_key, asked[1].idempotency_key);
    assert_ne!(asked[2].idempotency_key, asked[3].idempotency_key);
    assert_eq!(calls[3..].iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
    for result in setting.results().iter().filter(|row| (4..8).contains(&row["index"].as_u64().unwrap())) {
        assert_eq!(result["attempts"], 2, "{result}");
    }
}

#[tokio::test]
async fn what_may_have_been_done_under_one_key_is_not_tried_under_others() {
    // The first call gets no answer, and all others are refused.
    let provider = Scripted::start(|asked| {
        Told(if asked.len() == 1 { HANGS_UP } else { 409 }, String::new(), String::new())
    });
    let mut setting = setting(&provider.url, &lines(4, |_| "u"), 4);
    setting.file.request.idempotency_key = Some(FlagOrWord::Flag(true));
    finished(&setting.run().await);
    assert_eq!(indices(&setting.failures()), [0, 1, 2, 3]);
    let asked = provider.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].idempotency_key, asked[1].idempotency_key);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let provider = Provider::easy();
    let refused = |change: &dyn Fn(&mut Setting)| {
        let mut setting = setting(&provider.url("/v1/batch"), &lines(3, |_| "u"), 2);
        change(&mut setting);
        let error = setting.prepare().err().expect("it was taken");
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    assert!(refused(&|s| s.file.output.split = None).contains("split"));
    assert!(refused(&|s| s.file.request.batch = None).contains("nothing to split"));
    assert!(refused(&|s| s.file.output.split_key = Some("/id".into())).contains("no key"));
    assert!(refused(&|s| s.file.retry.unknown = Some("probe".into())).contains("probe"));
    assert!(refused(&|s| s.file.request.url = Some(provider.url("/{line}"))).contains("many rows"));
    assert!(refused(&|s| s.file.request.json = Some(json!({"items": ["x"]}))).contains("nothing in them"));
    for rows in [0, 10_001] {
        let mut setting = setting(&provider.url("/v1/batch"), &lines(3, |_| "u"), rows);
        setting.file.output.split = Some("whole".to_owned());
        assert!(setting.prepare().is_err());
        assert!(fs::metadata(setting.output()).is_err());
    }
    assert_eq!(provider.sim.stats().arrived, 0);
}
