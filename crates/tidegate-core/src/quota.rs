//! `Quota`: the limits that the same calls count against, taken all at once or not at all.

use std::collections::VecDeque;

use crate::limit::{Limit, LimitError, Margins};
use crate::meter::{Meter, Readiness, Spread};
use crate::time::Time;

/// A set of limits that the same calls count against, with pauses and a line of waiters.
///
/// *Inputs*: [`take`](Self::take), or [`join`](Self::join) and [`serve`](Self::serve) to wait in
/// line; [`answered`](Self::answered) and [`settle`](Self::settle) for what became of a call;
/// [`pause`](Self::pause) and [`resume`](Self::resume).
/// *Outputs*: a [`Decision`] from each request.
#[derive(Debug)]
pub struct Quota {
    limits: Vec<Metered>,
    paused_until: Time,
    /// The latest time seen. An earlier `now` would hand out units before they are back.
    now: Time,
    line: VecDeque<WaiterId>,
    next_waiter: u64,
    in_flight: u64,
}

/// One limit at work.
#[derive(Debug)]
struct Metered {
    meter: Meter,
    spread: Option<Spread>,
    cost: u64,
    /// Whether the response head ends the call for this limit, else its last byte.
    ends_with_head: bool,
}

/// How sends are placed in time where a limit leaves the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pacing {
    /// Evenly at the steady rate; a job never starts with a blast.
    #[default]
    Even,
    /// As early as the limits allow.
    Burst,
}

/// The answer to a request to send.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Send now. The grant must come back through [`Quota::settle`].
    Grant(Grant),
    /// Not now.
    Wait(Wait),
}

/// The right to send one call now; returned by [`Quota::settle`].
#[derive(Debug)]
#[must_use = "a grant that is not settled keeps its units for ever"]
pub struct Grant {
    at: Time,
    answered: bool,
}

/// Until when there is nothing to send, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again; `None` if that depends on an answer that has not come.
    pub until: Option<Time>,
    /// What binds.
    pub why: Why,
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The provider asked for silence.
    Paused,
    /// The limit with this index has no unit free.
    Limit(usize),
    /// Sends are being spread evenly at the rate of the limit with this index.
    Pacing(usize),
    /// Others wait in line already.
    Line,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was written to the network: the units are free at once.
    NotSent,
    /// The whole answer arrived, whatever its status.
    Answered,
    /// It may have been counted: a time-out, a reset after bytes had left. Treated as if it had
    /// been answered now, when we gave up; the connection must be aborted before this is said.
    Unknown,
}

/// A place in the line of a [`Quota`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

impl Quota {
    /// A quota of `limits` with default [`Margins`], taken as idle so far. Without limits it
    /// grants everything.
    ///
    /// # Errors
    /// If a single call costs more than a limit can ever grant.
    pub fn new(limits: &[Limit], pacing: Pacing) -> Result<Self, LimitError> {
        let limits = limits.iter().map(|limit| Metered::compile(limit, pacing)).collect::<Result<_, _>>()?;
        Ok(Self {
            limits,
            paused_until: Time::ZERO,
            now: Time::ZERO,
            line: VecDeque::new(),
            next_waiter: 0,
            in_flight: 0,
        })
    }

    /// Asks to send a call now, unless others wait in line.
    pub fn take(&mut self, now: Time) -> Decision {
        if self.line.is_empty() {
            self.decide(now)
        } else {
            Decision::Wait(Wait { until: None, why: Why::Line })
        }
    }

    /// What a call would have to wait for now; `None` if [`take`](Self::take) would grant.
    pub fn wait(&mut self, now: Time) -> Option<Wait> {
        if !self.line.is_empty() {
            return Some(Wait { until: None, why: Why::Line });
        }
        let now = self.advance(now);
        self.obstacle(now)
    }

