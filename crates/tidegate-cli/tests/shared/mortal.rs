//! Processes that are killed, and that freeze.
//!
//! What a killed process held rests from when its death is seen, for a hold: nobody knows which of its
//! last calls were counted. What a frozen one holds is nobody's until it goes on, or else until
//! its lease has ended, its last call was given up, and a hold has passed. That is given up by design, so
//! it is taken off the formula before the rate is compared with it.

use crate::jittery::{JITTERY, RESPONSE, formula};
use crate::units_and_hold;
use crate::world::{World, now, sleep};

const FLOOR: f64 = 0.95;
const QUOTA: &str = "crm";

/// A lease; what a member's exchanges are apart at most; how long it is silent before it is
/// looked for; and what is added to a call's time-out.
const LEASE: f64 = 3.0;
const EXCHANGE: f64 = 0.5;
const OVERDUE: f64 = 1.5;
const GIVEN_UP: f64 = 1.0;

struct Plan {
    limit: &'static str,
    seconds: f64,
    kill_each: f64,
    /// From then on for so long.
    freezes: &'static [(f64, f64)],
    timeout: f64,
}

/// One freezes for longer than its lease and its calls may last, and is buried; one comes back before.
#[test]
fn kills_and_freezes_cost_what_they_lock() {
    check(&Plan {
        limit: "100/2s",
        seconds: 32.0,
        kill_each: 5.0,
        freezes: &[(7.0, 4.0), (17.0, 7.0)],
        timeout: 1.0,
    });
}

#[test]
#[ignore = "two minutes of waiting; ./test --long"]
fn kills_and_freezes_cost_what_they_lock_for_long() {
    check(&Plan {
        limit: "100/6s",
        seconds: 120.0,
        kill_each: 10.0,
        freezes: &[(25.0, 8.0), (65.0, 12.0)],
        timeout: 2.0,
    });
}

/// Units that nobody could use, from a time to another.
struct Locked {
    why: String,
    units: f64,
    from: f64,
    to: f64,
}

fn check(plan: &Plan) {
    let Plan { limit, seconds, .. } = *plan;
    let (units, hold) = units_and_hold(limit);
    let world = World::new(&[&["--limit", &format!("rolling {limit}")], &JITTERY[..]].concat());
    let timeout = format!("{}s", plan.timeout);
    let flags = ["--rate", limit, "--quota", QUOTA, "--timeout", &timeout, "-q"];
    let rows = (formula(limit) * seconds) as usize;
    let mut workers = ["a", "b", "c", "d"].map(|name| world.worker(name, rows, &flags));
    for worker in &mut workers {
        worker.start();
    }
    world.wait_for(10);
    let start = now();

    let (locked, arrivals) = world.watch(|| {
        let mut locked = Vec::new();
        let mut freezes = plan.freezes.iter();
        let mut next_freeze = freezes.next();
        let mut frozen_until = None;
        let mut next_kill = start + plan.kill_each;
        let mut victim = 0;
        let share = |id: u32| {
            let shares = world.shares(QUOTA);
            shares.iter().find(|(pid, _)| *pid == id).map_or(0.0, |(_, units)| *units as f64)
        };
        while now() - start < seconds {
            if now() >= next_kill {
                // The last one is kept for freezing.
                let worker = &mut workers[victim % 3];
                (victim, next_kill) = (victim + 1, next_kill + plan.kill_each);
                let units = share(worker.id());
                let from = now();
                worker.kill();
                worker.start();
                // Its last word was half an exchange ago, and one of the others comes by soon.
                let seen = OVERDUE - EXCHANGE / 2.0 + EXCHANGE / 4.0;
                locked.push(Locked { why: "killed".to_owned(), units, from, to: from + seen + hold });
            }
            if let Some((at, length)) = next_freeze.filter(|(at, _)| now() - start >= *at) {
                let units = share(workers[3].id());
                workers[3].signal("STOP");
                let from = now();
                let buried = LEASE - EXCHANGE / 2.0 + plan.timeout + GIVEN_UP;
                let (why, to) = if *length < buried {
                    (format!("frozen for {length} s from {at} s on, and back in time"), from + length)
                } else {
                    (format!("frozen for {length} s from {at} s on, and given up"), from + buried + hold)
                };
                locked.push(Locked { why, units, from, to });
                frozen_until = Some(from + length);
                next_freeze = freezes.next();
            }
            if frozen_until.is_some_and(|until| now() >= until) {
                frozen_until = None;
                workers[3].signal("CONT");
            }
            sleep(0.01);
        }
        locked
    });

    let (from, to) = (start + seconds / 10.0, start + seconds * 0.9);
    for worker in &mut workers {
        worker.assert_runs();
    }
    let stats = world.check_contract();
    let rate = arrivals.rate(from, to);
    let mut left = units;
    println!("{limit}: {units} units, each for {hold:.2} s and an answer of {RESPONSE:.3} s");
    for Locked { why, units, from: since, to: until } in &locked {
        let part = (until.min(to) - since.max(from)).max(0.0) / (to - from);
        left -= units * part;
        println!(
            "  at {:5.1} s {why}: {units} units are locked for {:.2} s, {:.2} of all",
            since - start,
            until - since,
            units * part
        );
    }
    let expected = formula(limit) * left / units;
    println!(
        "  leaves {left:.2} units, {expected:.2}/s; {rate:.2}/s from {:.1} to {:.1} s is {:.4} of that, {:.4} of the formula; worst window {}",
        from - start,
        to - start,
        rate / expected,
        rate / formula(limit),
        stats["worst_window"]["accepted"]
    );
    assert!(rate >= FLOOR * expected, "{rate:.2}/s of {expected:.2}/s");

    // In peace they end by themselves, and hand back what they have.
    for worker in &mut workers {
        worker.signal("INT");
        worker.ends_with(130);
    }
    world.check_contract();
    assert!(world.shares(QUOTA).is_empty());
    let rows: Vec<usize> = workers.iter().map(|worker| worker.sends().len()).collect();
    println!("  rows by process: {rows:?}");
}
