//! Several limits at once.

use super::oracle::{Free, Oracle, Setting};
use super::spec::{LimitSpec, MAX_AMOUNT, Unit};

/// Decides which requests a provider accepts.
///
/// Inputs: [`arrive`](Self::arrive) when a request reaches the limiter, [`finish`](Self::finish) when the answer
/// to an accepted one was written; [`arrive_costing`](Self::arrive_costing) and
/// [`finish_costing`](Self::finish_costing) where requests cost more than 1. Times are nanoseconds since
/// the provider's clock began; one that lies before an earlier one is taken as that earlier one.
#[derive(Debug, Clone)]
pub struct Judge {
    pub(super) oracles: Vec<Oracle>,
    setting: Setting,
    reject_counts: bool,
    now: u64,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All limits had room; the request was counted.
    Accept,
    /// At least one had none.
    Reject(Rejection),
}

/// Why a request was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// Position of the limit that has no room; of several, the one that will have none for longest.
    pub limit: usize,
    /// First moment, in nanoseconds, at which the limits would accept the request if no other came
    /// before; `None` when only the end of a request in service can tell, or when the limit never
    /// allows that much. Where nodes have clocks of their own, it is what the rejecting one expects.
    pub retry_at: Option<u64>,
}

/// What an accepted request cost in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// When it arrived, in nanoseconds.
    pub arrived: u64,
    /// The cost it arrived with.
    pub reserved: u64,
    /// What it turned out to cost; may be more.
    pub actual: u64,
}

/// What a provider reports in its rate-limit headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Greatest number of requests that the limit allows at once.
    pub limit: u64,
    /// How many of them would be accepted now.
    pub remaining: u64,
    /// When, in nanoseconds, all of them will be there again if none is used.
    pub reset_at: u64,
}

impl Judge {
    /// A judge for these limits. With `reject_counts` a rejected request uses the limits up as an
    /// accepted one would (except concurrency), as some providers do to punish clients that hammer.
    pub fn new(limits: &[LimitSpec], reject_counts: bool) -> Self {
        let setting = Setting::default();
        let oracles = limits.iter().map(|limit| Oracle::new(limit, setting)).collect();
        Self { oracles, setting, reject_counts, now: 0 }
    }

    /// The same limits with a fresh past, where this seed decides which node a request comes to (default 0).
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        self.with_setting(|setting| setting.seed = seed)
    }

    /// The same limits with a fresh past, where calendars read so many nanoseconds since the Unix epoch at
    /// the provider's time 0 (default 0).
    #[must_use]
    pub fn starting_at(self, unix_ns: i64) -> Self {
        self.with_setting(|setting| setting.unix_ns = unix_ns)
    }

    /// Judges a request of cost 1 that arrives at `now`, and counts it.
    pub fn arrive(&mut self, now: u64) -> Verdict {
        self.arrive_costing(now, 1)
    }

    /// Judges a request that arrives at `now`, and counts it: as 1 in limits of requests, as `cost` in limits
    /// of tokens.
    pub fn arrive_costing(&mut self, now: u64, cost: u64) -> Verdict {
        self.now = self.now.max(now);
        // What is more than any limit could allow is alike, and sums stay far inside 64 bits.
        let cost = cost.min(MAX_AMOUNT + 1);
        let (mut limit, mut longest) = (0, Free::Now);
        for (position, oracle) in self.oracles.iter_mut().enumerate() {
            let free = oracle.arrive(self.now, cost);
            if free > longest {
                (limit, longest) = (position, free);
            }
        }
        if longest == Free::Now {
            self.oracles.iter_mut().for_each(|oracle| oracle.count(cost));
            return Verdict::Accept;
        }
        if self.reject_counts {
            self.oracles.iter_mut().for_each(|oracle| oracle.count_rejected(cost));
            // The request that was just counted moves the time at which the next one would be accepted.
            longest = self.oracles.iter_mut().map(|oracle| oracle.free(cost)).max().unwrap_or(longest);
        }
        let retry_at = if let Free::At(time) = longest { Some(time) } else { None };
        Verdict::Reject(Rejection { limit, retry_at })
    }

    /// The answer to one accepted request was written.
    pub fn finish(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.oracles.iter_mut().for_each(|oracle| oracle.finish(self.now));
    }

    /// The answer to one accepted request was written, and its cost is known. Limits with `refund` put the actual
    /// cost in the place of the reserved one, if they still count it.
    pub fn finish_costing(&mut self, now: u64, settlement: Settlement) {
        self.finish(now);
        let most = MAX_AMOUNT + 1;
        let Settlement { arrived, reserved, actual } = settlement;
        let settlement = Settlement { arrived, reserved: reserved.min(most), actual: actual.min(most) };
        self.oracles.iter_mut().for_each(|oracle| oracle.settle(self.now, settlement));
    }

    /// Forgets all that was counted, but not which requests are still in service. Time begins at 0 again.
    pub fn reset(&mut self) {
        self.now = 0;
        let setting = self.setting;
        self.oracles.iter_mut().for_each(|oracle| oracle.reset(setting));
    }

    /// State of the limit of requests with the fewest remaining; `None` without any but concurrency.
    pub fn standing(&mut self, now: u64) -> Option<Standing> {
        self.standing_of(Unit::Requests, now).map(|(_, standing)| standing)
    }

    /// The same of the limits of some unit, with the position of the limit.
    pub fn standing_of(&mut self, unit: Unit, now: u64) -> Option<(usize, Standing)> {
        self.now = self.now.max(now);
        let now = self.now;
        let counted = self.oracles.iter_mut().enumerate().filter(|(_, oracle)| oracle.unit() == unit);
        let standings = counted.filter_map(|(limit, oracle)| Some((limit, oracle.standing(now)?)));
        standings.min_by_key(|(_, standing)| standing.remaining)
    }

    fn with_setting(mut self, change: impl FnOnce(&mut Setting)) -> Self {
        change(&mut self.setting);
        self.reset();
        self
    }
}
