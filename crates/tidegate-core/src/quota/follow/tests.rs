use std::time::Duration;

use super::super::{Decision, Outcome, Wait, Why};
use super::*;
use crate::contract::Pacing;
use crate::limit::Terms;

fn learning(declared: &[&str]) -> Quota {
    paced(declared, Pacing::Burst)
}

fn paced(declared: &[&str], pacing: Pacing) -> Quota {
    let declared: Vec<Limit> = declared.iter().map(|limit| limit.parse().unwrap()).collect();
    Quota::new(&Contract::new(&declared, pacing, Terms::default()).unwrap().learning())
}

fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn reading(limit: Option<u64>, remaining: u64, resets_in_s: u64) -> Reading {
    Reading {
        resource: "calls".into(),
        unit: Unit::Requests,
        limit,
        remaining: Some(remaining),
        window: None,
        resets_in: Some(Duration::from_secs(resets_in_s)),
        reset: Reset::All,
    }
}

/// With a window of ten seconds that is named.
fn windowed(limit: u64, remaining: u64, resets_in_s: u64) -> Reading {
    Reading { window: Some(Duration::from_secs(10)), ..reading(Some(limit), remaining, resets_in_s) }
}

fn take(quota: &mut Quota, now: Time) -> Result<Grant, Wait> {
    let costs = *quota.costs();
    match quota.take(&costs, now) {
        Decision::Grant(grant) => Ok(grant),
        Decision::Wait(wait) => Err(wait),
    }
}

/// So many calls may be in flight.
fn widen(quota: &mut Quota, width: u64) {
    quota.follow.as_mut().unwrap().width = width;
}

fn answer(quota: &mut Quota, grant: Grant, readings: &[Reading], now: Time) -> Heard {
    let heard = quota.follow(&grant, readings, true, now);
    quota.settle(grant, Outcome::Answered, now);
    heard
}

/// Grants of the time from `from` to `to`, each answered 5 ms later with nothing to learn from it.
fn granted(quota: &mut Quota, from: u64, to: u64) -> Vec<u64> {
    let (mut grants, mut open): (Vec<u64>, Vec<(u64, Grant)>) = (Vec::new(), Vec::new());
    for now in from..to {
        let (over, rest) = open.into_iter().partition(|(at, _)| at + 5 <= now);
        open = rest;
        for (_, grant) in over {
            quota.settle(grant, Outcome::Answered, ms(now));
        }
        while let Ok(grant) = take(quota, ms(now)) {
            grants.push(now);
            open.push((now, grant));
        }
    }
    for (_, grant) in open {
        quota.settle(grant, Outcome::Answered, ms(to));
    }
    grants
}

#[test]
fn while_nothing_is_known_one_call_goes_each_second() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    let wait = take(&mut quota, ms(5_000)).unwrap_err();
    assert_eq!((wait.until, wait.why), (None, Why::Told), "one in flight");
    assert_eq!(answer(&mut quota, first, &[], ms(5_000)), Heard::default());
    assert_eq!(granted(&mut quota, 5_000, 8_500), [5_000, 6_000, 7_000, 8_000]);
}

#[test]
fn what_is_left_is_spread_over_the_time_to_the_reset() {
    let mut quota = paced(&[], Pacing::Even);
    let first = take(&mut quota, ms(0)).unwrap();
    // Ten in ten seconds, and one that asks after the reset; from there on one each second.
    assert!(answer(&mut quota, first, &[reading(None, 10, 10)], ms(20)).is_useful);
    let grants = granted(&mut quota, 20, 12_500);
    assert_eq!(grants.len(), 10 + 3, "{grants:?}");
    assert!(grants[..10].windows(2).all(|pair| pair[1] - pair[0] > 900), "{grants:?}");
    assert!(grants[10..].iter().zip([10_020, 11_020, 12_020]).all(|(a, b)| *a == b), "{grants:?}");
}

#[test]
fn in_bursts_what_is_left_goes_as_early_as_it_may() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[reading(None, 10, 10)], ms(20));
    let grants = granted(&mut quota, 20, 10_000);
    assert_eq!((grants.len(), grants[9]), (10, 65), "one at a time, of 5 ms each");
}

#[test]
fn what_may_not_have_been_counted_yet_is_not_left() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[reading(None, 1_000, 1_000)], ms(10));
    widen(&mut quota, 10);
    let second = take(&mut quota, ms(2_000)).unwrap();
    let third = take(&mut quota, ms(3_000)).unwrap();
    let fourth = take(&mut quota, ms(4_000)).unwrap();
    // Three are left, but the second and the fourth may have been counted after the third.
    answer(&mut quota, third, &[reading(None, 3, 100)], ms(4_010));
    answer(&mut quota, second, &[reading(None, 900, 100)], ms(4_020)); // that was before
    let _fifth = take(&mut quota, ms(60_000)).unwrap();
    let wait = take(&mut quota, ms(60_000)).unwrap_err();
    assert_eq!(wait, Wait { until: Some(ms(104_010)), why: Why::Told }, "none is left until the reset");
    // It was not: the fourth says what was left when three of ours were over.
    answer(&mut quota, fourth, &[reading(None, 5, 30)], ms(60_010));
    let _sixth = take(&mut quota, ms(80_000)).unwrap();
}