    /// Joins the end of the line.
    pub fn join(&mut self) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.line.push_back(id);
        id
    }

    /// Leaves the line before being served; nothing happens if `id` is not in it.
    pub fn leave(&mut self, id: WaiterId) {
        // The line is sorted by id: who leaves is found without a walk.
        if let Ok(place) = self.line.binary_search(&id) {
            self.line.remove(place);
        }
    }

    /// The head of the line.
    pub fn head(&self) -> Option<WaiterId> {
        self.line.front().copied()
    }

    /// Serves the head of the line: its grant, or what it waits for. `None` if the line is empty.
    ///
    /// What is released stays with the head, so nobody who asks for little can overtake it.
    pub fn serve(&mut self, now: Time) -> Option<(WaiterId, Decision)> {
        let head = self.head()?;
        let decision = self.decide(now);
        if matches!(decision, Decision::Grant(_)) {
            self.line.pop_front();
        }
        Some((head, decision))
    }

    /// The response head of the granted call arrived at `now`: it was admitted, or rejected, no
    /// later than that. Limits on requests count the call as over.
    pub fn answered(&mut self, grant: &mut Grant, now: Time) {
        if grant.answered {
            return;
        }
        grant.answered = true;
        let now = self.advance(now);
        for limit in self.limits.iter_mut().filter(|limit| limit.ends_with_head) {
            limit.meter.answered(limit.cost, now);
        }
    }

    /// The granted call is over at `now`.
    #[expect(clippy::needless_pass_by_value, reason = "a grant is settled once: it is consumed")]
    pub fn settle(&mut self, grant: Grant, outcome: Outcome, now: Time) {
        let now = self.advance(now);
        self.in_flight -= 1;
        for limit in &mut self.limits {
            if grant.answered && limit.ends_with_head {
                continue;
            }
            match outcome {
                // With a head in hand something was sent, whatever is claimed.
                Outcome::NotSent if !grant.answered => limit.meter.not_sent(limit.cost),
                _ => limit.meter.answered(limit.cost, now),
            }
        }
    }

    /// What is in use at `now`, by the index of its limit: units, and when they come back if all
    /// answers came now. For whoever carries on: see [`charge`](Self::charge).
    pub fn used(&self, now: Time) -> Vec<(usize, u64, Time)> {
        let limits = self.limits.iter().enumerate();
        limits
            .flat_map(|(i, limit)| limit.meter.used(now).into_iter().map(move |(n, at)| (i, n, at)))
            .collect()
    }

    /// Takes `units` of the limit with this index until `until`, for calls of an earlier process.
    pub fn charge(&mut self, limit: usize, units: u64, until: Time) {
        if let Some(limit) = self.limits.get_mut(limit) {
            limit.meter.charge(units, until);
        }
    }

    /// Grants nothing until `until`. A pause is never shortened by another.
    pub fn pause(&mut self, until: Time) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Ends a pause.
    pub fn resume(&mut self) {
        self.paused_until = Time::ZERO;
    }

    /// The end of the pause, if `now` is within one.
    pub fn paused(&self, now: Time) -> Option<Time> {
        (self.paused_until > now).then_some(self.paused_until)
    }

    /// Calls granted and not yet settled.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn decide(&mut self, now: Time) -> Decision {
        let now = self.advance(now);
        match self.obstacle(now) {
            Some(wait) => Decision::Wait(wait),
            None => self.grant(now),
        }
    }

    /// What stands in the way of a call, for the longest.
    fn obstacle(&mut self, now: Time) -> Option<Wait> {
        if let Some(until) = self.paused(now) {
            return Some(Wait { until: Some(until), why: Why::Paused });
        }
        let mut latest = (Readiness::Ready, Why::Line);
        for (i, limit) in self.limits.iter_mut().enumerate() {
            let metered = limit.meter.readiness(limit.cost, now);
            if metered > latest.0 {
                latest = (metered, Why::Limit(i));
            }
            if let Some(spread) = &limit.spread {
                let spread = spread.readiness(now);
                if spread > latest.0 {
                    latest = (spread, Why::Pacing(i));
                }
            }
        }
        match latest {
            (Readiness::Ready, _) => None,
            (Readiness::At(until), why) => Some(Wait { until: Some(until), why }),
            (Readiness::OnAnswer, why) => Some(Wait { until: None, why }),
        }
    }

    fn grant(&mut self, now: Time) -> Decision {
        for limit in &mut self.limits {
            limit.meter.take(limit.cost, now);
            if let Some(spread) = &mut limit.spread {
                spread.take(limit.cost, now);
            }
        }
        self.in_flight += 1;
        Decision::Grant(Grant { at: now, answered: false })
    }

    fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }
}

impl Metered {
    fn compile(limit: &Limit, pacing: Pacing) -> Result<Self, LimitError> {
        let meter = limit.compile(Margins::default())?;
        let spread = match pacing {
            Pacing::Even => limit.spread(&meter),
            Pacing::Burst => None,
        };
        Ok(Self { meter, spread, cost: limit.cost(), ends_with_head: limit.ends_with_head() })
    }
}

