use std::num::NonZeroU64;

use super::*;
use crate::limit::{Limit, Terms};

fn contract(limits: &[&str], pacing: Pacing) -> Contract {
    let limits: Vec<Limit> = limits.iter().map(|l| l.parse().unwrap()).collect();
    Contract::new(&limits, pacing, Terms::default()).unwrap()
}

fn quota(limits: &[&str], pacing: Pacing) -> Quota {
    Quota::new(&contract(limits, pacing))
}

fn take(quota: &mut Quota, now: Time) -> Decision {
    let costs = *quota.costs();
    quota.take(&costs, now)
}

fn granted(decision: Decision) -> Grant {
    match decision {
        Decision::Grant(grant) => grant,
        Decision::Wait(wait) => panic!("{wait:?}"),
    }
}

fn waits(decision: Decision) -> Wait {
    match decision {
        Decision::Grant(grant) => panic!("{grant:?}"),
        Decision::Wait(wait) => wait,
    }
}

/// All that is granted at once.
fn all(quota: &mut Quota, now: Time) -> Vec<Grant> {
    std::iter::from_fn(|| match take(quota, now) {
        Decision::Grant(grant) => Some(grant),
        Decision::Wait(_) => None,
    })
    .collect()
}

fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

#[test]
fn a_call_takes_from_all_limits_or_from_none() {
    let mut quota = quota(&["5/s", "3/min"], Pacing::Burst);
    let first = granted(take(&mut quota, ms(0)));
    let second = granted(take(&mut quota, ms(0)));
    quota.settle(first, Outcome::Answered, ms(10));
    quota.settle(second, Outcome::Answered, ms(10));
    let third = granted(take(&mut quota, ms(10)));
    quota.settle(third, Outcome::Answered, ms(20));
    // The minute binds for a minute; meanwhile no unit of the second is lost to it.
    for t in [1_500, 3_000, 4_500] {
        assert_eq!(waits(take(&mut quota, ms(t))).why, Why::Limit(1));
    }
    let fourth = granted(take(&mut quota, ms(61_000)));
    quota.settle(fourth, Outcome::NotSent, ms(61_000));
    let _fourth = granted(take(&mut quota, ms(61_000)));
}

#[test]
fn the_head_ends_a_request_and_the_last_byte_its_concurrency() {
    let mut quota = quota(&["1/s", "concurrency 1"], Pacing::Burst);
    let mut first = granted(take(&mut quota, ms(0)));
    quota.answered(&mut first, ms(100));
    // The window's unit is on its way back, but the body still flows.
    assert_eq!(waits(take(&mut quota, ms(3_000))), Wait { until: None, why: Why::Limit(1) });
    quota.settle(first, Outcome::Answered, ms(3_000));
    let back = Time::from_nanos(3_005_001_000);
    assert_eq!(waits(take(&mut quota, ms(3_000))).until, Some(back));
    let _second = granted(take(&mut quota, back));
}

#[test]
fn the_line_is_served_in_order_and_nobody_overtakes() {
    let mut quota = quota(&["1/s"], Pacing::Burst);
    let costs = *quota.costs();
    let first = granted(take(&mut quota, ms(0)));
    let (a, b, c) = (quota.join(costs), quota.join(costs), quota.join(costs));
    assert_eq!(waits(take(&mut quota, ms(0))).why, Why::Line);
    quota.settle(first, Outcome::Answered, ms(0));
    quota.leave(b);
    let (served, decision) = quota.serve(ms(1_100)).unwrap();
    assert_eq!(served, a);
    quota.settle(granted(decision), Outcome::Answered, ms(1_100));
    let (served, decision) = quota.serve(ms(1_100)).unwrap();
    assert_eq!((served, waits(decision).why), (c, Why::Limit(0)));
    assert_eq!(quota.head(), Some(c));
}

#[test]
fn a_heavy_call_at_the_head_is_not_starved_by_light_ones() {
    let mut quota = quota(&["100 points/s"], Pacing::Burst);
    let cost = |units| {
        let mut costs = *quota.costs();
        costs.set(0, units);
        costs
    };
    let (light, heavy) = (cost(10), cost(90));
    let mut flying: Vec<Grant> = (0..9).map(|_| granted(quota.take(&light, ms(0)))).collect();
    let head = quota.join(heavy);
    let _behind = quota.join(light);
    for (i, grant) in flying.drain(..).enumerate() {
        let now = ms(100 * (i as u64 + 1));
        quota.settle(grant, Outcome::Answered, now);
        // Ten units are free from the first moment, and more come back; they stay with the head.
        assert!(matches!(quota.serve(now), Some((id, Decision::Wait(_))) if id == head));
    }
    assert!(matches!(quota.serve(ms(1_801)), Some((_, Decision::Wait(Wait { until: Some(_), .. })))));
    assert!(matches!(quota.serve(ms(1_802)), Some((id, Decision::Grant(_))) if id == head));
}

