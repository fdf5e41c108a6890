//! The contract holds, and the quota is used, whoever shares it.

use std::collections::BTreeMap;

use tidegate_core::Outcome;
use tidegate_quota::{Partitions, Permit};
use tokio::time::sleep;

use crate::on_every_store;
use crate::world::{Calls, World, contract, secs};

/// The same as the quota of one process alone: all at once, and again a window after the answers.
async fn one_process_has_all_of_it(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/s"]));
    let begin = world.now();
    let _work = process.work(&calls, 200, secs(0.05));
    sleep(secs(0.02)).await;
    assert_eq!(calls.len(), 90, "all at once, but for what is kept for probes");
    sleep(secs(9.98)).await;
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
    // 100 in each 1.0512 s.
    let made = calls.between(begin, begin + secs(10.0));
    assert!(made >= 930, "{made}");
}

async fn two_greedy_processes_share_fairly(world: World) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let (a, b) = (one.work(&calls, 200, secs(0.05)), other.work(&calls, 200, secs(0.05)));
    sleep(secs(5.0)).await;
    let (a5, b5, begin) = (a.made(), b.made(), world.now());
    sleep(secs(40.0)).await;
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
    let made = calls.between(begin, begin + secs(40.0)) as f64;
    assert!(made >= 0.98 * 40.0 * 100.0 / 1.0512, "{made}");
    let (a, b) = (a.made() - a5, b.made() - b5);
    assert!(a.abs_diff(b) * 5 < a + b, "{a} {b}");
}

async fn who_comes_later_gets_its_share_and_who_leaves_gives_it_back(world: World) {
    let calls = Calls::default();
    let one = world.process(&["60/s"]);
    let work = one.work(&calls, 100, secs(0.03));
    sleep(secs(5.0)).await;
    let other = world.process(&["60/s"]);
    let others = other.work(&calls, 100, secs(0.03));
    sleep(secs(10.0)).await;
    let made = others.made();
    sleep(secs(10.0)).await;
    let made = others.made() - made;
    assert!((230..=350).contains(&made), "{made}");
    drop(others);
    sleep(secs(0.1)).await;
    other.partitions.close().unwrap();
    assert_eq!(world.admin().show("crm").unwrap().members.len(), 1);
    sleep(secs(3.0)).await;
    let made = work.made();
    sleep(secs(10.0)).await;
    let made = work.made() - made;
    assert!(made >= 540, "{made}"); // nine or ten bursts of 60
    assert!(calls.worst(secs(1.0)) <= 60, "{}", calls.worst(secs(1.0)));
}

async fn an_idle_member_leaves_the_rest_to_the_others(world: World) {
    let calls = Calls::default();
    let (busy, idle) = (world.process(&["100/s"]), world.process(&["100/s"]));
    drop(idle.partitions.gate(""));
    let work = busy.work(&calls, 200, secs(0.02));
    sleep(secs(5.0)).await;
    let made = work.made();
    sleep(secs(10.0)).await;
    let made = work.made() - made;
    assert!(made >= 930, "{made}");
}

async fn lost_answers_change_nothing(world: World) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["50/s", "1000/min"]), world.process(&["50/s", "1000/min"]));
    one.wire.lose_one_in(3);
    other.wire.lose_one_in(2);
    let _works = (one.work(&calls, 80, secs(0.04)), other.work(&calls, 80, secs(0.3)));
    sleep(secs(130.0)).await;
    assert!(calls.worst(secs(1.0)) <= 50, "{}", calls.worst(secs(1.0)));
    assert!(calls.worst(secs(60.0)) <= 1_000, "{}", calls.worst(secs(60.0)));
    assert!(calls.len() >= 1_950, "{}", calls.len());
}

