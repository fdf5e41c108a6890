//! nginx with `limit_req`, in its three forms.
//!
//! The rows are Unicode's code points, asked for by number and answered with their names. What
//! counts is nginx's own access log: no rejection, no row twice, and the rate that the rule allows.

mod chars;
mod server;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitStatus};

use chars::Char;
use serde_json::Value;
use server::{Burst, Nginx, Rule};

/// Rejects whatever comes sooner than 1/rate after the last.
const NO_BURST: Rule = Rule { per_second: 200, burst: Burst::None };
/// Admits 20 ahead of the rate, and answers them late.
const DELAYED: Rule = Rule { per_second: 300, burst: Burst::Delayed(20) };
/// Admits 50 ahead of the rate, and answers them at once.
const NO_DELAY: Rule = Rule { per_second: 500, burst: Burst::NoDelay(50) };

#[test]
fn no_burst() {
    one_by_one(&chars::all()[..1_000]);
}

#[test]
fn delayed_burst() {
    at_full_rate(DELAYED, "300/s bucket 21", &chars::all()[..3_000]);
}

#[test]
fn burst_without_delay() {
    at_full_rate(NO_DELAY, "500/s bucket 51", &chars::all()[..3_000]);
}

#[test]
#[ignore = "takes seven minutes; run by ./test --long"]
fn all_code_points_in_all_forms() {
    let chars = chars::all();
    assert!(chars.len() > 34_000, "{}", chars.len());
    at_full_rate(NO_DELAY, "500/s bucket 51", &chars);
    at_full_rate(DELAYED, "300/s bucket 21", &chars);
    one_by_one(&chars);
}

/// The control: a rate declared too high is rejected, so silence above means something. The rows
/// survive it all the same.
#[test]
fn a_rate_declared_too_high_is_rejected() {
    let chars = &chars::all()[..300];
    let run = Run::of("1500/s bucket 51", chars, Nginx::start(NO_DELAY));
    assert!(run.rejected() > 0, "nginx let three times its limit through: this file proves nothing");
    assert_eq!(run.throttled(), run.rejected() as u64);
    run.assert_answered(chars);
}

fn at_full_rate(rule: Rule, declared: &str, chars: &[Char]) {
    clean_and_fast(rule, declared, chars, |_| 0.9 * f64::from(rule.per_second));
}

/// A bucket of one: each call waits for a whole interval *after* the answer to the one before.
fn one_by_one(chars: &[Char]) {
    clean_and_fast(NO_BURST, "200/s bucket 1", chars, |run| {
        // The interval, the margin for nginx's whole milliseconds, the grain of a timer, the answer.
        0.9 / (0.005 + 0.001 + 0.001 + run.mean_latency_s())
    });
}

/// No rejection in any run; the speed in one of three, for others may use the machine as well.
fn clean_and_fast(rule: Rule, declared: &str, chars: &[Char], floor: impl Fn(&Run) -> f64) {
    let mut slow = Vec::new();
    for _ in 0..3 {
        let run = Run::of(declared, chars, Nginx::start(rule));
        run.assert_clean(chars);
        let (rate, floor) = (run.rate(), floor(&run));
        if rate >= floor {
            return;
        }
        slow.push(format!("{rate:.1} calls a second, less than {floor:.1}: {}", run.summary));
    }
    panic!("three runs were clean, but slow:\n{}", slow.join("\n"));
}

/// A finished run, as both sides saw it.
struct Run {
    status: ExitStatus,
    results: Vec<Value>,
    summary: Value,
    calls: Vec<server::Call>,
}

impl Run {
    fn of(declared: &str, chars: &[Char], nginx: Nginx) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("chars.csv"), dir.path().join("out.jsonl"));
        std::fs::write(&input, chars::csv(chars)).unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .env("TIDEGATE_STATE_DIR", dir.path().join(".state"))
            .arg("run")
            .arg(&input)
            .args(["--key", "code", "--rate", declared, "--url", &nginx.url("/char/{code}")])
            .args(["--backoff", "100ms..1s", "--quiet", "-o"])
            .arg(&output)
            .status()
            .unwrap();
        let summary = std::fs::read_to_string(dir.path().join("out.tidegate/summary.json")).unwrap();
        let summary = serde_json::from_str(&summary).unwrap();
        Self { status, results: read_jsonl(&output), summary, calls: nginx.stop() }
    }

    /// Not one rejection, and every row asked for once.
    fn assert_clean(&self, chars: &[Char]) {
        assert_eq!(self.rejected(), 0, "nginx rejected calls");
        assert_eq!(self.throttled(), 0);
        assert_eq!(self.calls.len(), chars.len(), "calls that nginx saw");
        self.assert_answered(chars);
    }

    /// Every row ended as a result that belongs to it.
    fn assert_answered(&self, chars: &[Char]) {
        assert!(self.status.success(), "{:?}", self.status);
        let mut seen = BTreeSet::new();
        for result in &self.results {
            let index = result["index"].as_u64().unwrap();
            assert!(seen.insert(index), "row {index} is there twice");
            let char = &chars[usize::try_from(index).unwrap()];
            assert_eq!(result["key"], char.code.as_str(), "{result}");
            assert_eq!(result["body"]["code"], char.code.as_str(), "{result}");
            assert_eq!(result["body"]["name"], char.name.as_str(), "{result}");
        }
        assert_eq!(seen.len(), chars.len(), "results");
        assert_eq!(self.summary["ok"], chars.len(), "{}", self.summary);
    }

    /// Calls that nginx admitted per second, from the 10th to the 90th per cent.
    fn rate(&self) -> f64 {
        let (from, to) = (self.calls.len() / 10, self.calls.len() * 9 / 10);
        (to - from) as f64 / (self.calls[to].at_s - self.calls[from].at_s)
    }

    fn rejected(&self) -> usize {
        self.calls.iter().filter(|call| call.status == 429).count()
    }

    fn throttled(&self) -> u64 {
        self.summary["throttled"].as_u64().unwrap()
    }

    fn mean_latency_s(&self) -> f64 {
        self.summary["latency_ms"]["mean"].as_f64().unwrap() / 1_000.0
    }
}

fn read_jsonl(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
