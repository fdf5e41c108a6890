//! Runs of the oracle zoo, as `tests/oracles/trace.rs` writes them; `tools/mutants` calls this.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::Limit;

use super::script::{Call, Script, call, run};
use crate::log::{LimitRecord, RunRecord};
use crate::verify::Findings;

/// Says of each run whether the zoo's providers rejected anything of it, and what `verify` says.
#[test]
#[ignore = "reads what the oracles write: `tools/mutants`"]
#[expect(clippy::print_stdout, reason = "read by `tools/mutants`")]
fn traces() {
    let Some(folder) = std::env::var_os("TIDEGATE_TRACES").map(PathBuf::from) else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (rejected, found) = judged(&path);
        let limits: Vec<&str> = found.checks.iter().map(|check| check.limit.as_str()).collect();
        println!("rejected={rejected} ok={} {}: {}", found.ok, path.display(), limits.join(", "));
    }
}

fn judged(path: &Path) -> (bool, Findings) {
    let text = std::fs::read_to_string(path).unwrap();
    let (head, calls) = text.split_once("\n\n").unwrap();
    let mut head = head.lines();
    let mut first = head.next().unwrap().split(' ');
    let rejected = first.next().unwrap() == "true";
    let began: i64 = first.next().unwrap().parse().unwrap();
    let counted_within_us = first.next().map(|nanos| up(nanos.parse().unwrap()));
    let limits: Vec<LimitRecord> = head.map(limit).collect();
    let wall_ms = u64::try_from(began / 1_000_000).unwrap();
    let run = RunRecord { wall_ms, counted_within_us, ..run(0, &limits) };
    let calls: Vec<Call> = (0..).zip(calls.lines()).map(|(row, line)| a_call(row, line)).collect();
    (rejected, Script::of(run, &calls).judged())
}

fn limit(line: &str) -> LimitRecord {
    let (linger, text) = line.split_once(' ').unwrap();
    let limit: Limit = text.parse().unwrap();
    LimitRecord::of(&limit.with_linger(Duration::from_nanos(linger.parse().unwrap())))
}

fn a_call(row: u64, line: &str) -> Call {
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let [sent, head, end, was_sent, costs @ ..] = &numbers[..] else { panic!("{line}") };
    let costs = |which| Some(costs.chunks(2).map(|cost| cost[which]).collect());
    let over = Some((up(*head), up(*end)));
    let call = Call { over, reserved: costs(0), settled: costs(1), ..call(row, sent / 1_000, 0) };
    if *was_sent == 1 { call } else { call.not_sent() }
}

/// As a log rounds them.
fn up(nanos: u64) -> u64 {
    nanos.div_ceil(1_000)
}
