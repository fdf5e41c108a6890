//! Prompts in batch format under limits of requests and tokens a minute, with time ten times as fast.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FLOOR, JITTERY, RESPONSE};
use crate::job::Job;
use crate::provider::Provider;

/// What a job may take of memory, in MiB.
const MOST_MEMORY: f64 = 64.0;

#[test]
fn prompts_under_requests_and_tokens_a_minute() {
    check(5_000, 2_000, 400_000);
}

/// The target: 10,000 requests and 2,000,000 tokens a minute.
#[test]
#[ignore = "a minute at full speed; ./test --long"]
fn fifty_thousand_prompts() {
    check(50_000, 10_000, 2_000_000);
}

/// So many prompts, with so many requests and tokens in 6 seconds.
fn check(rows: u64, requests: u64, tokens: u64) {
    let limits = [format!("{requests}/6s"), format!("{tokens} tokens/6s")];
    let enforced = limits.each_ref().map(|limit| format!("rolling {limit}"));
    let flags = |flag, values: &[String]| -> Vec<String> {
        values.iter().flat_map(|value| [String::from(flag), value.clone()]).collect()
    };
    let provider =
        [flags("--limit", &enforced), JITTERY.iter().map(|&word| word.to_owned()).collect()].concat();
    let provider = Provider::start(&provider.iter().map(String::as_str).collect::<Vec<_>>());
    let job = Job::of(&[("batch.jsonl", &prompts(rows))], "");
    let limits = flags("--rate", &limits);
    let limits: Vec<&str> = limits.iter().map(String::as_str).collect();
    let mut run = job.command(&provider, &limits).stderr(Stdio::null()).spawn().unwrap();
    let (ended, peak) = watch(&mut run);
    assert!(ended.success(), "{ended}");

    let (stats, summary) = (provider.stats(), job.summary());
    assert_eq!((&stats["rejected"], &stats["accepted"]), (&0.into(), &rows.into()), "{stats}");
    assert_eq!(
        (&stats["served_twice"], &summary["throttled"], &summary["ok"]),
        (&0.into(), &0.into(), &rows.into())
    );
    // Answers, summary and provider agree on every token.
    let used = used(&job, rows);
    let said = &summary["tokens"];
    assert_eq!(said["input"].as_u64().unwrap() + said["output"].as_u64().unwrap(), used);
    assert_eq!(stats["cost_settled"], used);

    // What was reserved of the tokens decides, and when the limit that binds lets go of it again.
    let each = said["reserved"].as_u64().unwrap() as f64 / rows as f64;
    let formula = (requests as f64).min(tokens as f64 / each) / (6.0 + RESPONSE);
    let steady = summary["steady_rate_per_s"].as_f64().unwrap();
    let share = steady / formula;
    println!(
        "{rows} prompts: {steady:.1}/s is {share:.4} of the formula; {each:.1} tokens reserved for each; {peak:.1} MiB"
    );
    assert!(share >= FLOOR, "{share}: {summary}");
    assert!(peak < MOST_MEMORY, "{peak} MiB");
}

/// Prompts of 30 to 130 characters, and 100 tokens for the answer.
fn prompts(rows: u64) -> String {
    let mut lines = String::new();
    for i in 0..rows {
        let text = format!("{:>width$}", format!("tide at gate {i}?"), width = 30 + (i * 37 % 101) as usize);
        let body =
            json!({ "model": "sim", "max_tokens": 100, "messages": [{ "role": "user", "content": text }] });
        let request = json!({ "custom_id": format!("r{i}"), "method": "POST", "url": "/v1/chat/completions", "body": body });
        writeln!(lines, "{request}").unwrap();
    }
    lines
}

/// Tokens of all answers; each row has one.
fn used(job: &Job, rows: u64) -> u64 {
    let mut ids = HashSet::new();
    let lines = BufReader::new(File::open(job.path("out.jsonl")).unwrap()).lines();
    let tokens = lines.map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(ids.insert(line["custom_id"].as_str().unwrap().to_owned()), "{line} twice");
        line["response"]["body"]["usage"]["total_tokens"].as_u64().unwrap()
    });
    let sum = tokens.sum();
    assert_eq!(ids.len() as u64, rows);
    sum
}

/// How a process ended, and the most memory that it had, in MiB.
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn watch(child: &mut Child) -> (ExitStatus, f64) {
    let mut most = 0.0_f64;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            return (ended, most);
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
        most = most.max(kib.unwrap_or(0.0) / 1_024.0);
        thread::sleep(Duration::from_millis(50));
    }
}
