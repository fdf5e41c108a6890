//! What one run has used of the limits is used for the next as well.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::Value;
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

/// Virtual time stands still between two runs, and the wall clock does not: what the one left is dated
/// later than the next looks at it.
fn stop_wall_clock(place: &Place) {
    let folder = place.folder.path().join("out.tidegate");
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let path = folder.join("quota.json");
    if let Ok(text) = fs::read_to_string(&path) {
        let mut used: Value = serde_json::from_str(&text).unwrap();
        used["at_ms"] = (later.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64).into();
        fs::write(&path, used.to_string()).unwrap();
    }
    if let Ok(running) = fs::File::options().write(true).open(folder.join("running")) {
        running.set_modified(later).unwrap();
    }
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
        stop_wall_clock(&place);
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
    stop_wall_clock(&place);
    let outcome = world.run_in(&place, |_| {});
    assert!(outcome.report.summary.resumed_after_kill);
    assert_eq!((outcome.seen.rejected, outcome.results), (0, 3_000), "{}", outcome.told());
}
