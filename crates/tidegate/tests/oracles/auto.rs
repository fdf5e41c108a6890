//! Limits that nobody has declared, learnt from headers as providers write them.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::feedback::{Dialects, Feedback};
use tidegate_core::{Belief, Contract, Decision, Grant, Outcome, Pacing, Quota, Terms, Time};
use tidegate_sim::model::{Judge, Standing, Verdict};

use crate::case::judge;
use crate::network::MS;

/// How a provider writes what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The window is named.
    Ietf,
    IetfOld,
    X,
    /// As if it were a bucket, with fractions of a second.
    Openai,
}

/// A call of ours under way: times in milliseconds.
struct Call {
    grant: Grant,
    counted: u64,
    head: u64,
    told: Option<(Standing, bool)>,
}

struct World {
    provider: &'static str,
    form: Form,
    /// Units, and over how many milliseconds.
    limit: (u64, u64),
    /// The other one sends a call each so many microseconds, on average.
    other_every: Option<u64>,
    latency: Range<u64>,
    length: u64,
    seed: u64,
}

#[derive(Default)]
struct Run {
    /// When ours were sent, and rejected.
    sent: Vec<u64>,
    rejected: Vec<u64>,
    /// Of these, calls that were sent after the rejection before had come.
    surprises: Vec<u64>,
    least: u64,
    most_in_flight: usize,
    beliefs: Vec<Belief>,
}

impl World {
    fn run(&self) -> Run {
        let mut rng = Rng::with_seed(self.seed);
        let contract = Contract::new(&[], Pacing::Even, Terms::default()).unwrap().learning();
        let (mut quota, mut provider) = (Quota::new(&contract), judge(&[self.provider]));
        let dialects = Dialects::builtin();
        let mut calls: Vec<Call> = Vec::new();
        let mut run = Run { least: u64::MAX, ..Run::default() };
        let mut other_at = self.other_every.unwrap_or(u64::MAX);
        for now in 0..self.length {
            let time = Time::from_nanos(now * MS);
            while now * 1_000 >= other_at {
                let _ = provider.arrive(now * MS);
                other_at += self.other_every.map_or(u64::MAX, |every| rng.u64(every / 2..=every * 3 / 2));
            }
            for call in calls.iter_mut().filter(|call| call.counted == now) {
                call.told = Some(count(&mut provider, now));
            }
            let (over, under_way) = calls.into_iter().partition(|call| call.head <= now);
            calls = under_way;
            for Call { mut grant, counted, told, .. } in over {
                let (standing, accepted) = told.expect("it was counted before");
                run.least = run.least.min(standing.remaining);
                let feedback = self.form.read(&dialects, standing, counted);
                let heard = quota.follow(&grant, &feedback.readings, accepted, time);
                run.beliefs.extend(heard.beliefs);
                if !accepted {
                    if run.rejected.last().is_none_or(|last| Time::from_nanos(last * MS) <= grant.at()) {
                        run.surprises.push(now);
                    }
                    run.rejected.push(now);
                    let asked = standing.reset_at.saturating_sub(counted * MS);
                    let _ = quota.rejected(&grant, Some(Duration::from_nanos(asked)), time);
                }
                quota.answered(&mut grant, time);
                quota.settle(grant, Outcome::Answered, time);
            }
            while let Decision::Grant(grant) = quota.take(contract.costs(), time) {
                let head = now + rng.u64(self.latency.clone());
                calls.push(Call { grant, counted: rng.u64(now + 1..=head), head, told: None });
                run.sent.push(now);
            }
            run.most_in_flight = run.most_in_flight.max(calls.len());
        }
        run
    }

    /// The most times that we were rejected in a period, after the first. Calls that were under way by
    /// then could not know.
    fn most_rejected(&self, run: &Run) -> usize {
        let period = self.limit.1;
        let late = run.surprises.iter().filter(|at| **at >= period);
        let in_period =
            |from: u64| run.surprises.iter().filter(|at| (from..from + period).contains(at)).count();
        late.map(|at| in_period(*at)).max().unwrap_or(0)
    }

    /// Thousandths of what the limit allows, after the first two windows.
    fn used(&self, run: &Run) -> u64 {
        let (amount, period) = self.limit;
        let sent = run.sent.iter().filter(|at| **at >= 2 * period).count() as u64;
        sent * 1_000 * period / (amount * (self.length - 2 * period))
    }
}

impl Run {
    fn in_words(&self, world: &World) -> String {
        let World { provider, form, seed, .. } = world;
        format!(
            "{provider}, {form:?}, seed {seed}: {} sent, {}/1000 used, {} rejected, {} times, most {}: {:?}; at least {} left, {} in flight",
            self.sent.len(),
            world.used(self),
            self.rejected.len(),
            self.surprises.len(),
            world.most_rejected(self),
            self.rejected.iter().take(9).collect::<Vec<_>>(),
            self.least,
            self.most_in_flight,
        )
    }
}

fn count(provider: &mut Judge, now: u64) -> (Standing, bool) {
    let accepted = provider.arrive(now * MS) == Verdict::Accept;
    (provider.standing(now * MS).unwrap(), accepted)
}

