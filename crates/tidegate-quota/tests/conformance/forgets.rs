//! Servers that lose their memory, or whose clock is set.

use std::time::Duration;

use tidegate_core::{Pacing, Priority, Terms, Time};
use tidegate_quota::store::{HeldFor, Join, Redis, Store, Who};
use tidegate_quota::{Membership, Partitions};
use tokio::time::sleep;

use crate::world::{Calls, Place, Process, QUOTA, TIMEOUT, World, contract, definition, secs};

/// Lease, time-out and window: as long as calls of members who are forgotten may count.
const SILENCE: f64 = 3.0 + 5.0 + 1.0;

macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod redis {
            $(#[test] fn $name() { $crate::world::in_redis($crate::server::Kind::Redis, super::$name) })+
        }
        mod valkey {
            $(#[test] fn $name() { $crate::world::in_redis($crate::server::Kind::Valkey, super::$name) })+
        }
    };
}

/// Two greedy processes, when something happens to their server: they stop when they hear of it, wait for all that may
/// count, and go on; why is told.
async fn go_through(world: World, happens: impl FnOnce(&World), why: HeldFor) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let _works = (one.work(&calls, 200, secs(0.05)), other.work(&calls, 200, secs(0.05)));
    sleep(secs(5.0)).await;
    let former = one.id();
    happens(&world);
    let begin = world.now();
    sleep(secs(2.0)).await;
    assert_ne!(one.id(), former);
    let held = one.partitions.held().expect("it is not held");
    assert_eq!(held.why, why);
    assert!(
        held.until >= begin + secs(SILENCE) && held.until <= begin + secs(SILENCE + 1.5),
        "{}",
        held.until
    );
    // Nobody had heard of it yet; from then on nothing.
    assert!(calls.between(begin + secs(0.8), begin + secs(SILENCE)) == 0);
    sleep(secs(SILENCE - 2.0 + 5.0)).await;
    let made = calls.between(begin + secs(SILENCE), world.now());
    assert!(made >= 250, "{made}");
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
    assert!(
        other.partitions.died_by(former).unwrap().is_some_and(|at| at >= begin + secs(7.9))
            || why == HeldFor::ColdStart
    );
}

async fn another_start_of_the_server_holds_all(world: World) {
    go_through(world, |world| world.tamper("boot", "another"), HeldFor::Restarted).await;
}

async fn a_clock_that_went_back_holds_all(world: World) {
    let later = (world.wall_ms() + 3_600_000) * 1_000;
    go_through(world, |world| world.tamper("seen", &later.to_string()), HeldFor::ClockJumped).await;
}

/// Those who had vouched that it was idle do not vouch for what they have sent since.
async fn a_server_that_was_emptied_holds_all(world: World) {
    go_through(world, World::wipe, HeldFor::ColdStart).await;
}

/// Whichever of its keys the server throws away.
async fn a_server_that_has_lost_some_keys_holds_all(world: World) {
    for keys in [
        &["pools:"][..],
        &["holders:"],
        &["pools"],
        &["pools", "pools:"],
        &["pools", "pools:", "holders:"],
        &["quota"],
        &["quota", "pools:"],
    ] {
        let calls = Calls::default();
        let process = world.process(&["100/s"]);
        let work = process.work(&calls, 200, secs(0.05));
        sleep(secs(5.0)).await;
        let former = process.id();
        world.wipe_only(keys);
        // Whoever comes first must not make up for it.
        if keys == ["pools", "pools:"] {
            assert_eq!(join(&world, TIMEOUT).held.unwrap().why, HeldFor::ColdStart);
        }
        sleep(secs(1.0)).await;
        assert_ne!(process.id(), former, "{keys:?}");
        let leased = world.admin().show(QUOTA).unwrap().limits[0].leased;
        assert_eq!(leased, 0, "{keys:?}");
        sleep(secs(SILENCE + 1.0)).await;
        assert!(calls.worst(secs(1.0)) <= 100, "{keys:?}: {}", calls.worst(secs(1.0)));
        assert!(calls.between(world.now() - secs(1.0), world.now()) > 40, "{keys:?}");
        drop(work);
    }
}

