//! Which machine, since which boot, and what time it is there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_core::{Time, WallClock};

use crate::Clock;

/// How far the wall clock may be from the provider's, before an answer has shown that.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What a store's dates are about: a clock, since a certain boot of a certain machine; and the wall
/// clock, which only says how long ago another boot was.
#[derive(Debug, Clone)]
pub struct Machine {
    clock: Clock,
    boot: Box<str>,
    wall: Wall,
}

#[derive(Debug, Clone, Copy)]
enum Wall {
    System,
    /// Milliseconds since 1970 when the clock was at zero.
    Simulated {
        at_zero_ms: u64,
    },
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self { clock: Clock::start(), boot: boot_id(), wall: Wall::System }
    }

    /// One that has booted as `boot`, with the wall clock at `at_zero_ms` milliseconds since 1970
    /// when `clock` was at zero: for tests.
    pub fn simulated(clock: Clock, boot: &str, at_zero_ms: u64) -> Self {
        Self { clock, boot: boot.into(), wall: Wall::Simulated { at_zero_ms } }
    }

    /// A server that others ask, which said that it is `wall_ms` when its clock stood at `now`. It has started
    /// as `run`.
    pub(super) fn server(run: &str, now: Time, wall_ms: u64) -> Self {
        let at_zero_ms = wall_ms.saturating_sub(now.as_nanos() / 1_000_000);
        Self { clock: Clock::stopped(now), boot: run.into(), wall: Wall::Simulated { at_zero_ms } }
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What is known of the wall clock, for limits that follow a calendar.
    pub fn wall(&self) -> WallClock {
        let since_boot = self.clock.now().since(Time::ZERO);
        let at_zero = Duration::from_millis(self.wall_ms()).saturating_sub(since_boot);
        WallClock::new(i64::try_from(at_zero.as_nanos()).unwrap_or(i64::MAX), CLOCK_SKEW)
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// What the wall clock showed when the clock was at zero, if it is simulated.
    pub(super) fn wall_ms_at_zero(&self) -> u64 {
        match self.wall {
            Wall::System => self.wall_ms().saturating_sub(self.now().as_nanos() / 1_000_000),
            Wall::Simulated { at_zero_ms } => at_zero_ms,
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn wall_ms(&self) -> u64 {
        match self.wall {
            Wall::System => {
                let since = system_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Wall::Simulated { at_zero_ms } => at_zero_ms + self.now().as_nanos() / 1_000_000,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what passes between two boots is only on the wall clock")]
fn system_time() -> SystemTime {
    SystemTime::now()
}

/// A word that is another one after each boot. Where there is none it is empty: then a reboot shows
/// only as a clock that went back, which it does.
fn boot_id() -> Box<str> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().into()
}