#[test]
fn what_was_reserved_is_settled_with_what_it_cost() {
    let tokens: Limit = "100 tokens/s".parse().unwrap();
    for (limit, free_at_once) in [(tokens.clone(), 50), (tokens.refunding(), 90)] {
        let contract = Contract::new(&[limit], Pacing::Burst, Terms::default()).unwrap();
        let mut quota = Quota::new(&contract);
        let mut costs = *contract.costs();
        costs.set(0, 50);
        let grant = granted(quota.take(&costs, ms(0)));
        let mut actual = costs;
        actual.set(0, 10);
        quota.settle_costing(grant, Outcome::Answered, &actual, ms(100));
        costs.set(0, free_at_once);
        assert!(quota.wait(&costs, ms(100)).is_none());
        costs.set(0, free_at_once + 1);
        assert!(quota.wait(&costs, ms(100)).is_some());
        costs.set(0, 101);
        assert!(contract.admit(&costs).is_err());
    }
}

#[test]
fn a_pause_is_never_shortened_and_ends_without_a_stampede() {
    let mut quota = quota(&["100/10s"], Pacing::Burst);
    quota.pause(ms(90_000));
    quota.pause(ms(1_000));
    assert_eq!(waits(take(&mut quota, ms(89_999))), Wait { until: Some(ms(90_000)), why: Why::Paused });
    assert_eq!(all(&mut quota, ms(90_000)).len(), 1);
    let in_a_second: usize = (90_010..91_000).step_by(10).map(|t| all(&mut quota, ms(t)).len()).sum();
    assert_eq!(in_a_second, 9);
    // A hold later it is as it was.
    assert!(all(&mut quota, ms(101_000)).len() > 70);
}

#[test]
fn who_carries_on_is_charged_for_what_was_used() {
    let limits = ["3/s", "50/s bucket 10"];
    let mut before = quota(&limits, Pacing::Burst);
    let answered = granted(take(&mut before, ms(0)));
    let _in_flight = granted(take(&mut before, ms(50)));
    before.settle(answered, Outcome::Answered, ms(100));

    let mut after = quota(&limits, Pacing::Burst);
    for (limit, units, until) in before.used(ms(200)) {
        after.charge(limit, units, until, ms(0));
    }
    let _third = granted(take(&mut after, ms(300)));
    let wait = waits(take(&mut after, ms(300)));
    assert_eq!((wait.why, wait.until), (Why::Limit(0), Some(Time::from_nanos(1_101_200_200))));
    // One more than there is: all of it, and nothing overflows.
    after.charge(0, 99, ms(9_000), ms(0));
    assert!(before.used(ms(100_000)).iter().all(|(_, _, until)| *until > ms(100_000)));
    assert!(!before.is_idle(ms(100_000)) && quota(&limits, Pacing::Even).is_idle(ms(0)));
}

#[test]
fn a_clock_that_steps_back_hands_out_nothing_early() {
    let mut quota = quota(&["1/s"], Pacing::Burst);
    let first = granted(take(&mut quota, ms(5_000)));
    quota.settle(first, Outcome::Answered, ms(1_000));
    assert!(waits(take(&mut quota, ms(5_500))).until > Some(ms(6_000)));
}

#[test]
fn even_pacing_starts_without_a_blast() {
    for limit in ["100/10s", "10/s bucket 100", "100/10s counter"] {
        let mut quota = quota(&[limit], Pacing::Even);
        let mut grants = 0;
        for t in (0..1_000).step_by(5) {
            for grant in all(&mut quota, ms(t)) {
                grants += 1;
                quota.settle(grant, Outcome::Answered, ms(t) + Duration::from_millis(1));
            }
        }
        assert!((9..=12).contains(&grants), "{limit}: {grants}");
    }
}

// ---- stalls ----

#[test]
fn one_time_out_among_answers_is_isolated() {
    let mut quota = quota(&["10/s"], Pacing::Burst);
    let mut grants = all(&mut quota, ms(0));
    let hung = grants.remove(0);
    let later = granted_after_answer(&mut quota, grants);
    quota.settle(later, Outcome::Answered, ms(200));
    quota.settle(hung, Outcome::TimedOut, ms(5_000));
    assert!(!quota.is_stalled());
    // Its unit comes back a hold after it was given up, and not before.
    assert_eq!(all(&mut quota, ms(6_001)).len(), 8, "and one is kept for a probe");
    assert_eq!(all(&mut quota, ms(6_002)).len(), 1);
}

