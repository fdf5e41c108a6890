//! `Spread`: even spacing above a meter. It keeps no contract; it keeps the peace.

use std::time::Duration;

use super::Readiness;
use crate::Time;
use crate::time::nanos;

/// Spaces grants evenly at the rate of a `Hold`, so that a job does not start with a blast and
/// units that came back together are not spent together.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    /// Nanoseconds per unit; rounded down, since the meter below is what must hold.
    interval: u64,
    /// The next place; `None` before the first grant.
    next: Option<u64>,
}

/// How late a grant may come without losing its place, at least and at most: timers are late by a
/// millisecond or so, connections are sometimes not ready, and what is given back leaves a gap.
const LATENESS: (u64, u64) = (10_000_000, 100_000_000);

impl Spread {
    /// `units` per `window`.
    pub(crate) fn new(units: u64, window: Duration) -> Self {
        Self { interval: nanos(window) / units.max(1), next: None }
    }

    /// Goes on with places of another size, for `units` per `window`; what was waited for is waited for
    /// in proportion.
    pub(crate) fn resize(&mut self, units: u64, window: Duration, now: Time) {
        let interval = nanos(window) / units.max(1);
        let now = now.as_nanos();
        let rest = self.next.map_or(0, |next| next.saturating_sub(now));
        if rest > 0 {
            let rest = u128::from(rest) * u128::from(interval) / u128::from(self.interval.max(1));
            self.next = Some(now.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX)));
        }
        self.interval = interval;
    }

    pub(crate) fn readiness(&self, now: Time) -> Readiness {
        match self.next {
            Some(next) if next > now.as_nanos() => Readiness::At(Time::from_nanos(next)),
            _ => Readiness::Ready,
        }
    }

    pub(crate) fn take(&mut self, cost: u64, now: Time) {
        // Time that passed unused beyond the tolerance is gone; within it, it is caught up.
        let (now, place) = (now.as_nanos(), self.interval.saturating_mul(cost));
        let tolerance = place.saturating_mul(2).clamp(LATENESS.0, LATENESS.1);
        let from = self.next.map_or(now, |next| next.max(now.saturating_sub(tolerance)));
        self.next = Some(from.saturating_add(place));
    }

    /// A call has turned out to cost something else than was taken for it.
    pub(crate) fn correct(&mut self, taken: u64, actual: u64) {
        let place = |next: u64| {
            let later = next.saturating_add(self.interval.saturating_mul(actual));
            later.saturating_sub(self.interval.saturating_mul(taken))
        };
        self.next = self.next.map(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_starts_evenly_and_late_timers_cost_nothing() {
        let mut spread = Spread::new(100, Duration::from_secs(10));
        let mut late = Time::from_millis(1_000);
        for i in 0..50u64 {
            assert_eq!(spread.readiness(late), Readiness::Ready, "grant {i}");
            spread.take(1, late);
            // Each timer fires 3 ms late; the places stay on the grid of 100 ms.
            let Readiness::At(next) = spread.readiness(late) else { panic!("a blast at {i}") };
            late = next + Duration::from_millis(3);
        }
        assert_eq!(late, Time::from_millis(1_000 + 50 * 100 + 3));
    }

    #[test]
    fn what_cost_less_gives_its_place_to_others() {
        let mut spread = Spread::new(1_000, Duration::from_secs(1));
        spread.take(40, Time::ZERO);
        assert_eq!(spread.readiness(Time::ZERO), Readiness::At(Time::from_millis(40)));
        spread.correct(40, 10);
        assert_eq!(spread.readiness(Time::ZERO), Readiness::At(Time::from_millis(10)));
        spread.correct(10, 60);
        assert_eq!(spread.readiness(Time::ZERO), Readiness::At(Time::from_millis(60)));
    }
}
