//! Clocks of machines: they show anything, and run nearly alike.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Time;

use crate::network::{SECOND, drifted};

/// What a machine's clock shows at which of our times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// At our time 0.
    zero: u64,
    ppm: i64,
}

impl Clock {
    /// One that shows our time.
    pub(super) const OURS: Self = Self { zero: 0, ppm: 0 };

    /// Any clock that is off by so much at most.
    pub(super) fn any(ppm: i64, rng: &mut Rng) -> Self {
        Self { zero: rng.u64(..1_000_000 * SECOND), ppm: rng.i64(-ppm..=ppm) }
    }

    pub(super) fn at(self, now: u64) -> Time {
        Time::from_nanos(self.zero + drifted(now, self.ppm))
    }

    /// The first of our times at which it shows `time`, or later.
    pub(super) fn when(self, time: Time) -> u64 {
        let shown = time.since(Time::from_nanos(self.zero)).as_nanos() as u64;
        let near = drifted(shown, -self.ppm);
        // Of this the square of the error is missing: some parts in ten million.
        let mut now = near.saturating_sub(near / 1_000_000 + 2);
        while self.at(now) < time {
            now += ((time.since(self.at(now)) / 2).max(Duration::from_nanos(1))).as_nanos() as u64;
        }
        now
    }
}
