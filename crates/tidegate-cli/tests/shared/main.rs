//! Quotas that processes share: real runs against the strict provider, several at once, killed, frozen
//! and started again, and the commands that look at their quota and change it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

mod control;
mod greedy;
mod handover;
#[path = "../support/jittery.rs"]
mod jittery;
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

/// The amount of a limit, and seconds from an answer to when its unit is back.
fn units_and_hold(limit: &str) -> (f64, f64) {
    let limit: Limit = limit.parse().unwrap();
    let units = limit.amount() as f64;
    let no_time = Contract::new(slice::from_ref(&limit), Pacing::Burst, Terms::default()).unwrap();
    let rate = no_time.limits().map(|(_, meter)| limit.provable_rate(meter, Duration::ZERO)).next().unwrap();
    (units, units / rate)
}
