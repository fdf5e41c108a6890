//! Logs that were doctored, each in one place, beside their honest twins.

use super::script::{Call, MS, S, Script, any, call, judged, limit, run, twins};
use crate::log::{LimitRecord, Micros, Window};
use crate::verify::{Findings, Verdict};

/// What a limiter leaves beyond a window.
const MARGIN: u64 = 2 * MS;

fn found(limits: &[LimitRecord], calls: &[Call]) -> Findings {
    Script::of(run(0, limits), calls).judged()
}

#[test]
fn one_send_too_many_in_a_window() {
    // Three a second, answered after 100 ms; the next three a window after that.
    let mut calls: Vec<Call> = (0..3).map(|row| call(row, 0, 100 * MS)).collect();
    calls.extend((3..6).map(|row| call(row, 1_100 * MS + MARGIN, 100 * MS)));
    let honest = found(&[any(3, S)], &calls);
    calls.push(call(6, 600 * MS, 10 * MS));
    let doctored = found(&[any(3, S)], &calls);
    twins(&honest, &doctored);
    let window = doctored.checks[0].window.clone().unwrap();
    assert_eq!(doctored.checks[0].worst, 4);
    assert_eq!((window.first.unwrap().row, window.last.row), (0, 6));
    assert_eq!((window.length_us, window.since_run_us), (S.cast_signed(), 600_001 - S.cast_signed()));
    assert_eq!(window.start, "2026-01-04T23:59:59.600001Z");
}

#[test]
fn a_limiter_that_stamps_the_send() {
    let first = call(0, 0, 400 * MS);
    let honest = found(&[any(1, S)], &[first.clone(), call(1, 1_400 * MS + MARGIN, 50 * MS)]);
    let doctored = found(&[any(1, S)], &[first, call(1, S + MARGIN, 50 * MS)]);
    twins(&honest, &doctored);
}

#[test]
fn a_retry_that_was_taken_out() {
    let calls = |numbers: &[u32]| -> Vec<Call> {
        numbers.iter().map(|n| call(7, u64::from(*n) * 3 * S, 10 * MS).number(*n)).collect()
    };
    assert!(found(&[any(1, S)], &calls(&[1, 2, 3])).ok);
    let doctored = found(&[any(1, S)], &calls(&[1, 3]));
    assert!(!doctored.ok);
    let missing = doctored.logs[0].first_missing.unwrap();
    assert_eq!((doctored.logs[0].missing, missing.row, missing.number), (1, 7, 2));
    // One that was never written, and one that was sent again from the start, are no gaps.
    let calls = [call(7, 0, MS).not_sent(), call(7, S, MS), call(7, 3 * S, MS).number(2), call(7, 9 * S, MS)];
    assert!(found(&[any(1, S)], &calls).ok);
}

#[test]
fn retries_beside_the_limit() {
    let first = call(0, 0, 100 * MS);
    let honest = found(&[any(1, S)], &[first.clone(), call(0, 1_100 * MS + MARGIN, MS).number(2)]);
    let doctored = found(&[any(1, S)], &[first, call(0, 200 * MS, MS).number(2)]);
    twins(&honest, &doctored);
}

/// A run that is killed with a call under way, and the next one's first call.
fn killed(next_sends: u64, former_over: Option<u64>) -> Findings {
    let limits = [any(1, S)];
    let mut next = run(5 * S, &limits);
    next.former_over = former_over.map(Micros);
    let log = Script::of(run(0, &limits), &[call(0, 4 * S, 0).lost()]);
    log.run(next, &[], &[call(0, next_sends, 10 * MS).number(2)]).judged()
}

#[test]
fn a_kill_with_units_freed_too_early() {
    twins(&killed(6 * S + MARGIN, None), &killed(6 * S - MARGIN, None));
    assert_eq!(killed(6 * S - MARGIN, None).logs[0].killed, 1);
}

#[test]
fn a_store_that_knows_when_the_former_run_was_over() {
    let over = Some(4 * S + 500 * MS);
    twins(&killed(5 * S + 500 * MS + MARGIN, over), &killed(5 * S + 500 * MS - MARGIN, over));
}

#[test]
fn sends_after_a_restart_too_early() {
    let limits = [any(2, S)];
    let restarted = |second: u64| {
        let first = [call(0, 0, 300 * MS), call(1, 0, 200 * MS)];
        let next = [call(2, 1_200 * MS + MARGIN, MS), call(3, second, MS)];
        Script::of(run(0, &limits), &first).run(run(400 * MS, &limits), &[], &next).judged()
    };
    twins(&restarted(1_300 * MS + MARGIN), &restarted(1_300 * MS - MARGIN));
}

