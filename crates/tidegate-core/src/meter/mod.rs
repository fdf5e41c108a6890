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
use crate::pool::Part;

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

/// When units are back that calls have used: all that a [`Pool`](crate::Pool) has to know of a meter, for a store
/// that does a pool's arithmetic where its rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returns {
    /// So long after the calls were counted.
    After(Duration),
    /// A bucket: it is full by then, and empty at first; up to `lag` of what it holds may be hidden.
    Bucket {
        /// Until it is full.
        silence: Duration,
        /// What cannot be counted on.
        lag: Duration,
    },
    /// A calendar. What was counted by the first time is back at the second.
    Steps(Vec<(Time, Time)>),
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

    /// Units that it has: all of the limit's, or this process's share.
    pub(crate) fn share(&self) -> u64 {
        self.greatest_cost()
    }

    /// Gives all its units away, and forgets what they were used for.
    pub(crate) fn forfeit(&mut self) {
        match self {
            Self::Hold(hold) => hold.forfeit(),
            Self::Pace(pace) => pace.forfeit(),
            Self::Epoch(epoch) => epoch.forfeit(),
        }
    }

    /// Takes in units that others held before.
    pub(crate) fn receive(&mut self, part: &Part, now: Time) {
        match self {
            _ if part.is_empty() => {}
            Self::Hold(hold) => hold.receive(part, now),
            Self::Pace(pace) => pace.receive(part, now),
            Self::Epoch(epoch) => epoch.receive(part, now),
        }
    }

    /// Gives away so many units, or as many as are not in flight.
    pub(crate) fn cede(&mut self, units: u64, now: Time) -> Part {
        match self {
            _ if units == 0 => Part::default(),
            Self::Hold(hold) => hold.cede(units, now),
            Self::Pace(pace) => pace.cede(units, now),
            Self::Epoch(epoch) => epoch.cede(units, now),
        }
    }

    /// The date of units that may have been used by calls that were counted by `counted_by`, all of
    /// them.
    pub(crate) fn free_after(&self, counted_by: Time) -> Time {
        match self {
            Self::Hold(hold) => counted_by + hold.hold(),
            Self::Pace(pace) => counted_by + pace.silence(),
            Self::Epoch(epoch) => epoch.free_after(counted_by),
        }
    }

    /// When units are back; for calls counted in this time, if that depends on a calendar.
    pub fn returns(&self, from: Time, until: Time) -> Returns {
        match self {
            Self::Hold(hold) => Returns::After(hold.hold()),
            Self::Pace(pace) => Returns::Bucket { silence: pace.silence(), lag: pace.lag() },
            Self::Epoch(epoch) => Returns::Steps(epoch.steps(from, until)),
        }
    }

    /// Goes on as a share of `whole`, with the units that it has.
    pub(crate) fn resize(&mut self, whole: &Self, now: Time) {
        if let (Self::Pace(pace), Self::Pace(whole)) = (self, whole) {
            pace.resize(whole, now);
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

impl Meter {
    /// Leaves so many units to others, of the `whole` that the provider counts.
    pub(crate) fn leave(&mut self, units: u64, whole: u64, now: Time) {
        match self {
            Self::Hold(hold) => hold.leave(units),
            Self::Pace(pace) => pace.leave(units, whole),
            Self::Epoch(epoch) => epoch.leave(units, now),
        }
    }
}

/// Which of `units` go, if they are to be a fair mix of `heaps`: as many of each heap, in their order.
/// `units` is no more than all heaps together.
fn mixed<'a>(units: u64, heaps: impl Iterator<Item = u64> + Clone + 'a) -> impl Iterator<Item = u64> + 'a {
    let all: u128 = heaps.clone().map(u128::from).sum();
    let (mut before, mut gone) = (0u128, 0u128);
    heaps.map(move |heap| {
        before += u128::from(heap);
        // Rounded down from the first heap on: the last one gets what is left, never more than it has.
        let by_now = u128::from(units) * before / all.max(1);
        let from_here = by_now - gone;
        gone = by_now;
        u64::try_from(from_here).unwrap_or(heap)
    })
}

/// Units that calls leave free while so much is in flight that a stall may have begun: a tenth, or
/// what the probes of ten minutes take.
#[inline]
fn kept_for_probes(units: u64, cost: u64) -> u64 {
    const PROBES: u64 = 10;
    (units / 10).min(cost.saturating_mul(PROBES)).max(cost)
}
