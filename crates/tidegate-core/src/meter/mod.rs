//! Meters: what limits compile to. All the arithmetic of the guarantee, in integers.

mod hold;
mod pace;
mod spread;

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
    /// Grants at a rate, with a cap on what is in flight.
    Pace(Pace),
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

impl Meter {
    /// Whether `cost` units can be taken at `now`.
    pub fn readiness(&mut self, cost: u64, now: Time) -> Readiness {
        match self {
            Self::Hold(hold) => hold.readiness(cost, now),
            Self::Pace(pace) => pace.readiness(cost, now),
        }
    }

    /// Takes `cost` units; only after [`readiness`](Self::readiness) said `Ready` for the same
    /// `cost` and `now`.
    pub fn take(&mut self, cost: u64, now: Time) {
        match self {
            Self::Hold(hold) => hold.take(cost),
            Self::Pace(pace) => pace.take(cost, now),
        }
    }

    /// The call that took `cost` units was answered (or given up) at `now`.
    pub fn answered(&mut self, cost: u64, now: Time) {
        match self {
            Self::Hold(hold) => hold.answered(cost, now),
            Self::Pace(pace) => pace.answered(cost),
        }
    }

    /// The call that took `cost` units was never written to the network.
    pub fn not_sent(&mut self, cost: u64) {
        match self {
            Self::Hold(hold) => hold.not_sent(cost),
            Self::Pace(pace) => pace.answered(cost),
        }
    }

    /// What is in use at `now`: units, and when they come back if all answers came now.
    pub fn used(&self, now: Time) -> Vec<(u64, Time)> {
        match self {
            Self::Hold(hold) => hold.used(now),
            Self::Pace(pace) => pace.used(now),
        }
    }

    /// Takes `units` until `until`, for calls that were made before this meter existed.
    pub fn charge(&mut self, units: u64, until: Time) {
        match self {
            Self::Hold(hold) => hold.charge(units, until),
            Self::Pace(pace) => pace.charge(until),
        }
    }

    /// The silence after which nothing is in use any more: the hold, or the time in which a
    /// bucket's burst and all that can be in flight accrue.
    pub fn silence(&self) -> Duration {
        match self {
            Self::Hold(hold) => hold.hold(),
            Self::Pace(pace) => {
                let calls = u32::try_from(pace.in_flight_cap().saturating_add(1)).unwrap_or(u32::MAX);
                pace.interval().saturating_mul(calls) + pace.tolerance()
            }
        }
    }

    /// The greatest cost that a single call can ever take.
    pub fn greatest_cost(&self) -> u64 {
        match self {
            Self::Hold(hold) => hold.units(),
            Self::Pace(pace) => pace.greatest_cost(),
        }
    }
}
