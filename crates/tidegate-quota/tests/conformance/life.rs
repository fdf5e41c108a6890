//! Members die, freeze, are cut off, come back, pause and leave.

use tidegate_core::{Time, Why};
use tidegate_quota::store::StoreError;
use tokio::time::sleep;

use crate::on_every_store;
use crate::world::{Calls, World, secs};

/// Who is killed is found dead within two seconds, and its units are free a window later: nobody waits
/// for its lease and its time-out, eight seconds here; save where nobody can see that.
async fn the_units_of_a_dead_process_are_free_a_window_later(world: World) {
    let (dying, living) = (Calls::default(), Calls::default());
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let _works = (one.work(&dying, 200, secs(0.3)), other.work(&living, 200, secs(0.05)));
    sleep(secs(5.0)).await;
    let id = one.id();
    one.kill();
    dying.were_cut_off(world.now());
    let killed = world.now();
    let seen_after = if world.knows_the_dead() { 2.5 } else { 3.0 + 5.0 };
    sleep(secs(seen_after + 1.0)).await;
    let begin = world.now();
    sleep(secs(4.0)).await;
    let made = living.between(begin, world.now());
    assert!(made >= 300, "{made}");
    let worst = dying.and(&living).worst(secs(1.0));
    assert!(worst <= 100, "{worst}");

    let died = other.partitions.died_by(id).unwrap().expect("nobody remembers it");
    assert!(died >= killed && died <= killed + secs(seen_after), "{died} {killed}");
    assert_eq!(other.partitions.died_by(other.id()).unwrap(), None, "it lives");
}

/// Who is frozen may have calls under way until their time-out, and does not know what happened.
async fn a_frozen_process_loses_its_units_and_comes_back_as_a_new_member(world: World) {
    let (frozen, living) = (Calls::default(), Calls::default());
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let work = one.work(&frozen, 200, secs(1.0));
    let _others = other.work(&living, 200, secs(0.05));
    sleep(secs(5.05)).await;
    let id = one.id();
    one.freeze();
    let begin = world.now();
    drop(work); // what was under way never ends
    sleep(secs(8.0)).await;
    let made = living.between(begin + secs(1.0), world.now());
    assert!((250..=480).contains(&made), "only its own share so far: {made}");
    sleep(secs(3.0)).await;
    let begin = world.now();
    // Frozen here means cut off, and who is cut off for thirteen seconds gives up.
    sleep(secs(1.5)).await;
    let made = living.between(begin, world.now());
    assert!(made >= 120, "all of it by now: {made}");

    one.thaw();
    let _work = one.work(&frozen, 200, secs(0.05));
    sleep(secs(10.0)).await;
    assert_ne!(one.id(), id);
    assert!(frozen.between(world.now() - secs(5.0), world.now()) >= 150);
    let worst = frozen.and(&living).worst(secs(1.0));
    assert!(worst <= 100, "{worst}");
}

/// A store that cannot be reached: the lease is spent, then nothing is granted, and people are told.
async fn who_cannot_reach_the_store_stops_at_the_end_of_its_lease(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/s"]));
    let _work = process.work(&calls, 200, secs(0.05));
    sleep(secs(5.0)).await;
    let id = process.id();
    assert_eq!(process.partitions.trouble(), None);
    let cut = world.now();
    process.wire.cut(true);
    sleep(secs(2.0)).await;
    let said = process.partitions.trouble().expect("nobody says anything");
    assert!(said.contains("the line is cut") && said.contains("calls go on for"), "{said}");
    sleep(secs(4.0)).await;
    let last = calls.between(cut + secs(3.0), world.now());
    assert_eq!(last, 0);
    assert!(calls.between(cut, world.now()) >= 150);
    let said = process.partitions.trouble().unwrap();
    assert!(said.contains("nothing is sent"), "{said}");
    assert_eq!(
        process.partitions.gate("").wait(process.partitions.contract().costs()).unwrap().why,
        Why::Line
    );

    process.wire.cut(false);
    let back = world.now();
    sleep(secs(2.0)).await;
    assert_eq!(process.partitions.trouble(), None);
    assert_eq!(process.id(), id, "nobody else could have used its units yet");
    assert!(calls.between(back, world.now()) >= 90);
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
}

async fn a_pause_reaches_everybody_at_once(world: World) {
    let (mine, theirs) = (Calls::default(), Calls::default());
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let _works = (one.work(&mine, 100, secs(0.02)), other.work(&theirs, 100, secs(0.02)));
    sleep(secs(3.0)).await;
    let begin = world.now();
    one.partitions.gate("").pause(begin + secs(20.0));
    sleep(secs(10.0)).await;
    assert_eq!(mine.between(begin, world.now()), 0);
    assert_eq!(theirs.between(begin + secs(0.76), world.now()), 0);
    let late = world.process(&["100/s"]);
    let gate = late.partitions.gate("");
    assert!(gate.try_acquire().is_err(), "nothing yet");
    sleep(secs(1.0)).await;
    // As long as it is, and no shorter; a little longer where clocks differ.
    let paused = gate.paused().expect("the pause is forgotten");
    assert!(paused >= begin + secs(20.0) && paused <= begin + secs(20.1), "{paused}");

    let resumed = world.now();
    world.admin().resume("crm").unwrap();
    sleep(secs(5.0)).await;
    let made = (mine.between(resumed, world.now()), theirs.between(resumed, world.now()));
    assert!(made.0 >= 100 && made.1 >= 100, "{made:?}");
}

