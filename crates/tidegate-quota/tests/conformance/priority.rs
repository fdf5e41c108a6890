//! Who comes first, and what is kept for it.

use std::time::Duration;

use tidegate_core::{Contract, Limit, Outcome, Pacing, Priority, Terms};
use tokio::time::sleep;

use crate::on_every_store;
use crate::world::{Calls, Process, World, secs};

/// What somebody who comes first waits at most while the others use all that they may.
const AT_MOST: Duration = Duration::from_millis(300);
const LATENCY: Duration = Duration::from_millis(50);

fn reserving(world: &World, limit: &str, reserve: &str) -> Contract {
    let terms =
        Terms { wall: Some(world.machine.wall()), reserve: reserve.parse().unwrap(), ..Terms::default() };
    Contract::new(&[limit.parse::<Limit>().unwrap()], Pacing::Burst, terms).unwrap()
}

/// How long a process that is there already, or has just come, waits for a permit.
async fn wait(process: &Process) -> Duration {
    let begin = process.partitions.clock().now();
    let permit = process.partitions.gate("").acquire().await;
    let waited = permit.granted_at().since(begin);
    sleep(LATENCY).await;
    permit.settle(Outcome::Answered);
    waited
}

async fn a_higher_priority_has_what_is_kept_for_it(world: World) {
    for (limit, window, floor) in [("500/6s", secs(6.0), 0.97), ("100/s", secs(1.0), 0.93)] {
        let contract = reserving(&world, limit, "high=5%");
        world.admin().forget("crm", true).ok();
        let calls = Calls::default();
        let low: Vec<_> = (0..3).map(|_| world.process_of(Priority::Low, &contract)).collect();
        let _work: Vec<_> = low.iter().map(|process| process.work(&calls, 200, LATENCY)).collect();
        let usual = world.process_of(Priority::High, &contract);
        sleep(window * 3).await;
        let begin = world.now();
        for round in 0..20 {
            let comer = world.process_of(Priority::High, &contract);
            let waited = wait(&comer).await;
            assert!(waited <= AT_MOST, "{limit}, who came in round {round} waited {waited:?}");
            comer.partitions.close().unwrap();
            sleep(secs(1.0) + Duration::from_millis(round * 37 % 250)).await;
            let waited = wait(&usual).await;
            assert!(waited <= AT_MOST, "{limit}, who is there in round {round} waited {waited:?}");
            sleep(secs(0.7)).await;
        }
        // What is kept was used by forty calls only.
        let units: f64 = limit.split('/').next().unwrap().parse().unwrap();
        let windows = world.now().since(begin).as_secs_f64() / (window.as_secs_f64() + 0.0512);
        let share = calls.between(begin, world.now()) as f64 / (0.95 * units * windows);
        assert!(share >= floor, "{limit}: {share}");
        assert!(calls.worst(window) <= (units * 0.95) as u64, "{limit}: {}", calls.worst(window));
    }
}

async fn the_higher_one_is_served_first(world: World) {
    let contract = reserving(&world, "100/s", "high=0%");
    let calls = Calls::default();
    let low = world.process_of(Priority::Low, &contract);
    let lows = low.work(&calls, 200, LATENCY);
    sleep(secs(5.0)).await;
    let high = world.process_of(Priority::High, &contract);
    let highs = high.work(&calls, 200, LATENCY);
    sleep(secs(5.0)).await;
    let (before, made) = (lows.made(), highs.made());
    sleep(secs(10.0)).await;
    let (below, made) = (lows.made() - before, highs.made() - made);
    assert!(made >= 920 && below <= 50, "{made}, {below}");
    let page = world.admin().show("crm").unwrap();
    let priorities: Vec<Priority> = page.members.iter().map(|member| member.priority).collect();
    assert_eq!(priorities, [Priority::Low, Priority::High]);
    drop(highs);
    calls.were_cut_off(world.now());
    sleep(secs(0.1)).await;
    high.partitions.close().unwrap();
    sleep(secs(3.0)).await;
    let before = lows.made();
    sleep(secs(10.0)).await;
    assert!(lows.made() - before >= 920, "{}", lows.made() - before);
    assert!(calls.worst(secs(1.0)) <= 100, "{}", calls.worst(secs(1.0)));
}

/// A job need not say what is kept; one that says something else is refused; it can be changed meanwhile.
async fn the_store_knows_what_is_kept(world: World) {
    let [none, five, ten] =
        ["high=0%", "high=5%", "high=10%"].map(|reserve| reserving(&world, "100/s", reserve));
    let first = world.process_of(Priority::Low, &five);
    assert!(world.process_with(&ten, false).is_err());
    let other = world.process_of(Priority::Low, &none);
    assert_eq!(world.admin().show("crm").unwrap().definition.reserve().to_string(), "high=5%");
    let calls = Calls::default();
    let _work = [&first, &other].map(|process| process.work(&calls, 200, LATENCY));
    sleep(secs(3.0)).await;
    world.admin().set_reserve("crm", "high=50%".parse().unwrap()).unwrap();
    sleep(secs(3.0)).await;
    let begin = world.now();
    sleep(secs(10.0)).await;
    let made = calls.between(begin, begin + secs(10.0));
    assert!((450..=500).contains(&made), "{made}");
}

on_every_store!(
    a_higher_priority_has_what_is_kept_for_it,
    the_higher_one_is_served_first,
    the_store_knows_what_is_kept,
);
