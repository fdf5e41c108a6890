//! Batches: each row is a whole request, each line of the output a whole answer.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Background, Folder, Sim};

/// Prompts r0 and up.
pub(crate) fn prompts(rows: usize) -> String {
    let mut lines = String::new();
    for i in 0..rows {
        let body = json!({
            "model": "sim", "max_tokens": 20,
            "messages": [{ "role": "user", "content": format!("What is the tide at gate {i}?") }],
        });
        let request = json!({ "custom_id": format!("r{i}"), "method": "POST", "url": "/v1/chat/completions", "body": body });
        writeln!(lines, "{request}").unwrap();
    }
    lines
}

/// The ids of the answers in a file, as they stand there.
fn ids(folder: &Folder, name: &str) -> Vec<String> {
    folder.lines(name).iter().map(|line| line["custom_id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_each_once(folder: &Folder, rows: usize) {
    let mut found = ids(folder, "out.jsonl");
    found.extend(ids(folder, "out.failed.jsonl"));
    found.sort_unstable();
    let mut expected: Vec<String> = (0..rows).map(|i| format!("r{i}")).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn requests_go_out_as_they_are_and_answers_come_back_under_their_ids() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("batch.jsonl", prompts(30));
    let args = ["run", "batch.jsonl", "--url", &sim.url, "-o", "out.jsonl", "--order", "input", "-q"];
    folder.tidegate(args).assert_code(0);
    let lines = folder.lines("out.jsonl");
    assert_eq!(ids(&folder, "out.jsonl"), (0..30).map(|i| format!("r{i}")).collect::<Vec<_>>());
    for line in &lines {
        assert_eq!((&line["response"]["status_code"], &line["error"]), (&json!(200), &Value::Null), "{line}");
        assert_eq!(line["response"]["body"]["object"], "chat.completion");
    }
    let mut numbers: Vec<_> = lines.iter().map(|line| line["id"].to_string()).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 30);
    // With stdout there is no file to carry on, but the same lines.
    let said = folder.tidegate(["run", "batch.jsonl", "--url", &sim.url, "--head", "2", "-q"]);
    assert_eq!(said.assert_code(0).lines()[0]["response"]["status_code"], 200);
}

#[test]
fn after_a_kill_each_request_has_one_answer() {
    let (sim, folder) = (Sim::start(&["--service", "20ms"]), Folder::new());
    folder.write("batch.jsonl", prompts(300));
    let args = ["run", "batch.jsonl", "--url", &sim.url, "-o", "out.jsonl", "--connections", "8"];
    let args = [&args[..], &["--unknown", "resend", "--order", "input"]].concat();
    let run = Background::start(&folder, &args);
    sim.wait_for(100);
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
    let before = folder.read("out.jsonl");
    assert!((1..300).contains(&before.lines().count()));
    folder.tidegate(&args).assert_code(0).assert_says("the run before was killed");
    assert_each_once(&folder, 300);
    assert_eq!(ids(&folder, "out.jsonl"), (0..300).map(|i| format!("r{i}")).collect::<Vec<_>>());
    assert!(sim.arrived() - 300 <= 16, "{}", sim.arrived());
    // Each keeps its number.
    let first: Value = serde_json::from_str(before.lines().next().unwrap()).unwrap();
    let same = folder.lines("out.jsonl").into_iter().find(|line| line["custom_id"] == first["custom_id"]);
    assert_eq!(same.unwrap()["id"], first["id"]);
}

#[test]
fn failures_are_lines_of_the_same_kind_and_are_sent_again() {
    let (sim, folder) = (Sim::start(&["--fault", "status 500 40%", "--seed", "3"]), Folder::new());
    folder.write("batch.jsonl", prompts(60));
    let run = ["run", "batch.jsonl", "--url", &sim.url, "-o", "out.jsonl", "--attempts", "1", "-q"];
    folder.tidegate(run).assert_code(1);
    assert_each_once(&folder, 60);
    let failures = folder.lines("out.failed.jsonl");
    assert!(!failures.is_empty());
    for line in &failures {
        assert_eq!(line["response"]["status_code"], 500, "{line}");
        assert_eq!(line["error"]["code"], "status");
    }
    let again = ["retry", "out.jsonl", "--attempts", "9", "--backoff", "1ms..2ms", "-q"];
    folder.tidegate(again).assert_code(0);
    assert_each_once(&folder, 60);
    assert!(!folder.exists("out.failed.jsonl"));
}

#[test]
fn a_record_that_is_no_request_fails_alone() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let first = prompts(1);
    folder.write(
        "batch.jsonl",
        format!(
            "{first}{{\"custom_id\":\"b\"}}\n{}",
            r#"{"custom_id":"c","method":"GET","url":"https://evil/"}"#
        ),
    );
    folder.tidegate(["run", "batch.jsonl", "--url", &sim.url, "-o", "out.jsonl", "-q"]).assert_code(1);
    assert_eq!(sim.arrived(), 1);
    let failures = folder.lines("out.failed.jsonl");
    let said = |i: usize| failures[i]["error"]["message"].as_str().unwrap().to_owned();
    assert!(said(0).contains("missing field `method`"), "{}", said(0));
    assert!(said(1).contains("the job says which host is called"), "{}", said(1));
    assert_eq!(failures[1]["custom_id"], "c");

    // A job that makes its own requests takes such rows for data.
    let own = ["run", "batch.jsonl", "--url", &sim.url, "--json", "{}", "--input-format", "batch", "-q"];
    folder.tidegate(own).assert_code(2).assert_says("bring method and body themselves");
}
