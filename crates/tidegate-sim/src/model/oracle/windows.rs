//! Counts per window, and the sliding counter made of them.

use std::time::Duration;

use super::{Enforce, Free, replace};
use crate::model::judge::{Settlement, Standing};
use crate::model::spec::Rate;

/// What was counted in the latest windows. Three are enough: clocks differ by at most one window, and
/// a sliding counter looks back at one more.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    period: u64,
    phase: u64,
    newest: u64,
    /// Of the newest window, the one before, and the one before that.
    counts: [u64; 3],
}

impl Windows {
    pub(super) fn new(rate: Rate, phase: Duration) -> Self {
        // Windows repeat, so a phase is the same as its remainder.
        let phase = (phase.as_nanos() % u128::from(rate.period_ns())) as u64;
        Self { period: rate.period_ns(), phase, newest: 0, counts: [0; 3] }
    }

    /// Number of the window that holds this time, from 1 so that there is always one before.
    pub(super) fn number(&self, at: u64) -> u64 {
        (at + (self.period - self.phase)) / self.period + 1
    }

    /// The provider's time 0 for a window that began before.
    pub(super) fn start(&self, window: u64) -> u64 {
        ((window - 1) * self.period + self.phase).saturating_sub(self.period)
    }

    pub(super) fn end(&self, window: u64) -> u64 {
        (window - 1) * self.period + self.phase
    }

    pub(super) fn count(&self, window: u64) -> u64 {
        self.newest.checked_sub(window).and_then(|age| self.counts.get(age as usize)).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, window: u64, cost: u64) {
        if window > self.newest {
            for _ in 0..(window - self.newest).min(3) {
                self.counts.rotate_right(1);
                self.counts[0] = 0;
            }
            self.newest = window;
        }
        self.update(window, |count| count.saturating_add(cost));
    }

    pub(super) fn settle(&mut self, settlement: Settlement) {
        self.update(self.number(settlement.arrived), |count| replace(count, settlement));
    }

    fn update(&mut self, window: u64, change: impl FnOnce(u64) -> u64) {
        let age = self.newest.checked_sub(window);
        if let Some(count) = age.and_then(|age| self.counts.get_mut(age as usize)) {
            *count = change(*count);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Counter {
    amount: u64,
    windows: Windows,
}

impl Counter {
    pub(super) fn new(amount: u64, windows: Windows) -> Self {
        Self { amount, windows }
    }

    /// What the last window's count weighs, times the period, and this one's count.
    fn used(&self, at: u64) -> (u128, u64) {
        let window = self.windows.number(at);
        let left = u128::from(self.windows.end(window) - at);
        (u128::from(self.windows.count(window - 1)) * left, self.windows.count(window))
    }

    /// Earliest time in this window with room, if nothing else comes.
    fn first_room(&self, window: u64, cost: u64) -> Option<u64> {
        let period = self.windows.period;
        let spare = self.amount.checked_sub(self.windows.count(window).saturating_add(cost))?;
        let previous = self.windows.count(window - 1);
        if previous == 0 {
            return Some(self.windows.start(window));
        }
        // The last window's weight fades to zero at this one's end, which belongs to the next.
        let left = u128::from(spare) * u128::from(period) / u128::from(previous);
        (left > 0).then(|| self.windows.end(window) - u64::try_from(left).unwrap_or(period).min(period))
    }
}

impl Enforce for Counter {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        let period = u128::from(self.windows.period);
        let (fading, current) = self.used(at);
        if fading + u128::from(current.saturating_add(cost)) * period <= u128::from(self.amount) * period {
            return Free::Now;
        }
        // Room only grows within a window, but a window's end turns its count into the last one's, which
        // then fades in turn.
        let window = self.windows.number(at);
        let first = (window..window + 4).find_map(|window| self.first_room(window, cost));
        first.map_or(Free::Never, |time| Free::At(time.max(at)))
    }

    fn count(&mut self, at: u64, cost: u64) {
        self.windows.add(self.windows.number(at), cost);
    }

    fn settle(&mut self, _now: u64, settlement: Settlement) {
        self.windows.settle(settlement);
    }

    fn standing(&mut self, at: u64) -> Standing {
        let window = self.windows.number(at);
        let (fading, current) = self.used(at);
        let used = u128::from(current) + fading.div_ceil(u128::from(self.windows.period));
        let reset_at = if current > 0 {
            self.windows.end(window + 1)
        } else if self.windows.count(window - 1) > 0 {
            self.windows.end(window)
        } else {
            at
        };
        let remaining = u128::from(self.amount).saturating_sub(used) as u64;
        Standing { limit: self.amount, remaining, reset_at }
    }
}