#[test]
fn a_bucket_overdrawn_by_one() {
    // A bucket of 4 that gains 10 a second: 4 at once, then one each 100 ms.
    let bucket = |step_us| limit(10, Window::Bucket { per_us: S, capacity: 4, step_us });
    let mut calls: Vec<Call> = (0..4).map(|row| call(row, 0, 0)).collect();
    calls.extend((1..40).map(|i| call(3 + i, i * 100 * MS + 3, 0)));
    let honest = found(&[bucket(0)], &calls);
    calls.push(call(99, 3_950 * MS, 0));
    twins(&honest, &found(&[bucket(0)], &calls));
}

#[test]
fn what_a_bucket_has_gained_in_its_last_step() {
    // Five each half second, and nobody knows when.
    let bucket = [limit(10, Window::Bucket { per_us: S, capacity: 20, step_us: 500 * MS })];
    let calls = |from: u64| -> Vec<Call> {
        let full = (0..20).map(|row| call(row, 0, 0));
        full.chain((0..40).map(|i| call(20 + i, from + i / 5 * 500 * MS, 0))).collect()
    };
    twins(&found(&bucket, &calls(500 * MS + 2)), &found(&bucket, &calls(500 * MS)));
}

#[test]
fn a_bucket_that_answers_late() {
    // What was sent before may be counted together with what is sent now.
    let bucket = [limit(10, Window::Bucket { per_us: S, capacity: 4, step_us: 0 })];
    let slow: Vec<Call> = (0..2).map(|row| call(row, 0, 400 * MS)).collect();
    let later = |count| (0..count).map(|i| call(10 + i, 300 * MS, 10 * MS));
    let honest: Vec<Call> = slow.iter().cloned().chain(later(2)).collect();
    let doctored: Vec<Call> = slow.iter().cloned().chain(later(3)).collect();
    twins(&found(&bucket, &honest), &found(&bucket, &doctored));
}

#[test]
fn one_more_at_the_same_time() {
    let two = [limit(2, Window::Concurrency { linger_us: 5 * MS })];
    let calls = |third| [call(0, 0, 100 * MS).body(50 * MS), call(1, 10 * MS, S), call(2, third, MS)];
    twins(&found(&two, &calls(155 * MS)), &found(&two, &calls(154 * MS)));
}

#[test]
fn one_more_on_the_day_that_has_25_hours() {
    const HOUR: u64 = 3_600 * S;
    let limits = [limit(3, Window::Calendar { period: "day".into(), zone: "Europe/Berlin".into() })];
    let found = |third: u64| {
        let mut begin = run(0, &limits);
        begin.wall_ms = 1_792_879_200_000; // 2026-10-25T00:00:00+02:00
        let calls = [call(0, HOUR, MS), call(1, 2 * HOUR, MS), call(2, 3 * HOUR, MS), call(3, third, MS)];
        Script::of(begin, &calls).judged()
    };
    // Half past eleven in the evening, the 25th hour of the day.
    let (honest, doctored) = (found(25 * HOUR + 1), found(24 * HOUR + HOUR / 2));
    twins(&honest, &doctored);
    let window = doctored.checks[0].window.clone().unwrap();
    assert_eq!(
        (window.start.as_str(), window.length_us),
        ("2026-10-24T22:00:00Z", (25 * HOUR).cast_signed())
    );
}

#[test]
fn in_flight_over_midnight() {
    const NOON: u64 = 36 * 3_600 * S;
    let limits = [limit(1, Window::Calendar { period: "day".into(), zone: "UTC".into() })];
    // From midnight on, it may count on either day. And the wall clock was noted in milliseconds only.
    let found = |answered: u64| {
        let sent = 2 * NOON / 3 - 100 * MS;
        Script::of(run(0, &limits), &[call(0, sent, answered), call(1, NOON, MS)]).judged()
    };
    twins(&found(99 * MS + 1), &found(99 * MS + 2));
    // If it never ends, on all that follow.
    let open = |day: u64| {
        let open = Script::of(run(0, &limits), &[call(0, NOON, 0).lost()]);
        judged(&[&open, &Script::of(run(0, &limits), &[call(1, day, MS)])]).unwrap()
    };
    twins(&open(MS), &open(9 * NOON));
}

#[test]
fn weeks_begin_on_monday_and_months_on_the_first() {
    const DAY: u64 = 86_400 * S;
    let two = |period: &str| [limit(2, Window::Calendar { period: period.into(), zone: "UTC".into() })];
    // From Monday, 5 January 2026.
    let calls = |third: u64| [call(0, S, MS), call(1, 2 * S, MS), call(2, third, MS)];
    twins(&found(&two("week"), &calls(7 * DAY)), &found(&two("week"), &calls(7 * DAY - S)));
    twins(&found(&two("month"), &calls(27 * DAY)), &found(&two("month"), &calls(27 * DAY - S)));
}

