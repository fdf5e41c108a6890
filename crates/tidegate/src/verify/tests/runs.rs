//! Several runs: other boots, other limits, other clocks.

use super::script::{MS, S, Script, any, call, judged, limit, run, twins};
use crate::log::{LimitRecord, Window};
use crate::verify::Findings;

#[test]
fn times_are_rounded_outwards_and_nothing_else_is_forgiven() {
    // Both ends of the gap between an answer and a send were rounded, by less than a microsecond each.
    let found = |gap: u64| {
        let calls = [call(0, 0, 10 * MS), call(1, 10 * MS + gap, 10 * MS)];
        Script::of(run(0, &[any(1, S)]), &calls).judged()
    };
    twins(&found(S - 1), &found(S - 2));
    let found = |gap: u64| {
        let limits = [limit(1, Window::Concurrency { linger_us: 5 * MS })];
        Script::of(run(0, &limits), &[call(0, 0, 10 * MS), call(1, 10 * MS + gap, MS)]).judged()
    };
    twins(&found(5 * MS - 1), &found(5 * MS - 2));
}

#[test]
fn calls_that_were_not_sent_do_not_count() {
    let calls = [call(0, 0, MS).not_sent(), call(0, 2 * MS, MS)];
    let found = Script::of(run(0, &[any(1, S)]), &calls).judged();
    assert!(found.ok);
    assert_eq!((found.logs[0].attempts, found.logs[0].not_sent), (1, 1));
}

#[test]
fn calls_that_never_end_count_for_ever() {
    let limits = [any(2, S)];
    let open = Script::of(run(0, &limits), &[call(0, 10 * MS, 0).lost()]);
    let other = |calls: u64| {
        let calls: Vec<_> = (0..calls).map(|row| call(row, 100 * S, MS)).collect();
        Script::of(run(0, &limits), &calls)
    };
    twins(&judged(&[&open, &other(1)]).unwrap(), &judged(&[&open, &other(2)]).unwrap());
    assert_eq!(open.judged().logs[0].never_over, 1);
}

/// A run, and one after the machine was started again: `wall` later by the wall clock.
fn rebooted(wall: i64, gap: u64) -> Findings {
    let limits = [any(1, S)];
    let mut next = run(S, &limits);
    next.boot = "another".to_owned();
    next.wall_ms = run(100 * S, &limits).wall_ms.strict_add_signed(wall);
    let log = Script::of(run(100 * S, &limits), &[call(0, 100 * S, 10 * MS)]);
    log.run(next, &[], &[call(1, S + gap, MS)]).judged()
}

#[test]
fn boots_are_bridged_by_the_wall_clock() {
    twins(&rebooted(600, 410 * MS), &rebooted(600, 409 * MS));
    assert!(rebooted(600, 410 * MS).notes[0].contains("wall clock"));
    // If that went back, no time is taken to have passed.
    twins(&rebooted(-5_000, S), &rebooted(-5_000, S - 2));
    assert!(rebooted(-5_000, S).notes[1].contains("went back"));
}

#[test]
fn the_wall_clock_does_not_matter_on_one_boot() {
    let limits = [any(1, S)];
    let stepped = |second: u64| {
        let mut next = run(500 * MS, &limits);
        next.wall_ms += 3_600_000;
        let log = Script::of(run(0, &limits), &[call(0, 0, 10 * MS)]);
        log.run(next, &[], &[call(1, second, MS)]).judged()
    };
    twins(&stepped(S + 10 * MS), &stepped(S + 10 * MS - 2));
}

#[test]
fn a_limit_that_came_later_knows_what_was_sent_before() {
    let (old, new) = ([any(2, S)], [any(1, 2 * S)]);
    let changed = |second: u64| {
        // The early ones have been judged when the second run begins.
        let early = [call(8, 0, MS), call(9, 3 * S, MS)];
        let first = [&early[..], &[call(0, 10 * S, 10 * MS), call(1, 10 * S, 10 * MS)]].concat();
        let log = Script::of(run(0, &old), &first);
        let found = log.run(run(10 * S + 20 * MS, &new), &[], &[call(2, second, MS)]).judged();
        // The first run was not held to it.
        Findings { checks: found.checks.into_iter().skip(1).collect(), ..found }
    };
    twins(&changed(12_010 * MS), &changed(12_000 * MS));
}

#[test]
fn a_bucket_that_came_later_was_full_then() {
    let bucket = limit(1, Window::Bucket { per_us: S, capacity: 1, step_us: 0 });
    let before: Vec<_> = (0..50).map(|row| call(row, row * 10 * MS, MS)).collect();
    let log = |calls: u64| {
        let after: Vec<_> = (0..calls).map(|row| call(50 + row, 2 * S, MS)).collect();
        let log = Script::of(run(0, &[any(100, S)]), &before);
        let found = log.run(run(S, std::slice::from_ref(&bucket)), &[], &after).judged();
        Findings { checks: found.checks.into_iter().skip(1).collect(), ..found }
    };
    twins(&log(1), &log(2));
}

#[test]
fn what_cannot_be_checked_is_said() {
    let calendar = |period: &str, zone: &str| Window::Calendar { period: period.into(), zone: zone.into() };
    for window in [Window::Other, calendar("fortnight", "UTC"), calendar("day", "Nowhere/Land")] {
        let found = Script::of(run(0, &[limit(1, window)]), &[call(0, 0, MS), call(1, 0, MS)]).judged();
        assert!(found.ok && found.checks[0].why_not.is_some(), "{found:#?}");
    }
    // Tokens, of a run that did not count them.
    let tokens = LimitRecord { unit: "tokens".to_owned(), ..any(5, S) };
    let log = Script::of(run(0, &[any(5, S)]), &[call(0, 0, MS)]);
    let found = log.run(run(MS, &[tokens]), &[], &[call(1, MS, MS)]).judged();
    assert!(found.checks[1].partial && found.notes[0].contains("left out"), "{found:#?}");
}

#[test]
fn ends_may_be_written_late_and_sends_out_of_order() {
    let calls = |sent: [u64; 3]| sent.map(|sent| call(sent, sent, 10 * MS));
    let log = |sent: [u64; 3]| {
        let log = Script::default().late(5 * S).put_on_list();
        log.run(run(0, &[any(2, S)]), &[], &calls(sent)).judged()
    };
    twins(&log([500 * MS, 0, 1_010 * MS]), &log([500 * MS, 0, 1_000 * MS]));
}