/// What may be missing is held for as long as it may count: of a calendar for the rest of its period; and with the
/// longest calls that anybody ever had.
async fn a_loss_of_memory_holds_for_as_long_as_it_must(world: World) {
    // As the world's clocks begin.
    let midnight = Time::from_millis(400_000);
    let process = world.process(&["10/day UTC"]);
    let gate = process.partitions.gate("");
    sleep(secs(0.5)).await;
    gate.try_acquire().unwrap().settle(tidegate_core::Outcome::Answered);
    world.tamper("boot", "another");
    sleep(secs(1.5)).await;
    let held = process.partitions.held().expect("it is not held");
    assert_eq!(held.why, HeldFor::Restarted);
    let length = midnight.since(world.now());
    assert!(length > secs(300.0), "the test makes no sense: {length:?}");
    assert!(held.until >= midnight && held.until < midnight + secs(300.0), "{} {midnight}", held.until);
    assert!(gate.try_acquire().is_err());
    sleep(length.saturating_sub(secs(70.0))).await;
    assert!(gate.try_acquire().is_err());
    sleep(secs(70.0 + 300.0)).await;
    gate.try_acquire().unwrap().settle(tidegate_core::Outcome::Answered);
}

async fn the_longest_time_out_is_remembered(world: World) {
    let process = world.process(&["100/s"]);
    join(&world, secs(60.0));
    // That one is over, and forgotten.
    sleep(secs(100.0)).await;
    let begin = world.now();
    world.tamper("boot", "another");
    sleep(secs(1.5)).await;
    let held = process.partitions.held().expect("it is not held");
    assert!(held.until >= begin + secs(3.0 + 60.0 + 1.0), "{} {begin}", held.until);
}

/// A small step back is none: clocks are set right all the time.
async fn a_clock_may_go_back_a_little(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/s"]));
    let _work = process.work(&calls, 200, secs(0.05));
    sleep(secs(5.0)).await;
    let id = process.id();
    let later = world.wall_ms() * 1_000 + 900_000;
    world.tamper("seen", &later.to_string());
    sleep(secs(5.0)).await;
    assert_eq!((process.id(), process.partitions.held()), (id, None));
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
}

async fn the_first_use_of_a_name_holds(world: World) {
    let first = unvouched(&world);
    let begin = world.now();
    let held = first.held().expect("it is not held");
    assert_eq!(held.why, HeldFor::ColdStart);
    assert!(
        held.until >= begin + secs(SILENCE) && held.until < begin + secs(SILENCE + 0.5),
        "{}",
        held.until
    );
    let gate = first.gate("");
    // Who may have used it says so within a lease: until then nothing is given out.
    sleep(secs(2.0)).await;
    assert_eq!(world.admin().show(QUOTA).unwrap().limits[0].leased, 0);
    let view = world.admin().show(QUOTA).unwrap();
    assert_eq!(view.held_for.unwrap().0, HeldFor::ColdStart);
    // One that had longer calls.
    assert!(join(&world, secs(60.0)).held.unwrap().until >= begin + secs(3.0 + 60.0 + 1.0));
    sleep(secs(20.0)).await;
    assert!(gate.try_acquire().is_err());
    // Later it is one that comes anew.
    let until = join(&world, secs(90.0)).held.unwrap().until;
    assert!(until < begin + secs(65.0), "{until}");
    sleep(secs(45.0)).await;
    gate.try_acquire().unwrap().settle(tidegate_core::Outcome::Answered);

    // A person may vouch.
    world.admin().create("created", &definition(&["100/s"])).unwrap();
    let created = world.process_in("created", &contract(&world.machine, &["100/s"]), false).unwrap();
    assert_eq!(created.partitions.held(), None);
    let vouched = world.process_in("vouched", &contract(&world.machine, &["100/s"]), true).unwrap();
    assert_eq!(vouched.partitions.held(), None);
}

