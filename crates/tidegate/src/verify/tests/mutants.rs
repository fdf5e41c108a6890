//! The schedules of limiters, honest ones and such as are in common use.

use std::collections::BinaryHeap;

use fastrand::Rng;

use super::script::{Call, MS, S, Script, any, call, limit, run};
use crate::log::{LimitRecord, Window};
use crate::verify::Findings;

const N: u64 = 50;
const MARGIN: u64 = 2 * MS;
const CALLS: u64 = 5_000;

/// Answers take 20 to 320 ms; their bodies as long again.
fn next_call(rng: &mut Rng, row: u64, at: u64) -> Call {
    let takes = rng.u64(20..320) * MS;
    call(row, at, takes).body(takes)
}

/// N units; a call takes one, which comes back when `back` says. Calls go out as early as they can.
fn units(rng: &mut Rng, begins: u64, rows: std::ops::Range<u64>, back: impl Fn(&Call) -> u64) -> Vec<Call> {
    let mut free: BinaryHeap<std::cmp::Reverse<u64>> = (0..N).map(|_| std::cmp::Reverse(begins)).collect();
    let mut now = begins;
    rows.map(|row| {
        now = now.max(free.pop().unwrap().0);
        let call = next_call(rng, row, now);
        free.push(std::cmp::Reverse(back(&call)));
        call
    })
    .collect()
}

fn head(call: &Call) -> u64 {
    call.over.unwrap().0
}

fn last(call: &Call) -> u64 {
    call.over.unwrap().1
}

fn found(limit: &LimitRecord, calls: &[Call]) -> Findings {
    Script::of(run(0, std::slice::from_ref(limit)), calls).judged()
}

fn tokens(amount: u64, per_us: u64) -> LimitRecord {
    LimitRecord { unit: "tokens".to_owned(), ends_with_head: false, ..any(amount, per_us) }
}

fn bucket() -> LimitRecord {
    limit(N, Window::Bucket { per_us: S, capacity: N / 2, step_us: 0 })
}

/// What keeps a bucket that counts whenever it likes: sure to be in it, once all under way is counted.
fn pace(rng: &mut Rng, capacity: u64, per: u64, amount: u64, honest: bool) -> Vec<Call> {
    // In parts: `per` of them are a unit; each microsecond brings `amount`.
    let full = i128::from(capacity * per);
    let (mut level, mut as_of) = (full, 0);
    let mut under_way: BinaryHeap<std::cmp::Reverse<u64>> = BinaryHeap::new();
    let mut now = MS;
    let mut calls: Vec<Call> = Vec::new();
    while (calls.len() as u64) < CALLS {
        // In steps, so that the brim is that of what is under way at each of them.
        now += 200;
        while under_way.peek().is_some_and(|over| over.0 < now) {
            under_way.pop();
        }
        let brim = full - if honest { i128::from(under_way.len() as u64 * per) } else { 0 };
        let gained = level + i128::from((now - as_of) * amount);
        level = gained.min(brim.max(level));
        as_of = now;
        while level >= i128::from(per) && (calls.len() as u64) < CALLS {
            level -= i128::from(per);
            let call = next_call(rng, calls.len() as u64, now);
            under_way.push(std::cmp::Reverse(head(&call)));
            calls.push(call);
        }
        // A silence now and then.
        if calls.len() % 1_000 == 999 {
            now += 3 * S;
        }
    }
    calls
}

#[test]
fn honest_limiters_pass_and_use_the_limit_up() {
    let rng = &mut Rng::with_seed(1);
    let window = found(&any(N, S), &units(rng, MS, 0..CALLS, |call| head(call) + S + MARGIN));
    assert!(window.ok && window.checks[0].worst == N, "{window:#?}");
    let by_last = found(&tokens(N, S), &units(rng, MS, 0..CALLS, |call| last(call) + S + MARGIN));
    assert!(by_last.ok && by_last.checks[0].worst == N, "{by_last:#?}");
    let running = limit(N, Window::Concurrency { linger_us: 5 * MS });
    let running = found(&running, &units(rng, MS, 0..CALLS, |call| last(call) + 5 * MS));
    assert!(running.ok && running.checks[0].worst == N, "{running:#?}");
    let paced = found(&bucket(), &pace(rng, N / 2, S, N, true));
    assert!(paced.ok && paced.checks[0].worst == N / 2, "{paced:#?}");
    // N − X a second and X at once: what keeps a counter.
    for room in [5, 12, 20, 31] {
        let declared = limit(N, Window::Counter { per_us: S });
        let counted = found(&declared, &pace(rng, room, S, N - room, true));
        assert!(counted.ok, "{room}: {counted:#?}");
        let unknown = found(&limit(N, Window::Unknown { per_us: S }), &pace(rng, room, S, N - room, true));
        assert!(unknown.ok, "{room}: {unknown:#?}");
    }
}

