//! What the limits mean, evaluated the slow way over the whole past.

use std::time::Duration;

use crate::model::{LimitSpec, Rate, Rule, Settlement, Unit, WindowStart};

/// What one limit has counted so far, and what its definition says about it.
pub(super) struct Past {
    spec: LimitSpec,
    counted: Vec<Counted>,
    bucket: Option<TickingBucket>,
    in_service: u64,
    /// When the answers were written.
    finished: Vec<i128>,
}

struct Counted {
    at: i128,
    cost: i128,
    arrived: u64,
    accepted: bool,
    settled: bool,
}

/// A bucket that is looked after each nanosecond.
struct TickingBucket {
    now: i128,
    level: i128,
    full: i128,
    step: i128,
    per_ns: i128,
    per_unit: i128,
}

impl Past {
    pub(super) fn new(spec: &LimitSpec) -> Self {
        let bucket = match spec.rule {
            Rule::Bucket { rate, capacity, empty, step } => {
                Some(TickingBucket::new(rate, capacity.get(), empty, step.map_or(1, ns)))
            }
            Rule::Gcra { rate, capacity } => Some(TickingBucket::new(rate, capacity.get(), false, 1)),
            _ => None,
        };
        Self { spec: spec.clone(), counted: Vec::new(), bucket, in_service: 0, finished: Vec::new() }
    }

    /// `at` is the time on the node's clock.
    pub(super) fn admits(&mut self, at: u64, cost: u64) -> bool {
        let (at, cost) = (i128::from(at), self.cost(cost));
        let sum = |counts: &dyn Fn(i128) -> bool| {
            self.counted.iter().filter(|request| counts(request.at)).map(|request| request.cost).sum::<i128>()
        };
        match self.spec.rule {
            Rule::Fixed { rate, start: WindowStart::Phase(phase) } => {
                let window = |at: i128| (at - ns(phase)).div_euclid(ns(rate.period()));
                sum(&|then| window(then) == window(at)) + cost <= amount(rate)
            }
            Rule::Fixed { rate, start: WindowStart::Aligned } => {
                let over = |began, at| at >= began + ns(rate.period());
                let mut window: Option<(i128, i128)> = None;
                for request in &self.counted {
                    window = match window {
                        Some((began, sum)) if !over(began, request.at) => Some((began, sum + request.cost)),
                        _ => Some((request.at, request.cost)),
                    };
                }
                window.filter(|(began, _)| !over(*began, at)).map_or(0, |(_, sum)| sum) + cost <= amount(rate)
            }
            Rule::Rolling { rate, closed, granule } => {
                let granular = granule.map_or(1, ns);
                let cut = |at: i128| at - at.rem_euclid(granular);
                let longest =
                    if closed || granule.is_some() { ns(rate.period()) } else { ns(rate.period()) - 1 };
                sum(&|then| cut(at) - cut(then) <= longest) + cost <= amount(rate)
            }
            Rule::Counter { rate, phase } => {
                let length = ns(rate.period());
                let window = (at - ns(phase)).div_euclid(length);
                let left = (window + 1) * length + ns(phase) - at;
                let of = |wanted| sum(&|then: i128| (then - ns(phase)).div_euclid(length) == wanted);
                of(window - 1) * left + (of(window) + cost) * length <= amount(rate) * length
            }
            Rule::Concurrency { amount, late } => {
                let leaving =
                    self.finished.iter().filter(|finished| **finished + ns(late) > at).count() as u64;
                self.in_service + leaving < amount.get()
            }
            Rule::Bucket { .. } | Rule::Gcra { .. } => {
                self.bucket.as_mut().is_some_and(|bucket| bucket.admits(at, cost))
            }
            Rule::Calendar { .. } => unreachable!("has tests of its own"),
        }
    }

    pub(super) fn count(&mut self, at: u64, arrived: u64, cost: u64, accepted: bool) {
        let (at, cost) = (i128::from(at), self.cost(cost));
        self.in_service += u64::from(accepted);
        if let Some(bucket) = &mut self.bucket {
            bucket.admits(at, cost);
            bucket.change(-cost);
        }
        self.counted.push(Counted { at, cost, arrived, accepted, settled: false });
    }

    pub(super) fn finish(&mut self, now: u64, settlement: Settlement) {
        self.in_service -= 1;
        self.finished.push(i128::from(now));
        if !self.spec.refund || self.spec.unit == Unit::Requests {
            return;
        }
        let (reserved, actual) = (i128::from(settlement.reserved), i128::from(settlement.actual));
        if let Some(bucket) = &mut self.bucket {
            bucket.admits(i128::from(now), 0);
            bucket.change(reserved - actual);
        }
        let same = |request: &&mut Counted| {
            request.accepted
                && !request.settled
                && request.arrived == settlement.arrived
                && request.cost == reserved
        };
        let request = self.counted.iter_mut().find(same).expect("it was accepted");
        (request.cost, request.settled) = (actual, true);
    }

    /// Whether its arrivals stay below the bucket's curve: over every interval that ends now, no more than the
    /// capacity and what is refilled in it. Says nothing once something was refunded or clocks differ.
    pub(super) fn within_arrival_curve(&self, now: u64) -> bool {
        let Rule::Bucket { rate, capacity, empty, step } = self.spec.rule else { return true };
        let (now, length, step) = (i128::from(now), ns(rate.period()), step.map_or(1, ns));
        let refilled = |from: i128| (now.div_euclid(step) - from.div_euclid(step)) * step * amount(rate);
        let since = |from: i128| {
            self.counted.iter().filter(|request| request.at >= from).map(|request| request.cost).sum::<i128>()
                * length
        };
        let fits = |request: &Counted| {
            since(request.at) <= i128::from(capacity.get()) * length + refilled(request.at)
        };
        self.counted.iter().all(fits) && (!empty || since(0) <= refilled(0))
    }

    fn cost(&self, cost: u64) -> i128 {
        if self.spec.unit == Unit::Requests { 1 } else { i128::from(cost) }
    }
}

impl TickingBucket {
    fn new(rate: Rate, capacity: u64, empty: bool, step: i128) -> Self {
        let full = i128::from(capacity) * ns(rate.period());
        let level = if empty { 0 } else { full };
        Self { now: 0, level, full, step, per_ns: amount(rate), per_unit: ns(rate.period()) }
    }

    fn admits(&mut self, at: i128, cost: i128) -> bool {
        while self.now < at {
            self.now += 1;
            if self.now % self.step == 0 {
                self.level = self.full.min(self.level + self.step * self.per_ns);
            }
        }
        cost * self.per_unit <= self.level
    }

    fn change(&mut self, units: i128) {
        self.level = (self.level + units * self.per_unit).clamp(0, self.full);
    }
}

fn ns(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap()
}

fn amount(rate: Rate) -> i128 {
    i128::from(rate.amount())
}