impl Form {
    fn read(self, dialects: &Dialects, standing: Standing, counted: u64) -> Feedback {
        let Standing { limit, remaining, reset_at } = standing;
        let left = reset_at.saturating_sub(counted * MS);
        let (seconds, window) = (left.div_ceil(1_000 * MS), if limit == 100 { 6 } else { 1 });
        let three = |names: [&str; 3], reset: String| {
            let values = [limit.to_string(), remaining.to_string(), reset];
            names.map(str::to_owned).into_iter().zip(values).collect::<Vec<_>>()
        };
        let fields = match self {
            Self::Ietf => vec![
                ("ratelimit-policy".to_owned(), format!("\"default\";q={limit};w={window}")),
                ("ratelimit".to_owned(), format!("\"default\";r={remaining};t={seconds}")),
            ],
            Self::IetfOld => {
                three(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"], seconds.to_string())
            }
            Self::X => three(
                ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
                seconds.to_string(),
            ),
            Self::Openai => three(
                [
                    "x-ratelimit-limit-requests",
                    "x-ratelimit-remaining-requests",
                    "x-ratelimit-reset-requests",
                ],
                format!("{}ms", left.div_ceil(MS)),
            ),
        };
        dialects.read(&fields[..], None)
    }
}

/// Nobody else uses the key: nothing is rejected, and nearly all of it is used.
#[test]
fn what_headers_tell_is_used_and_not_exceeded() {
    for (provider, limit, form) in [
        ("fixed 100/6s phase 2s", (100, 6_000), Form::Ietf),
        ("fixed 100/6s phase 2s", (100, 6_000), Form::IetfOld),
        ("fixed 100/6s phase 5s", (100, 6_000), Form::X),
        ("rolling 100/6s", (100, 6_000), Form::Ietf),
        ("rolling 100/6s", (100, 6_000), Form::X),
        ("fixed 1000/s phase 300ms", (1_000, 1_000), Form::Ietf),
        ("fixed 1000/s phase 700ms", (1_000, 1_000), Form::X),
        ("rolling 1000/s", (1_000, 1_000), Form::Ietf),
        ("rolling 1000/s", (1_000, 1_000), Form::IetfOld),
        ("bucket 50/s capacity 100", (100, 2_000), Form::Openai),
        ("gcra 50/s capacity 100", (100, 2_000), Form::Openai),
        ("fixed 100/6s phase 2s", (100, 6_000), Form::Openai),
    ] {
        for seed in 0..3 {
            let length = (10 * limit.1).max(20_000);
            let world = World { provider, form, limit, other_every: None, latency: 20..120, length, seed };
            let run = world.run();
            let said = run.in_words(&world);
            println!("{said}");
            assert_eq!(run.rejected.len(), 0, "{said}");
            // Each call is held for the window and, since what is left is known only as of its send,
            // for its answer's time twice: 70 ms on average. Three in a hundred are lost besides. A
            // window that is told of as if it were a bucket is seen through half of the time only.
            let (_, period) = limit;
            let floor = if form == Form::Openai { 450 } else { 970 * period / (period + 2 * 70) };
            assert!(world.used(&run) >= floor, "{said}: less than {floor}");
            assert!(run.least <= limit.0 * 3 / 5, "it was never near the limit: {said}");
            let beliefs: Vec<_> =
                run.beliefs.iter().map(|b| (b.limit.amount(), b.limit.rule().per().unwrap())).collect();
            let told = (limit.0, Duration::from_millis(period));
            assert_eq!(beliefs, if form == Form::Openai { vec![] } else { vec![told] }, "{said}");
        }
    }
}

/// Half of the limit is used by somebody who asks nobody.
#[test]
fn half_of_it_is_left_to_others() {
    for (provider, limit, form, every) in [
        ("fixed 100/6s phase 2s", (100, 6_000), Form::Ietf, 120_000),
        ("fixed 100/6s phase 2s", (100, 6_000), Form::X, 120_000),
        ("rolling 100/6s", (100, 6_000), Form::Ietf, 120_000),
        ("rolling 100/6s", (100, 6_000), Form::X, 120_000),
        ("fixed 1000/s phase 300ms", (1_000, 1_000), Form::Ietf, 2_000),
        ("fixed 1000/s phase 300ms", (1_000, 1_000), Form::X, 2_000),
        ("rolling 1000/s", (1_000, 1_000), Form::Ietf, 2_000),
    ] {
        for seed in 0..3 {
            let length = (10 * limit.1).max(30_000);
            let other_every = Some(every);
            let world = World { provider, form, limit, other_every, latency: 20..120, length, seed };
            let run = world.run();
            let said = run.in_words(&world);
            println!("{said}");
            assert!(world.most_rejected(&run) <= 1, "{said}");
            assert!(run.rejected.len() * 100 <= run.sent.len() * 3, "{said}");
            // Half is there for the taking; what is not sure to be is left.
            assert!(world.used(&run) >= 150, "{said}");
            assert!(run.least <= limit.0 / 50, "the limit was never met: {said}");
        }
    }
}
