//! The provider's own clock: it must not share tidegate's.

use std::time::{Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "the provider lives in a world of its own, this is its clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a Retry-After date is in wall time by definition")]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}
