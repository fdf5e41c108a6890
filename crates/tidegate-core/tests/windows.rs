//! The contract in virtual time: a greedy client against oracles, with the count placed anywhere
//! between send and answer by an adversary. Each run also has to *meet* the limit: a run that
//! never exhausts its quota proves nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_core::{Contract, Decision, Grant, Limit, Outcome, Pacing, Quota, Terms, Time, Why};

const MS: u64 = 1_000_000;

/// Where between send and answer the server counts a call.
#[derive(Debug, Clone, Copy)]
enum Count {
    AtSend,
    AtAnswer,
    /// Late for calls sent in the first half of each window, early in the other: what squeezes
    /// the most calls together.
    Squeeze(u64),
    Anywhere,
}

/// What happens to calls.
#[derive(Debug, Clone, Copy)]
struct Network {
    least_ms: u64,
    spread_ms: u64,
    count: Count,
    /// One in this many is never written, and one in as many is given up on; 0 for none.
    faults: u64,
}

/// One call as the judge sees it, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Call {
    sent: u64,
    counted: u64,
    over: u64,
}

struct Run {
    calls: Vec<Call>,
    /// Whether a limit ever made the client wait.
    met_the_limit: bool,
    end: u64,
}

/// Sends as fast as the quota grants until `calls` were counted.
fn run(limits: &[&str], pacing: Pacing, network: Network, calls: usize, seed: u64) -> Run {
    let limits: Vec<Limit> = limits.iter().map(|l| l.parse().unwrap()).collect();
    let contract = Contract::new(&limits, pacing, Terms::default()).unwrap();
    let mut quota = Quota::new(&contract);
    let costs = *contract.costs();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut now = 0u64;
    let mut answers: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut flying: Vec<Option<(Grant, Outcome)>> = Vec::new();
    let mut log = Vec::with_capacity(calls);
    let mut met_the_limit = false;
    while log.len() < calls {
        while let Some(&Reverse((at, i))) = answers.peek() {
            if at > now {
                break;
            }
            answers.pop();
            let (grant, outcome) = flying[i].take().unwrap();
            quota.settle(grant, outcome, Time::from_nanos(at));
        }
        let until = match quota.take(&costs, Time::from_nanos(now)) {
            Decision::Grant(grant) => {
                assert_eq!(grant.at(), Time::from_nanos(now));
                let fate = if network.faults == 0 { u64::MAX } else { rng.u64(..network.faults) };
                if fate == 0 {
                    quota.settle(grant, Outcome::NotSent, Time::from_nanos(now));
                    now += MS / 10;
                    continue;
                }
                let over = now + network.least_ms * MS + rng.u64(..=network.spread_ms * MS);
                let counted = match network.count {
                    Count::AtAnswer => over,
                    Count::Squeeze(period) if now % period < period / 2 => over,
                    Count::AtSend | Count::Squeeze(_) => now,
                    Count::Anywhere => rng.u64(now..=over),
                };
                log.push(Call { sent: now, counted, over });
                answers.push(Reverse((over, flying.len())));
                let outcome = if fate == 1 { Outcome::Unknown } else { Outcome::Answered };
                flying.push(Some((grant, outcome)));
                continue;
            }
            Decision::Wait(wait) => {
                met_the_limit |= matches!(wait.why, Why::Limit(_));
                wait.until
            }
        };
        let answer = answers.peek().map(|Reverse((at, _))| *at);
        now = match (until.map(Time::as_nanos), answer) {
            (Some(until), Some(answer)) => until.min(answer),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => panic!("the quota waits for an answer, but nothing is in flight (seed {seed})"),
        };
    }
    Run { calls: log, met_the_limit, end: now }
}

impl Run {
    /// Most counts in any window of that length, both ends included: fixed windows at any phase
    /// and rolling windows, open or closed, hold no more than that.
    fn worst_window(&self, window: Duration) -> usize {
        let mut counts: Vec<u64> = self.calls.iter().map(|c| c.counted).collect();
        counts.sort_unstable();
        let window = window.as_nanos() as u64;
        let mut first = 0;
        let mut worst = 0;
        for (i, &count) in counts.iter().enumerate() {
            while count - counts[first] > window {
                first += 1;
            }
            worst = worst.max(i - first + 1);
        }
        worst
    }

