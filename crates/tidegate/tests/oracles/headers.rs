//! Providers that tell in their headers what is left, to one who is not alone with the key.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{Decision, Grant, Others, Outcome, Pacing, Quota, Time, Told};
use tidegate_sim::model::{Judge, Standing, Verdict};

use crate::case::{Case, judge};
use crate::network::MS;

/// A call of ours under way: times in milliseconds.
struct Call {
    grant: Grant,
    counted: u64,
    head: u64,
    told: Option<(Standing, bool)>,
}

struct Run {
    sent: u64,
    /// When calls of ours were rejected.
    rejected: Vec<u64>,
    /// The most that was said to be others', and how often.
    others: Option<Others>,
    reports: u64,
}

/// What the client and the other one do.
struct World<'a> {
    case: &'a Case,
    provider: Judge,
    pacing: Pacing,
    /// The other one sends a call each so many milliseconds, on average.
    other_every: Option<u64>,
    /// Ours: no more often than one each so many milliseconds.
    ours_every: u64,
    latency: std::ops::Range<u64>,
    length: u64,
    seed: u64,
    hears: bool,
}

impl World<'_> {
    fn run(mut self) -> Run {
        let mut rng = Rng::with_seed(self.seed);
        let contract = self.case.contract(self.pacing);
        let mut quota = Quota::new(&contract);
        let mut calls: Vec<Call> = Vec::new();
        let mut run = Run { sent: 0, rejected: Vec::new(), others: None, reports: 0 };
        let mut other_at = self.other_every.unwrap_or(u64::MAX);
        let mut next_at = 0;
        for now in 0..self.length {
            let time = Time::from_nanos(now * MS);
            if now >= other_at {
                let _ = self.provider.arrive(now * MS);
                other_at =
                    now + self.other_every.map_or(u64::MAX, |every| rng.u64(every / 2..=every * 3 / 2));
            }
            for call in &mut calls {
                if call.counted == now {
                    let accepted = self.provider.arrive(now * MS) == Verdict::Accept;
                    call.told = self.provider.standing(now * MS).map(|standing| (standing, accepted));
                }
            }
            let (over, under_way) = calls.into_iter().partition(|call| call.head <= now);
            calls = under_way;
            for call in over {
                self.hear(&mut quota, call, now, &mut run);
            }
            while next_at <= now
                && let Decision::Grant(grant) = quota.take(contract.costs(), time)
            {
                let head = now + rng.u64(self.latency.clone());
                calls.push(Call { grant, counted: rng.u64(now + 1..=head), head, told: None });
                run.sent += 1;
                next_at = if self.ours_every == 0 { 0 } else { now + rng.u64(..=2 * self.ours_every) };
            }
        }
        run
    }

    fn hear(&self, quota: &mut Quota, call: Call, now: u64, run: &mut Run) {
        let time = Time::from_nanos(now * MS);
        let Call { mut grant, counted, told, .. } = call;
        let (standing, accepted) = told.expect("it was counted before");
        if self.hears {
            // In whole seconds, rounded up, as most say it.
            let resets_in = standing.reset_at.saturating_sub(counted * MS).div_ceil(1_000 * MS);
            let told = Told {
                amount: Some(standing.limit),
                remaining: standing.remaining,
                resets_in: Some(Duration::from_secs(resets_in)),
            };
            if let Some(others) = quota.heed(&grant, 0, told, time) {
                run.reports += 1;
                run.others = run.others.filter(|most| most.units >= others.units).or(Some(others));
            }
        }
        if !accepted {
            run.rejected.push(now);
            let _ = quota.rejected(&grant, None, time);
        }
        quota.answered(&mut grant, time);
        quota.settle(grant, Outcome::Answered, time);
    }
}

fn most_in_a_period(rejected: &[u64], period: u64) -> usize {
    rejected
        .iter()
        .map(|at| rejected.iter().filter(|other| (*at..*at + period).contains(other)).count())
        .max()
        .unwrap_or(0)
}

/// Evenly paced, as is the default. In bursts the first one meets the others unwarned.
#[test]
fn half_of_the_limit_is_used_by_others() {
    for (declared, provider, every, period) in [
        ("100/6s", "fixed 100/6s phase 2s", 120, 6_000),
        ("100/6s", "rolling 100/6s", 120, 6_000),
        ("600/min", "fixed 600/min phase 7s", 200, 60_000),
        ("600/min", "rolling 600/min", 200, 60_000),
    ] {
        let case = Case::new(&[declared], 0);
        for seed in 0..10 {
            let world = |hears| World {
                case: &case,
                provider: judge(&[provider]),
                pacing: Pacing::Even,
                other_every: Some(every),
                ours_every: 0,
                latency: 20..120,
                length: 20 * period,
                seed,
                hears,
            };
            let (deaf, run) = (world(false).run(), world(true).run());
            let most = most_in_a_period(&run.rejected, period);
            let said = format!(
                "{provider}, seed {seed}: {} sent, {} rejected; deaf: {}, {}; {:?}",
                run.sent,
                run.rejected.len(),
                deaf.sent,
                deaf.rejected.len(),
                run.others
            );
            assert!(most <= 1 && run.rejected.len() * 2 <= deaf.rejected.len(), "{said}");
            assert!(run.others.is_some_and(|others| others.units * 10 > others.amount * 3), "{said}");
            // Half of the limit is there for the taking.
            assert!(run.sent * 10 > 20 * case.limits[0].amount() / 2 * 6, "{said}");
        }
    }
}

/// Whoever is alone with the key is never told of others, and gets what it gets without headers.
#[test]
fn nobody_else_is_ever_seen_where_nobody_is() {
    let mut answers = 0;
    for (declared, provider) in [
        ("100/6s", "fixed 100/6s phase 2s"),
        ("100/6s", "rolling 100/6s"),
        ("1000/s", "fixed 1000/s"),
        ("1000/s", "rolling 1000/s"),
        ("600/min", "fixed 600/min phase 7s"),
        ("1000/s counter", "counter 1000/s"),
        ("50/s bucket 100", "bucket 50/s capacity 100"),
        ("50/s bucket 100", "gcra 50/s capacity 100"),
        ("100/s unknown", "fixed 100/s"),
    ] {
        let case = Case::new(&[declared], 0);
        let rate = case.limits[0].nominal_rate().unwrap();
        for pacing in [Pacing::Even, Pacing::Burst] {
            for load in [0.6, 2.0] {
                let world = |hears| World {
                    case: &case,
                    provider: judge(&[provider]),
                    pacing,
                    other_every: None,
                    // More than one a millisecond is as fast as it goes.
                    ours_every: (1_000.0 / (rate * load)) as u64,
                    latency: 20..400,
                    length: if rate > 100.0 { 30_000 } else { 600_000 },
                    seed: 7,
                    hears,
                };
                let (deaf, run) = (world(false).run(), world(true).run());
                answers += run.sent;
                assert_eq!(run.reports, 0, "{provider}, {pacing:?}, {load}: {:?}", run.others);
                assert_eq!((run.sent, run.rejected.len()), (deaf.sent, 0), "{provider}, {pacing:?}, {load}");
            }
        }
    }
    assert!(answers > 100_000, "{answers}");
}
