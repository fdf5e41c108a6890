//! `Pace`: grants at a rate with a little burst, and a cap on what is in flight.

use std::time::Duration;

use super::Readiness;
use crate::Time;
use crate::time::nanos;

/// Grants spaced at a rate, with the cost in flight capped.
///
/// *Proof.* Take any interval of length `L`. A call counted inside it was either granted inside
/// it, or was in flight when it began. Spacing allows at most `L / interval + burst` of the first
/// kind (`burst` includes the grant at the edge), the cap at most `in_flight` of the second. A
/// bucket that refills one unit per `interval` and holds `capacity ≥ burst + in_flight` admits
/// every such sequence.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Nanoseconds in which one unit accrues; rounded up, never down.
    interval: u64,
    /// How much earlier than strictly even a grant may come: `(burst − 1) × interval`.
    tolerance: u64,
    in_flight_cap: u64,
    in_flight: u64,
    /// When the units granted so far would all have accrued (GCRA's theoretical arrival time).
    accrued_at: u64,
}

impl Pace {
    /// One unit per `interval`, at most `tolerance` ahead of an even spacing, and at most
    /// `in_flight` units sent and not yet answered.
    pub fn new(interval: Duration, tolerance: Duration, in_flight: u64) -> Self {
        Self {
            interval: nanos(interval).max(1),
            tolerance: nanos(tolerance),
            in_flight_cap: in_flight,
            in_flight: 0,
            accrued_at: 0,
        }
    }

    /// The time in which one unit accrues.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How far ahead of an even spacing a grant may come.
    pub fn tolerance(&self) -> Duration {
        Duration::from_nanos(self.tolerance)
    }

    /// The greatest cost in flight.
    pub fn in_flight_cap(&self) -> u64 {
        self.in_flight_cap
    }

    /// What has not accrued yet, and when it has; calls in flight as if granted last.
    pub(super) fn used(&self, now: Time) -> Vec<(u64, Time)> {
        let full = self.accrued_at.max(now.as_nanos());
        let full = full.saturating_add(self.interval.saturating_mul(self.in_flight));
        if full <= now.as_nanos() {
            return Vec::new();
        }
        vec![((full - now.as_nanos()).div_ceil(self.interval), Time::from_nanos(full))]
    }

    /// What was granted before this meter was made accrues until `until`.
    pub(super) fn charge(&mut self, until: Time) {
        self.accrued_at = self.accrued_at.max(until.as_nanos());
    }

    pub(super) fn greatest_cost(&self) -> u64 {
        // A single call of cost k is granted when the schedule is at most `tolerance` ahead
        // *after* it, less the one unit that the edge of the interval admits.
        self.in_flight_cap.min(1 + self.tolerance / self.interval)
    }

    pub(super) fn readiness(&self, cost: u64, now: Time) -> Readiness {
        if self.in_flight.saturating_add(cost) > self.in_flight_cap {
            return Readiness::OnAnswer;
        }
        // All but one of the units must have accrued, save for the tolerance.
        let ahead = self.interval.saturating_mul(cost - 1);
        let at = self.accrued_at.saturating_add(ahead).saturating_sub(self.tolerance);
        if at <= now.as_nanos() { Readiness::Ready } else { Readiness::At(Time::from_nanos(at)) }
    }

    pub(super) fn take(&mut self, cost: u64, now: Time) {
        self.in_flight = self.in_flight.saturating_add(cost);
        let from = self.accrued_at.max(now.as_nanos());
        self.accrued_at = from.saturating_add(self.interval.saturating_mul(cost));
    }

    pub(super) fn answered(&mut self, cost: u64) {
        // Spacing is not given back, even if nothing was sent: a later grant may already have
        // been counted from it.
        self.in_flight -= cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    #[test]
    fn grants_are_an_interval_apart_after_the_burst() {
        let mut pace = Pace::new(TICK, TICK, 100);
        for _ in 0..2 {
            assert_eq!(pace.readiness(1, Time::ZERO), Readiness::Ready);
            pace.take(1, Time::ZERO);
        }
        assert_eq!(pace.readiness(1, Time::ZERO), Readiness::At(Time::from_millis(20)));
        pace.take(1, Time::from_millis(20));
        assert_eq!(pace.readiness(1, Time::from_millis(20)), Readiness::At(Time::from_millis(40)));
    }

    #[test]
    fn what_is_in_flight_is_capped() {
        let mut pace = Pace::new(TICK, Duration::ZERO, 2);
        for ms in [0, 20] {
            assert_eq!(pace.readiness(1, Time::from_millis(ms)), Readiness::Ready);
            pace.take(1, Time::from_millis(ms));
        }
        assert_eq!(pace.readiness(1, Time::from_millis(999)), Readiness::OnAnswer);
        pace.answered(1);
        assert_eq!(pace.readiness(1, Time::from_millis(999)), Readiness::Ready);
    }

    #[test]
    fn silence_saves_up_no_more_than_the_burst() {
        let mut pace = Pace::new(TICK, TICK, 100);
        let late = Time::from_millis(60_000);
        pace.take(1, late);
        pace.take(1, late);
        assert_eq!(pace.readiness(1, late), Readiness::At(late + TICK));
    }
}
