//! The clock that all time in a process is read from.

use std::time::Duration;

use tidegate_core::Time;
use tokio::time::Instant;

/// A monotonic clock with its origin at the clock's creation.
///
/// It does not run while the machine is suspended. That is the safe side: the provider's windows
/// pass meanwhile, ours do not. Under tokio's paused test time it follows that.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The current time.
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// The instant at which this clock reads `time`, for timers; a century away at most.
    pub fn instant(&self, time: Time) -> Instant {
        const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
        self.origin + time.since(Time::ZERO).min(CENTURY)
    }
}
