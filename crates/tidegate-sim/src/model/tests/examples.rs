//! What can be worked out by hand.

use crate::model::{Judge, LimitSpec, Rejection, Settlement, Verdict};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

fn judge(specs: &[&str]) -> Judge {
    Judge::new(&limits(specs), false)
}

fn limits(specs: &[&str]) -> Vec<LimitSpec> {
    specs.iter().map(|spec| spec.parse().unwrap()).collect()
}

fn burst(judge: &mut Judge, now: u64, requests: usize) -> usize {
    (0..requests).filter(|_| judge.arrive(now) == Verdict::Accept).count()
}

fn accepts(judge: &mut Judge, now: u64, cost: u64) -> bool {
    judge.arrive_costing(now, cost) == Verdict::Accept
}

fn rejected(limit: usize, retry_at: impl Into<Option<u64>>) -> Verdict {
    Verdict::Reject(Rejection { limit, retry_at: retry_at.into() })
}

#[test]
fn fixed_windows_let_two_windows_through_at_their_edge() {
    let mut judge = judge(&["fixed 5/s phase 200ms"]);
    assert_eq!(burst(&mut judge, SECOND / 5 - 1, 10), 5);
    assert_eq!(burst(&mut judge, SECOND / 5, 10), 5);
    assert_eq!(burst(&mut judge, SECOND / 5 + SECOND - 1, 10), 0);
}

#[test]
fn aligned_windows_begin_with_the_first_request() {
    let mut judge = judge(&["fixed 5/s aligned"]);
    assert_eq!(burst(&mut judge, 700 * MS, 1), 1);
    assert_eq!(burst(&mut judge, 1_699 * MS, 10), 4);
    assert_eq!(burst(&mut judge, 1_700 * MS - 1, 1), 0);
    // Nobody comes when the window ends: the next begins with whoever does.
    assert_eq!(burst(&mut judge, 2_500 * MS, 10), 5);
    assert_eq!(judge.arrive(2_600 * MS), rejected(0, 3_500 * MS));
}

#[test]
fn rolling_windows_are_half_open() {
    let mut judge = judge(&["rolling 5/s"]);
    assert_eq!(burst(&mut judge, 0, 10), 5);
    assert_eq!(burst(&mut judge, SECOND - 1, 1), 0);
    assert_eq!(burst(&mut judge, SECOND, 10), 5);
}

#[test]
fn closed_windows_count_what_is_exactly_as_old_as_they_are_long() {
    let mut judge = judge(&["rolling 5/s closed"]);
    assert_eq!(burst(&mut judge, 0, 10), 5);
    assert_eq!(judge.arrive(SECOND), rejected(0, SECOND + 1));
    assert_eq!(burst(&mut judge, SECOND + 1, 10), 5);
}

#[test]
fn granular_windows_last_up_to_two_granules_longer() {
    // Logged as of 0 s, though it came at 0.999 s; counts while whole seconds differ by no more than 6.
    let mut judge = judge(&["rolling 5/6s granular 1s"]);
    assert_eq!(burst(&mut judge, 999 * MS, 10), 5);
    assert_eq!(judge.arrive(6_999 * MS), rejected(0, 7 * SECOND));
    assert_eq!(burst(&mut judge, 7 * SECOND, 1), 1);
    // One second wide at the end, the next counts almost 7 s.
    assert_eq!(burst(&mut judge, 7 * SECOND, 10), 4);
    assert_eq!(judge.arrive(14 * SECOND - 1), rejected(0, 14 * SECOND));
}

#[test]
fn buckets_start_full_and_refill() {
    for spec in ["bucket 2/s capacity 3", "gcra 2/s capacity 3"] {
        let mut judge = judge(&[spec]);
        assert_eq!(burst(&mut judge, 0, 10), 3);
        assert_eq!(burst(&mut judge, SECOND / 2 - 1, 10), 0);
        assert_eq!(burst(&mut judge, SECOND / 2, 10), 1);
        assert_eq!(burst(&mut judge, 100 * SECOND, 10), 3);
    }
}

