//! The job that all this is for.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Pacing;

use crate::case::Case;
use crate::client::Cost;
use crate::network::Network;

/// A million calls at 100,000 a minute and 2,000,000 tokens a minute.
#[test]
fn a_million_calls() {
    let cost: fn(&mut Rng) -> Cost = |rng| {
        let reserved = rng.u64(5..=40);
        Cost { reserved, actual: rng.u64(5..=reserved) }
    };
    let case = |tokens: &str| {
        Case::new(&["100k/min", tokens], 0)
            .costing(cost)
            .with_body("uniform 0..200ms")
            .judged_together(&["rolling 100k/min", "rolling 2M tokens/min"])
            .judged_together(&["fixed 100k/min phase 20s", "fixed 2M tokens/min phase 50s"])
    };
    for pacing in [Pacing::Even, Pacing::Burst] {
        let case = case("2M tokens/min");
        let started = wall_clock();
        let run = case.play(Network { body: case.body, ..Network::real() }, pacing, 0, 1_000_000, 8);
        let took = started.elapsed();
        let (share, virtual_time) = (case.share(&run, pacing), Duration::from_nanos(run.sent[999_999]));
        println!(
            "a million calls, {pacing:?}: {share:.4} of the formula, {virtual_time:.1?} simulated in {took:.2?}"
        );
        assert!(share >= 0.99, "{pacing:?}: {share:.4} of the formula");
    }
}

#[expect(clippy::disallowed_methods, reason = "says how fast the simulation is; decides nothing")]
fn wall_clock() -> std::time::Instant {
    std::time::Instant::now()
}
