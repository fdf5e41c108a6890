//! Providers that are down: nobody listens where they were.

use std::time::Duration;

use tidegate::Ended;

use crate::provider::Span;
use crate::world::{World, seconds};

fn world(minutes: u64) -> World {
    let mut world = World::new(&["100/6s"], &["rolling 100/6s"], 3_000);
    world.provider.down = Some(seconds(30, 30 + minutes * 60));
    world
}

#[test]
fn most_of_an_hour_is_waited_for_and_fails_no_row() {
    for pace in ["even", "burst"] {
        let outcome = world(59).pace(pace).assert_kept();
        assert_eq!(outcome.failures, 0);
        let back = Span(Duration::from_secs(30 + 59 * 60), Duration::from_secs(30 + 59 * 60 + 90));
        // It looks each ten seconds whether somebody listens again, and begins evenly.
        let rate = outcome.seen.rate(back);
        assert!(rate > 5.0, "it is slow to come back, {rate}/s: {}", outcome.told());
        let connections = outcome.seen.connections;
        // In bursts those that idle for longer than four seconds of six are made anew.
        assert!(pace == "burst" || connections <= 100, "{connections} connections; {}", outcome.told());
    }
}

/// Beyond `max_elapsed` the job is put down, to be carried on by the same command.
#[test]
fn after_more_than_an_hour_it_stops_and_carries_on() {
    let world = world(90);
    let place = world.place();
    let outcome = world.run_in(&place, |_| {});
    assert!(matches!(outcome.report.ended, Ended::Stopped(_)), "{}", outcome.told());
    assert_eq!((outcome.failures, outcome.seen.rejected), (0, 0), "{}", outcome.told());
    place.runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3_600)).await });
    let outcome = world.run_in(&place, |_| {});
    assert!(matches!(outcome.report.ended, Ended::Finished), "{}", outcome.told());
    let (seen, told) = (&outcome.seen, outcome.told());
    assert_eq!((outcome.results, outcome.failures, seen.rejected), (3_000, 0, 0), "{told}");
    assert_eq!(seen.arrived, 3_000, "{told}");
}
