//! Providers that freeze, and count afterwards what had reached them meanwhile.

use std::time::Duration;

use crate::provider::Freeze;
use crate::world::{World, seconds};

/// Longer than the client's patience.
const FROZEN: (u64, u64) = (30, 70);

fn world(declared: &str, enforced: &str, rows: usize, share: f64) -> World {
    let mut world = World::new(&[declared], &[enforced], rows);
    world.provider.timeout = Duration::from_secs(30);
    world.provider.freeze = Some(Freeze { during: seconds(FROZEN.0, FROZEN.1), share });
    world
}

#[test]
fn a_freeze_breaks_no_limit_and_the_job_recovers() {
    for (declared, enforced, rows, until) in [
        ("100/6s", "rolling 100/6s", 3_000, 190),
        ("100/6s", "fixed 100/6s phase 1s", 3_000, 190),
        ("50/s bucket 10", "bucket 50/s capacity 10", 4_000, 110),
        ("100/s counter", "counter 100/s", 8_000, 110),
        ("1000/s", "rolling 1000/s", 50_000, 85),
    ] {
        for pace in ["even", "burst"] {
            // Bursts of six seconds do not end where the measurement does.
            let loss = if pace == "burst" && declared.contains("6s") { 0.08 } else { 0.03 };
            let outcome = world(declared, enforced, rows, 1.0).pace(pace).losing(loss).assert_kept();
            assert_eq!(outcome.failures, 0, "{declared} {pace}");
            // A window in which all that was in doubt counts, and one to get going.
            outcome.assert_used(seconds(FROZEN.1 + 15 - 12 * u64::from(!declared.contains("6s")), until));
        }
    }
}

#[test]
fn a_freeze_of_some_is_no_storm() {
    for (declared, enforced, rows) in [
        ("100/6s", "rolling 100/6s", 2_500),
        ("100/s", "rolling 100/s", 10_000),
        ("50/s bucket 10", "gcra 50/s capacity 10", 4_000),
    ] {
        for share in [0.1, 0.2, 0.3] {
            for pace in ["even", "burst"] {
                let outcome = world(declared, enforced, rows, share).pace(pace).run();
                // A probe comes to a part that works: then what hangs elsewhere is taken as counted.
                // Less than a window, in one incident.
                assert!(outcome.seen.rejected < 100, "{declared} {pace} {share}: {}", outcome.told());
                assert_eq!((outcome.results, outcome.failures), (rows as u64, 0), "{}", outcome.told());
            }
        }
    }
}
