//! A provider whose answers take as long as those of real ones, and what can be had of it.

use std::slice;
use std::time::Duration;

use tidegate_core::{Contract, Limit, Pacing, Terms};

/// Median 60 ms and σ 0.5 have a mean of 60 · e^(0.5² / 2) ms; the jitter adds 10 ms on average.
pub(crate) const RESPONSE: f64 = 0.067_989 + 0.010;
pub(crate) const JITTERY: [&str; 4] = ["--service", "lognormal 60ms 0.5", "--jitter", "uniform 0..20ms"];

/// Calls per second that the limit can be proved to allow at the provider's configured latency:
/// N / (W + R).
pub(crate) fn formula(limit: &str) -> f64 {
    let limit: Limit = limit.parse().unwrap();
    let contract = Contract::new(slice::from_ref(&limit), Pacing::Even, Terms::default()).unwrap();
    let response = Duration::from_secs_f64(RESPONSE);
    contract.limits().map(|(_, meter)| limit.provable_rate(meter, response)).fold(f64::MAX, f64::min)
}
