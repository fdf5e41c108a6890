//! The provider, shared by all its connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Call;
use super::clock;
use super::config::{SimConfig, WallTime};
use super::headers::Standings;
use super::state::{Admission, Charge, State, Ticket};
use super::stats::Stats;
use super::tenants::Tenant;
use crate::model::{LimitSpec, Unit};

/// Requests whose client has left during a stall, remembered at most.
const MAX_ABANDONED: usize = 100_000;

pub(super) struct Shared {
    pub(super) config: SimConfig,
    /// For messages; writing them anew for each 429 would slow a flood of them down.
    pub(super) limit_names: Vec<String>,
    abandoned: Arc<Semaphore>,
    counted: Mutex<Counted>,
}

/// What the limiter said, and when.
pub(super) struct Checked {
    pub(super) admission: Admission,
    /// State of the limits afterwards, if it is to be reported.
    pub(super) standings: Option<Standings>,
    /// On the provider's clock, in nanoseconds.
    pub(super) now: u64,
    pub(super) wall: SystemTime,
}

struct Counted {
    origin: Instant,
    /// What the wall clock showed then.
    wall: SystemTime,
    state: State,
}

impl Shared {
    pub(super) fn new(mut config: SimConfig) -> Self {
        if config.refund {
            config.limits.iter_mut().for_each(refund);
        }
        Self {
            limit_names: config.limits.iter().map(ToString::to_string).collect(),
            abandoned: Arc::new(Semaphore::new(MAX_ABANDONED)),
            counted: Mutex::new(Counted::new(&config)),
            config,
        }
    }

    pub(super) fn finish(&self, tickets: impl IntoIterator<Item = Ticket>) {
        let mut counted = self.counted();
        let now = counted.now();
        for ticket in tickets {
            counted.state.finish(ticket, now);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let counted = self.counted();
        counted.state.stats(&self.config, counted.now())
    }

    pub(super) fn reset(&self) {
        let mut counted = self.counted();
        counted.origin = clock::now();
        counted.wall = start(&self.config);
        let unix_ns = unix_ns(counted.wall);
        counted.state.reset(&self.config, unix_ns);
    }

    pub(super) fn jitter(&self) -> Duration {
        if self.config.jitter.is_zero() {
            return Duration::ZERO;
        }
        self.counted().state.jitter(&self.config)
    }

    /// How long a request has to wait for the end of a stall.
    pub(super) fn stall_left(&self) -> Option<Duration> {
        self.config.faults.stall_after?;
        let mut counted = self.counted();
        let now = counted.now();
        counted.state.stall_left(&self.config, now)
    }

    /// Room for one more request whose client has left.
    pub(super) fn room_for_abandoned(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.abandoned).try_acquire_owned().ok()
    }

    /// What a request counts as, and against whose limits.
    pub(super) fn charge(&self, call: &Call) -> Charge {
        let name = self.config.per.as_ref().and_then(|header| call.head.headers.get(header)?.to_str().ok());
        let tenant = name.map_or_else(Tenant::default, |name| self.counted().state.tenant(name));
        Charge { tenant, cost: call.cost }
    }

    /// The limiter's check.
    pub(super) fn check(&self, charge: Charge) -> Checked {
        let mut counted = self.counted();
        // Read inside the lock, so that times are in the order of the checks.
        let now = counted.now();
        let admission = counted.state.admit(&self.config, now, charge);
        let told = self.config.ratelimit_headers;
        let standings = told.then(|| counted.state.standings(&self.config, now, charge.tenant));
        Checked { admission, standings, now, wall: counted.wall + Duration::from_nanos(now) }
    }

    pub(super) fn served(&self, calls: Vec<u64>) {
        self.counted().state.served(calls);
    }

    /// What the provider's wall clock shows.
    pub(super) fn wall(&self) -> SystemTime {
        let counted = self.counted();
        counted.wall + Duration::from_nanos(counted.now())
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Counters stay meaningful even if a thread died while it held them.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn new(config: &SimConfig) -> Self {
        let wall = start(config);
        Self { origin: clock::now(), wall, state: State::new(config, unix_ns(wall)) }
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the wall clock shows when the provider's clock begins.
fn start(config: &SimConfig) -> SystemTime {
    config.clock.map_or_else(clock::wall, WallTime::system_time)
}

fn unix_ns(wall: SystemTime) -> i64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn refund(limit: &mut LimitSpec) {
    limit.refund |= limit.unit == Unit::Tokens && limit.nodes.is_none();
}
