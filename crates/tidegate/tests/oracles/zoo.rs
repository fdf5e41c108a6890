//! All cases, short and long.

use std::env;

use crate::case::Case;
use crate::{calendars, windows};

/// Of the short run, so that it says the same each time.
const SEED: u64 = 20_261_122;
/// The long run is so many times as long, and draws its seed from the environment.
const LONG: u64 = 10;
const SEED_VARIABLE: &str = "TIDEGATE_ZOO_SEED";

#[test]
fn windows() {
    run(&windows::windows());
}

#[test]
fn stacked_limits() {
    run(&windows::stacked());
}

#[test]
fn sliding_counters() {
    run(&windows::counters());
}

#[test]
fn buckets() {
    run(&windows::buckets());
}

#[test]
fn unknown_enforcement() {
    run(&windows::unknown());
}

#[test]
fn concurrency() {
    run(&windows::concurrency());
}

#[test]
fn costs_that_differ() {
    run(&windows::costs());
}

#[test]
fn what_is_counted_soon() {
    run(&windows::estimated());
}

#[test]
fn calendars() {
    println!("{} calls", calendars::run(SEED, 1));
}

#[test]
fn it_is_ten_million_calls() {
    let calls: u64 = all().iter().map(|case| case.calls).sum();
    assert!(calls >= 10_000_000, "{calls}");
}

#[test]
#[ignore = "a hundred million calls: `./test --long`"]
fn ten_times_as_long() {
    let seed =
        env::var(SEED_VARIABLE).map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().unwrap());
    println!("{SEED_VARIABLE}={seed}");
    let calls = all().iter().map(|case| case.run(seed, LONG)).sum::<u64>() + calendars::run(seed, LONG);
    println!("{calls} calls");
}

fn all() -> Vec<Case> {
    let groups = [
        windows::windows(),
        windows::stacked(),
        windows::counters(),
        windows::buckets(),
        windows::unknown(),
        windows::concurrency(),
        windows::costs(),
        windows::estimated(),
    ];
    groups.into_iter().flatten().collect()
}

fn run(cases: &[Case]) {
    let calls: u64 = cases.iter().map(|case| case.run(SEED, 1)).sum();
    println!("{calls} calls");
}
