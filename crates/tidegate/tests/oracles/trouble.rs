//! What the contract says cannot be, and what was not known before.

use fastrand::Rng;
use tidegate_core::{Limit, Pacing};
use tidegate_sim::model::{Judge, LimitSpec};

use crate::case::Case;
use crate::client::{Cost, World};
use crate::network::Network;

/// The provider allows a fifth less than it says. Some calls are lost to that, but each time soon
/// no more.
#[test]
fn a_provider_that_allows_less_than_it_says() {
    for pacing in [Pacing::Even, Pacing::Burst] {
        let mut case = Case::new(&["100/6s"], 0);
        case.providers = vec![Judge::new(&["rolling 80/6s".parse::<LimitSpec>().unwrap()], false)];
        let contract = case.contract(pacing);
        let world = World {
            contract: &contract,
            providers: &case.providers,
            network: Network::real(),
            cost: case.cost,
            copies: 1,
            drift_ppm: 0,
            restarts: None,
            unix_ns: 0,
            tells_dates: false,
            used_up: false,
            calls: 20_000,
            seed: 5,
        };
        let run = world.run();
        let share = run.rejected as f64 / run.sent.len() as f64;
        assert!(run.incidents > 2, "{pacing:?}: {run:?}", run = run.incidents);
        assert!(share < 0.12, "{pacing:?}: {share:.3} rejected, {} incidents", run.incidents);
    }
}

/// Calls that cost more than was reserved for them leave debts, which are paid before anything else.
#[test]
fn debts_are_paid() {
    let cost: fn(&mut Rng) -> Cost = |rng| Cost { reserved: 50, actual: rng.u64(1..=150) };
    for (declared, enforced) in [
        ("2000 tokens/6s", "rolling 2000 tokens/6s refund"),
        ("2000 tokens/6s", "fixed 2000 tokens/6s phase 1s refund"),
        ("500 tokens/s bucket 2000", "bucket 500 tokens/s capacity 2000 refund"),
    ] {
        let tokens: Limit = declared.parse().unwrap();
        let one_by_one: Limit = "concurrency 1".parse().unwrap();
        let case = Case::of(vec![tokens.refunding(), one_by_one], 0)
            .costing(cost)
            .judged_together(&[enforced, "concurrency 1 late 5ms"]);
        let mut rng = Rng::with_seed(3);
        for pacing in [Pacing::Even, Pacing::Burst] {
            let run = case.play(Network::real(), pacing, 0, 20_000, rng.u64(..));
            assert!(run.actual > run.reserved && run.met_the_limit);
        }
    }
}