impl Grant {
    /// When it was granted: no call made with it was counted earlier.
    pub fn at(&self) -> Time {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn quota(limits: &[&str], pacing: Pacing) -> Quota {
        let limits: Vec<Limit> = limits.iter().map(|l| l.parse().unwrap()).collect();
        Quota::new(&limits, pacing).unwrap()
    }

    fn granted(decision: Decision) -> Grant {
        match decision {
            Decision::Grant(grant) => grant,
            Decision::Wait(wait) => panic!("{wait:?}"),
        }
    }

    fn waits(decision: Decision) -> Wait {
        match decision {
            Decision::Grant(grant) => panic!("{grant:?}"),
            Decision::Wait(wait) => wait,
        }
    }

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_call_takes_from_all_limits_or_from_none() {
        let mut quota = quota(&["5/s", "2/min"], Pacing::Burst);
        let first = granted(quota.take(ms(0)));
        let second = granted(quota.take(ms(0)));
        quota.settle(first, Outcome::Answered, ms(10));
        quota.settle(second, Outcome::Answered, ms(10));
        // The minute binds for a minute; meanwhile no unit of the second is lost to it.
        for t in [1_500, 3_000, 4_500] {
            assert_eq!(waits(quota.take(ms(t))).why, Why::Limit(1));
        }
        let third = granted(quota.take(ms(61_000)));
        quota.settle(third, Outcome::NotSent, ms(61_000));
        let _third = granted(quota.take(ms(61_000)));
    }

    #[test]
    fn the_head_ends_a_request_and_the_last_byte_its_concurrency() {
        let mut quota = quota(&["1/s", "concurrency 1"], Pacing::Burst);
        let mut first = granted(quota.take(ms(0)));
        quota.answered(&mut first, ms(100));
        // The window's unit is on its way back, but the body still flows.
        assert_eq!(waits(quota.take(ms(3_000))), Wait { until: None, why: Why::Limit(1) });
        quota.settle(first, Outcome::Answered, ms(3_000));
        assert_eq!(waits(quota.take(ms(3_000))).until, Some(ms(3_005)));
        let _second = granted(quota.take(ms(3_005)));
    }

    #[test]
    fn the_line_is_served_in_order_and_nobody_overtakes() {
        let mut quota = quota(&["1/s"], Pacing::Burst);
        let first = granted(quota.take(ms(0)));
        let (a, b, c) = (quota.join(), quota.join(), quota.join());
        assert_eq!(waits(quota.take(ms(0))).why, Why::Line);
        quota.settle(first, Outcome::Answered, ms(0));
        quota.leave(b);
        let (served, decision) = quota.serve(ms(1_100)).unwrap();
        assert_eq!(served, a);
        quota.settle(granted(decision), Outcome::Answered, ms(1_100));
        let (served, decision) = quota.serve(ms(1_100)).unwrap();
        assert_eq!((served, waits(decision).why), (c, Why::Limit(0)));
        assert_eq!(quota.head(), Some(c));
    }

    #[test]
    fn a_pause_is_never_shortened() {
        let mut quota = quota(&[], Pacing::Even);
        quota.pause(ms(90_000));
        quota.pause(ms(1_000));
        assert_eq!(waits(quota.take(ms(89_999))), Wait { until: Some(ms(90_000)), why: Why::Paused });
        let _grant = granted(quota.take(ms(90_000)));
    }

    #[test]
    fn who_carries_on_is_charged_for_what_was_used() {
        let limits = ["3/s", "50/s bucket 10"];
        let mut before = quota(&limits, Pacing::Burst);
        let answered = granted(before.take(ms(0)));
        let _in_flight = granted(before.take(ms(50)));
        before.settle(answered, Outcome::Answered, ms(100));

        let mut after = quota(&limits, Pacing::Burst);
        for (limit, units, until) in before.used(ms(200)) {
            after.charge(limit, units, until);
        }
        let _third = granted(after.take(ms(300)));
        let wait = waits(after.take(ms(300)));
        assert_eq!((wait.why, wait.until), (Why::Limit(0), Some(Time::from_nanos(1_101_200_000))));
        // One more than there is: all of it, and nothing overflows.
        after.charge(0, 99, ms(9_000));
        assert!(before.used(ms(100_000)).iter().all(|(_, _, until)| *until > ms(100_000)));
    }

    #[test]
    fn a_clock_that_steps_back_hands_out_nothing_early() {
        let mut quota = quota(&["1/s"], Pacing::Burst);
        let first = granted(quota.take(ms(5_000)));
        quota.settle(first, Outcome::Answered, ms(1_000));
        assert!(waits(quota.take(ms(5_500))).until > Some(ms(6_000)));
    }

    #[test]
    fn even_pacing_starts_without_a_blast() {
        let mut quota = quota(&["100/10s"], Pacing::Even);
        let mut grants = 0;
        for t in (0..1_000).step_by(5) {
            while let Decision::Grant(grant) = quota.take(ms(t)) {
                grants += 1;
                quota.settle(grant, Outcome::Answered, ms(t) + Duration::from_millis(1));
            }
        }
        assert!((10..=12).contains(&grants), "{grants}");
    }
}
