//! Every oracle against its definition.

use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;

use super::naive::Past;
use crate::model::{Judge, LimitSpec, Nodes, Rate, Rejection, Rule, Settlement, Unit, Verdict, WindowStart};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// After this time, with this cost.
    Arrive(u64, u64),
    /// Of one of those in service, which cost this in the end.
    Finish(usize, u64),
}

/// A few nanoseconds: boundaries are met all the time.
fn short(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_nanos)
}

fn not_zero() -> impl Strategy<Value = NonZeroU64> {
    (1_u64..6).prop_filter_map("not zero", NonZeroU64::new)
}

fn rate() -> impl Strategy<Value = Rate> {
    (1_u64..6, short(1..24)).prop_filter_map("valid", |(n, w)| Rate::new(n, w))
}

fn bucket() -> impl Strategy<Value = Rule> {
    (rate(), not_zero(), any::<bool>(), prop::option::of(short(1..9)))
        .prop_map(|(rate, capacity, empty, step)| Rule::Bucket { rate, capacity, empty, step })
}

fn timed_rule() -> impl Strategy<Value = Rule> {
    let start = prop_oneof![2 => short(0..60).prop_map(WindowStart::Phase), 1 => Just(WindowStart::Aligned)];
    prop_oneof![
        (rate(), start).prop_map(|(rate, start)| Rule::Fixed { rate, start }),
        (rate(), any::<bool>(), prop::option::of(short(1..9)))
            .prop_map(|(rate, closed, granule)| Rule::Rolling { rate, closed, granule }),
        bucket(),
        (rate(), not_zero()).prop_map(|(rate, capacity)| Rule::Gcra { rate, capacity }),
        (rate(), short(0..60)).prop_map(|(rate, phase)| Rule::Counter { rate, phase }),
    ]
}

fn timed_limit() -> impl Strategy<Value = LimitSpec> {
    (timed_rule(), any::<bool>(), any::<bool>()).prop_map(|(rule, tokens, refund)| LimitSpec {
        rule,
        unit: if tokens { Unit::Tokens } else { Unit::Requests },
        refund,
        nodes: None,
    })
}

fn shared_limit() -> impl Strategy<Value = LimitSpec> {
    let rule = timed_rule().prop_filter("has no nodes", |rule| !matches!(rule, Rule::Gcra { .. }));
    (rule, any::<bool>(), 1_u64..5, 0_u64..24).prop_map(|(rule, tokens, count, skew)| {
        let skew = Duration::from_nanos(skew).min(rule.rate().unwrap().period());
        let unit = if tokens { Unit::Tokens } else { Unit::Requests };
        LimitSpec { rule, unit, refund: false, nodes: Some(Nodes { count, skew }) }
    })
}