fn granted_after_answer(quota: &mut Quota, grants: Vec<Grant>) -> Grant {
    for grant in grants {
        quota.settle(grant, Outcome::Answered, ms(100));
    }
    granted(take(quota, ms(150)))
}

#[test]
fn a_stalled_provider_is_probed_and_all_is_taken_as_answered_when_it_is_back() {
    let mut quota = quota(&["20/s"], Pacing::Burst);
    let flying = all(&mut quota, ms(0));
    assert_eq!(flying.len(), 18);
    for grant in flying {
        quota.settle(grant, Outcome::TimedOut, ms(30_000));
    }
    assert!(quota.is_stalled());
    // However long ago they were given up: only the units that were kept are there, one at a time.
    let probe = granted(take(&mut quota, ms(30_000)));
    assert_eq!(waits(take(&mut quota, ms(60_000))), Wait { until: None, why: Why::Stalled });
    quota.settle(probe, Outcome::TimedOut, ms(60_000));
    assert_eq!(waits(take(&mut quota, ms(60_000))), Wait { until: Some(ms(61_000)), why: Why::Stalled });
    let mut probe = granted(take(&mut quota, ms(61_000)));
    quota.answered(&mut probe, ms(61_080));
    assert!(!quota.is_stalled());
    assert_eq!(waits(take(&mut quota, ms(61_080))).why, Why::Limit(0));
    assert_eq!(all(&mut quota, ms(62_280)).len(), 18);
}

#[test]
fn many_time_outs_together_are_a_stall_although_others_are_answered() {
    let mut quota = quota(&["100/s"], Pacing::Burst);
    let mut flying = all(&mut quota, ms(0));
    let hung: Vec<Grant> = flying.drain(..20).collect();
    for grant in flying {
        quota.settle(grant, Outcome::Answered, ms(100));
    }
    let later = granted(take(&mut quota, ms(1_200)));
    quota.settle(later, Outcome::Answered, ms(1_300));
    for grant in hung {
        quota.settle(grant, Outcome::TimedOut, ms(5_000));
    }
    assert!(quota.is_stalled());
}

#[test]
fn a_provider_that_never_answers_again_does_not_block_for_ever() {
    let mut quota = quota(&["20/s"], Pacing::Burst);
    let mut now = ms(0);
    let mut sent = 0;
    for grant in all(&mut quota, now) {
        quota.settle(grant, Outcome::TimedOut, ms(1_000));
    }
    while now < ms(1_500_000) {
        match take(&mut quota, now) {
            Decision::Grant(probe) => {
                sent += 1;
                now = now + Duration::from_secs(1);
                quota.settle(probe, Outcome::TimedOut, now);
            }
            Decision::Wait(wait) => now = wait.until.expect("a time to look again").max(now),
        }
    }
    assert!((4..40).contains(&sent), "{sent}");
}

// ---- incidents ----

#[test]
fn an_unexpected_rejection_pauses_and_takes_a_tenth_until_clean_holds_have_passed() {
    let mut quota = quota(&["10/s", "1000/min"], Pacing::Burst);
    let mut flying = all(&mut quota, ms(0));
    let rejected = flying.pop().unwrap();
    let incident = quota.rejected(&rejected, Some(Duration::from_millis(300)), ms(100)).unwrap();
    let hold = Duration::from_nanos(1_001_200_200);
    assert_eq!(incident, Incident { limit: 0, tenths: 9, paused_until: ms(100) + hold });
    // Its sisters were sent before: they tell nothing new, but what they ask for is granted.
    assert_eq!(quota.rejected(&flying[0], Some(Duration::from_secs(2)), ms(150)), None);
    for grant in flying.into_iter().chain([rejected]) {
        quota.settle(grant, Outcome::Answered, ms(160));
    }
    assert_eq!(waits(take(&mut quota, ms(2_000))).until, Some(ms(2_150)));
    let mut sent = Vec::new();
    for t in (2_150..4_300).step_by(10) {
        sent.extend(all(&mut quota, ms(t)).into_iter().map(|grant| grant.at()));
    }
    // In flight still: nine of ten, and all ten after a clean hold.
    assert_eq!(sent.len(), 9, "{sent:?}");
    assert!(!quota.doubt.exists());
}

