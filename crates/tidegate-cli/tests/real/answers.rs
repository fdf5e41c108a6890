//! Answers, read by the providers' own Python packages: what tidegate writes and puts together is exactly what
//! these take for answers.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::job::Job;
use crate::provider::Provider;

const ROWS: u64 = 60;

#[test]
fn chat_completions_whole_and_streamed() {
    let provider = Provider::start(&["--seed", "11"]);
    for (stream, format) in [(false, "batch"), (true, "batch"), (true, "jsonl")] {
        let job = Job::of(&[("batch.jsonl", &batch("/v1/chat/completions", stream))], "");
        job.run(&provider, &["--output-format", format, "--tpm", "10000000", "--store", "memory"], &[0]);
        let said = read(&job, format);
        assert_eq!(said["answers"], ROWS, "{said}");
        let tokens = &job.summary()["tokens"];
        assert_eq!(said["tokens"], tokens["input"].as_u64().unwrap() + tokens["output"].as_u64().unwrap());
    }
}

#[test]
fn messages_that_come_as_streams() {
    let provider = Provider::spawn(&mut python("messages.py"));
    let job = Job::of(&[("batch.jsonl", &batch("/v1/messages", true))], "");
    let args = ["--provider", "anthropic", "--itpm", "10000000", "--otpm", "10000000", "--store", "memory"];
    let mut command = job.command(&provider, &args);
    let output = command.env("ANTHROPIC_API_KEY", "sk-secret").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (said, stats) = (read(&job, "batch"), provider.stats());
    assert_eq!((&said["answers"], &stats["accepted"]), (&ROWS.into(), &ROWS.into()));
    assert_eq!(said["tokens"], stats["tokens"]);
}

fn batch(url: &str, stream: bool) -> String {
    let mut lines = String::new();
    for i in 0..ROWS {
        let mut body = json!({
            "model": "sim", "max_tokens": 20,
            "messages": [{ "role": "user", "content": format!("What is the tide at gate {i}?") }],
        });
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({ "include_usage": true });
        }
        let request = json!({ "custom_id": format!("r{i}"), "method": "POST", "url": url, "body": body });
        writeln!(lines, "{request}").unwrap();
    }
    lines
}

/// What `answers.py` says of the results.
fn read(job: &Job, shape: &str) -> Value {
    let output = python("answers.py").arg(shape).arg(job.path("out.jsonl")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../.tools/limiters/bin/python");
    assert!(python.exists(), "{} is missing\nhint: ./test installs it", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/real/servers").join(script));
    command
}
