//! Calls that differ in cost: reserved by the row, settled by the answer.

use std::time::Duration;

use crate::provider::{Faults, Span};
use crate::world::{Outcome, World, everything_fails_sometimes};

/// One in a hundred rows is heavy.
fn world(declared: &str, enforced: &str, rows: usize, heavy: u64) -> World {
    let mut world = World::new(&[], &[enforced], rows).tokens(declared);
    for (i, row) in world.rows.iter_mut().enumerate() {
        row.cost = if i % 100 == 50 { heavy } else { 1 + (i as u64 * 7_919) % 400 };
    }
    world
}

/// The share of the provable units that calls have cost.
fn share(outcome: &Outcome, during: Span) -> f64 {
    let calls = outcome.seen.accepted.0.iter().filter(|(at, _)| during.has(*at));
    let units: u64 = calls.map(|(_, actual)| actual).sum();
    units as f64 / during.length().as_secs_f64() / outcome.provable()
}

fn middle(outcome: &Outcome) -> Span {
    let last = outcome.seen.accepted.0.last().unwrap().0;
    Span(last / 10, last * 9 / 10)
}

#[test]
fn reserved_tokens_are_never_more_than_the_limit() {
    for (declared, enforced) in [
        ("20k tokens/s", "rolling 20k tokens/s"),
        ("100k tokens/10s", "fixed 100k tokens/10s phase 3s"),
        ("20k tokens/s bucket 40k", "bucket 20k tokens/s capacity 40k"),
        ("100k tokens/10s counter", "counter 100k tokens/10s"),
    ] {
        for pace in ["even", "burst"] {
            for faults in [Faults::default(), everything_fails_sometimes()] {
                let outcome = world(declared, enforced, 4_000, 9_000).pace(pace).faults(faults).assert_kept();
                assert_eq!(outcome.failures, 0);
            }
        }
    }
}

#[test]
fn what_was_reserved_too_much_comes_back_at_once() {
    for (declared, enforced) in [
        ("20k tokens/s", "rolling 20k tokens/s refund"),
        ("100k tokens/10s", "rolling 100k tokens/10s refund"),
        ("20k tokens/2s", "fixed 20k tokens/2s refund"),
    ] {
        for pace in ["even", "burst"] {
            let mut world = world(declared, enforced, 12_000, 9_000).pace(pace);
            world.refunds = true;
            let outcome = world.assert_kept();
            let used = share(&outcome, middle(&outcome));
            // While a heavy call waits for its turn, nothing else is sent.
            assert!(used > 0.7, "{declared} {pace}: {used}; {}", outcome.told());
        }
    }
}

#[test]
fn answers_bring_back_what_others_wait_for() {
    // Each call reserves a tenth of the limit, and costs half of that.
    let mut world =
        World::new(&[], &["rolling 10k tokens/min refund"], 1_000).tokens("10k tokens/min").pace("burst");
    world.refunds = true;
    world.rows.iter_mut().for_each(|row| row.cost = 1_000);
    let outcome = world.assert_kept();
    // Not only the units of the first ten calls come back before the first of them is a minute old.
    let first_hold = share(&outcome, Span(Duration::ZERO, Duration::from_secs(59)));
    assert!(first_hold > 0.85, "{first_hold}; {}", outcome.told());
}

#[test]
fn a_row_that_never_fits_fails_alone() {
    let mut world = world("20k tokens/s", "rolling 20k tokens/s", 1_000, 20_000);
    world.rows[0].cost = 20_001;
    world.rows[500].cost = 999_999_999;
    let outcome = world.assert_kept();
    assert_eq!((outcome.failures, outcome.seen.arrived), (2, 998));
}

#[test]
fn tokens_and_requests_at_once() {
    let mut world = World::new(&["100/s"], &["rolling 100/s", "rolling 20k tokens/s"], 4_000)
        .tokens("20k tokens/s")
        .faults(everything_fails_sometimes());
    // First the requests bind, then the tokens.
    for (i, row) in world.rows.iter_mut().enumerate() {
        row.cost = if i < 2_000 { 100 } else { 400 };
    }
    let outcome = world.assert_kept();
    let rate = |from, to| outcome.seen.rate(Span(Duration::from_secs(from), Duration::from_secs(to)));
    assert!(rate(5, 20) > 90.0, "{}", rate(5, 20));
    assert!((43.0..51.0).contains(&rate(30, 50)), "{}", rate(30, 50));
}
