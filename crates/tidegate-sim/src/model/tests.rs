//! Every oracle against its definition, evaluated the slow way over the whole past.

use std::time::Duration;

use proptest::prelude::*;

use super::{Judge, LimitSpec, Rate, Rejection, Verdict};

/// What has happened so far, and what the definitions say about it.
#[derive(Default)]
struct Past {
    counted: Vec<u64>,
    in_service: u64,
}

impl Past {
    fn admits(&self, spec: &LimitSpec, now: u64) -> bool {
        let between = |from: i128, to: i128| {
            self.counted.iter().filter(|time| (from..to).contains(&i128::from(**time))).count() as i128
        };
        let now = i128::from(now);
        match *spec {
            LimitSpec::Fixed(rate, phase) => {
                let (length, phase) = (ns(rate.period()), ns(phase));
                let start = (now - phase).div_euclid(length) * length + phase;
                between(start, start + length) < amount(rate)
            }
            LimitSpec::Rolling(rate) => between(now - ns(rate.period()) + 1, now + 1) < amount(rate),
            LimitSpec::Bucket(rate, capacity) => {
                // A full bucket at the start is an endlessly long silence before it. Arrival curve: over every
                // interval that ends now, at most the capacity and what has been refilled in it.
                let fits = |from: i128| {
                    let tokens = i128::from(capacity.get()) * ns(rate.period()) + (now - from) * amount(rate);
                    (between(from, now + 1) + 1) * ns(rate.period()) <= tokens
                };
                fits(now) && self.counted.iter().all(|time| fits(i128::from(*time)))
            }
            LimitSpec::Counter(rate) => {
                let length = ns(rate.period());
                let start = now.div_euclid(length) * length;
                let (previous, current) = (between(start - length, start), between(start, start + length));
                previous * (start + length - now) + (current + 1) * length <= amount(rate) * length
            }
            LimitSpec::Concurrency(limit) => self.in_service < limit.get(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive(u64),
    Finish,
}

fn ns(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap()
}

fn amount(rate: Rate) -> i128 {
    i128::from(rate.amount())
}

/// Windows of a few nanoseconds: boundaries are met all the time.
fn any_rate() -> impl Strategy<Value = Rate> {
    (1_u64..6, 1_u64..24).prop_filter_map("valid", |(n, w)| Rate::new(n, Duration::from_nanos(w)))
}

fn timed_limit() -> impl Strategy<Value = LimitSpec> {
    let capacity = (1_u64..6).prop_filter_map("not zero", std::num::NonZeroU64::new);
    prop_oneof![
        (any_rate(), 0_u64..60).prop_map(|(rate, phase)| LimitSpec::Fixed(rate, Duration::from_nanos(phase))),
        any_rate().prop_map(LimitSpec::Rolling),
        (any_rate(), capacity).prop_map(|(rate, capacity)| LimitSpec::Bucket(rate, capacity)),
        any_rate().prop_map(LimitSpec::Counter),
    ]
}

fn any_limit() -> impl Strategy<Value = LimitSpec> {
    let concurrency =
        (1_u64..5).prop_filter_map("not zero", std::num::NonZeroU64::new).prop_map(LimitSpec::Concurrency);
    prop_oneof![4 => timed_limit(), 1 => concurrency]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u64..8).prop_map(Step::Arrive),
        1 => (8_u64..60).prop_map(Step::Arrive),
        3 => Just(Step::Finish)
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn decides_as_defined(limits in prop::collection::vec(any_limit(), 0..4), steps in steps()) {
        let mut judge = Judge::new(&limits, false);
        let (mut past, mut now) = (Past::default(), 0);
        for step in steps {
            match step {
                Step::Arrive(gap) => {
                    now += gap;
                    let expected = limits.iter().all(|limit| past.admits(limit, now));
                    let verdict = judge.arrive(now);
                    prop_assert_eq!(verdict == Verdict::Accept, expected, "at {}", now);
                    if let Verdict::Reject(rejection) = verdict {
                        prop_assert!(!past.admits(&limits[rejection.limit], now));
                    } else {
                        past.counted.push(now);
                        past.in_service += 1;
                    }
                }
                Step::Finish if past.in_service > 0 => {
                    judge.finish();
                    past.in_service -= 1;
                }
                Step::Finish => {}
            }
        }
    }

    #[test]
    fn rejected_requests_count_when_told_so(limit in timed_limit(), gaps in prop::collection::vec(0_u64..12, 0..80)) {
        // A bucket that is emptied by rejections has no definition by arrival curve; it has a unit test.
        prop_assume!(!matches!(limit, LimitSpec::Bucket(..)));
        let mut judge = Judge::new(&[limit], true);
        let (mut past, mut now) = (Past::default(), 0);
        for gap in gaps {
            now += gap;
            prop_assert_eq!(judge.arrive(now) == Verdict::Accept, past.admits(&limit, now), "at {}", now);
            past.counted.push(now);
        }
    }

    #[test]
    fn the_promised_wait_is_exact(
        limits in prop::collection::vec(timed_limit(), 1..4),
        gaps in prop::collection::vec(0_u64..8, 1..60),
        reject_counts: bool,
    ) {
        let mut judge = Judge::new(&limits, reject_counts);
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let Verdict::Reject(Rejection { retry_at, .. }) = judge.arrive(now) else { continue };
            // Room only grows while nobody comes, so the moment and the one before it say all.
            let retry_at = retry_at.expect("timed limits know when");
            prop_assert!(retry_at > now);
            prop_assert_eq!(judge.clone().arrive(retry_at), Verdict::Accept);
            prop_assert!(matches!(judge.clone().arrive(retry_at - 1), Verdict::Reject(_)));
        }
    }

    #[test]
    fn standing_is_what_would_be_accepted(limit in timed_limit(), gaps in prop::collection::vec(0_u64..8, 0..60)) {
        let mut judge = Judge::new(&[limit], false);
        let mut now = 0;
        for gap in gaps {
            now += gap;
            judge.arrive(now);
            let standing = judge.standing(now).expect("timed limits have one");
            let mut burst = judge.clone();
            let accepted = std::iter::repeat_with(|| burst.arrive(now)).take_while(|v| *v == Verdict::Accept).count();
            prop_assert_eq!(standing.remaining, accepted as u64);
            let full = judge.clone().standing(standing.reset_at).expect("still has one");
            prop_assert_eq!(full.remaining, full.limit);
        }
    }
}

fn judge(specs: &[&str]) -> Judge {
    Judge::new(&limits(specs), false)
}

fn limits(specs: &[&str]) -> Vec<LimitSpec> {
    specs.iter().map(|spec| spec.parse().unwrap()).collect()
}

fn burst(judge: &mut Judge, now: u64, requests: usize) -> usize {
    (0..requests).filter(|_| judge.arrive(now) == Verdict::Accept).count()
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn fixed_windows_let_two_windows_through_at_their_edge() {
    let mut judge = judge(&["fixed 5/s phase 200ms"]);
    assert_eq!(burst(&mut judge, SECOND / 5 - 1, 10), 5);
    assert_eq!(burst(&mut judge, SECOND / 5, 10), 5);
    assert_eq!(burst(&mut judge, SECOND / 5 + SECOND - 1, 10), 0);
}

#[test]
fn rolling_windows_are_half_open() {
    let mut judge = judge(&["rolling 5/s"]);
    assert_eq!(burst(&mut judge, 0, 10), 5);
    assert_eq!(burst(&mut judge, SECOND - 1, 1), 0);
    assert_eq!(burst(&mut judge, SECOND, 10), 5);
}

#[test]
fn buckets_start_full_and_refill() {
    let mut judge = judge(&["bucket 2/s capacity 3"]);
    assert_eq!(burst(&mut judge, 0, 10), 3);
    assert_eq!(burst(&mut judge, SECOND / 2 - 1, 10), 0);
    assert_eq!(burst(&mut judge, SECOND / 2, 10), 1);
    assert_eq!(burst(&mut judge, 100 * SECOND, 10), 3);
}

#[test]
fn buckets_that_count_rejections_starve_who_hammers() {
    let mut judge = Judge::new(&limits(&["bucket 2/s capacity 3"]), true);
    assert_eq!(burst(&mut judge, 0, 10), 3);
    for tick in 1..20 {
        assert_eq!(burst(&mut judge, tick * SECOND / 4, 1), 0);
    }
    let last = 19 * SECOND / 4;
    assert_eq!(burst(&mut judge, last + SECOND / 2, 1), 1);
}

#[test]
fn counters_fade_the_last_window() {
    let mut judge = judge(&["counter 10/s"]);
    assert_eq!(burst(&mut judge, 0, 20), 10);
    assert_eq!(burst(&mut judge, SECOND, 20), 0);
    assert_eq!(burst(&mut judge, SECOND + SECOND / 2, 20), 5);
}

#[test]
fn concurrency_frees_on_finish_only() {
    let mut judge = judge(&["concurrency 2"]);
    assert_eq!(burst(&mut judge, 0, 5), 2);
    assert_eq!(judge.arrive(SECOND), Verdict::Reject(Rejection { limit: 0, retry_at: None }));
    judge.finish();
    assert_eq!(burst(&mut judge, SECOND, 5), 1);
    judge.reset();
    assert_eq!(burst(&mut judge, 0, 5), 0, "a reset does not end what is in service");
}

#[test]
fn names_the_limit_that_holds_longest() {
    let mut judge = judge(&["concurrency 1", "rolling 1/s", "rolling 1/min"]);
    assert_eq!(judge.arrive(0), Verdict::Accept);
    assert_eq!(judge.arrive(1), Verdict::Reject(Rejection { limit: 2, retry_at: Some(60 * SECOND) }));
}

#[test]
fn counted_rejections_move_the_wait_but_not_the_blame() {
    let mut judge = Judge::new(&limits(&["concurrency 1", "rolling 2/s"]), true);
    assert_eq!(judge.arrive(0), Verdict::Accept);
    assert_eq!(judge.arrive(1), Verdict::Reject(Rejection { limit: 0, retry_at: Some(SECOND) }));
}

#[test]
fn reset_forgets_the_past() {
    let specs = ["fixed 5/s", "rolling 5/s", "bucket 5/s capacity 5", "counter 5/s"];
    let mut judge = judge(&specs);
    assert_eq!(burst(&mut judge, 7 * SECOND, 9), 5);
    judge.reset();
    assert_eq!(burst(&mut judge, 1, 9), 5);
}