#[test]
fn empty_buckets_have_to_be_filled_first() {
    let mut judge = judge(&["bucket 2/s capacity 3 empty"]);
    assert_eq!(judge.arrive(0), rejected(0, SECOND / 2));
    assert_eq!(burst(&mut judge, SECOND, 10), 2);
    judge.reset();
    assert_eq!(burst(&mut judge, 0, 10), 0);
}

#[test]
fn stepped_buckets_get_their_refill_at_once() {
    let mut judge = judge(&["bucket 10/s capacity 10 step 500ms"]);
    assert_eq!(burst(&mut judge, 100 * MS, 20), 10);
    assert_eq!(judge.arrive(499 * MS), rejected(0, 500 * MS));
    assert_eq!(burst(&mut judge, 500 * MS, 20), 5);
    assert_eq!(burst(&mut judge, 999 * MS, 20), 0);
    assert_eq!(burst(&mut judge, 9 * SECOND, 20), 10);
}

#[test]
fn buckets_that_count_rejections_starve_who_hammers() {
    for spec in ["bucket 2/s capacity 3", "gcra 2/s capacity 3"] {
        let mut judge = Judge::new(&limits(&[spec]), true);
        assert_eq!(burst(&mut judge, 0, 10), 3);
        for tick in 1..20 {
            assert_eq!(burst(&mut judge, tick * SECOND / 4, 1), 0);
        }
        let last = 19 * SECOND / 4;
        assert_eq!(burst(&mut judge, last + SECOND / 2, 1), 1);
    }
}

#[test]
fn counters_fade_the_last_window() {
    let mut judge = judge(&["counter 10/s"]);
    assert_eq!(burst(&mut judge, 0, 20), 10);
    assert_eq!(burst(&mut judge, SECOND, 20), 0);
    assert_eq!(burst(&mut judge, SECOND + SECOND / 2, 20), 5);

    let mut judge = self::judge(&["counter 10/s phase 300ms"]);
    assert_eq!(burst(&mut judge, 299 * MS, 20), 10);
    assert_eq!(burst(&mut judge, 300 * MS, 20), 0);
    assert_eq!(burst(&mut judge, 800 * MS, 20), 5);
}

#[test]
fn concurrency_frees_on_finish_only() {
    let mut judge = judge(&["concurrency 2"]);
    assert_eq!(burst(&mut judge, 0, 5), 2);
    assert_eq!(judge.arrive(SECOND), rejected(0, None));
    judge.finish(SECOND);
    assert_eq!(burst(&mut judge, SECOND, 5), 1);
    judge.reset();
    assert_eq!(burst(&mut judge, 0, 5), 0, "a reset does not end what is in service");
}

#[test]
fn late_concurrency_frees_after_the_answer() {
    let mut judge = judge(&["concurrency 2 late 5ms"]);
    assert_eq!(burst(&mut judge, 0, 5), 2);
    judge.finish(100 * MS);
    judge.finish(103 * MS);
    assert_eq!(judge.arrive(104 * MS), rejected(0, 105 * MS));
    assert_eq!(burst(&mut judge, 105 * MS, 5), 1);
    judge.reset();
    assert_eq!(burst(&mut judge, 0, 5), 1, "of two, one is in service and one had been answered");
}

#[test]
fn tokens_count_by_cost_and_requests_do_not() {
    let mut judge = judge(&["rolling 100 tokens/min", "rolling 3/min"]);
    assert!(accepts(&mut judge, 0, 60));
    assert!(!accepts(&mut judge, 1, 41));
    assert!(accepts(&mut judge, 2, 30));
    assert!(accepts(&mut judge, 3, 10));
    // Both are full; the log of tokens has room for 60 once the first has left it.
    assert_eq!(judge.arrive_costing(4, 60), rejected(0, 60 * SECOND));
    assert_eq!(judge.arrive_costing(5, 61), rejected(0, 60 * SECOND + 2));
    assert_eq!(judge.arrive_costing(6, 101), rejected(0, None));
    assert_eq!(judge.arrive_costing(7, u64::MAX), rejected(0, None));
}