    /// Calls that a bucket would have turned away; it starts full and refills continuously.
    fn bucket_rejections(&self, per_second: u64, capacity: u64) -> usize {
        let mut counts: Vec<u64> = self.calls.iter().map(|c| c.counted).collect();
        counts.sort_unstable();
        let scale = 1_000_000_000u128; // a unit is this many parts, and `per_second` parts accrue per ns
        let full = u128::from(capacity) * scale;
        let (mut level, mut last, mut rejected) = (full, 0, 0);
        for count in counts {
            level = full.min(level + u128::from(count - last) * u128::from(per_second));
            last = count;
            if level >= scale { level -= scale } else { rejected += 1 }
        }
        rejected
    }

    /// Calls that a sliding counter would have turned away, with windows that begin at `phase`.
    fn counter_rejections(&self, amount: u64, window: u64, phase: u64) -> usize {
        let mut counts: Vec<u64> = self.calls.iter().map(|c| c.counted).collect();
        counts.sort_unstable();
        let (mut number, mut previous, mut current, mut rejected) = (0, 0, 0, 0);
        for count in counts {
            let shifted = count + window - phase;
            if shifted / window != number {
                previous = if shifted / window == number + 1 { current } else { 0 };
                (number, current) = (shifted / window, 0);
            }
            let left = u128::from(window - shifted % window);
            let weighted = previous * left + (current + 1) * u128::from(window);
            if weighted <= u128::from(amount) * u128::from(window) { current += 1 } else { rejected += 1 }
        }
        rejected
    }

    /// Most calls running at once, each counted from `counted` until `linger` after its answer.
    fn worst_concurrency(&self, linger: Duration) -> i64 {
        let linger = linger.as_nanos() as u64;
        let mut edges: Vec<(u64, i64)> = Vec::new();
        for call in &self.calls {
            edges.push((call.counted, 1));
            edges.push((call.over + linger, -1));
        }
        edges.sort_unstable(); // a server that ended one at that instant has room for the next
        let (mut running, mut worst) = (0, 0);
        for (_, step) in edges {
            running += step;
            worst = worst.max(running);
        }
        worst
    }

    /// Calls per second between the 10th and the 90th per cent of the calls.
    fn steady_rate(&self) -> f64 {
        let mut sent: Vec<u64> = self.calls.iter().map(|c| c.sent).collect();
        sent.sort_unstable();
        let (from, to) = (sent.len() / 10, sent.len() * 9 / 10);
        (to - from) as f64 / ((sent[to] - sent[from]) as f64 / 1e9)
    }
}

fn networks(window_ns: u64) -> impl Strategy<Value = Network> {
    let count = prop_oneof![
        Just(Count::AtSend),
        Just(Count::AtAnswer),
        Just(Count::Squeeze(window_ns)),
        Just(Count::Squeeze(window_ns * 3 / 2)),
        Just(Count::Anywhere),
    ];
    (0..200u64, 0..400u64, count, prop_oneof![Just(0), Just(7), Just(50)])
        .prop_map(|(least_ms, spread_ms, count, faults)| Network { least_ms, spread_ms, count, faults })
}

