//! One resource that the provider tells of.

use std::num::NonZeroU64;
use std::time::Duration;

use super::{Belief, SLOW};
use crate::contract::Pacing;
use crate::feedback::{Reading, Reset};
use crate::limit::{Limit, Rule, Unit};
use crate::meter::Readiness;
use crate::time::Time;

/// A belief is not changed more often, whatever is told.
const STEADY: Duration = Duration::from_secs(60);

/// After a rejection one unit in so many is not touched, and then twice as many each time; each reset
/// without one gives back one in so many of these.
const MARGIN_LEAST: u64 = 32;
const MARGIN_SHRINKS: u64 = 8;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) name: Box<str>,
    unit: Unit,
    /// The send of the call whose answer told last, and the calls that were over by then.
    pub(super) told_at: Time,
    over: u64,
    amount: Option<u64>,
    remaining: Option<u64>,
    /// At least so much is left now.
    pub(super) left: Option<u64>,
    /// The reset: all told is true until then.
    pub(super) until: Time,
    reset: Reset,
    /// While a bucket is not full.
    refill: Option<Duration>,
    /// What is left is spread over the time that is left.
    is_even: bool,
    not_before: Time,
    /// What is not touched: as much as others may take before we hear of it. It grows with each
    /// rejection, and shrinks with each reset without one.
    margin: u64,
    /// What a call seems to cost, and whether any has shown it.
    cost: u64,
    is_weighed: bool,
    /// By then a whole window has been seen.
    spanned_at: Option<Time>,
    /// The longest time to a reset so far.
    longest: Duration,
    pub(super) learnt: Option<Learnt>,
}

/// A limit that a meter keeps.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) belief: Belief,
    pub(super) version: u32,
    at: Time,
}

impl Resource {
    pub(super) fn new(reading: &Reading, pacing: Pacing) -> Self {
        Self {
            name: reading.resource.clone(),
            unit: reading.unit.clone(),
            told_at: Time::ZERO,
            over: 0,
            amount: None,
            remaining: None,
            left: None,
            until: Time::ZERO,
            reset: reading.reset,
            refill: None,
            is_even: pacing == Pacing::Even,
            not_before: Time::ZERO,
            margin: 0,
            cost: 1,
            is_weighed: false,
            spanned_at: None,
            longest: Duration::ZERO,
            learnt: None,
        }
    }

    /// Takes in what the answer to a call says that was sent `sent`, when so many were over;
    /// `uncounted` of ours may have been counted after that.
    pub(super) fn tell(&mut self, reading: &Reading, (sent, over): (Time, u64), uncounted: u64, now: Time) {
        self.amount = reading.limit.or(self.amount);
        self.reset = reading.reset;
        if let (Some(remaining), Some(resets_in)) = (reading.remaining, reading.resets_in.or(reading.window))
        {
            let in_the_same = sent < self.until;
            if self.unit != Unit::Requests && in_the_same {
                self.reckon_cost(remaining, over.saturating_sub(self.over).max(1));
            }
            if !in_the_same {
                self.margin -= self.margin.div_ceil(MARGIN_SHRINKS);
            }
            let until = now + resets_in;
            // Resets are told in whole seconds, rounded up: the earliest of a window is the best known.
            let is_window = reading.reset != Reset::Full && in_the_same;
            self.until = if is_window { self.until.min(until) } else { until };
            self.spanned_at.get_or_insert(until);
            self.longest = self.longest.max(resets_in);
            self.remaining = Some(remaining);
            self.left = Some(remaining.saturating_sub(uncounted.saturating_mul(self.cost)));
            let used = self.amount.map_or(0, |amount| amount.saturating_sub(remaining));
            self.refill = (used > 0).then(|| divided(resets_in, used));
        }
        (self.told_at, self.over) = (sent, over);
    }

    /// A call was one too many, though something seemed to be left.
    pub(super) fn rejected(&mut self) {
        let Some(amount) = self.amount else { return };
        self.margin = (self.margin * 2).max(amount / MARGIN_LEAST).max(self.cost).min(amount / 2);
    }