/// What a former member says when it is heard again changes nothing.
async fn reports_of_before_are_not_heard(world: World) {
    let (calls, frozen, living) = (Calls::default(), world.process(&["100/s"]), world.process(&["100/s"]));
    let work = frozen.work(&calls, 200, secs(0.05));
    sleep(secs(5.0)).await;
    frozen.freeze();
    drop(work);
    world.tamper("boot", "another");
    let _work = living.work(&calls, 200, secs(0.05));
    sleep(secs(12.0)).await;
    let leased = |process: &Process| {
        let view = world.admin().show(QUOTA).unwrap();
        view.members.iter().find(|member| member.id == process.id()).map(|member| member.leased[0])
    };
    assert_eq!((leased(&frozen), leased(&living)), (None, Some(100)));
    frozen.thaw();
    sleep(secs(1.0)).await;
    let view = world.admin().show(QUOTA).unwrap();
    assert_eq!(view.limits[0].leased + view.limits[0].coming_back, 100, "{view:?}");
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
}

/// Machines whose clocks have nothing to do with each other, nor with the server's.
async fn machines_with_clocks_of_their_own_share(world: World) {
    sleep(secs(1_000.0)).await;
    let booted = world.now();
    let there = world.rebooted("another machine", world.wall_ms());
    let (ours, theirs) = (Calls::default(), Calls::default());
    let (one, other) = (world.process(&["100/2s"]), there.process(&["100/2s"]));
    let works = (one.work(&ours, 100, secs(0.05)), other.work(&theirs, 100, secs(0.05)));
    sleep(secs(20.0)).await;
    // Units in use move with their dates, to and fro.
    drop(works.0);
    sleep(secs(5.0)).await;
    let _works = (one.work(&ours, 100, secs(0.05)), works.1);
    sleep(secs(20.0)).await;
    let all = ours.and(&theirs.later(booted.since(Time::ZERO)));
    assert!(all.worst(secs(2.0)) <= 100, "{}", all.worst(secs(2.0)));
    let made = all.between(world.now() - secs(15.0), world.now());
    assert!(made >= 650, "{made}");
    assert!(all.between(world.now() - secs(22.0), world.now() - secs(15.0)) >= 250);
    // Pauses as well.
    there.admin().pause(QUOTA, secs(10.0)).unwrap();
    sleep(secs(0.6)).await;
    let begin = world.now();
    let paused = one.partitions.gate("").paused().expect("it has not heard");
    assert!(paused >= begin + secs(9.4) && paused <= begin + secs(9.5), "{paused} {begin}");
}

on_both_servers!(
    machines_with_clocks_of_their_own_share,
    another_start_of_the_server_holds_all,
    a_loss_of_memory_holds_for_as_long_as_it_must,
    the_longest_time_out_is_remembered,
    a_clock_that_went_back_holds_all,
    a_server_that_was_emptied_holds_all,
    a_clock_may_go_back_a_little,
    a_server_that_has_lost_some_keys_holds_all,
    the_first_use_of_a_name_holds,
    reports_of_before_are_not_heard,
);

fn store(world: &World) -> Redis {
    let Place::Redis(address, _) = &world.place else { panic!("no server") };
    Redis::simulated((**address).clone(), world.machine.clone()).unwrap()
}

/// A process that does not vouch for anything.
fn unvouched(world: &World) -> Partitions {
    let contract = definition(&["100/s"]).contract(Pacing::Burst, Terms::default().wall).unwrap();
    let who = Who::this("a test");
    let membership = Membership {
        quota: QUOTA.to_owned(),
        who,
        timeout: TIMEOUT,
        assume_idle: false,
        priority: Priority::Normal,
    };
    Partitions::shared(&contract, Box::new(store(world)), membership).unwrap()
}

fn join(world: &World, timeout: Duration) -> tidegate_quota::store::Joined {
    let who = Who::this("a test");
    let join = Join { quota: QUOTA, definition: None, who: &who, timeout, assume_idle: false };
    store(world).join(&join).unwrap()
}