#[test]
fn incidents_never_leave_nothing() {
    let mut quota = quota(&["10/s"], Pacing::Burst);
    let mut now = ms(0);
    for _ in 0..30 {
        let grant = loop {
            match take(&mut quota, now) {
                Decision::Grant(grant) => break grant,
                Decision::Wait(wait) => now = wait.until.unwrap(),
            }
        };
        let incident = quota.rejected(&grant, None, now).unwrap();
        assert!(incident.tenths >= 1);
        quota.settle(grant, Outcome::Answered, now);
    }
}

#[test]
fn limits_of_a_quota_are_bounded() {
    let limits: Vec<Limit> = (1..=9).map(|n| Limit::concurrency(NonZeroU64::new(n).unwrap())).collect();
    assert!(Contract::new(&limits, Pacing::Even, Terms::default()).is_err());
    assert!(Contract::new(&limits[1..], Pacing::Even, Terms::default()).is_ok());
}

// ---- what a hostile review found ----

#[test]
fn who_carries_on_never_has_more_than_who_went_before() {
    for limit in ["10/s bucket 30 step 1s", "10/s bucket 30", "10/s", "10/s counter"] {
        let mut before = quota(&[limit], Pacing::Burst);
        for at in [ms(0), ms(400)] {
            for grant in all(&mut before, at) {
                before.settle(grant, Outcome::Answered, at);
            }
        }
        for now in (400..4_000).step_by(100).map(ms) {
            // Its clock has run for a minute when it is told.
            let (mut after, minute) = (quota(&[limit], Pacing::Burst), Duration::from_secs(60));
            for (limit, units, until) in before.used(now) {
                after.charge(limit, units, until + minute, now + minute);
            }
            let mut same = quota(&[limit], Pacing::Burst);
            same.limits = before.limits.clone();
            let (more, most) = (all(&mut after, now + minute).len(), all(&mut same, now).len());
            assert!(more <= most, "{limit} at {now}: {more} after {most}");
        }
    }
}

#[test]
fn what_is_charged_in_several_parts_counts_in_full() {
    let mut quota = quota(&["10/s"], Pacing::Burst);
    quota.charge(0, 10, ms(100), ms(0));
    quota.charge(0, 10, ms(1_000), ms(0));
    assert!(all(&mut quota, ms(200)).is_empty());
    assert_eq!(all(&mut quota, ms(1_000)).len(), 9);
}

#[test]
fn no_answer_can_block_a_limit_for_ever() {
    for limit in ["10 points/s", "10 points/s bucket 10", "10 points/s counter"] {
        let limits = [limit.parse::<Limit>().unwrap()];
        let contract = Contract::new(&limits, Pacing::Even, Terms::default()).unwrap();
        let mut quota = Quota::new(&contract);
        let mut costs = *contract.costs();
        costs.set(0, 1);
        let mut actual = costs;
        actual.set(0, u64::MAX);
        let mut now = ms(0);
        for _ in 0..5 {
            let grant = loop {
                match quota.take(&costs, now) {
                    Decision::Grant(grant) => break grant,
                    Decision::Wait(wait) => now = wait.until.expect("a time to look again"),
                }
            };
            quota.settle_costing(grant, Outcome::Answered, &actual, now);
        }
        assert!(now < ms(60_000), "{limit}: {now}");
    }
}

#[test]
fn rejections_of_a_slow_bucket_do_not_overflow() {
    let mut quota = quota(&["1/day bucket 10"], Pacing::Burst);
    for hours in 0..100 {
        if let Decision::Grant(grant) = take(&mut quota, ms(hours * 3_600_000)) {
            let _incident = quota.rejected(&grant, None, ms(hours * 3_600_000));
            quota.settle(grant, Outcome::Answered, ms(hours * 3_600_000));
        }
    }
}

#[test]
fn a_quota_whose_last_call_timed_out_is_idle_again() {
    let mut quota = quota(&["10/s", "concurrency 5"], Pacing::Burst);
    let grant = granted(take(&mut quota, ms(0)));
    quota.settle(grant, Outcome::TimedOut, ms(5_000));
    assert!(!quota.is_idle(ms(5_500)));
    assert!(quota.is_idle(ms(20_000)));
}

#[test]
fn calls_one_at_a_time_into_a_frozen_provider_are_told_from_slow_ones() {
    let mut quota = quota(&["10/s"], Pacing::Burst);
    for i in 0..3 {
        let grant = granted(take(&mut quota, ms(i * 6_000)));
        quota.settle(grant, Outcome::TimedOut, ms(i * 6_000 + 5_000));
    }
    assert!(quota.is_stalled());
}
