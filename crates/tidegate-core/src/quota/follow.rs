//! Limits that nobody has declared, learnt from what the provider says of them.
//!
//! Until the first reading one call is in flight, and sends are a second apart. A reading is of some
//! moment between a call's send s and the head of its answer. What is left now is at least what it
//! says, less all of ours that may have been counted after that moment: what was not over by s. That
//! is spread evenly over the time to the reset, unless bursts are asked for. Once a limit and its window are known, a meter keeps
//! it like one that was declared; it is *believed*, and proves nothing. As many calls are in flight
//! as need be, but that number only doubles from one clean answer to the next.

mod resource;

use std::time::Duration;

use self::resource::Resource;
use super::doubt::TENTHS;
use super::{Grant, Others, Quota, Told};
use crate::contract::{Contract, Costs};
use crate::feedback::{Reading, Reset};
use crate::limit::{Limit, Rule, Unit};
use crate::meter::Readiness;
use crate::time::Time;

/// Between sends while nothing is known.
const SLOW: Duration = Duration::from_secs(1);
/// Resources that are followed; no provider tells of more at once.
const MOST_RESOURCES: usize = 16;
/// Calls in flight at most, whatever is told.
const WIDEST: u64 = 4_096;

/// A limit that the provider tells of, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belief {
    /// Index among the limits of the quota: behind those that were declared.
    pub index: usize,
    /// What the provider calls it.
    pub resource: Box<str>,
    /// What is believed.
    pub limit: Limit,
    /// Whether it names the window. Else that is the longest time to a reset that was seen: it may be
    /// longer.
    pub window_told: bool,
}

/// What one answer has taught.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Limits that are believed from here on, or are others than before.
    pub beliefs: Vec<Belief>,
    /// Units of believed limits that cannot be ours.
    pub others: Vec<Others>,
    /// Whether it has told of any limit.
    pub is_useful: bool,
}

/// What was known when a call was granted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Followed {
    /// Calls that were over.
    over: u64,
    /// The latest of the limits learnt.
    version: u32,
}

/// What is learnt, and how far it is trusted.
#[derive(Debug)]
pub(super) struct Follow {
    /// What was declared.
    base: Contract,
    resources: Vec<Resource>,
    granted: u64,
    over: u64,
    last: Option<Time>,
    /// Whether any reading has come.
    heard: bool,
    /// Calls in flight at most. Answers to calls sent before `since` say nothing of it.
    width: u64,
    since: Time,
    /// It has held a call back.
    was_full: bool,
    version: u32,
}

impl Follow {
    pub(super) fn new(base: &Contract) -> Self {
        Self {
            base: base.clone(),
            resources: Vec::new(),
            granted: 0,
            over: 0,
            last: None,
            heard: false,
            width: 1,
            since: Time::ZERO,
            was_full: false,
            version: 0,
        }
    }

    /// What a call costs of all limits; of those that are learnt, one unit.
    pub(super) fn and_learnt(&self, costs: &Costs) -> Costs {
        self.charged(costs, self.version)
    }

    /// The same for a call that was granted when only so much was learnt: it has taken nothing of what
    /// came later.
    fn charged(&self, costs: &Costs, version: u32) -> Costs {
        let mut costs = *costs;
        for learnt in self.resources.iter().filter_map(|resource| resource.learnt.as_ref()) {
            costs.set(learnt.belief.index, u64::from(learnt.version <= version));
        }
        costs
    }

    /// Whether one that knows nothing would do as well.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        self.resources.iter().all(|resource| resource.until <= now)
    }

    #[inline]
    pub(super) fn grant(&mut self, now: Time) -> Followed {
        self.granted += 1;
        self.last = Some(now);
        self.resources.iter_mut().for_each(|resource| resource.grant(now));
        Followed { over: self.over, version: self.version }
    }

    fn readiness(&mut self, in_flight: u64, now: Time) -> Readiness {
        if in_flight >= self.width {
            self.was_full = true;
            return Readiness::OnAnswer;
        }
        let slowly = self.last.map_or(Time::ZERO, |last| last + SLOW);
        let known = self.resources.iter().map(|resource| resource.readiness(in_flight, self.last, now));
        match known.max().unwrap_or(Readiness::Ready) {
            Readiness::Ready if !self.heard && slowly > now => Readiness::At(slowly),
            readiness => readiness,
        }
    }

    /// Notes a reading; the index of its resource, if it counts.
    fn note(&mut self, grant: &Grant, reading: &Reading, now: Time) -> Option<usize> {
        let known = self.resources.iter().position(|resource| resource.name == reading.resource);
        let at = known.unwrap_or(self.resources.len());
        if known.is_none() {
            if self.resources.len() >= MOST_RESOURCES {
                return None;
            }
            self.resources.push(Resource::new(reading, self.base.pacing()));
        }
        // The call itself was counted by then.
        let uncounted = (self.granted - grant.followed.over).saturating_sub(1);
        let resource = &mut self.resources[at];
        if resource.told_at > grant.at {
            return None; // later is known already
        }
        resource.tell(reading, (grant.at, grant.followed.over), uncounted, now);
        if let Some(last) = self.last {
            resource.space(last, now);
        }
        Some(at)
    }

    /// All limits, with one in the place of this index.
    fn limits(&self, index: usize, limit: &Limit) -> Vec<Limit> {
        let mut limits = self.base.declared().to_vec();
        let mut learnt: Vec<&Belief> =
            self.resources.iter().filter_map(|resource| Some(&resource.learnt.as_ref()?.belief)).collect();
        learnt.sort_by_key(|belief| belief.index);
        let mut learnt: Vec<Limit> = learnt.into_iter().map(|belief| belief.limit.clone()).collect();
        match learnt.get_mut(index - self.base.limits().len()) {
            Some(old) => *old = limit.clone(),
            None => learnt.push(limit.clone()),
        }
        limits.extend(learnt);
        limits
    }
}