#[test]
fn refunds_put_the_actual_cost_in_place_of_the_reserved_one() {
    let kinds = [
        "fixed 100 tokens/min",
        "fixed 100 tokens/min aligned",
        "rolling 100 tokens/min",
        "bucket 100 tokens/d capacity 100",
        "gcra 100 tokens/d capacity 100",
        "counter 100 tokens/min",
        "calendar 100 tokens/day zone UTC",
    ];
    for kind in kinds {
        let settlement = Settlement { arrived: 1, reserved: 80, actual: 30 };
        let mut keeps = judge(&[kind]);
        assert!(accepts(&mut keeps, 1, 80), "{kind}");
        keeps.finish_costing(2, settlement);
        assert!(!accepts(&mut keeps, 2, 70), "{kind}");

        let mut refunds = judge(&[&format!("{kind} refund")]);
        assert!(accepts(&mut refunds, 1, 80), "{kind}");
        refunds.finish_costing(2, settlement);
        assert!(!accepts(&mut refunds, 2, 71), "{kind}");
        assert!(accepts(&mut refunds, 2, 70), "{kind}");
        // One that cost more than was reserved is charged for it.
        refunds.finish_costing(3, Settlement { arrived: 2, reserved: 70, actual: 90 });
        assert!(!accepts(&mut refunds, 3, 1), "{kind}");
    }
}

#[test]
fn a_refund_of_what_no_longer_counts_changes_nothing() {
    for kind in ["fixed 100 tokens/s", "fixed 100 tokens/s aligned", "rolling 100 tokens/s"] {
        let mut judge = judge(&[&format!("{kind} refund")]);
        assert!(accepts(&mut judge, 1, 80), "{kind}");
        assert!(accepts(&mut judge, SECOND + 2, 100), "{kind}");
        judge.finish_costing(SECOND + 3, Settlement { arrived: 1, reserved: 80, actual: 0 });
        assert!(!accepts(&mut judge, SECOND + 3, 1), "{kind}");
    }
}

#[test]
fn skewed_nodes_let_through_what_one_clock_would_not() {
    // By the clock that is 200 ms ahead, the window is over 200 ms early; by the other it is not.
    let mut judge = judge(&["rolling 10/s nodes 2 skew 200ms"]);
    let mut early = 0;
    for now in 0..3_000 {
        let before = burst(&mut judge, now * MS, 1);
        early += if (800..1_000).contains(&now) { before } else { 0 };
    }
    assert!(early > 0, "no request came to the node that is ahead");
    let mut one = self::judge(&["rolling 10/s"]);
    assert_eq!((0..1_000).map(|now| burst(&mut one, now * MS, 1)).sum::<usize>(), 10);
}

#[test]
fn nodes_follow_the_seed() {
    let limits = limits(&["fixed 10/s nodes 3 skew 400ms"]);
    let run = |seed| {
        let mut judge = Judge::new(&limits, false).seeded(seed);
        (0..5_000).map(|now| burst(&mut judge, now * MS, 1)).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn names_the_limit_that_holds_longest() {
    let mut judge = judge(&["concurrency 1", "rolling 1/s", "rolling 1/min"]);
    assert_eq!(judge.arrive(0), Verdict::Accept);
    assert_eq!(judge.arrive(1), rejected(2, 60 * SECOND));
}

#[test]
fn counted_rejections_move_the_wait_but_not_the_blame() {
    let mut judge = Judge::new(&limits(&["concurrency 1", "rolling 2/s"]), true);
    assert_eq!(judge.arrive(0), Verdict::Accept);
    assert_eq!(judge.arrive(1), rejected(0, SECOND));
}

#[test]
fn reset_forgets_the_past() {
    let specs =
        ["fixed 5/s", "fixed 5/s aligned", "rolling 5/s", "bucket 5/s capacity 5", "gcra 5/s capacity 5"];
    let mut judge = judge(&[&specs[..], &["counter 5/s", "calendar 5/day zone UTC"]].concat());
    assert_eq!(burst(&mut judge, 7 * SECOND, 9), 5);
    judge.reset();
    assert_eq!(burst(&mut judge, 1, 9), 5);
}
