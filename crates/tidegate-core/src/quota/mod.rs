//! `Quota`: the limits that the same calls count against, taken all at once or not at all.

mod decision;
mod doubt;
mod follow;
mod share;
mod stall;
mod watch;

use std::collections::VecDeque;
use std::time::Duration;

use self::doubt::Doubt;
use self::follow::Follow;
use self::share::Sharing;
use self::stall::{Stall, Unresolved};
use crate::contract::{Contract, Costs, Metered, Pacing};
use crate::meter::{Meter, Readiness, Taken, WallClock};
use crate::time::Time;

pub use self::decision::{Decision, Grant, Outcome, Wait, WaiterId, Why};
pub use self::doubt::Incident;
pub use self::follow::{Belief, Heard};
pub(crate) use self::watch::Watch;
pub use self::watch::{Others, Told};

/// What has gathered in a pause is spread over this time at least.
const LEAST_RAMP: Duration = Duration::from_secs(1);

/// A set of limits that the same calls count against, with pauses and a line of waiters.
///
/// *Inputs*: [`take`](Self::take), or [`join`](Self::join) and [`serve`](Self::serve) to wait in
/// line; [`answered`](Self::answered) and [`settle`](Self::settle) for what became of a call;
/// [`rejected`](Self::rejected), [`pause`](Self::pause), [`resume`](Self::resume) and
/// [`observe`](Self::observe) for what the provider said.
/// *Outputs*: a [`Decision`] from each request; [`Incident`]s.
#[derive(Debug)]
pub struct Quota {
    contract: Contract,
    limits: Box<[Metered]>,
    paused_until: Time,
    /// Until then sends are spread evenly, whatever the pacing: after a pause all that wait would
    /// go at once.
    even_until: Time,
    /// The latest time seen. An earlier `now` would hand out units before they are back.
    now: Time,
    line: VecDeque<(WaiterId, Costs)>,
    next_waiter: u64,
    in_flight: u64,
    /// The grant of the call sent last of those that were answered.
    latest_answered: Option<Time>,
    unresolved: VecDeque<Unresolved>,
    /// Answers so far, and time-outs since the last of them.
    answers: u64,
    unanswered: u64,
    stall: Option<Stall>,
    doubt: Doubt,
    /// What is learnt of limits that nobody has declared.
    follow: Option<Box<Follow>>,
    /// When what is left to others changes by itself.
    others_change_at: Option<Time>,
    granted: u64,
    /// Nothing is granted from here on: the end of time, unless the quota is shared.
    lease: Time,
    /// How often all units were forfeit. Calls of before have taken nothing of what is here.
    generation: u32,
    sharing: Option<Box<Sharing>>,
}

impl Quota {
    /// A quota under `contract`, taken as idle so far.
    pub fn new(contract: &Contract) -> Self {
        Self {
            contract: contract.clone(),
            limits: contract.meters(),
            paused_until: Time::ZERO,
            even_until: Time::ZERO,
            now: Time::ZERO,
            line: VecDeque::new(),
            next_waiter: 0,
            in_flight: 0,
            latest_answered: None,
            unresolved: VecDeque::new(),
            answers: 0,
            unanswered: 0,
            stall: None,
            doubt: Doubt::default(),
            follow: contract.is_learning().then(|| Box::new(Follow::new(contract))),
            others_change_at: None,
            granted: 0,
            lease: Time::MAX,
            generation: 0,
            sharing: None,
        }
    }

    /// What each call costs by the declarations.
    pub fn costs(&self) -> &Costs {
        self.contract.costs()
    }

    /// Asks to send a call of such costs now, unless others wait in line.
    ///
    /// Costs must be such that [`Contract::admit`] accepts them: others are never granted.
    #[inline]
    pub fn take(&mut self, costs: &Costs, now: Time) -> Decision {
        if self.line.is_empty() {
            self.decide(costs, now)
        } else {
            Decision::Wait(Wait { until: None, why: Why::Line })
        }
    }

    /// What a call would have to wait for now; `None` if [`take`](Self::take) would grant.
    pub fn wait(&mut self, costs: &Costs, now: Time) -> Option<Wait> {
        if !self.line.is_empty() {
            return Some(Wait { until: None, why: Why::Line });
        }
        let now = self.advance(now);
        self.obstacle(costs, now)
    }

