//! Each limit is kept and used, whatever goes wrong on the way.

use crate::provider::Faults;
use crate::world::{World, everything_fails_sometimes};

#[test]
fn a_rolling_window() {
    World::new(&["1000/s"], &["rolling 1000/s"], 60_000).assert_kept_and_used();
}

#[test]
fn a_rolling_window_while_everything_fails_sometimes() {
    let world = World::new(&["1000/s"], &["rolling 1000/s"], 60_000).faults(everything_fails_sometimes());
    let outcome = world.assert_kept_and_used();
    let causes: Vec<_> = outcome.report.summary.retried_by_cause.into_keys().collect();
    assert_eq!(causes, ["503", "network", "not_sent", "timeout"]);
}

#[test]
fn a_fixed_window_at_any_phase() {
    for phase in ["0ms", "370ms", "999ms"] {
        let enforced = format!("fixed 100/s phase {phase}");
        let world = World::new(&["100/s"], &[&enforced], 10_000);
        world.assert_kept_and_used();
        world.pace("burst").assert_kept_and_used();
    }
}

#[test]
fn a_long_window() {
    World::new(&["3000/min"], &["rolling 3000/min"], 20_000)
        .faults(everything_fails_sometimes())
        .assert_kept_and_used();
}

#[test]
fn a_bucket() {
    World::new(&["50/s bucket 10"], &["bucket 50/s capacity 10"], 10_000)
        .faults(everything_fails_sometimes())
        .assert_kept_and_used();
}

#[test]
fn a_small_bucket() {
    World::new(&["5/s bucket 1"], &["bucket 5/s capacity 1"], 2_000).assert_kept_and_used();
}

#[test]
fn concurrency() {
    World::new(&["concurrency 20"], &["concurrency 20"], 20_000)
        .faults(everything_fails_sometimes())
        .assert_kept_and_used();
}

#[test]
fn a_call_that_was_given_up_holds_back_nothing_but_its_units() {
    // A doubt lasts for seconds; the answers that free calls meanwhile are not waited out with it.
    World::new(&["6000/min", "concurrency 6"], &["rolling 6000/min", "concurrency 6"], 6_000)
        .faults(Faults { silent: 0.001, ..Faults::default() })
        .losing(0.15)
        .assert_kept_and_used();
}

#[test]
fn several_limits_at_once() {
    World::new(
        &["100/s", "4000/min", "concurrency 30"],
        &["rolling 100/s", "fixed 4000/min phase 7s", "concurrency 30"],
        20_000,
    )
    .faults(everything_fails_sometimes())
    .assert_kept_and_used();
}

#[test]
fn what_must_not_be_done_twice_fails_when_its_outcome_is_unknown() {
    let mut world = World::new(&["200/s"], &["rolling 200/s"], 10_000).faults(everything_fails_sometimes());
    world.method = "POST";
    let outcome = world.assert_kept_and_used();
    assert!((20..200).contains(&outcome.failures), "{}", outcome.failures);
}

#[test]
fn a_limit_that_is_declared_too_high_is_noticed() {
    let outcome = World::new(&["110/s"], &["rolling 100/s"], 2_000).run();
    assert!(outcome.seen.rejected > 0);
    assert_eq!((outcome.results, outcome.report.summary.throttled), (2_000, outcome.seen.rejected));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digest = |seed| {
        let mut world =
            World::new(&["1000/s"], &["rolling 1000/s"], 20_000).faults(everything_fails_sometimes());
        world.seed = seed;
        world.run().seen
    };
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7).digest, digest(8).digest);
}
