//! Quotas that processes share: real runs against the strict provider, several at once, killed, frozen
//! and started again, and the commands that look at their quota and change it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

mod control;
mod greedy;
mod handover;
mod mortal;
mod permit;
#[path = "../support/provider.rs"]
mod provider;
mod refusals;
#[path = "../support/sim.rs"]
mod sim;
mod world;

use std::slice;
use std::time::Duration;

use tidegate_core::{Contract, Limit, Pacing, Terms};

/// Median 60 ms and σ 0.5 have a mean of 60 · e^(0.5² / 2) ms; the jitter adds 10 ms on average.
const RESPONSE: f64 = 0.067_989 + 0.010;
const JITTERY: [&str; 4] = ["--service", "lognormal 60ms 0.5", "--jitter", "uniform 0..20ms"];

/// Calls per second that the limit can be proved to allow at the provider's configured latency:
/// N / (W + R).
fn formula(limit: &str) -> f64 {
    let limit: Limit = limit.parse().unwrap();
    let contract = Contract::new(slice::from_ref(&limit), Pacing::Even, Terms::default()).unwrap();
    let response = Duration::from_secs_f64(RESPONSE);
    contract.limits().map(|(_, meter)| limit.provable_rate(meter, response)).fold(f64::MAX, f64::min)
}

/// The amount of a limit, and seconds from an answer to when its unit is back.
fn units_and_hold(limit: &str) -> (f64, f64) {
    let limit: Limit = limit.parse().unwrap();
    let units = limit.amount() as f64;
    let no_time = Contract::new(slice::from_ref(&limit), Pacing::Burst, Terms::default()).unwrap();
    let rate = no_time.limits().map(|(_, meter)| limit.provable_rate(meter, Duration::ZERO)).next().unwrap();
    (units, units / rate)
}