#[test]
fn a_counter_that_reads_too_much() {
    let counter = [limit(10, Window::Counter { per_us: S })];
    // Ten at the end of a window; a quarter into the next two of them have faded, and a half.
    let ten = (0..10).map(|row| call(row, 0, 0));
    let calls = |second: u64| -> Vec<Call> {
        ten.clone().chain([call(10, second, 0), call(11, second, 0)]).collect()
    };
    let (honest, doctored) = (found(&counter, &calls(1_200 * MS + 2)), found(&counter, &calls(1_100 * MS)));
    twins(&honest, &doctored);
    assert_eq!(doctored.checks[0].worst, 11);
    // No window holds more than ten, though.
    assert!(found(&[any(10, S)], &calls(1_100 * MS)).ok);
    // Nobody knows: each way that it may be.
    let unknown = found(&[limit(10, Window::Unknown { per_us: S })], &calls(1_100 * MS));
    let verdicts: Vec<_> = unknown.checks.iter().map(|c| (c.way.clone().unwrap(), c.verdict)).collect();
    assert_eq!(verdicts, [("any window".into(), Verdict::Within), ("counter".into(), Verdict::Above)]);
}

fn tokens(amount: u64, per_us: u64) -> LimitRecord {
    LimitRecord { unit: "tokens".to_owned(), ends_with_head: false, ..any(amount, per_us) }
}

#[test]
fn a_cost_that_was_understated() {
    let calls = |settled| [call(0, 0, MS).reserves(60), call(1, MS, MS).reserves(50).settles(settled)];
    let limits = [tokens(100, S)];
    twins(&found(&limits, &calls(40)), &found(&limits, &calls(41)));
}

#[test]
fn tokens_count_until_the_last_byte() {
    let calls = |next| [call(0, 0, 10 * MS).body(S), call(1, next, MS)];
    let second = 2_010 * MS;
    let limits = [tokens(1, S)];
    twins(&found(&limits, &calls(second + MARGIN)), &found(&limits, &calls(second - MARGIN)));
    // Requests do not.
    assert!(found(&[any(1, S)], &calls(second - MARGIN)).ok);
}

#[test]
fn partitions_are_known_by_their_names() {
    let limits = [any(1, S)];
    let runs = |second: [&str; 2]| {
        let first = [call(0, 0, MS).of(1)];
        let log = Script::default().run(run(0, &limits), &["north", "south"], &first);
        log.run(run(2 * MS, &limits), &second, &[call(1, 100 * MS, MS).of(2)]).judged()
    };
    // The second run numbers them in another order.
    let (honest, doctored) = (runs(["north", "south"]), runs(["south", "north"]));
    twins(&honest, &doctored);
    let check = &doctored.checks[0];
    assert_eq!(check.window.as_ref().unwrap().partition, "north");
    assert_eq!((check.partitions, check.partitions_above), (1, 1));
    assert_eq!((honest.checks[0].partitions, honest.checks[0].partitions_above), (2, 0));
}

#[test]
fn an_assumption_that_was_not_kept_to() {
    let found = |second: u64, within: Option<u64>| {
        let mut begin = run(0, &[any(1, S)]);
        begin.counted_within_us = within;
        Script::of(begin, &[call(0, 0, 900 * MS), call(1, second, 10 * MS)]).judged()
    };
    let within = Some(30 * MS);
    twins(&found(1_030 * MS + MARGIN, within), &found(1_030 * MS - MARGIN, within));
    assert!(found(1_030 * MS + MARGIN, within).notes[0].contains("0.03 s"));
    assert!(!found(1_030 * MS + MARGIN, None).ok);
    // An answer that came sooner is better still.
    let mut begin = run(0, &[any(1, S)]);
    begin.counted_within_us = Some(500 * MS);
    assert!(Script::of(begin, &[call(0, 0, 10 * MS), call(1, 1_020 * MS, MS)]).judged().ok);
}

#[test]
fn two_jobs_that_share_a_quota_and_do_not_know_it() {
    let job = |row, sent| Script::of(run(sent - MS, &[any(1, S)]), &[call(row, sent, 100 * MS)]);
    let (first, second, third) = (job(0, 10 * MS), job(1, 500 * MS), job(2, 1_110 * MS + MARGIN));
    assert!(first.judged().ok && second.judged().ok);
    twins(&judged(&[&first, &third]).unwrap(), &judged(&[&third, &first, &second]).unwrap());
}