/// Whether there is something to go by: how much is left and until when, or the limit as a whole.
fn is_useful(reading: &Reading) -> bool {
    let is_whole = reading.limit.is_some() && reading.window.is_some() && reading.unit == Unit::Requests;
    is_whole || (reading.remaining.is_some() && (reading.resets_in.is_some() || reading.window.is_some()))
}

impl Quota {
    /// What the granted call takes of each limit, as far as these were known when it was granted.
    #[inline]
    pub(super) fn charged(&self, grant: &Grant) -> Costs {
        match &self.follow {
            None => grant.costs,
            Some(follow) => follow.charged(&grant.costs, grant.followed.version),
        }
    }

    /// What stands in the way of a call while limits are being learnt.
    #[inline]
    pub(super) fn learning(&mut self, now: Time) -> Option<Readiness> {
        let in_flight = self.in_flight;
        let readiness = self.follow.as_mut()?.readiness(in_flight, now);
        (readiness != Readiness::Ready).then_some(readiness)
    }

    /// A call is over: it was counted, or never will be.
    #[inline]
    pub(super) fn follow_over(&mut self) {
        if let Some(follow) = &mut self.follow {
            follow.over += 1;
        }
    }

    /// A rejection: so many calls in flight were too many.
    pub(super) fn narrow(&mut self, grant: &Grant, now: Time) {
        if let Some(follow) = self.follow.as_mut().filter(|follow| grant.at >= follow.since) {
            follow.width = (follow.width / 2).max(1);
            follow.resources.iter_mut().for_each(Resource::rejected);
            (follow.since, follow.was_full) = (now, false);
        }
    }

    /// The answer to the granted call, whose head came at `now`, tells this of limits that were not
    /// declared; `is_clean` if it was no rejection.
    ///
    /// Only for a quota whose contract is [learning](Contract::learning).
    pub fn follow(&mut self, grant: &Grant, readings: &[Reading], is_clean: bool, now: Time) -> Heard {
        let now = self.advance(now);
        let mut heard = Heard::default();
        let Some(mut follow) = self.follow.take() else { return heard };
        for reading in readings.iter().filter(|reading| is_useful(reading)) {
            heard.is_useful = true;
            let Some(at) = follow.note(grant, reading, now) else { continue };
            if let Some((limit, told)) = follow.resources[at].limit(reading, grant.at, now) {
                heard.beliefs.extend(self.believe(&mut follow, at, &limit, told, grant.at, now));
            }
            let index = follow.resources[at].learnt.as_ref().map(|learnt| learnt.belief.index);
            if let (Some(index), Some(remaining)) = (index, reading.remaining) {
                let resets_in = reading.resets_in.filter(|_| reading.reset == Reset::All);
                let told = Told { amount: reading.limit, remaining, resets_in };
                heard.others.extend(self.heed(grant, index, told, now));
            }
        }
        if heard.is_useful {
            follow.heard = true;
            // Of what is not told of any more nothing is known once its time has come.
            follow.resources.retain(|resource| {
                resource.learnt.is_some() || resource.told_at >= grant.at || resource.until > grant.at
            });
            if is_clean && follow.was_full && grant.at >= follow.since {
                follow.width = (follow.width * 2).min(WIDEST);
                (follow.since, follow.was_full) = (now, false);
            }
        }
        self.follow = Some(follow);
        heard
    }

    /// Keeps a limit from here on, as if it had been declared; what may be used of it is charged.
    fn believe(
        &mut self,
        follow: &mut Follow,
        at: usize,
        limit: &Limit,
        window_told: bool,
        sent: Time,
        now: Time,
    ) -> Option<Belief> {
        let resource = &follow.resources[at];
        let known = resource.learnt.as_ref().map(|learnt| learnt.belief.index);
        let index = known.unwrap_or(self.limits.len());
        let contract = &follow.base;
        let contract = Contract::new(&follow.limits(index, limit), contract.pacing(), *contract.terms());
        let contract = contract.ok()?.learning();
        let mut metered = contract.metered().get(index)?.clone();
        let used = match resource.left {
            Some(left) => limit.amount().saturating_sub(left),
            None => follow.granted,
        };
        let hold = limit.rule().per()?;
        let hold = hold + hold / 1_000 + now.since(sent);
        // What is counted already is back at the reset; what is not, later.
        let in_flight = used.min(self.in_flight);
        let is_window = matches!(limit.rule(), Rule::Window { .. });
        let reset = resource.left.filter(|_| is_window).map_or(now + hold, |_| resource.until);
        metered.meter.charge(in_flight, now + hold, now);
        metered.meter.charge(used - in_flight, reset.min(now + hold), now);
        let mut limits = std::mem::take(&mut self.limits).into_vec();
        match limits.get_mut(index) {
            Some(old) => *old = metered,
            None => limits.push(metered),
        }
        // Which limit a doubt is about may be another one now.
        self.doubt.forget();
        for limit in &mut limits {
            limit.meter.restrict(TENTHS);
        }
        (self.limits, self.contract) = (limits.into(), contract);
        self.unresolved.iter_mut().for_each(|call| call.costs.set(index, 0));
        follow.version += 1;
        let belief = Belief { index, resource: resource.name.clone(), limit: limit.clone(), window_told };
        follow.resources[at].believe(belief.clone(), follow.version, now);
        Some(belief)
    }
}

#[cfg(test)]
mod tests;
