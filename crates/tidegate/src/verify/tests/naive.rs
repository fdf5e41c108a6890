//! The same numbers from the definitions: all windows, all phases, one by one.

#![expect(clippy::cast_possible_wrap, reason = "the numbers of these tests are small")]

use fastrand::Rng;

use super::script::{Call, Script, call, judged, limit, run};
use crate::log::{LimitRecord, Outcome, Window};
use crate::verify::{Checked, Verdict};

/// As it may have been counted.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sent: i64,
    over: i64,
    units: i64,
}

/// A fraction: a number of parts of a unit.
type Parts = i64;

/// Times of the tests reach up to here.
const END: i64 = 120;

impl Seen {
    fn meets(self, begin: i64, end: i64) -> bool {
        self.sent <= end && self.over >= begin
    }
}

fn units(calls: &[Seen], begin: i64, end: i64) -> i64 {
    calls.iter().filter(|call| call.meets(begin, end)).map(|call| call.units).sum()
}

/// The worst that the limit can have seen, in parts of a unit, and how many these are.
fn worst(window: &Window, amount: u64, calls: &[Seen]) -> (Parts, i64) {
    let amount = amount as i64;
    let times = -END..=END;
    match window {
        Window::Any { per_us } => (times.map(|x| units(calls, x, x + *per_us as i64)).max().unwrap_or(0), 1),
        Window::Concurrency { linger_us } => {
            let running = |t: i64, c: &&Seen| c.sent <= t && t <= c.over.saturating_add(*linger_us as i64);
            let at = |t| calls.iter().filter(|c| running(t, c)).map(|c| c.units).sum::<i64>();
            (times.map(at).max().unwrap_or(0), 1)
        }
        Window::Bucket { per_us, step_us, .. } => {
            let (per, step) = (*per_us as i64, *step_us as i64);
            let gained = |time: i64| match step {
                0 => amount * time,
                step => amount * step * ((time - 1).max(0) / step),
            };
            let needs = |a: i64, b: i64| per * units(calls, a, b) - gained(b - a);
            let all = times.clone().flat_map(|a| times.clone().map(move |b| (a, b)));
            (all.filter(|(a, b)| a <= b).map(|(a, b)| needs(a, b)).max().unwrap_or(0), per)
        }
        Window::Counter { per_us } => {
            let per = *per_us as i64;
            // Every call where it weighs most.
            let weight = |call: &Seen, began: i64, now: i64| match () {
                () if call.meets(began, now) => per,
                () if call.meets(began - per, now) => per - (now - began),
                () => 0,
            };
            let read =
                |began: i64, now: i64| calls.iter().map(|c| c.units * weight(c, began, now)).sum::<i64>();
            let all = times.clone().flat_map(|now| (now - per..=now).map(move |began| (began, now)));
            (all.map(|(began, now)| read(began, now)).max().unwrap_or(0), per)
        }
        _ => unreachable!("not made here"),
    }
}

fn any_window(rng: &mut Rng) -> Window {
    let per_us = rng.u64(3..25);
    match rng.u8(0..4) {
        0 => Window::Any { per_us },
        1 => Window::Concurrency { linger_us: per_us - 3 },
        2 => Window::Bucket { per_us, capacity: rng.u64(1..9), step_us: rng.u64(0..2) * rng.u64(0..12) },
        _ => Window::Counter { per_us },
    }
}

fn any_call(rng: &mut Rng, row: u64, killed: bool) -> Call {
    let mut call = call(row, rng.u64(0..60), rng.u64(2..6) * rng.u64(1..5)).body(rng.u64(0..4));
    call.partition = rng.u32(0..8) / 6;
    match rng.u8(0..10) {
        0 => call.outcome = Outcome::NotSent,
        1 => call.outcome = Outcome::TimedOut,
        2 => call = call.reserves(rng.u64(0..4)),
        3 => call = call.settles(rng.u64(0..4)),
        4 if killed => call = call.lost(),
        _ => {}
    }
    call
}

