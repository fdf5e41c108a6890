//! A provider that answers nothing but errors is asked gently until it is back.
//!
//! Silence is the quota's matter: it probes a provider that has stalled. This is about answers: so many
//! errors in a row, and no call that worked, are no row's own trouble. Then one call at a time
//! goes out, farther and farther apart; the first that works lets all others follow.

use std::time::Duration;

use tidegate_core::Time;

use super::Engine;
use super::job::Job;
use super::{lock, outcome::Brought};
use crate::retry::Human;
use crate::verdict::{Cause, Verdict};

/// Errors in a row that are taken for an outage.
const ERRORS: u32 = 20;
/// Between probes: the first, and the most.
const PROBES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

#[derive(Debug, Default)]
pub(super) struct Breaker {
    errors: u32,
    open: Option<Open>,
}

/// Nothing but probes goes out.
#[derive(Debug)]
struct Open {
    since: Time,
    last: Cause,
    probes: u32,
    next: Time,
    under_way: bool,
}

/// What the breaker says to whoever wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Free,
    /// One call, to see whether the provider is back.
    Probe,
    /// Not before then; `None`: the probe's answer decides.
    Wait(Option<Time>),
}

impl Breaker {
    pub(super) fn leave(&self, now: Time) -> Leave {
        match &self.open {
            None => Leave::Free,
            Some(open) if open.under_way => Leave::Wait(None),
            Some(open) if open.next > now => Leave::Wait(Some(open.next)),
            Some(_) => Leave::Probe,
        }
    }

    pub(super) fn probe_sent(&mut self) {
        if let Some(open) = &mut self.open {
            open.under_way = true;
        }
    }

    /// A probe was not sent after all.
    fn not_sent(&mut self, was_probe: bool) {
        if let Some(open) = self.open.as_mut().filter(|_| was_probe) {
            open.under_way = false;
        }
    }

    /// A call worked, or its trouble is its own. Whether all may send again.
    fn worked(&mut self) -> bool {
        self.errors = 0;
        self.open.take().is_some()
    }

    /// The provider answered with an error. Whether the row was begun in the outage, of which it can know
    /// nothing: then this does not count as an attempt.
    fn failed(&mut self, cause: Cause, was_probe: bool, first_sent: Option<Time>, now: Time) -> bool {
        self.errors = self.errors.saturating_add(1);
        let Some(open) = &mut self.open else {
            if self.errors >= ERRORS {
                let next = now + PROBES.0;
                self.open = Some(Open { since: now, last: cause, probes: 0, next, under_way: false });
            }
            return false;
        };
        open.last = cause;
        if was_probe {
            open.probes += 1;
            open.under_way = false;
            open.next = now + PROBES.0.saturating_mul(1 << open.probes.min(16)).min(PROBES.1);
        }
        first_sent.is_some_and(|first| first >= open.since)
    }
}

impl Engine {
    /// A row that was taken goes back to the head of its line; if it was to be a probe, another one may be.
    pub(super) fn put_back(&self, mut job: Box<Job>) {
        let was_probe = std::mem::take(&mut job.is_probe);
        lock(&self.breaker).not_sent(was_probe);
        lock(&self.work).put_back(job);
    }

    /// Hears how a call went.
    pub(super) fn tell_breaker(&self, job: &mut Job, verdict: &Verdict, brought: &Brought) {
        let was_probe = std::mem::take(&mut job.is_probe);
        let mut breaker = lock(&self.breaker);
        let now = self.clock.now();
        let is_error = brought.status.is_none_or(|status| status >= 500);
        match verdict {
            Verdict::Retry { cause: Cause::NotSent } => breaker.not_sent(was_probe),
            // It waits, and is heard of elsewhere.
            Verdict::Retry { cause: Cause::Throttled | Cause::Timeout | Cause::Unauthorized } => {
                breaker.not_sent(was_probe);
            }
            Verdict::Retry { cause: cause @ (Cause::Status(_) | Cause::Network) } if is_error => {
                if breaker.failed(*cause, was_probe, job.first_sent, now) {
                    job.attempts = job.attempts.saturating_sub(1);
                }
            }
            Verdict::Failed(_) if is_error => {
                breaker.failed(Cause::Status(brought.status.unwrap_or_default()), was_probe, None, now);
            }
            _ => drop(breaker.worked()),
        }
        drop(breaker);
        if was_probe {
            self.wake.notify_one();
        }
    }

    /// What is to be said while the provider is taken to be down.
    pub(super) fn outage(&self) -> Option<String> {
        let now = self.clock.now();
        let breaker = lock(&self.breaker);
        let open = breaker.open.as_ref()?;
        let what = match open.last {
            Cause::Status(status) => format!("the provider has answered nothing but errors ({status})"),
            _ => "connections to the provider break".to_owned(),
        };
        let next = if open.under_way || open.next <= now {
            "one call sees whether it is back".to_owned()
        } else {
            format!("the next call to see whether it is back goes in {}", Human(open.next.since(now)))
        };
        Some(format!("{what} for {}; {next}", Human(now.since(open.since))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[test]
    fn it_opens_probes_gently_and_closes() {
        let mut breaker = Breaker::default();
        let cause = Cause::Status(503);
        for _ in 0..ERRORS - 1 {
            assert!(!breaker.failed(cause, false, Some(s(0)), s(1)));
        }
        assert!(!breaker.worked());
        for _ in 0..ERRORS {
            assert_eq!(breaker.leave(s(1)), Leave::Free);
            assert!(!breaker.failed(cause, false, Some(s(0)), s(1)));
        }
        let mut now = s(1);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(breaker.leave(now), Leave::Wait(Some(now + Duration::from_secs(wait))));
            now = now + Duration::from_secs(wait);
            assert_eq!(breaker.leave(now), Leave::Probe);
            breaker.probe_sent();
            assert_eq!(breaker.leave(now), Leave::Wait(None));
            // Calls of before the outage say nothing new; a row begun in it loses no attempt.
            assert!(!breaker.failed(cause, false, Some(s(0)), now));
            assert!(breaker.failed(cause, true, Some(now), now));
        }
        now = now + Duration::from_secs(60);
        breaker.probe_sent();
        breaker.not_sent(true);
        assert_eq!(breaker.leave(now), Leave::Probe);
        assert!(breaker.worked());
        assert_eq!(breaker.leave(now), Leave::Free);
    }
}