#[test]
fn a_limit_with_its_window_is_kept_and_what_is_used_is_charged() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    let heard = answer(&mut quota, first, &[windowed(100, 40, 7)], ms(20));
    let belief = &heard.beliefs[0];
    assert_eq!((belief.index, belief.limit.to_string().as_str()), (0, "100/10s"));
    assert!(belief.window_told);
    // Others have used 59: what is back by then is back at the reset.
    assert_eq!(granted(&mut quota, 20, 6_900).len(), 40);
    assert_eq!(granted(&mut quota, 6_900, 10_000).len(), 59); // ours was under way by then
    // The same again is no news; another amount is.
    let call = take(&mut quota, ms(30_000)).unwrap();
    assert_eq!(answer(&mut quota, call, &[windowed(100, 90, 10)], ms(30_020)).beliefs, []);
    let call = take(&mut quota, ms(31_000)).unwrap();
    let heard = answer(&mut quota, call, &[windowed(200, 190, 10)], ms(31_020));
    assert_eq!(heard.beliefs[0].limit.to_string(), "200/10s");
}

#[test]
fn a_window_that_is_not_named_is_seen_once_it_has_passed() {
    let mut quota = learning(&[]);
    let mut at = 0;
    let mut ask = |quota: &mut Quota, remaining, resets_in_s, now: u64| {
        at = now.max(at);
        let grant = take(quota, ms(at)).unwrap();
        answer(quota, grant, &[reading(Some(100), remaining, resets_in_s)], ms(at + 10)).beliefs
    };
    assert_eq!(ask(&mut quota, 50, 4, 0), []);
    assert_eq!(ask(&mut quota, 49, 2, 2_000), []);
    // The reset has passed: a window is as long as the time to the next one, at least.
    let beliefs = ask(&mut quota, 99, 59, 4_500);
    assert_eq!((beliefs[0].limit.to_string().as_str(), beliefs[0].window_told), ("100/59s", false));
    // It was a little longer: an afterthought of the same window. Shorter ones say nothing.
    assert_eq!(ask(&mut quota, 90, 40, 24_000), []);
    let beliefs = ask(&mut quota, 99, 62, 80_000);
    assert_eq!(beliefs[0].limit.to_string(), "100/62s");
}

#[test]
fn calls_of_before_take_nothing_of_what_is_learnt_later() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[windowed(10, 9, 10)], ms(20));
    widen(&mut quota, 10);
    let (second, third) = (take(&mut quota, ms(30)).unwrap(), take(&mut quota, ms(30)).unwrap());
    // Half as much, all of it used but what these may take.
    let fourth_of = [Reading { resource: "calls".into(), ..windowed(5, 1, 10) }];
    let later = ms(10_100);
    assert_eq!(quota.follow(&third, &fourth_of, true, later).beliefs.len(), 1);
    quota.settle(second, Outcome::Answered, later);
    quota.settle(third, Outcome::Answered, later);
    // Their units are charged, not given back by their answers: five at most in any ten seconds.
    let grants = granted(&mut quota, 10_100, 40_000);
    assert!(grants.windows(6).all(|six| six[5] - six[0] >= 10_000), "{grants:?}");
    assert!(grants.len() >= 10, "{grants:?}");
}

#[test]
fn calls_in_flight_double_from_answer_to_answer_and_are_halved_by_a_rejection() {
    let mut quota = learning(&[]);
    let told = [windowed(100_000, 90_000, 10)];
    let mut wide = Vec::new();
    for round in 0..5 {
        let now = ms(1_000 * round);
        let calls: Vec<Grant> = std::iter::from_fn(|| take(&mut quota, now).ok()).collect();
        wide.push(calls.len());
        // All the answers of a round count once.
        for call in calls {
            answer(&mut quota, call, &told, now + Duration::from_millis(500));
        }
    }
    assert_eq!(wide, [1, 2, 4, 8, 16]);
    let calls: Vec<Grant> = std::iter::from_fn(|| take(&mut quota, ms(6_000)).ok()).collect();
    assert_eq!(calls.len(), 32);
    for call in calls {
        let _ = quota.rejected(&call, Some(Duration::from_secs(1)), ms(6_500));
        quota.settle(call, Outcome::Answered, ms(6_500));
    }
    let calls = std::iter::from_fn(|| take(&mut quota, ms(30_000)).ok()).count();
    assert_eq!(calls, 16, "one step down, however many were rejected together");
}