async fn who_leaves_grants_nothing_and_says_so(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/s"]));
    let work = process.work(&calls, 10, secs(0.02));
    sleep(secs(1.0)).await;
    let (id, gate) = (process.id(), process.partitions.gate(""));
    process.partitions.close().unwrap();
    process.partitions.close().unwrap();
    drop(work);
    sleep(secs(0.1)).await;
    assert!(process.partitions.ended().is_some());
    assert_eq!(gate.try_acquire().unwrap_err().why, Why::Lease);
    assert_eq!(process.partitions.gate("new").try_acquire().unwrap_err().why, Why::Lease);
    let next = world.process(&["100/s"]);
    assert!(next.partitions.died_by(id).unwrap().is_some_and(|at| at <= world.now() + secs(5.0)));
    drop(process);
}

/// The last clone that is dropped leaves, too.
async fn dropped_partitions_leave(world: World) {
    let process = world.process(&["100/s"]);
    drop(process.partitions.gate(""));
    sleep(secs(1.0)).await;
    let clone = process.partitions.clone();
    drop(process.partitions);
    assert_eq!(world.admin().show("crm").unwrap().members.len(), 1);
    drop(clone);
    let view = world.admin().show("crm").unwrap();
    assert_eq!((view.members.len(), view.limits[0].leased, view.limits[0].coming_back), (0, 0, 0));
}

/// What the calls of one job have used still counts when the next one begins.
async fn the_next_process_waits_for_what_the_last_one_used(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/min"]));
    let work = process.work(&calls, 200, secs(0.1));
    sleep(secs(10.0)).await;
    let used = calls.len();
    assert!(used >= 90, "{used}");
    drop(work);
    sleep(secs(0.1)).await;
    drop(process);
    let next = world.process(&["100/min"]);
    let _work = next.work(&calls, 200, secs(0.1));
    sleep(secs(20.0)).await;
    assert!(calls.len() <= 100);
    let held = next.partitions.held();
    if used == 100 {
        assert!(held.is_some_and(|held| held.until > world.now()), "{held:?}");
    }
    sleep(secs(60.0)).await;
    assert!(calls.len() >= 180, "{}", calls.len());
    assert_eq!(next.partitions.held(), None);
    assert!(calls.worst(secs(60.0)) <= 100, "{}", calls.worst(secs(60.0)));
}

/// Names that nobody uses any more are given back, so that their number does not grow for ever.
async fn partitions_that_nobody_uses_are_given_back(world: World) {
    let process = world.process(&["10/s"]);
    for shop in 0..50 {
        drop(process.partitions.gate(&shop.to_string()));
    }
    let kept = process.partitions.gate("kept");
    sleep(secs(3.0)).await;
    let view = world.admin().show("crm").unwrap();
    assert_eq!((view.partition_count, view.limits[0].leased > 100), (51, true));
    sleep(secs(60.0)).await;
    assert_eq!(process.partitions.len(), 1);
    assert_eq!(world.admin().show("crm").unwrap().partition_count, 1);
    kept.try_acquire().unwrap().settle(tidegate_core::Outcome::NotSent);
    // One that comes back begins anew.
    let again = process.partitions.gate("7");
    sleep(secs(1.0)).await;
    again.try_acquire().unwrap().settle(tidegate_core::Outcome::NotSent);
}

/// Nobody is left who could find them dead: the next one does.
async fn all_may_die(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/min"]));
    let _work = process.work(&calls, 200, secs(2.0));
    sleep(secs(1.0)).await;
    process.kill();
    calls.were_cut_off(world.now());
    sleep(secs(5.0)).await;
    let next = world.process(&["100/min"]);
    let _works = next.work(&calls, 200, secs(0.1));
    sleep(secs(50.0)).await;
    assert!(calls.len() <= 100, "{}", calls.len());
    sleep(secs(30.0)).await;
    assert!(calls.len() >= 150, "{}", calls.len());
    assert!(calls.worst(secs(60.0)) <= 100, "{}", calls.worst(secs(60.0)));
}

async fn names_are_checked(world: World) {
    let mut store = world.store();
    let definition = crate::world::definition(&["1/s"]);
    let who = tidegate_quota::store::Who::this("a test");
    for name in ["", "a\nb", &"x".repeat(201)] {
        let join = tidegate_quota::store::Join {
            quota: name,
            definition: Some(&definition),
            who: &who,
            timeout: secs(1.0),
            assume_idle: false,
        };
        assert!(matches!(store.join(&join), Err(StoreError::Name { .. })), "{name:?}");
    }
    assert_eq!(store.died_by(tidegate_core::MemberId(77)).unwrap(), None::<Time>);
}

on_every_store!(
    the_units_of_a_dead_process_are_free_a_window_later,
    a_frozen_process_loses_its_units_and_comes_back_as_a_new_member,
    who_cannot_reach_the_store_stops_at_the_end_of_its_lease,
    a_pause_reaches_everybody_at_once,
    who_leaves_grants_nothing_and_says_so,
    dropped_partitions_leave,
    the_next_process_waits_for_what_the_last_one_used,
    partitions_that_nobody_uses_are_given_back,
    all_may_die,
    names_are_checked,
);