proptest! {
    #[test]
    fn no_window_holds_more_than_the_limit(
        amount in 1..400u64,
        window_ms in 20..3_000u64,
        pacing in prop_oneof![Just(Pacing::Even), Just(Pacing::Burst)],
        network in networks(500 * MS),
        seed in any::<u64>(),
    ) {
        let limit = format!("{amount}/{window_ms}ms");
        let run = run(&[&limit], pacing, network, amount as usize * 6, seed);
        prop_assert!(run.worst_window(Duration::from_millis(window_ms)) <= amount as usize);
        prop_assert!(run.met_the_limit || pacing == Pacing::Even);
    }

    #[test]
    fn a_full_bucket_never_turns_a_call_away(
        per_second in 1..3_000u64,
        capacity in 1..300u64,
        pacing in prop_oneof![Just(Pacing::Even), Just(Pacing::Burst)],
        network in networks(100 * MS),
        seed in any::<u64>(),
    ) {
        let limit = format!("{per_second}/s bucket {capacity}");
        let run = run(&[&limit], pacing, network, capacity as usize * 8 + 50, seed);
        prop_assert_eq!(run.bucket_rejections(per_second, capacity), 0);
        prop_assert!(run.met_the_limit || pacing == Pacing::Even);
    }

    #[test]
    fn a_sliding_counter_never_turns_a_call_away(
        amount in 2..2_000u64,
        window_ms in 50..3_000u64,
        phase in 0..1_000u64,
        pacing in prop_oneof![Just(Pacing::Even), Just(Pacing::Burst)],
        network in networks(500 * MS),
        seed in any::<u64>(),
    ) {
        for how in ["counter", "unknown"] {
            let limit = format!("{amount}/{window_ms}ms {how}");
            let run = run(&[&limit], pacing, network, amount.min(300) as usize * 6, seed);
            let window = window_ms * MS;
            prop_assert_eq!(run.counter_rejections(amount, window, window * phase / 1_000), 0);
            prop_assert!(run.worst_window(Duration::from_millis(window_ms)) <= amount as usize);
            prop_assert!(run.met_the_limit || pacing == Pacing::Even);
        }
    }

    #[test]
    fn no_more_run_at_once_than_allowed(
        amount in 1..60u64,
        network in networks(100 * MS),
        seed in any::<u64>(),
    ) {
        // Nothing may be counted after it was given up: an abandoned call runs on at the server.
        let network = Network { faults: 0, ..network };
        let run = run(&[&format!("concurrency {amount}")], Pacing::Even, network, 600, seed);
        prop_assert!(run.worst_concurrency(Limit::DEFAULT_LINGER) <= amount.cast_signed());
        prop_assert!(run.met_the_limit || network.least_ms + network.spread_ms == 0);
    }

    #[test]
    fn stacked_limits_hold_together(network in networks(1_000 * MS), seed in any::<u64>()) {
        let run = run(&["20/s", "50/5s", "concurrency 7"], Pacing::Burst, network, 300, seed);
        prop_assert!(run.worst_window(Duration::from_secs(1)) <= 20);
        prop_assert!(run.worst_window(Duration::from_secs(5)) <= 50);
        prop_assert!(run.met_the_limit);
    }
}

/// What the limit allows is achieved: at least 0.985 of the formula, for windows, buckets and
/// concurrency, with answers between 40 and 120 ms.
#[test]
fn the_quota_is_used() {
    let network = Network { least_ms: 40, spread_ms: 80, count: Count::Anywhere, faults: 0 };
    let mean = Duration::from_millis(80);
    for (text, pacing, calls) in [
        ("100/6s", Pacing::Even, 6_000),
        ("100/6s", Pacing::Burst, 6_000),
        ("1000/s", Pacing::Even, 100_000),
        ("1000/s", Pacing::Burst, 100_000),
        ("1667/s", Pacing::Even, 100_000),
        ("50/s bucket 10", Pacing::Even, 6_000),
        ("50/s bucket 10", Pacing::Burst, 6_000),
        ("1000/s counter", Pacing::Even, 100_000),
        ("100/min counter", Pacing::Even, 1_000),
        ("10/min counter", Pacing::Burst, 200),
        ("10/s bucket 1", Pacing::Even, 1_000),
        ("concurrency 20", Pacing::Even, 20_000),
        ("100k/min", Pacing::Even, 1_000_000),
    ] {
        let limit: Limit = text.parse().unwrap();
        let meter = limit.compile(&Terms::default()).unwrap();
        let run = run(&[text], pacing, network, calls, 7);
        let share = run.steady_rate() / limit.provable_rate(&meter, mean);
        assert!(share > 0.985, "{text} {pacing:?}: {share:.4} of the formula");
        // Where a bucket's own rate is the even pacing, that is what binds.
        assert!(run.met_the_limit || text.contains("bucket") || text.contains("counter"), "{text}");
        assert!(run.end > 0);
    }
}
