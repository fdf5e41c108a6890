//! Meters: what limits compile to. All the arithmetic of the guarantee, in integers.

mod epoch;
mod hold;
mod pace;
mod spread;

pub use epoch::{Calendar, Epoch, Period, WallClock};
pub use hold::Hold;
pub use pace::Pace;
pub(crate) use spread::Spread;

use std::time::Duration;

use crate::Time;

/// A limit in the form that can be proved.
#[derive(Debug, Clone)]
pub enum Meter {
    /// Units that come back a fixed time after the answer.
    Hold(Hold),
    /// What a bucket must still hold, whatever of the calls in flight it has counted.
    Pace(Pace),
    /// A counter for each calendar period in the provider's zone.
    Epoch(Epoch),
}

/// Whether a meter can grant now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It can grant now.
    Ready,
    /// It will be able to grant at that time, if nobody takes before.
    At(Time),
    /// It depends on an answer that has not come.
    OnAnswer,
}

/// What a call took, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Units.
    pub cost: u64,
    /// When it was granted.
    pub at: Time,
}

impl Meter {
    /// Whether `cost` units can be taken at `now`; a probe of a stalled provider may have the
    /// units that are kept for it.
    #[inline]
    pub fn readiness(&mut self, cost: u64, now: Time, probe: bool) -> Readiness {
        match self {
            _ if cost == 0 => Readiness::Ready,
            Self::Hold(hold) => hold.readiness(cost, now, probe),
            Self::Pace(pace) => pace.readiness(cost, now, probe),
            Self::Epoch(epoch) => epoch.readiness(cost, now),
        }
    }

    /// Takes `cost` units; only after [`readiness`](Self::readiness) said `Ready` for the same
    /// `cost` and `now`.
    #[inline]
    pub fn take(&mut self, cost: u64, now: Time) {
        match self {
            Self::Hold(hold) => hold.take(cost, now),
            Self::Pace(pace) => pace.take(cost, now),
            Self::Epoch(epoch) => epoch.take(cost, now),
        }
    }

    /// The call was answered (or given up) at `now`, and has cost `actual` units; 0 if it was never
    /// written to the network. What it took in excess is free at once.
    #[inline]
    pub fn answered(&mut self, taken: Taken, actual: u64, now: Time) {
        match self {
            Self::Hold(hold) => hold.answered(taken, actual, now),
            Self::Pace(pace) => pace.answered(taken, actual, now),
            Self::Epoch(epoch) => epoch.answered(taken, actual, now),
        }
    }

    /// What is in use at `now`: units, and when they come back if all answers came now.
    pub fn used(&self, now: Time) -> Vec<(u64, Time)> {
        match self {
            Self::Hold(hold) => hold.used(now),
            Self::Pace(pace) => pace.used(now),
            Self::Epoch(epoch) => epoch.used(now),
        }
    }

    /// Takes `units` until `until`, for calls that were made before this meter existed.
    pub fn charge(&mut self, units: u64, until: Time, now: Time) {
        match self {
            Self::Hold(hold) => hold.charge(units, until),
            Self::Pace(pace) => pace.charge(units, until, now),
            Self::Epoch(epoch) => epoch.charge(units, until, now),
        }
    }

    /// The silence from `now` on after which nothing is in use any more, if the last call was over
    /// at least `quiet` ago: what is left of the hold, of the time in which a bucket fills, or of the
    /// calendar's period that the call belonged to.
    pub fn silence(&self, quiet: Duration, now: Time) -> Duration {
        match self {
            Self::Hold(hold) => hold.hold().saturating_sub(quiet),
            Self::Pace(pace) => pace.silence().saturating_sub(quiet),
            Self::Epoch(epoch) => epoch.silence(quiet, now),
        }
    }

    /// The greatest cost that a single call can ever take.
    pub fn greatest_cost(&self) -> u64 {
        match self {
            Self::Hold(hold) => hold.units(),
            Self::Pace(pace) => pace.capacity(),
            Self::Epoch(epoch) => epoch.units(),
        }
    }

    /// Leaves only so many tenths of what the limit allows, while the contract is in doubt.
    pub fn restrict(&mut self, tenths: u64) {
        match self {
            Self::Hold(hold) => hold.restrict(tenths),
            Self::Pace(pace) => pace.restrict(tenths),
            // A tenth of a day says nothing about the day.
            Self::Epoch(_) => {}
        }
    }
}

/// Units that calls leave free while so much is in flight that a stall may have begun: a tenth, or
/// what the probes of ten minutes take.
#[inline]
fn kept_for_probes(units: u64, cost: u64) -> u64 {
    const PROBES: u64 = 10;
    (units / 10).min(cost.saturating_mul(PROBES)).max(cost)
}
