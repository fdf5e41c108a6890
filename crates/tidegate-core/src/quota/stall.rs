//! Providers that have stalled: calls that time out together, and may all be counted later.
//!
//! A single call that is given up is taken as if it had been answered then. When a provider freezes
//! as a whole, that is wrong: everything that it has taken in may be counted in one moment, when it
//! goes on. So while nothing that was sent later is answered, or when many calls are given up
//! together, only one call at a time is sent, as a probe; and when a probe is answered, all that was
//! given up is taken as answered then.

use std::time::Duration;

use super::{Grant, Quota, Wait, Why, at_work};
use crate::contract::{Costs, Metered};
use crate::time::Time;

/// Of so many calls that end, one may be given up without a suspicion.
const TENTH: u64 = 10;
/// A few time-outs are no stall, however few calls end meanwhile.
const FEW: u64 = 2;
/// Calls that were given up are remembered so long at most before they are taken as answered then.
const MOST_DOUBT: Duration = Duration::from_secs(10);
/// While a provider stays silent, what was given up so long ago is not waited for any more: its
/// connection was aborted. Else a provider that never answered again would block its quota for ever.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Waits between probes: doubling from the least to the most.
const PROBES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A call of which nobody knows whether it was counted.
#[derive(Debug)]
pub(super) struct Unresolved {
    sent: Time,
    given_up: Time,
    pub(super) costs: Costs,
    /// Answers that had come by then.
    answers: u64,
    /// Limits of concurrency have let go of it already.
    place_is_free: bool,
}

/// A provider that answers nothing.
#[derive(Debug)]
pub(super) struct Stall {
    probing: bool,
    probes: u32,
    next_probe: Time,
}

impl Quota {
    /// Calls granted and not yet settled.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether the provider is taken to have stalled.
    pub fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// What a call waits for while the provider is stalled; `None` if it may be the probe.
    #[inline]
    pub(super) fn stalled(&self, now: Time) -> Option<Wait> {
        let stall = self.stall.as_ref()?;
        if stall.probing {
            return Some(Wait { until: None, why: Why::Stalled });
        }
        let until = Some(stall.next_probe).filter(|at| *at > now)?;
        Some(Wait { until: Some(until), why: Why::Stalled })
    }

    #[inline]
    pub(super) fn probe_sent(&mut self) {
        if let Some(stall) = &mut self.stall {
            stall.probing = true;
        }
    }

    /// An answer to a probe: the provider is back, and has counted whatever it will ever count.
    pub(super) fn end_stall(&mut self, now: Time) {
        if self.stall.take().is_some() {
            for unresolved in std::mem::take(&mut self.unresolved) {
                self.take_as_answered(&unresolved, now);
            }
        }
    }

    /// A call that may have been counted is given up.
    pub(super) fn give_up(&mut self, grant: &Grant, now: Time) {
        self.unresolved.push_back(Unresolved {
            sent: grant.at,
            given_up: now,
            costs: self.charged(grant),
            answers: self.answers,
            place_is_free: false,
        });
        self.unanswered += 1;
        if grant.probe {
            self.probe_failed(now);
        } else if self.stall.is_none() && self.seems_stalled(grant.at) {
            self.stall = Some(Stall { probing: false, probes: 0, next_probe: now });
        }
        if self.stall.is_none() {
            self.free_place(now);
        }
        self.resolve(now);
    }

    /// A place in a limit of concurrency is worth most right away: unless the provider has stalled,
    /// that of the call given up last is free, for its connection is gone.
    fn free_place(&mut self, now: Time) {
        let Some(call) = self.unresolved.back_mut() else { return };
        call.place_is_free = true;
        for (i, (limit, taken)) in at_work(&mut self.limits, &call.costs, call.sent).enumerate() {
            if self.contract.limit(i).rule().per().is_none() {
                limit.answered(taken, now);
            }
        }
    }

    pub(super) fn probe_failed(&mut self, now: Time) {
        let Some(stall) = &mut self.stall else { return };
        let wait = PROBES.0.saturating_mul(1 << stall.probes.min(16)).min(PROBES.1);
        *stall = Stall { probing: false, probes: stall.probes + 1, next_probe: now + wait };
    }

    /// Whether a time-out of a call sent at `sent` is more than one call's trouble.
    fn seems_stalled(&self, sent: Time) -> bool {
        // With units that come back without an answer, the assumption says when calls are counted.
        let assumed = self.limits.iter().all(Metered::is_assumed);
        let given_up = self.unresolved.len() as u64;
        let answered = self.unresolved.front().map_or(0, |oldest| self.answers - oldest.answers);
        let many = given_up > FEW && given_up * TENTH > given_up + answered;
        let nothing_at_all = self.unanswered > FEW;
        let nothing_since = self.latest_answered.is_none_or(|latest| latest < sent);
        // Of a few calls one at a time, nothing is sent later than the one that times out.
        !assumed && (many || nothing_at_all || (nothing_since && self.in_flight > 0))
    }

    /// When the oldest call that was given up is taken as answered, if nothing else is heard.
    pub(super) fn resolves_at(&self) -> Option<Time> {
        self.unresolved.front().map(|oldest| oldest.given_up + self.doubt_lasts())
    }

    /// Takes as answered what was given up long enough ago, with no sign of a stall since.
    pub(super) fn resolve(&mut self, now: Time) {
        let lasts = self.doubt_lasts();
        while self.unresolved.front().is_some_and(|oldest| oldest.given_up + lasts <= now) {
            let Some(oldest) = self.unresolved.pop_front() else { return };
            self.take_as_answered(&oldest, oldest.given_up);
        }
    }

    /// Units that were given up come back a hold later: until then a stall may still show, and
    /// nothing is lost by waiting for it.
    fn doubt_lasts(&self) -> Duration {
        if self.stall.is_some() {
            return FORGOTTEN;
        }
        self.contract.shortest_hold().map_or(MOST_DOUBT, |(_, hold)| hold).min(MOST_DOUBT)
    }

    fn take_as_answered(&mut self, call: &Unresolved, at: Time) {
        for (i, (limit, taken)) in at_work(&mut self.limits, &call.costs, call.sent).enumerate() {
            if !(call.place_is_free && self.contract.limit(i).rule().per().is_none()) {
                limit.answered(taken, at);
            }
        }
    }
}
