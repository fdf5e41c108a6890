//! The guarantee over real HTTP: the binary against the strict provider, as a user would run them.
//!
//! Each scenario must end without one rejection, with every row exactly once, and with a steady
//! rate (between the 10th and the 90th per cent of the calls) of at least 0.97 of what the formula
//! of its limits gives for the provider's *configured* latency.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

mod auto;
mod calendar;
mod costs;
mod high;
#[path = "../support/job.rs"]
mod job;
mod llm;
mod low;
#[path = "../support/provider.rs"]
mod provider;
#[path = "../support/sim.rs"]
mod sim;
mod trouble;

use std::panic::{catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use job::Job;
use provider::Provider;
use serde_json::Value;
use tidegate_core::{Contract, Limit, Pacing, Terms};

/// Median 60 ms and σ 0.5 have a mean of 60 · e^(0.5² / 2) ms; the jitter adds 10 ms on average.
const RESPONSE: f64 = 0.067_989 + 0.010;
const JITTERY: &[&str] = &["--service", "lognormal 60ms 0.5", "--jitter", "uniform 0..20ms"];
const FLOOR: f64 = 0.97;
/// A place that is free again is seen by a timer of 1 ms, on both sides: 2% of an answer's 83 ms.
/// On a quiet machine it is 0.98; the rest is room for a busy one.
const FLOOR_OF_CONCURRENCY: f64 = 0.95;

struct Scenario {
    name: &'static str,
    /// The limits that the provider enforces, and those that the job declares.
    enforced: &'static [&'static str],
    declared: &'static [&'static str],
    /// What else either is told.
    provider: &'static [&'static str],
    run: &'static [&'static str],
    /// What is run; a list of users if nothing is said.
    job: Option<fn() -> Job>,
    rows: u64,
    /// Calls per second by the formula.
    formula: Formula,
    floor: f64,
}

enum Formula {
    /// What the binary's own arithmetic gives; `formulas_are_as_derived` says what that has to be.
    OfDeclared,
    Rate(f64),
    /// The rate says nothing.
    None,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "",
            enforced: &[],
            declared: &[],
            provider: &[],
            run: &[],
            job: None,
            rows: 0,
            formula: Formula::OfDeclared,
            floor: FLOOR,
        }
    }
}

/// The formulas of DESIGN, by hand.
#[test]
fn formulas_are_as_derived() {
    for (declared, by_hand) in [
        (&["100/6s"] as &[&str], 100.0 / (6.0 + RESPONSE)),
        (&["1000/s"], 1_000.0 / (1.0 + RESPONSE)),
        (&["50/s bucket 10"], 50.0),
        (&["concurrency 20"], 20.0 / (RESPONSE + 0.005)),
        (&["600/6s also per second"], 100.0 / (1.0 + RESPONSE)),
        (&["100/6s", "30/s", "concurrency 5"], 100.0 / (6.0 + RESPONSE)),
        // (N − X) / W: 100 ms of calls, a seventh more and 5 ms for timers are in flight, and one waits.
        (&["1000/s counter"], 879.0),
        (&["100/6s counter"], 97.0 / 6.0),
        (&["10/min counter"], 8.0 / 60.0),
        (&["1000/6s unknown"], 979.0 / 6.0),
    ] {
        let rate = provable(declared);
        assert!((rate / by_hand - 1.0).abs() < 0.003, "{declared:?}: {rate}, by hand {by_hand}");
    }
}

/// Runs a scenario and checks what holds for all of them.
fn check(scenario: &Scenario) -> Value {
    let Scenario { name, rows, .. } = *scenario;
    let flags = |flag, values: &'static [&'static str]| values.iter().flat_map(move |value| [flag, *value]);
    let provider: Vec<&str> = flags("--limit", scenario.enforced)
        .chain(JITTERY.iter().copied())
        .chain(scenario.provider.iter().copied())
        .collect();
    let run: Vec<&str> = flags("--rate", scenario.declared).chain(scenario.run.iter().copied()).collect();
    let provider = Provider::start(&provider);
    let job = scenario.job.map_or_else(|| Job::new(rows), |job| job());
    job.run(&provider, &run, &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(rows);

    assert_eq!(stats["rejected"], 0, "{name}: {stats}");
    assert_eq!(stats["accepted"], rows, "{name}");
    assert_eq!(stats["served_twice"], 0, "{name}");
    assert_eq!(summary["throttled"], 0, "{name}");
    assert_eq!(summary["ok"], rows, "{name}");
    for limit in summary["limits"].as_array().unwrap() {
        let Some(worst) = limit["worst_window"].as_u64() else { continue };
        assert!(worst <= limit["allows"].as_u64().unwrap(), "{name}: {limit}");
    }
    let formula = match scenario.formula {
        Formula::OfDeclared => provable(scenario.declared),
        Formula::Rate(rate) => rate,
        Formula::None => return summary,
    };
    let steady = summary["steady_rate_per_s"].as_f64().unwrap();
    let share = steady / formula;
    println!("{name}: {steady:.2}/s is {share:.4} of the formula");
    assert!(
        share >= scenario.floor,
        "{name}: {steady:.2}/s is {share:.4} of the formula's {formula:.2}/s; latency {}",
        summary["latency_ms"]
    );
    summary
}

/// Scenarios that mostly wait, all at once; their summaries. Each has its say before the first failure
/// ends the test.
fn side_by_side(scenarios: &[Scenario]) -> Vec<Value> {
    let ended: Vec<_> = thread::scope(|scope| {
        let run = |scenario| scope.spawn(move || catch_unwind(|| check(scenario)));
        let runs: Vec<_> = scenarios.iter().map(run).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    ended.into_iter().map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic))).collect()
}

/// Calls per second that these limits can be proved to allow at the provider's latency.
fn provable(declared: &[&str]) -> f64 {
    let limits: Vec<Limit> = declared.iter().map(|limit| limit.parse().unwrap()).collect();
    let contract = Contract::new(&limits, Pacing::Even, Terms::default()).unwrap();
    let response = Duration::from_secs_f64(RESPONSE);
    contract.limits().map(|(limit, meter)| limit.provable_rate(meter, response)).fold(f64::MAX, f64::min)
}
