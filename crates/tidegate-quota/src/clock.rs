//! The clock that all time in a process is read from.

use std::time::Duration;

use tidegate_core::Time;
use tokio::time::Instant;

/// A monotonic clock.
///
/// The [real one](Self::start) counts from the machine's boot. All processes of a machine read the
/// same time from it, so a date that one of them writes down means the same to all; and it runs on
/// while the machine is suspended, so a lease ends at its end whatever the lid of a laptop does.
///
/// That a provider's window passes while the machine sleeps is true, too: units come back `hold`
/// after the answer, and that much time has passed for the provider.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Boot,
    Simulated { origin: Instant },
    Stopped(Time),
}

impl Clock {
    /// The machine's clock.
    pub fn start() -> Self {
        Self { source: Source::Boot }
    }

    /// Tokio's clock, with its origin now: it follows the paused time of a test. To be used within
    /// one runtime only.
    pub fn simulated() -> Self {
        Self { source: Source::Simulated { origin: Instant::now() } }
    }

    /// It stands: for a transaction whose time was read elsewhere.
    pub(crate) fn stopped(at: Time) -> Self {
        Self { source: Source::Stopped(at) }
    }

    /// Whether it is tokio's, so that nothing may be left to threads.
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.source, Source::Simulated { .. })
    }

    /// The current time.
    #[inline]
    pub fn now(&self) -> Time {
        match self.source {
            Source::Boot => since_boot(),
            Source::Simulated { origin } => Time::ZERO + origin.elapsed(),
            Source::Stopped(at) => at,
        }
    }

    /// The instant at which this clock reads `time`, for timers; now if that has passed, and a
    /// century away at most.
    pub fn instant(&self, time: Time) -> Instant {
        const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
        match self.source {
            Source::Boot | Source::Stopped(_) => Instant::now() + time.since(self.now()).min(CENTURY),
            // Exactly, however often it is asked.
            Source::Simulated { origin } => origin + time.since(Time::ZERO).min(CENTURY),
        }
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn since_boot() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is negative since boot.
    let nanos = now.tv_sec.unsigned_abs().saturating_mul(1_000_000_000) + now.tv_nsec.unsigned_abs();
    Time::from_nanos(nanos)
}

/// On macOS this clock is the machine's, too, and does not run while it sleeps: time passes later
/// for us than for the provider, which is the safe side.
#[cfg(not(target_os = "linux"))]
#[inline]
fn since_boot() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = now.tv_sec.unsigned_abs().saturating_mul(1_000_000_000) + now.tv_nsec.unsigned_abs();
    Time::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_clock_is_the_machines() {
        let (one, other) = (Clock::start(), Clock::start());
        let (before, between, after) = (one.now(), other.now(), one.now());
        assert!(before <= between && between <= after);
        assert!(before > Time::from_millis(1_000), "since boot, not since now");
    }

    #[tokio::test(start_paused = true)]
    async fn the_simulated_clock_follows_a_paused_one() {
        let clock = Clock::simulated();
        assert_eq!(clock.now(), Time::ZERO);
        tokio::time::sleep_until(clock.instant(Time::from_millis(1_500))).await;
        assert_eq!(clock.now(), Time::from_millis(1_500));
    }
}
