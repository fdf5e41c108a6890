//! Buckets that hold what may come.

use std::num::NonZeroU64;
use std::time::Duration;

use super::{Enforce, Free};
use crate::model::judge::{Settlement, Standing};
use crate::model::spec::Rate;

#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: Rate,
    capacity: u64,
    /// Refills happen at multiples of this; 1 ns is as good as all the time.
    step: u64,
    /// Units times the period in nanoseconds, so that each nanosecond adds exactly `rate.amount()`.
    level: u128,
    /// The last refill; never goes back, whichever clock is asked.
    refilled: u64,
}

impl Bucket {
    pub(super) fn new(rate: Rate, capacity: NonZeroU64, empty: bool, step: Option<Duration>) -> Self {
        let step = step.map_or(1, |step| step.as_nanos() as u64);
        let mut bucket = Self { rate, capacity: capacity.get(), step, level: 0, refilled: 0 };
        bucket.level = if empty { 0 } else { bucket.full() };
        bucket
    }

    fn refill(&mut self, at: u64) {
        let last = if self.step == 1 { at } else { at / self.step * self.step };
        if last > self.refilled {
            let added = u128::from(last - self.refilled) * u128::from(self.rate.amount());
            self.level = self.full().min(self.level + added);
            self.refilled = last;
        }
    }

    fn reaches(&self, level: u128) -> u64 {
        let per_step = u128::from(self.rate.amount()) * u128::from(self.step);
        let steps = level.saturating_sub(self.level).div_ceil(per_step);
        self.refilled + steps as u64 * self.step
    }

    fn units(&self, cost: u64) -> u128 {
        u128::from(cost) * u128::from(self.rate.period_ns())
    }

    fn full(&self) -> u128 {
        self.units(self.capacity)
    }
}

impl Enforce for Bucket {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        self.refill(at);
        let cost = self.units(cost);
        if cost <= self.level {
            Free::Now
        } else if cost <= self.full() {
            Free::At(self.reaches(cost).max(at))
        } else {
            Free::Never
        }
    }

    /// A rejected request that counts takes what there is; the bucket knows no debt.
    fn count(&mut self, at: u64, cost: u64) {
        self.refill(at);
        self.level = self.level.saturating_sub(self.units(cost));
    }

    fn settle(&mut self, now: u64, settlement: Settlement) {
        self.refill(now);
        let settled =
            (self.level + self.units(settlement.reserved)).saturating_sub(self.units(settlement.actual));
        self.level = self.full().min(settled);
    }

    fn standing(&mut self, at: u64) -> Standing {
        self.refill(at);
        let remaining = (self.level / self.units(1)) as u64;
        Standing { limit: self.capacity, remaining, reset_at: self.reaches(self.full()).max(at) }
    }
}
