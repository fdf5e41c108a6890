//! All that providers do with a number per time, besides windows.

use std::time::Duration;

use crate::provider::Faults;
use crate::world::{World, everything_fails_sometimes};

/// Even and in bursts, with and without faults.
fn assert_all(declared: &[&str], enforced: &[&str], rows: usize, loss: f64) {
    for pace in ["even", "burst"] {
        for faults in [Faults::default(), everything_fails_sometimes()] {
            World::new(declared, enforced, rows)
                .pace(pace)
                .losing(loss)
                .faults(faults)
                .assert_kept_and_used();
        }
    }
}

#[test]
fn a_sliding_counter() {
    assert_all(&["1000/s counter"], &["counter 1000/s phase 370ms"], 20_000, 0.03);
    assert_all(&["600/min counter"], &["counter 600/min phase 7s"], 3_000, 0.03);
}

#[test]
fn what_nobody_knows() {
    for enforced in [
        "rolling 1000/10s",
        "fixed 1000/10s phase 3s",
        "fixed 1000/10s aligned",
        "counter 1000/10s",
        "bucket 1000/10s capacity 100",
        "gcra 1000/10s capacity 100",
    ] {
        for pace in ["even", "burst"] {
            let world = || World::new(&["1000/10s unknown"], &[enforced], 3_000).pace(pace);
            world().losing(0.03).assert_kept_and_used();
            // Each call that times out may be the start of a stall, and little room is left to find out:
            // 3% on average over ten seeds, and up to 11% in one of them.
            world().losing(0.12).faults(everything_fails_sometimes()).assert_kept_and_used();
        }
    }
}

#[test]
fn buckets_of_all_kinds() {
    assert_all(&["50/s bucket 10"], &["gcra 50/s capacity 10"], 4_000, 0.02);
    assert_all(&["50/s bucket 40 step 100ms"], &["bucket 50/s capacity 40 step 100ms"], 4_000, 0.02);
    assert_all(&["10/s bucket 20 step 1s"], &["bucket 10/s capacity 20 step 1s"], 1_000, 0.03);
}

#[test]
fn a_limit_per_minute_that_is_enforced_per_second_as_well() {
    let enforced = ["rolling 6000/min", "fixed 100/s phase 130ms"];
    assert_all(&["6000/min also per second"], &enforced, 9_000, 0.015);
}

#[test]
fn a_provider_that_counts_what_it_rejects() {
    let mut world = World::new(&["500/s"], &["rolling 500/s"], 20_000).faults(everything_fails_sometimes());
    world.provider.reject_counts = true;
    world.assert_kept_and_used();
}

#[test]
fn an_assumption_gains_what_answers_take() {
    for (declared, enforced) in [
        ("1000/s", "rolling 1000/s"),
        ("1000/s", "fixed 1000/s phase 400ms"),
        ("50/s bucket 10", "gcra 50/s capacity 10"),
    ] {
        let mut world = World::new(&[declared], &[enforced], 20_000);
        world.job.quota.counted_within = Some("30ms".to_owned());
        world.provider.network = "uniform 0..20ms".parse().unwrap();
        world.provider.service = "lognormal 60ms 0.5".parse().unwrap();
        // A call that nobody answers may still be on its way: that is not what is assumed.
        world.provider.faults = Faults { silent: 0.0, ..everything_fails_sometimes() };
        let outcome = world.assert_kept_and_used();
        let rate = outcome.report.summary.utilisation.unwrap();
        assert!(rate >= 0.96, "{declared}: {rate}");
    }
}

#[test]
fn an_assumption_that_is_wrong_shows() {
    let mut world = World::new(&["1000/s"], &["rolling 1000/s"], 5_000);
    world.job.quota.counted_within = Some("5ms".to_owned());
    world.provider.network = "uniform 0..200ms".parse().unwrap();
    let outcome = world.run();
    assert!(outcome.seen.rejected > 0);
    assert!(!outcome.report.summary.incidents.is_empty());
    assert!(outcome.seen.accepted.0.last().unwrap().0 > Duration::from_secs(5));
}
