//! Several limits at once.

use super::oracle::{Free, Oracle};
use super::spec::LimitSpec;

/// Decides which requests a provider accepts.
///
/// Inputs: [`arrive`](Self::arrive) when a request reaches the limiter, [`finish`](Self::finish) when the answer
/// to an accepted one was written. Times are nanoseconds since the provider's clock began; one
/// that lies before an earlier one is taken as that earlier one.
#[derive(Debug, Clone)]
pub struct Judge {
    oracles: Vec<Oracle>,
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
    /// before; `None` when only the end of a request in service can tell.
    pub retry_at: Option<u64>,
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
        Self { oracles: limits.iter().map(Oracle::new).collect(), reject_counts, now: 0 }
    }

    /// Judges a request that arrives at `now`, and counts it.
    pub fn arrive(&mut self, now: u64) -> Verdict {
        self.now = self.now.max(now);
        let now = self.now;
        let mut rejection: Option<Rejection> = None;
        for (limit, oracle) in self.oracles.iter_mut().enumerate() {
            let retry_at = match oracle.free(now) {
                Free::Now => continue,
                Free::At(time) => Some(time),
                Free::AfterFinish => None,
            };
            // `None` sorts below any time: a known wait says more than an unknown one.
            if rejection.is_none_or(|longest| longest.retry_at < retry_at) {
                rejection = Some(Rejection { limit, retry_at });
            }
        }
        let Some(rejection) = rejection else {
            self.oracles.iter_mut().for_each(|oracle| oracle.count(now));
            return Verdict::Accept;
        };
        if self.reject_counts {
            self.oracles.iter_mut().for_each(|oracle| oracle.count_rejected(now));
            return Verdict::Reject(Rejection { retry_at: self.longest_wait(), ..rejection });
        }
        Verdict::Reject(rejection)
    }

    /// The answer to one accepted request was written.
    pub fn finish(&mut self) {
        self.oracles.iter_mut().for_each(Oracle::finish);
    }

    /// Forgets all that was counted, but not which requests are still in service.
    pub fn reset(&mut self) {
        self.now = 0;
        self.oracles.iter_mut().for_each(Oracle::reset);
    }

    /// State of the limit with the fewest requests remaining; `None` without any but concurrency.
    pub fn standing(&mut self, now: u64) -> Option<Standing> {
        self.now = self.now.max(now);
        let now = self.now;
        let standings = self.oracles.iter_mut().filter_map(|oracle| oracle.standing(now));
        standings.min_by_key(|standing| standing.remaining)
    }

    /// A rejected request that counts moves the time at which the next one would be accepted.
    fn longest_wait(&mut self) -> Option<u64> {
        let now = self.now;
        let waits = self.oracles.iter_mut().filter_map(|oracle| match oracle.free(now) {
            Free::At(time) => Some(time),
            Free::Now | Free::AfterFinish => None,
        });
        waits.max()
    }
}
