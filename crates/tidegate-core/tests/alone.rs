//! A process that is alone with its pool is granted each call exactly when a quota in memory would grant it, and is told
//! the same of what it waits for.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use tidegate_core::{
    Contract, Decision, Grant, Limit, MemberId, Mode, Outcome, Pacing, Pool, Quota, Report, Terms, Time,
    WallClock,
};

const MS: u64 = 1_000_000;
/// The machine has been up for a while.
const START: u64 = 86_400_000 * MS + 17;
const SEED: u64 = 11;

struct Member {
    quota: Quota,
    pool: Pool,
    seq: u64,
    targets: Vec<u64>,
}

impl Member {
    fn exchange(&mut self, contract: &Contract, now: Time) {
        self.seq += 1;
        let report = Report {
            seq: self.seq,
            ceded: self.quota.cede(&self.targets, now),
            demand: self.quota.demand(now),
            granted: self.quota.granted(),
            timeout: Duration::from_secs(30),
            ..Report::default()
        };
        let allotment = self.pool.exchange(contract, MemberId(1), &report, now).unwrap();
        self.quota.receive(&allotment.parts, now);
        self.quota.lease_until(allotment.until);
        self.targets = allotment.targets;
    }
}

#[test]
fn alone_with_a_pool_is_as_without_one() {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let (mut grants, mut waits) = (0, 0);
    for limits in [
        &["100/s"][..],
        &["1000/s", "concurrency 20"],
        &["50/s bucket 10"],
        &["100/s bucket 50 step 100ms"],
        &["300/s counter", "1000/6s"],
        &["10/s", "90/day Europe/Berlin"],
        &["500 tokens/s"],
        &["500 tokens/s bucket 300"],
    ] {
        for mode in [Mode::Guaranteed, Mode::Estimated { counted_within: Duration::from_millis(20) }] {
            for pacing in [Pacing::Even, Pacing::Burst] {
                let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
                let wall = Some(WallClock::new(1_774_000_000_000 * MS.cast_signed(), Duration::from_secs(1)));
                let terms = Terms { mode, wall, ..Terms::default() };
                let contract = Contract::new(&limits, pacing, terms).unwrap();
                let (granted, waited) = compare(&contract, &mut rng);
                assert!(waited > 10, "{limits:?}: never met");
                grants += granted;
                waits += waited;
            }
        }
    }
    assert!(grants > 10_000 && waits > 1_000, "{grants} grants, {waits} waits");
}

fn compare(contract: &Contract, rng: &mut fastrand::Rng) -> (u64, u64) {
    let mut memory = Quota::new(contract);
    let mut member = Member {
        quota: Quota::shared(contract),
        pool: Pool::new(contract),
        seq: 0,
        targets: vec![0; contract.limits().len()],
    };
    let mut flying: Vec<(Grant, Grant)> = Vec::new();
    let (mut now, mut next_exchange) = (START, START);
    let (mut grants, mut waits) = (0, 0);
    for step in 0..4_000 {
        let time = Time::from_nanos(now);
        if now >= next_exchange {
            member.exchange(contract, time);
            next_exchange = now + 500 * MS;
        }
        while !flying.is_empty() && rng.u64(..3) > 0 {
            let (one, other) = flying.swap_remove(rng.usize(..flying.len()));
            let outcome = match rng.u64(..40) {
                0 => Outcome::NotSent,
                1 => Outcome::Unknown,
                _ => Outcome::Answered,
            };
            memory.settle(one, outcome, time);
            member.quota.settle(other, outcome, time);
        }
        let mut costs = *contract.costs();
        if costs.of(0) == 0 {
            costs.set(0, rng.u64(1..30));
        }
        let until = match (memory.take(&costs, time), member.quota.take(&costs, time)) {
            (Decision::Grant(one), Decision::Grant(other)) => {
                flying.push((one, other));
                grants += 1;
                continue;
            }
            (Decision::Wait(one), Decision::Wait(other)) => {
                assert_eq!(one, other, "{contract:?}, step {step}");
                waits += 1;
                one.until.map_or(u64::MAX, Time::as_nanos)
            }
            decisions => panic!("{contract:?}, step {step}: {decisions:?}"),
        };
        now = until.min(now + rng.u64(1..30 * MS)).min(next_exchange);
    }
    assert_eq!(memory.used(Time::from_nanos(now)), member.quota.used(Time::from_nanos(now)));
    (grants, waits)
}
