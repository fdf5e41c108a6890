//! The generic cell rate algorithm: no level, just the time at which the next request would be in time.

use std::num::NonZeroU64;

use super::{Enforce, Free};
use crate::model::judge::{Settlement, Standing};
use crate::model::spec::Rate;

/// Times are multiplied by the rate's amount, so that the interval between two units, period / amount, is
/// the whole period.
#[derive(Debug, Clone)]
pub(super) struct Gcra {
    rate: Rate,
    capacity: u64,
    /// Theoretical arrival time of the next unit.
    expected: u128,
}

impl Gcra {
    pub(super) fn new(rate: Rate, capacity: NonZeroU64) -> Self {
        Self { rate, capacity: capacity.get(), expected: 0 }
    }

    /// The theoretical arrival time after a request of this cost.
    fn after(&self, at: u64, cost: u64) -> u128 {
        self.expected.max(self.scaled(at)) + self.intervals(cost)
    }

    /// How far that time may lie ahead.
    fn tolerance(&self) -> u128 {
        self.intervals(self.capacity)
    }

    fn intervals(&self, units: u64) -> u128 {
        u128::from(units) * u128::from(self.rate.period_ns())
    }

    fn scaled(&self, at: u64) -> u128 {
        u128::from(at) * u128::from(self.rate.amount())
    }

    /// First whole nanosecond that is not before this.
    fn time(&self, scaled: u128) -> u64 {
        scaled.div_ceil(u128::from(self.rate.amount())) as u64
    }
}

impl Enforce for Gcra {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        let conforming = self.after(at, cost).saturating_sub(self.tolerance());
        if conforming <= self.scaled(at) {
            Free::Now
        } else if cost <= self.capacity {
            Free::At(self.time(conforming))
        } else {
            Free::Never
        }
    }

    /// A rejected request that counts moves the time no further than an empty bucket would be.
    fn count(&mut self, at: u64, cost: u64) {
        let most = self.expected.max(self.scaled(at) + self.tolerance());
        self.expected = self.after(at, cost).min(most);
    }

    fn settle(&mut self, now: u64, settlement: Settlement) {
        let (reserved, actual) = (self.intervals(settlement.reserved), self.intervals(settlement.actual));
        let (now, expected) = (self.scaled(now), self.expected.max(self.scaled(now)));
        // Between a full bucket and an empty one.
        self.expected = (expected + actual).saturating_sub(reserved).clamp(now, now + self.tolerance());
    }

    fn standing(&mut self, at: u64) -> Standing {
        let ahead = self.expected.saturating_sub(self.scaled(at));
        let remaining = (self.tolerance().saturating_sub(ahead) / self.intervals(1)) as u64;
        Standing { limit: self.capacity, remaining, reset_at: self.time(self.expected).max(at) }
    }
}