#[test]
fn stamped_at_the_send() {
    let rng = &mut Rng::with_seed(2);
    let found = found(&any(N, S), &units(rng, MS, 0..CALLS, |call| call.sent + S + MARGIN));
    assert!(!found.ok && found.checks[0].worst > N + N / 8, "{found:#?}");
}

#[test]
fn fixed_windows_of_its_own_let_twice_as_many_through() {
    let rng = &mut Rng::with_seed(3);
    // N at the end of each second window, N at the begin of the next.
    let at = |i: u64| match (i / N) % 2 {
        0 => (2 * (i / N) + 1) * S - 400 * MS,
        _ => (2 * (i / N) - 1) * S + MS,
    };
    let calls: Vec<Call> = (0..CALLS).map(|i| next_call(rng, i, at(i))).collect();
    let found = found(&any(N, S), &calls);
    assert!(!found.ok && found.checks[0].worst == 2 * N, "{found:#?}");
}

#[test]
fn a_bucket_of_the_whole_amount_is_no_window() {
    let rng = &mut Rng::with_seed(4);
    let found = found(&any(N, S), &pace(rng, N, S, N, true));
    assert!(!found.ok && found.checks[0].worst > N + N / 2, "{found:#?}");
}

#[test]
fn buckets_that_forget_what_is_under_way() {
    let found = found(&bucket(), &pace(&mut Rng::with_seed(5), N / 2, S, N, false));
    assert!(!found.ok, "{found:#?}");
}

#[test]
fn units_freed_at_the_head_of_what_counts_to_its_end() {
    let rng = &mut Rng::with_seed(6);
    let freed = found(&tokens(N, S), &units(rng, MS, 0..CALLS, |call| head(call) + S + MARGIN));
    assert!(!freed.ok, "{freed:#?}");
    let running = limit(N, Window::Concurrency { linger_us: 5 * MS });
    let freed = found(&running, &units(rng, MS, 0..CALLS, head));
    assert!(!freed.ok, "{freed:#?}");
}

#[test]
fn places_taken_again_without_the_linger() {
    let rng = &mut Rng::with_seed(7);
    let running = limit(N, Window::Concurrency { linger_us: 5 * MS });
    let freed = found(&running, &units(rng, MS, 0..CALLS, last));
    assert!(!freed.ok, "{freed:#?}");
}

#[test]
fn units_freed_when_a_call_times_out() {
    let rng = &mut Rng::with_seed(8);
    // Free at once, when it should be a window later.
    let back = |call: &Call| if call.row.is_multiple_of(10) { head(call) } else { head(call) + S + MARGIN };
    let found = found(&any(N, S), &units(rng, MS, 0..CALLS, back));
    assert!(!found.ok, "{found:#?}");
}

#[test]
fn a_restart_that_forgets() {
    let restarted = |begins: u64| {
        let rng = &mut Rng::with_seed(9);
        let back = |call: &Call| head(call) + S + MARGIN;
        let first = units(rng, MS, 0..CALLS, back);
        let over = first.iter().map(head).max().unwrap();
        let limits = [any(N, S)];
        let second = units(rng, over + begins, CALLS..2 * CALLS, back);
        Script::of(run(0, &limits), &first).run(run(over, &limits), &[], &second).judged()
    };
    assert!(restarted(S + MARGIN).ok);
    assert!(!restarted(300 * MS).ok);
}

#[test]
fn windows_do_for_no_counter() {
    let rng = &mut Rng::with_seed(10);
    let counter = limit(N, Window::Counter { per_us: S });
    let found = found(&counter, &units(rng, MS, 0..CALLS, |call| head(call) + S + MARGIN));
    assert!(!found.ok && !found.checks[0].at_most, "{found:#?}");
}

#[test]
fn days_of_another_zone() {
    const DAY: u64 = 86_400 * S;
    let berlin = limit(N, Window::Calendar { period: "day".into(), zone: "Europe/Berlin".into() });
    let rng = &mut Rng::with_seed(11);
    // All of the day at its begin: by the zone (an hour before UTC), by UTC, or late in one and early in the next.
    let days = |rng: &mut Rng, begin: &dyn Fn(u64) -> u64| -> Vec<Call> {
        let at = |i: u64| begin(i / N) + i % N * S;
        (0..20 * N).map(|i| next_call(rng, i, at(i))).collect()
    };
    let kept = found(&berlin, &days(rng, &|day| (day + 1) * DAY - 3_600 * S));
    assert!(kept.ok && kept.checks[0].worst == N, "{kept:#?}");
    // Early in the first of two days of UTC, and late in the second: then by the zone it is one early.
    let broken =
        found(&berlin, &days(rng, &|day| day * DAY + if day % 2 == 0 { S } else { DAY - 1_800 * S }));
    assert!(!broken.ok, "{broken:#?}");
}