    /// Joins the end of the line.
    pub fn join(&mut self, costs: Costs) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.line.push_back((id, costs));
        id
    }

    /// Leaves the line before being served; nothing happens if `id` is not in it.
    pub fn leave(&mut self, id: WaiterId) {
        // The line is sorted by id: who leaves is found without a walk.
        if let Ok(place) = self.line.binary_search_by_key(&id, |(id, _)| *id) {
            self.line.remove(place);
        }
    }

    /// The head of the line.
    pub fn head(&self) -> Option<WaiterId> {
        self.line.front().map(|(id, _)| *id)
    }

    /// Serves the head of the line: its grant, or what it waits for. `None` if the line is empty.
    ///
    /// What is released stays with the head, so nobody who asks for little can overtake it.
    #[inline]
    pub fn serve(&mut self, now: Time) -> Option<(WaiterId, Decision)> {
        let (head, costs) = self.line.front().copied()?;
        let decision = self.decide(&costs, now);
        if matches!(decision, Decision::Grant(_)) {
            self.line.pop_front();
        }
        Some((head, decision))
    }

    /// The response head of the granted call arrived at `now`: it was admitted, or rejected, no
    /// later than that. Limits on requests count the call as over.
    #[inline]
    pub fn answered(&mut self, grant: &mut Grant, now: Time) {
        if grant.answered {
            return;
        }
        let now = self.advance(now);
        self.lapse(grant);
        self.head_came(grant, now);
        let costs = self.charged(grant);
        for (limit, taken) in at_work(&mut self.limits, &costs, grant.at) {
            if limit.ends_with_head {
                limit.answered(taken, now);
            }
        }
    }

    /// The granted call is over at `now`, and has cost what was reserved for it.
    #[inline]
    pub fn settle(&mut self, grant: Grant, outcome: Outcome, now: Time) {
        self.finish(grant, outcome, None, now);
    }

    /// The granted call is over at `now`, and has cost `actual`.
    ///
    /// More than was reserved is a debt that is paid before anything else is granted. Less comes
    /// back at once where the provider is declared to refund it, else like the rest.
    pub fn settle_costing(&mut self, grant: Grant, outcome: Outcome, actual: &Costs, now: Time) {
        self.finish(grant, outcome, Some(actual), now);
    }

    #[inline]
    fn finish(&mut self, mut grant: Grant, outcome: Outcome, actual: Option<&Costs>, now: Time) {
        let now = self.advance(now);
        let actual = if self.lapse(&mut grant) { None } else { actual };
        self.in_flight -= 1;
        let head_was_settled = grant.answered;
        if !grant.answered && outcome != Outcome::Answered {
            self.follow_over();
        }
        match outcome {
            Outcome::Answered if !grant.answered => self.head_came(&mut grant, now),
            Outcome::TimedOut if !grant.answered => return self.give_up(&grant, now),
            Outcome::NotSent | Outcome::Unknown if grant.probe && !grant.answered => self.probe_failed(now),
            _ => {}
        }
        // With a head in hand something was sent, whatever is claimed.
        let not_sent = outcome == Outcome::NotSent && !head_was_settled;
        let costs = self.charged(&grant);
        for (i, (limit, taken)) in at_work(&mut self.limits, &costs, grant.at).enumerate() {
            if head_was_settled && limit.ends_with_head {
                continue;
            }
            match actual {
                _ if not_sent => limit.correct(taken, 0, now),
                None => limit.answered(taken, now),
                Some(actual) if limit.refunds => limit.correct(taken, actual.of(i), now),
                Some(actual) => limit.correct(taken, actual.of(i).max(taken.cost), now),
            }
        }
    }

    /// The provider has answered a call.
    #[inline]
    fn head_came(&mut self, grant: &mut Grant, now: Time) {
        grant.answered = true;
        self.answers += 1;
        self.unanswered = 0;
        self.latest_answered = self.latest_answered.max(Some(grant.at));
        self.follow_over();
        if grant.probe {
            self.end_stall(now);
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

    /// Whether nothing is in use, under way or awaited: a new quota in its place would be the same.
    pub fn is_idle(&mut self, now: Time) -> bool {
        self.advance(now);
        self.in_flight == 0
            && self.line.is_empty()
            && self.paused(now).is_none()
            && self.unresolved.is_empty() // and with them what a stall is about
            && !self.doubt.exists()
            && self.follow.as_ref().is_none_or(|follow| follow.is_idle(now))
            && self.used(now).is_empty()
    }

    /// Takes `units` of the limit with this index until `until`, for calls of an earlier process.
    pub fn charge(&mut self, limit: usize, units: u64, until: Time, now: Time) {
        let now = self.advance(now);
        if let Some(limit) = self.limits.get_mut(limit) {
            limit.meter.charge(units, until, now);
            if let Some(watch) = &mut limit.watch {
                watch.charge(units, now);
            }
        }
    }

    /// The silence from `now` on after which nothing can be in use any more, if somebody who left no
    /// record has sent nothing for `quiet`.
    pub fn silence(&self, quiet: Duration, now: Time) -> Duration {
        self.limits.iter().map(|limit| limit.meter.silence(quiet, now)).max().unwrap_or(Duration::ZERO)
    }

    /// Grants nothing until `until`, and spreads evenly what has gathered by then. A pause is never
    /// shortened by another.
    pub fn pause(&mut self, until: Time) {
        if until <= self.now {
            return; // over: nothing has gathered
        }
        self.paused_until = self.paused_until.max(until);
        let hold = self.contract.shortest_hold().map_or(Duration::ZERO, |(_, hold)| hold);
        self.even_until = self.even_until.max(self.paused_until + hold.max(LEAST_RAMP));
    }

    /// Ends a pause.
    pub fn resume(&mut self) {
        self.paused_until = Time::ZERO;
    }

    /// The end of the pause, if `now` is within one.
    pub fn paused(&self, now: Time) -> Option<Time> {
        (self.paused_until > now).then_some(self.paused_until)
    }

    /// What an answer tells of the provider's wall clock, for limits that follow a calendar.
    pub fn observe(&mut self, wall: WallClock, now: Time) {
        let now = self.advance(now);
        for limit in &mut self.limits {
            if let Meter::Epoch(epoch) = &mut limit.meter {
                epoch.observe(wall, now);
            }
        }
    }

    #[inline]
    fn decide(&mut self, costs: &Costs, now: Time) -> Decision {
        let now = self.advance(now);
        match self.obstacle(costs, now) {
            Some(wait) => Decision::Wait(wait),
            None => self.grant(costs, now),
        }
    }

    /// What stands in the way of a call, for the longest.
    #[inline]
    fn obstacle(&mut self, costs: &Costs, now: Time) -> Option<Wait> {
        if let Some(until) = self.paused(now) {
            return Some(Wait { until: Some(until), why: Why::Paused });
        }
        if now >= self.lease {
            if let Some(sharing) = &mut self.sharing {
                sharing.held_back(
                    costs,
                    costs.all().enumerate().fold(0, |all, (i, n)| all | (u32::from(n > 0) << i)),
                );
            }
            return Some(Wait { until: None, why: Why::Lease });
        }
        let probe = self.stall.is_some();
        if let Some(wait) = self.stalled(now) {
            return Some(wait);
        }
        let even = self.is_even(now);
        let mut longest = self.learning(now).map(|readiness| (readiness, Why::Told));
        let learnt = self.follow.as_ref().map(|follow| follow.and_learnt(costs));
        let costs = learnt.as_ref().unwrap_or(costs);
        let mut short_of = 0;
        for (i, (limit, cost)) in self.limits.iter_mut().zip(costs.all()).enumerate() {
            let mut stands = |readiness: Readiness, why: Why| {
                short_of |= 1 << i;
                if longest.is_none_or(|(other, _)| readiness > other) {
                    longest = Some((readiness, why));
                }
            };
            match limit.meter.readiness(cost, now, probe) {
                Readiness::Ready => {}
                _ if cost > limit.meter.share() => stands(Readiness::OnAnswer, Why::Share(i)),
                later => stands(later, Why::Limit(i)),
            }
            if let Some(watch) = &limit.watch
                && watch.not_before() > now
            {
                stands(Readiness::At(watch.not_before()), Why::Others(i));
            }
            if let Some(spread) = limit.spread.as_ref().filter(|_| even) {
                match spread.readiness(now) {
                    Readiness::Ready => {}
                    later => stands(later, Why::Pacing(i)),
                }
            }
        }
        let (readiness, why) = longest?;
        if let Some(sharing) = &mut self.sharing {
            sharing.held_back(costs, short_of);
        }
        let by_itself = self.changes_by_itself();
        let until = match readiness {
            Readiness::At(until) => Some(by_itself.map_or(until, |change| change.min(until))),
            _ => by_itself,
        };
        Some(Wait { until, why })
    }

    /// Whether sends are spread evenly now.
    #[inline]
    fn is_even(&self, now: Time) -> bool {
        self.contract.pacing() == Pacing::Even || now < self.even_until
    }

    /// When something changes even if no answer comes: calls that were given up are resolved, or
    /// units come back that were withheld.
    fn changes_by_itself(&self) -> Option<Time> {
        [self.resolves_at(), self.doubt.eases_at(), self.others_change_at].into_iter().flatten().min()
    }

    #[inline]
    fn grant(&mut self, costs: &Costs, now: Time) -> Decision {
        let even = self.is_even(now);
        let learnt = self.follow.as_ref().map(|follow| follow.and_learnt(costs));
        for (limit, cost) in self.limits.iter_mut().zip(learnt.as_ref().unwrap_or(costs).all()) {
            limit.meter.take(cost, now);
            if let Some(watch) = &mut limit.watch {
                watch.grant(cost, now);
            }
            if let Some(spread) = limit.spread.as_mut().filter(|_| even) {
                spread.take(cost, now);
            }
        }
        self.in_flight += 1;
        self.granted += 1;
        let probe = self.stall.is_some();
        self.probe_sent();
        let followed = self.follow.as_mut().map(|follow| follow.grant(now)).unwrap_or_default();
        let generation = self.generation;
        Decision::Grant(Grant { at: now, answered: false, probe, generation, costs: *costs, followed })
    }

    #[inline]
    fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        if self.doubt.exists() {
            self.ease(self.now);
        }
        if !self.unresolved.is_empty() {
            self.resolve(self.now);
        }
        if self.others_change_at.is_some_and(|at| at <= self.now) {
            self.take_again(self.now);
        }
        self.now
    }
}

/// Each limit at work, with what a call took from it.
#[inline]
fn at_work<'a>(
    limits: &'a mut [Metered],
    costs: &'a Costs,
    at: Time,
) -> impl Iterator<Item = (&'a mut Metered, Taken)> {
    limits.iter_mut().zip(costs.all()).map(move |(limit, cost)| (limit, Taken { cost, at }))
}

#[cfg(test)]
mod tests;
