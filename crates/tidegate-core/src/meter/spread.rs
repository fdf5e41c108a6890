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
    /// How late a grant may come without losing its place: timers are late by a millisecond or
    /// so, and connections are sometimes not ready.
    tolerance: u64,
    /// The next place; `None` before the first grant.
    next: Option<u64>,
}

impl Spread {
    /// `units` per `window`.
    pub(crate) fn new(units: u64, window: Duration) -> Self {
        const LATENESS: (u64, u64) = (10_000_000, 100_000_000); // 10 ms to 100 ms
        let interval = nanos(window) / units.max(1);
        Self { interval, tolerance: (2 * interval).clamp(LATENESS.0, LATENESS.1), next: None }
    }

    pub(crate) fn readiness(&self, now: Time) -> Readiness {
        match self.next {
            Some(next) if next > now.as_nanos() => Readiness::At(Time::from_nanos(next)),
            _ => Readiness::Ready,
        }
    }

    pub(crate) fn take(&mut self, cost: u64, now: Time) {
        // Time that passed unused beyond the tolerance is gone; within it, it is caught up.
        let now = now.as_nanos();
        let from = self.next.map_or(now, |next| next.max(now.saturating_sub(self.tolerance)));
        self.next = Some(from.saturating_add(self.interval.saturating_mul(cost)));
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
}