    /// What calls cost of tokens or points shows in what they leave. Others take of it as well: one
    /// answer cannot make calls seem more than twice as heavy, and half of what it did is gone with the next.
    fn reckon_cost(&mut self, remaining: u64, calls: u64) {
        let used = self.remaining.map_or(0, |before| before.saturating_sub(remaining)).div_ceil(calls);
        if used > 0 {
            let heaviest = if self.is_weighed { self.cost.saturating_mul(2) } else { used };
            self.cost = used.clamp(self.cost.div_ceil(2), heaviest.max(1));
            self.is_weighed = true;
        }
    }

    #[inline]
    pub(super) fn grant(&mut self, now: Time) {
        self.left = self.left.map(|left| left.saturating_sub(self.cost));
        self.space(now, now);
    }

    /// Spreads what is left over the time that is left, from the grant before.
    pub(super) fn space(&mut self, last: Time, now: Time) {
        if !self.is_even {
            return;
        }
        let time = match self.reset {
            // A bucket that is nearly full is full in no time: never all of it at once.
            Reset::Full => self.until.since(now).max(SLOW),
            _ => self.until.since(now),
        };
        let calls = self.left.unwrap_or(0) / self.cost;
        self.not_before = last + divided(time, calls.saturating_add(1));
    }

    pub(super) fn readiness(&self, in_flight: u64, last: Option<Time>, now: Time) -> Readiness {
        let Some(left) = self.left else { return Readiness::Ready };
        let at = |at: Time| if at > now { Readiness::At(at) } else { Readiness::Ready };
        let is_over = now >= self.until;
        let has_enough = left >= self.cost.saturating_add(self.margin);
        if self.learnt.is_some() {
            // Its meter does the rest. What it cannot know: that less is left than it thinks.
            let is_bound = in_flight > 0 && !is_over && !has_enough;
            return if is_bound { at(self.until) } else { Readiness::Ready };
        }
        let probe = |after: Duration| match last {
            _ if in_flight > 0 => Readiness::OnAnswer,
            Some(last) => at(last + after.max(SLOW)),
            None => Readiness::Ready,
        };
        match self.reset {
            Reset::Full if has_enough => at(self.not_before),
            Reset::Full => probe(self.refill.unwrap_or_default().saturating_mul(clamped(self.cost))),
            // What there is after a reset nobody has said: one call asks.
            _ if is_over && last.is_some_and(|last| last >= self.until) => probe(SLOW),
            _ if is_over => Readiness::Ready,
            _ if has_enough => at(self.not_before),
            _ => at(self.until),
        }
    }

    /// The limit, and whether its window was named, if that is known, and not believed already.
    pub(super) fn limit(&self, reading: &Reading, sent: Time, now: Time) -> Option<(Limit, bool)> {
        if self.unit != Unit::Requests {
            return None;
        }
        let amount = NonZeroU64::new(self.amount?)?;
        let (per, is_told) = match reading.window {
            Some(window) => (window, true),
            // Until a bucket is full says nothing of how long one takes that is empty.
            None if self.reset == Reset::Full => return None,
            None => (self.longest, false),
        };
        let rule = match self.reset {
            Reset::Full => Rule::Unknown { per },
            _ => Rule::Window { per },
        };
        if let Some(learnt) = &self.learnt {
            let before = learnt.belief.limit.rule().per().unwrap_or_default();
            let is_other = learnt.belief.limit.amount() != amount.get()
                || if is_told { before != per } else { per > before + before / 50 };
            // A window that turns out longer is kept at once: as it is, it is too much.
            let may_change = per > before || now.since(learnt.at) >= STEADY.min(before);
            return (is_other && may_change).then(|| (Limit::new(amount, rule), is_told));
        }
        let is_known = is_told || (!per.is_zero() && self.spanned_at.is_some_and(|at| sent >= at));
        is_known.then(|| (Limit::new(amount, rule), is_told))
    }

    pub(super) fn believe(&mut self, belief: Belief, version: u32, now: Time) {
        self.learnt = Some(Learnt { belief, version, at: now });
    }
}

fn divided(time: Duration, by: u64) -> Duration {
    time / clamped(by).max(1)
}

fn clamped(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