async fn partitions_are_quotas_of_their_own(world: World) {
    let (a, b) = (Calls::default(), Calls::default());
    let (one, other) = (world.process(&["20/s"]), world.process(&["20/s"]));
    let latency = secs(0.02);
    let _works = (
        one.work_in(&a, 30, latency, "a", None),
        other.work_in(&a, 30, latency, "a", None),
        one.work_in(&b, 30, latency, "b", None),
        other.work_in(&b, 30, latency, "b", None),
    );
    sleep(secs(20.0)).await;
    for calls in [a, b] {
        assert!(calls.worst(secs(1.0)) <= 20, "{}", calls.worst(secs(1.0)));
        assert!(calls.len() >= 360, "{}", calls.len());
    }
}

/// A call that costs more than a fair share gets it, in turn.
async fn heavy_calls_get_their_turn(world: World) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["100 tokens/s"]), world.process(&["100 tokens/s"]));
    let mut heavy = *one.partitions.contract().costs();
    let mut light = heavy;
    heavy.set(0, 80);
    light.set(0, 1);
    let heavy = one.work_in(&calls, 2, secs(0.05), "", Some(heavy));
    let light = other.work_in(&calls, 100, secs(0.05), "", Some(light));
    sleep(secs(60.0)).await;
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
    assert!(heavy.made() >= 5 && light.made() >= 500, "{} {}", heavy.made(), light.made());
}

/// At most four exchanges a second, and at least one, whatever the callers do.
async fn exchanges_are_few(world: World) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["5000/s"]), world.process(&["5000/s"]));
    let _works = (one.work(&calls, 500, secs(0.05)), other.work(&calls, 500, secs(0.05)));
    sleep(secs(10.0)).await;
    let exchanges = one.wire.exchanges.load(std::sync::atomic::Ordering::Relaxed);
    assert!((10..=45).contains(&exchanges), "{exchanges}");
    assert!(calls.worst(secs(1.0)) <= 5_000, "{}", calls.worst(secs(1.0)));
}

/// One process with a store grants exactly when one without does, whatever happens to its calls.
async fn alone_it_is_the_same_as_without_a_store(world: World) {
    for (seed, limits) in [
        (1, &["100/s"][..]),
        (2, &["1000/min also per second"]),
        (3, &["50/s bucket 20"]),
        (4, &["100/s counter"]),
        (5, &["300/10s", "concurrency 7"]),
        (6, &["500/day UTC"]),
    ] {
        let contract = contract(&world.machine, limits);
        let name = format!("quota {seed}");
        let shared = world.process_in(&name, &contract, false).unwrap();
        let own = Partitions::new(contract, world.machine.clock());
        let gates = (shared.partitions.gate(""), own.gate(""));
        sleep(secs(1.0)).await;
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut under_way: BTreeMap<u64, Vec<(Outcome, Permit, Permit)>> = BTreeMap::new();
        let mut granted = 0;
        for step in 0..6_000 {
            for (outcome, a, b) in under_way.remove(&step).into_iter().flatten() {
                a.settle(outcome);
                b.settle(outcome);
            }
            for _ in 0..dice.usize(0..3) {
                match (gates.0.try_acquire(), gates.1.try_acquire()) {
                    (Ok(a), Ok(b)) => {
                        granted += 1;
                        let outcome = match dice.u32(0..200) {
                            0 => Outcome::NotSent,
                            1 => Outcome::Unknown,
                            _ => Outcome::Answered,
                        };
                        under_way.entry(step + dice.u64(1..40)).or_default().push((outcome, a, b));
                    }
                    (Err(_), Err(_)) => {}
                    (a, b) => panic!("{limits:?}, step {step}: {a:?}, but without a store {b:?}"),
                }
            }
            sleep(secs(0.005)).await;
        }
        assert!(granted >= 300, "{limits:?}: {granted}");
    }
}

on_every_store!(
    alone_it_is_the_same_as_without_a_store,
    one_process_has_all_of_it,
    two_greedy_processes_share_fairly,
    who_comes_later_gets_its_share_and_who_leaves_gives_it_back,
    an_idle_member_leaves_the_rest_to_the_others,
    lost_answers_change_nothing,
    partitions_are_quotas_of_their_own,
    heavy_calls_get_their_turn,
    exchanges_are_few,
);
