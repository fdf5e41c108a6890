//! Thousands of quotas in one job.

use std::time::Duration;

use crate::provider::{Faults, Freeze};
use crate::world::{Outcome, Row, World, seconds};

const SHOPS: u32 = 2_000;
const ROWS: usize = 100_000;
/// Rows that the engine keeps for shops that have nothing to give, at most.
const STANDING: usize = 20_000;

fn world(shop_of: impl FnMut(usize) -> u32, rows: usize) -> World {
    let mut world = World::new(&["10/2s"], &["rolling 10/2s"], 0).partitioned();
    world.rows = (0..rows).map(shop_of).map(|shop| Row { shop, cost: 1 }).collect();
    world.job.quota.connections = Some(2_000);
    world
}

/// How long the limits of the shops alone would have made it take.
fn ideal(outcome: &Outcome, most_rows: usize) -> Duration {
    Duration::from_secs_f64(most_rows as f64 / outcome.provable())
}

fn took(outcome: &Outcome) -> Duration {
    outcome.seen.accepted.0.last().unwrap().0
}

fn rows_of_busiest(world: &World) -> usize {
    let mut rows = vec![0; SHOPS as usize];
    world.rows.iter().for_each(|row| rows[row.shop as usize] += 1);
    rows.into_iter().max().unwrap()
}

#[test]
fn shops_one_after_the_other_in_turn() {
    let world = world(|row| row as u32 % SHOPS, ROWS);
    let outcome = world.assert_kept();
    let ideal = ideal(&outcome, rows_of_busiest(&world));
    assert!(took(&outcome) < ideal.mul_f64(1.2), "{:?} of {ideal:?}", took(&outcome));
}

#[test]
fn shops_at_random() {
    let mut rng = fastrand::Rng::with_seed(3);
    let world = world(|_| rng.u32(..SHOPS), ROWS);
    let outcome = world.assert_kept();
    let ideal = ideal(&outcome, rows_of_busiest(&world));
    assert!(took(&outcome) < ideal.mul_f64(1.3), "{:?} of {ideal:?}", took(&outcome));
}

#[test]
fn shops_nearly_sorted() {
    let mut rng = fastrand::Rng::with_seed(3);
    let world = world(|row| (row as u32 / 50 + rng.u32(..3)).min(SHOPS - 1), ROWS);
    let outcome = world.assert_kept();
    // Only so many shops stand there at a time.
    let at_once = (STANDING / 50).min(SHOPS as usize);
    let ideal = ideal(&outcome, ROWS / at_once);
    assert!(took(&outcome) < ideal.mul_f64(1.3), "{:?} of {ideal:?}", took(&outcome));
}

#[test]
fn a_shop_with_most_of_the_rows_keeps_no_other_waiting() {
    let mut world = world(|row| if row % 10 < 7 { 0 } else { 1 + row as u32 % 300 }, 3_000);
    world.provider.faults =
        Faults { silent: 0.002, unavailable: 0.01, reset: 0.01, stale: 0.01, ..Faults::default() };
    let outcome = world.assert_kept();
    let ideal = ideal(&outcome, 2_100);
    assert!(took(&outcome) < ideal.mul_f64(1.1), "{:?} of {ideal:?}", took(&outcome));
    assert!(outcome.seen.rate(seconds(0, 5)) > 100.0, "{}", outcome.told());
}

#[test]
fn shops_of_a_provider_that_freezes() {
    let mut world = world(|row| row as u32 % 50, 10_000);
    world.provider.timeout = Duration::from_secs(30);
    world.provider.freeze = Some(Freeze { during: seconds(10, 50), share: 1.0 });
    let outcome = world.assert_kept();
    assert_eq!(outcome.failures, 0);
}
