//! Windows, as three web frameworks' limiters keep them: two fixed ones that a client's first
//! request begins, and one that moves.
//!
//! They stand in `servers/`, and mostly wait: all three run side by side.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::job::Job;
use crate::provider::Provider;

const CALLS: u64 = 1_000;
const SECONDS: u64 = 3;
const DECLARED: &str = "1000/3s";
const LIMITERS: [&str; 3] = ["express.mjs", "flexible.mjs", "moving_window.py"];

/// Four windows. What windows give up for answers of a few milliseconds is little.
#[test]
fn evenly_paced_the_rate_is_used() {
    side_by_side(|limiter| {
        let (stats, summary) = run(limiter, &["--rate", DECLARED], 4_000);
        assert_clean(limiter, &stats, &summary, 4_000);
        let steady = summary["steady_rate_per_s"].as_f64().unwrap();
        let nominal = CALLS as f64 / SECONDS as f64;
        assert!(steady >= 0.9 * nominal, "{limiter}: {steady:.1}/s of {nominal:.1}/s: {summary}");
    });
}

/// Two windows that are used to the last call, and begin with the next.
#[test]
fn in_bursts_no_call_of_a_window_is_left() {
    side_by_side(|limiter| {
        let (stats, summary) = run(limiter, &["--rate", DECLARED, "--pace", "burst"], 2_500);
        assert_clean(limiter, &stats, &summary, 2_500);
        assert_eq!(stats["least_remaining"], 0, "{limiter}: {stats}");
    });
}

/// The control: without a limit calls are rejected, so silence above means something. The rows survive it
/// all the same.
#[test]
fn without_a_limit_calls_are_rejected() {
    side_by_side(|limiter| {
        let (stats, summary) = run(limiter, &["--connections", "20"], 1_500);
        assert!(stats["rejected"].as_u64().unwrap() > 0, "{limiter} let all through: {stats}");
        assert_eq!(summary["throttled"], stats["rejected"], "{limiter}");
        assert_eq!((&stats["accepted"], &summary["ok"]), (&1_500.into(), &1_500.into()), "{limiter}");
    });
}

/// A tenth more than the limit is rejected where nobody says so, and heeded where headers do.
#[test]
fn a_rate_declared_too_high_is_told_or_rejected() {
    side_by_side(|limiter| {
        let (stats, summary) = run(limiter, &["--rate", "1100/3s"], 1_500);
        let is_told = summary["told"][0]["told"] == CALLS;
        assert_eq!(is_told, limiter != "flexible.mjs", "{limiter}: {summary}");
        let rejected = stats["rejected"].as_u64().unwrap();
        assert_eq!(is_told, rejected == 0, "{limiter}: {stats}");
        assert_eq!(summary["throttled"], stats["rejected"], "{limiter}");
        assert_eq!((&stats["accepted"], &summary["ok"]), (&1_500.into(), &1_500.into()), "{limiter}");
    });
}

fn side_by_side(check: impl Fn(&'static str) + Sync) {
    let _alone = crate::whole_machine();
    thread::scope(|scope| {
        for limiter in LIMITERS {
            let check = &check;
            scope.spawn(move || check(limiter));
        }
    });
}

/// Runs a job to its end, each row with its own answer; what the limiter counted, and the summary.
fn run(limiter: &str, arguments: &[&str], rows: u64) -> (Value, Value) {
    let provider = Provider::spawn(command(limiter).args([CALLS, SECONDS].map(|n| n.to_string())));
    let job = Job::new(rows);
    job.run(&provider, arguments, &[0]);
    job.check_rows(rows);
    (provider.stats(), job.summary())
}

fn assert_clean(limiter: &str, stats: &Value, summary: &Value, rows: u64) {
    assert_eq!((&stats["rejected"], &stats["accepted"]), (&0.into(), &rows.into()), "{limiter}");
    assert_eq!((&summary["throttled"], &summary["ok"]), (&0.into(), &rows.into()), "{limiter}");
}

pub(crate) fn command(limiter: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (program, installed) = if Path::new(limiter).extension().is_some_and(|e| e == "py") {
        let python = root.join("../../.tools/limiters/bin/python");
        (python.clone(), python)
    } else {
        (PathBuf::from("node"), root.join("tests/real/servers/node_modules"))
    };
    assert!(installed.exists(), "{} is missing\nhint: ./test installs it", installed.display());
    let mut command = Command::new(program);
    command.arg(root.join("tests/real/servers").join(limiter));
    command
}