fn any_limit() -> impl Strategy<Value = LimitSpec> {
    let concurrency =
        (not_zero(), short(0..12)).prop_map(|(amount, late)| Rule::Concurrency { amount, late }.into());
    prop_oneof![6 => timed_limit(), 2 => shared_limit(), 1 => concurrency]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u64..8, 0_u64..5).prop_map(|(gap, cost)| Step::Arrive(gap, cost)),
        1 => (8_u64..60, 0_u64..9).prop_map(|(gap, cost)| Step::Arrive(gap, cost)),
        3 => (any::<usize>(), 0_u64..7).prop_map(|(which, actual)| Step::Finish(which, actual)),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn decides_as_defined(
        limits in prop::collection::vec(any_limit(), 0..4),
        steps in steps(),
        reject_counts: bool,
        seed: u64,
    ) {
        let mut judge = Judge::new(&limits, reject_counts).seeded(seed);
        let mut pasts: Vec<Past> = limits.iter().map(Past::new).collect();
        let (mut now, mut in_service) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Arrive(gap, cost) => {
                    now += gap;
                    let verdict = judge.arrive_costing(now, cost);
                    let stamps: Vec<u64> = judge.oracles.iter().map(|oracle| oracle.stamp).collect();
                    let admits: Vec<bool> =
                        pasts.iter_mut().zip(&stamps).map(|(past, stamp)| past.admits(*stamp, cost)).collect();
                    let accepted = verdict == Verdict::Accept;
                    prop_assert_eq!(accepted, admits.iter().all(|admits| *admits), "at {}", now);
                    if let Verdict::Reject(rejection) = verdict {
                        prop_assert!(!admits[rejection.limit]);
                    } else {
                        in_service.push((now, cost));
                    }
                    for ((past, limit), stamp) in pasts.iter_mut().zip(&limits).zip(stamps) {
                        let in_time = !matches!(limit.rule, Rule::Concurrency { .. });
                        if accepted || (reject_counts && in_time) {
                            past.count(stamp, now, cost, accepted);
                        }
                    }
                }
                Step::Finish(which, actual) if !in_service.is_empty() => {
                    let (arrived, reserved) = in_service.swap_remove(which % in_service.len());
                    let settlement = Settlement { arrived, reserved, actual };
                    judge.finish_costing(now, settlement);
                    for past in &mut pasts {
                        past.finish(now, settlement);
                    }
                }
                Step::Finish(..) => {}
            }
        }
    }

    #[test]
    fn buckets_stay_below_their_curve_and_reach_it(rule in bucket(), steps in steps()) {
        let limit = LimitSpec { rule, unit: Unit::Tokens, refund: false, nodes: None };
        let mut judge = Judge::new(std::slice::from_ref(&limit), false);
        let (mut past, mut now, mut counted) = (Past::new(&limit), 0, Vec::new());
        for step in steps {
            let Step::Arrive(gap, cost) = step else { continue };
            now += gap;
            let mut with = Past::new(&limit);
            for (at, cost) in &counted {
                with.count(*at, *at, *cost, true);
            }
            with.count(now, now, cost, true);
            prop_assert_eq!(judge.arrive_costing(now, cost) == Verdict::Accept, with.within_arrival_curve(now));
            if past.admits(now, cost) {
                past.count(now, now, cost, true);
                counted.push((now, cost));
            }
        }
    }

    #[test]
    fn gcra_is_a_bucket(
        (n, w, capacity) in (1_u64..6, short(1..24), not_zero()),
        steps in steps(),
        reject_counts: bool,
    ) {
        let rate = Rate::new(n, w).unwrap();
        let judge = |rule| {
            let limit = LimitSpec { rule, unit: Unit::Tokens, refund: true, nodes: None };
            Judge::new(&[limit], reject_counts)
        };
        let mut bucket = judge(Rule::Bucket { rate, capacity, empty: false, step: None });
        let mut gcra = judge(Rule::Gcra { rate, capacity });
        let (mut now, mut in_service) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Arrive(gap, cost) => {
                    now += gap;
                    let verdict = bucket.arrive_costing(now, cost);
                    prop_assert_eq!(gcra.arrive_costing(now, cost), verdict);
                    if verdict == Verdict::Accept {
                        in_service.push((now, cost));
                    }
                }
                Step::Finish(which, actual) if !in_service.is_empty() => {
                    let (arrived, reserved) = in_service.swap_remove(which % in_service.len());
                    bucket.finish_costing(now, Settlement { arrived, reserved, actual });
                    gcra.finish_costing(now, Settlement { arrived, reserved, actual });
                }
                Step::Finish(..) => {}
            }
        }
    }

    #[test]
    fn nodes_with_the_same_time_are_one(limit in timed_limit(), steps in steps(), count in 1_u64..9, seed: u64) {
        let shared = LimitSpec { nodes: Some(Nodes { count, skew: Duration::ZERO }), ..limit.clone() };
        let (mut one, mut many) = (Judge::new(&[limit], false), Judge::new(&[shared], false).seeded(seed));
        let mut now = 0;
        for step in steps {
            if let Step::Arrive(gap, cost) = step {
                now += gap;
                prop_assert_eq!(one.arrive_costing(now, cost), many.arrive_costing(now, cost));
            }
        }
    }

    #[test]
    fn the_promised_wait_is_exact(
        limits in prop::collection::vec(timed_limit(), 1..4),
        arrivals in prop::collection::vec((0_u64..8, 0_u64..7), 1..60),
        reject_counts: bool,
    ) {
        let mut judge = Judge::new(&limits, reject_counts);
        let mut now = 0;
        for (gap, cost) in arrivals {
            now += gap;
            let Verdict::Reject(Rejection { retry_at, limit }) = judge.arrive_costing(now, cost) else { continue };
            // Room only grows while nobody comes, so the moment and the one before it say all.
            let Some(retry_at) = retry_at else {
                let eternity = now + 1_000_000;
                prop_assert!(matches!(judge.clone().arrive_costing(eternity, cost), Verdict::Reject(_)));
                prop_assert_eq!(limits[limit].unit, Unit::Tokens);
                continue;
            };
            prop_assert!(retry_at > now);
            prop_assert_eq!(judge.clone().arrive_costing(retry_at, cost), Verdict::Accept);
            prop_assert!(matches!(judge.clone().arrive_costing(retry_at - 1, cost), Verdict::Reject(_)));
        }
    }

    #[test]
    fn standing_is_what_would_be_accepted(rule in timed_rule(), gaps in prop::collection::vec(0_u64..8, 0..60)) {
        let mut judge = Judge::new(&[rule.into()], false);
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