fn seen(call: &Call, limit: &LimitRecord, within: Option<u64>) -> Seen {
    let runs = matches!(limit.window, Window::Concurrency { .. });
    // As true times as the log allows for: a microsecond is given back at either end.
    let sent = call.sent as i64 + 1;
    let over = call
        .over
        .map_or(i64::MAX, |(head, last)| (if limit.ends_with_head { head } else { last }) as i64 - 1);
    let over = within.filter(|_| !runs).map_or(over, |within| over.min(call.sent as i64 + within as i64));
    let costs = call.settled.as_ref().or(call.reserved.as_ref());
    Seen { sent, over: over.max(sent), units: costs.map_or(1, |costs| costs[0] as i64) }
}

fn agrees(check: &Checked, limit: &LimitRecord, calls: &[Vec<Seen>; 2], context: &str) {
    let of = |calls| worst(&limit.window, limit.amount, calls);
    let ((north, parts), (south, _)) = (of(&calls[0]), of(&calls[1]));
    let (most, least) = (north.max(south), north.min(south));
    let allows = check.allows as i64 * parts;
    assert_eq!(check.verdict == Verdict::Above, most > allows, "{most}/{parts} {check:#?}\n{context}");
    let above = u64::from(most > allows) + u64::from(least > allows);
    assert_eq!(check.partitions_above, above, "{context}");
    let whole = most.div_euclid(parts) + i64::from(most.rem_euclid(parts) > 0);
    if check.at_most {
        assert!(
            check.worst >= whole as u64 && check.worst <= check.allows,
            "{most}/{parts} {check:#?}\n{context}"
        );
    } else {
        assert_eq!(check.worst, whole as u64, "{check:#?}\n{context}");
    }
}

#[test]
fn every_number_is_that_of_the_definition() {
    let mut above = [0; 2];
    for seed in 0..1_500 {
        let mut rng = Rng::with_seed(seed);
        let window = any_window(&mut rng);
        let mut limit = limit(rng.u64(1..9), window);
        limit.ends_with_head &= rng.bool();
        let within = rng.bool().then(|| rng.u64(2..15));
        let shared = rng.bool();
        let logs: Vec<Vec<Call>> = (0..=u64::from(shared))
            .map(|log| (0..rng.u64(1..20)).map(|i| any_call(&mut rng, i * 2 + log, true)).collect())
            .collect();
        let scripts: Vec<Script> = logs
            .iter()
            .map(|calls| {
                let mut begin = run(0, std::slice::from_ref(&limit));
                begin.counted_within_us = within;
                Script::default().late(rng.u64(0..200)).run(begin, &["north"], calls)
            })
            .collect();
        let found = judged(&scripts.iter().collect::<Vec<_>>()).unwrap();
        // The log's times begin at another zero; and so early nothing else is.
        let counted = logs.iter().flatten().filter(|call| call.outcome != Outcome::NotSent);
        let mut calls = [Vec::new(), Vec::new()];
        for call in counted {
            calls[call.partition as usize].push(seen(call, &limit, within));
        }
        let context = format!("seed {seed}: {limit:#?} within {within:?}\n{calls:#?}");
        agrees(&found.checks[0], &limit, &calls, &context);
        above[usize::from(found.ok)] += 1;
    }
    assert!(above.iter().all(|times| *times > 200), "one-sided: {above:?}");
}

#[test]
fn a_counter_of_many_calls_is_judged_as_by_all_its_phases() {
    // Long enough for its bound to be tuned, and near the limit: both verdicts occur.
    let mut above = [0; 2];
    for seed in 0..150 {
        let mut rng = Rng::with_seed(seed);
        let per = rng.u64(20..40);
        let amount = rng.u64(40..140);
        let limit = limit(amount, Window::Counter { per_us: per });
        let calls: Vec<Call> =
            (0..150).map(|row| call(row, rng.u64(0..100) * rng.u64(1..3) / 2, 2 + rng.u64(0..8))).collect();
        let found = Script::of(run(0, std::slice::from_ref(&limit)), &calls).judged();
        let seen = [calls.iter().map(|call| seen(call, &limit, None)).collect(), Vec::new()];
        agrees(&found.checks[0], &limit, &seen, &format!("seed {seed}, {amount} in {per}"));
        above[usize::from(found.ok)] += 1;
    }
    assert!(above.iter().all(|times| *times > 10), "one-sided: {above:?}");
}
