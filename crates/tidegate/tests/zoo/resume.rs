//! What one run has used of the limits is used for the next as well.

use std::time::Duration;

use tidegate::Ended;
use tokio::time::sleep;

use crate::world::{Outcome, Place, Row, World};

fn interrupted(world: &World, place: &Place, after: Duration) -> Outcome {
    world.run_in(place, |handle| {
        tokio::spawn(async move {
            sleep(after).await;
            handle.interrupt();
            handle.interrupt(); // and at once
        });
    })
}

#[test]
fn an_interrupted_run_leaves_word_of_each_shop() {
    let mut world = World::new(&["20/10s"], &["rolling 20/10s"], 0).partitioned().pace("burst");
    world.rows = (0..6_000).map(|row| Row { shop: row % 100, cost: 1 }).collect();
    let place = world.place();
    for run in 1..=20 {
        let after = Duration::from_millis(1_700 * run);
        let outcome = interrupted(&world, &place, after);
        assert_eq!(outcome.seen.rejected, 0, "run {run}: {}", outcome.told());
        if matches!(outcome.report.ended, Ended::Finished) {
            assert!(run > 2);
            assert_eq!(outcome.results, 6_000);
            return;
        }
        assert!(matches!(outcome.report.ended, Ended::Interrupted), "{}", outcome.told());
    }
    panic!("not finished");
}

#[test]
fn a_killed_run_leaves_silence() {
    let mut world = World::new(&["20/10s"], &["rolling 20/10s"], 0).partitioned().pace("burst");
    world.rows = (0..3_000).map(|row| Row { shop: row % 100, cost: 1 }).collect();
    let place = world.place();
    place.runtime.block_on(async {
        let (run, _handle, _) = world.prepare(&place);
        tokio::select! {
            _ = run.drive() => panic!("it has ended"),
            () = sleep(Duration::from_millis(3_333)) => {}
        }
        sleep(Duration::from_millis(1)).await; // its tasks have let go
    });
    let outcome = world.run_in(&place, |_| {});
    assert!(outcome.report.summary.resumed_after_kill);
    assert_eq!((outcome.seen.rejected, outcome.results), (0, 3_000), "{}", outcome.told());
}

#[test]
fn a_run_that_is_interrupted_while_it_waits_for_a_killed_one_forgets_nothing() {
    let mut world = World::new(&["20/10s"], &["rolling 20/10s"], 0).pace("burst");
    world.rows = (0..200).map(|_| Row { shop: 0, cost: 1 }).collect();
    let place = world.place();
    place.runtime.block_on(async {
        let (run, _handle, _) = world.prepare(&place);
        tokio::select! {
            _ = run.drive() => panic!("it has ended"),
            () = sleep(Duration::from_millis(3_333)) => {}
        }
        sleep(Duration::from_millis(1)).await;
    });
    for _ in 0..2 {
        let outcome = interrupted(&world, &place, Duration::from_millis(500));
        assert!(matches!(outcome.report.ended, Ended::Interrupted), "{}", outcome.told());
        assert_eq!(outcome.report.summary.attempts, 0, "{}", outcome.told());
    }
    let outcome = world.run_in(&place, |_| {});
    assert_eq!((outcome.seen.rejected, outcome.results), (0, 200), "{}", outcome.told());
}