#[test]
fn what_others_may_take_meanwhile_is_left_after_a_rejection() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[reading(Some(100), 90, 100)], ms(20));
    widen(&mut quota, 10);
    let (second, third) = (take(&mut quota, ms(5_000)).unwrap(), take(&mut quota, ms(9_000)).unwrap());
    let _ = quota.rejected(&second, None, ms(9_010));
    quota.settle(second, Outcome::Answered, ms(9_010));
    // Three are not touched, and the second may have been counted after the third.
    answer(&mut quota, third, &[reading(Some(100), 6, 90)], ms(9_020));
    assert_eq!(granted(&mut quota, 9_020, 99_000).len(), 2);
}

#[test]
fn what_calls_cost_of_tokens_shows_in_what_they_leave() {
    let tokens = |remaining| Reading {
        unit: Unit::Named("tokens".to_owned()),
        resource: "tokens".into(),
        ..reading(Some(10_000), remaining, 60)
    };
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    let heard = answer(&mut quota, first, &[tokens(9_000)], ms(20));
    assert!(heard.beliefs.is_empty() && heard.is_useful, "nobody knows what calls will cost");
    let second = take(&mut quota, ms(1_000)).unwrap();
    answer(&mut quota, second, &[tokens(8_000)], ms(1_020));
    // A thousand each: eight until the reset.
    let grants = granted(&mut quota, 1_020, 60_000);
    assert_eq!(grants.len(), 8, "{grants:?}");
}

#[test]
fn a_resource_that_is_told_of_no_more_is_forgotten_after_its_reset() {
    let of = |resource: &str, remaining| Reading { resource: resource.into(), ..reading(None, remaining, 5) };
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[of("search", 0), of("core", 1_000)], ms(10));
    assert_eq!(take(&mut quota, ms(4_000)).unwrap_err().until, Some(ms(5_010)));
    let call = take(&mut quota, ms(5_010)).unwrap();
    answer(&mut quota, call, &[of("core", 1_000)], ms(5_020));
    assert!(granted(&mut quota, 5_020, 6_020).len() > 100);
}

#[test]
fn calls_at_a_time_may_be_declared_beside_it() {
    let mut quota = learning(&["concurrency 1"]);
    let first = take(&mut quota, ms(0)).unwrap();
    let heard = answer(&mut quota, first, &[windowed(100, 99, 10)], ms(20));
    assert_eq!(heard.beliefs[0].index, 1);
    widen(&mut quota, 10);
    let second = take(&mut quota, ms(100)).unwrap();
    assert_eq!(take(&mut quota, ms(100)).unwrap_err().why, Why::Limit(0));
    quota.settle(second, Outcome::Answered, ms(200));
    assert!(take(&mut quota, ms(300)).is_ok());
}

#[test]
fn answers_to_calls_of_before_do_not_widen_it_again() {
    let mut quota = learning(&[]);
    let told = [windowed(100_000, 90_000, 10)];
    let first = take(&mut quota, ms(0)).unwrap();
    assert!(take(&mut quota, ms(0)).is_err());
    answer(&mut quota, first, &told, ms(500));
    let open = |quota: &mut Quota, now| std::iter::from_fn(|| take(quota, now).ok()).collect::<Vec<Grant>>();
    let mut two = open(&mut quota, ms(1_000));
    answer(&mut quota, two.pop().unwrap(), &told, ms(1_500));
    let more = open(&mut quota, ms(1_500));
    answer(&mut quota, two.pop().unwrap(), &told, ms(1_600));
    let one_more = open(&mut quota, ms(1_600));
    assert_eq!((more.len(), one_more.len()), (3, 1), "four at a time");
}

#[test]
fn a_call_that_is_given_up_is_not_waited_for() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[reading(None, 1_000, 1_000)], ms(10));
    for (from, outcome) in [(10, Outcome::Unknown), (20, Outcome::NotSent), (30, Outcome::TimedOut)] {
        let lost = take(&mut quota, ms(from * 1_000)).unwrap();
        quota.settle(lost, outcome, ms(from * 1_000 + 5_000));
    }
    let call = take(&mut quota, ms(40_000)).unwrap();
    answer(&mut quota, call, &[reading(None, 1, 900)], ms(40_010));
    assert_eq!(granted(&mut quota, 40_010, 900_000).len(), 1);
}

/// Resets are told in whole seconds, rounded up.
#[test]
fn of_what_is_told_of_a_reset_the_earliest_counts() {
    let mut quota = learning(&[]);
    let first = take(&mut quota, ms(0)).unwrap();
    answer(&mut quota, first, &[reading(None, 2, 10)], ms(10));
    let second = take(&mut quota, ms(9_000)).unwrap();
    answer(&mut quota, second, &[reading(None, 0, 2)], ms(9_100));
    assert_eq!(take(&mut quota, ms(9_100)).unwrap_err().until, Some(ms(10_010)));
    // The one that asks is of the next.
    let third = take(&mut quota, ms(10_010)).unwrap();
    answer(&mut quota, third, &[reading(None, 0, 10)], ms(10_100));
    assert_eq!(take(&mut quota, ms(10_100)).unwrap_err().until, Some(ms(20_100)));
}
