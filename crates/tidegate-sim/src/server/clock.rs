//! The provider's own clock: it must not share tidegate's.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::Sleep;

/// Timers are rounded up to whole milliseconds, and so is the poll below them: they fire this much
/// late on average.
const LATENESS: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "the provider lives in a world of its own, this is its clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a Retry-After date is in wall time by definition")]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

/// A timer that fires at that time on average.
pub(super) fn timer(until: Instant) -> Sleep {
    tokio::time::sleep_until(until.checked_sub(LATENESS).unwrap_or(until).into())
}
