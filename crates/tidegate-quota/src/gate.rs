//! The gate and its permits.

mod share;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_core::feedback::Reading;
use tidegate_core::{
    Contract, Costs, Decision, Grant, Heard, Incident, Others, Outcome, Quota, Time, Told, Wait, WaiterId,
    WallClock, Why,
};
use tokio::time::{Sleep, sleep_until};

use crate::Clock;
use crate::bell::Bell;

/// A quota that many tasks and threads share. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    contract: Contract,
    /// Of whoever shares the quota with other processes.
    bell: Option<Arc<Bell>>,
    state: Mutex<State>,
}

struct State {
    quota: Quota,
    /// Rises when the quota is replaced by one of other limits: permits of the one before mean nothing
    /// to it.
    generation: u32,
    /// How to wake those in the quota's line; in the same order.
    wakers: VecDeque<(WaiterId, Waker)>,
    /// Grants of waiters that were served and have not picked them up.
    served: HashMap<WaiterId, Grant>,
    /// When the head of the line will look again by itself.
    head_looks_at: Option<Time>,
}

impl Gate {
    /// A gate that keeps `contract` by `clock`.
    pub fn new(contract: &Contract, clock: Clock) -> Self {
        Self::over(Quota::new(contract), contract, clock, None)
    }

    fn over(mut quota: Quota, contract: &Contract, clock: Clock, bell: Option<Arc<Bell>>) -> Self {
        see_the_time(&mut quota, contract, clock.now());
        let state = State {
            quota,
            generation: 0,
            wakers: VecDeque::new(),
            served: HashMap::new(),
            head_looks_at: None,
        };
        let contract = contract.clone();
        Self { shared: Arc::new(Shared { clock, contract, bell, state: Mutex::new(state) }) }
    }

    /// The clock that the gate reads.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// What each call costs by the contract; 0 of those limits of which that differs.
    pub fn costs(&self) -> &Costs {
        self.shared.contract.costs()
    }

    /// A permit now, or what there is to wait for.
    pub fn try_acquire(&self) -> Result<Permit, Wait> {
        self.try_acquire_costing(self.shared.contract.costs())
    }

    /// A permit for a call of such costs now, or what there is to wait for.
    ///
    /// Costs must be such that [`Contract::admit`] accepts them: others are never granted.
    pub fn try_acquire_costing(&self, costs: &Costs) -> Result<Permit, Wait> {
        let mut state = self.shared.lock();
        // Read within the lock: whoever comes later also reads a later time.
        match state.quota.take(costs, self.shared.clock.now()) {
            Decision::Grant(grant) => {
                let generation = state.generation;
                drop(state);
                Ok(Permit { shared: Arc::clone(&self.shared), grant: Some(grant), generation })
            }
            Decision::Wait(wait) => {
                drop(state);
                self.shared.ring_for(&wait);
                Err(wait)
            }
        }
    }

    /// What a call of such costs would have to wait for now; `None` if
    /// [`try_acquire_costing`](Self::try_acquire_costing) would succeed.
    pub fn wait(&self, costs: &Costs) -> Option<Wait> {
        self.shared.lock().quota.wait(costs, self.shared.clock.now())
    }

    /// Waits in line for a permit; first come, first served. Dropping the future leaves the line.
    pub fn acquire(&self) -> Acquire {
        self.acquire_costing(*self.shared.contract.costs())
    }

    /// The same for a call of such costs; others than [`Contract::admit`] accepts wait for ever.
    pub fn acquire_costing(&self, costs: Costs) -> Acquire {
        Acquire { shared: Arc::clone(&self.shared), costs, place: Place::New }
    }

    /// Grants nothing until `until`; never shortens a pause that is in force.
    ///
    /// Where the quota is shared, all others have it within half a second.
    pub fn pause(&self, until: Time) {
        self.shared.lock().quota.pause(until);
        self.shared.ring();
    }

    /// Ends a pause.
    pub fn resume(&self) {
        let mut state = self.shared.lock();
        state.quota.resume();
        state.serve(self.shared.clock.now());
    }

    /// The end of the pause in force.
    pub fn paused(&self) -> Option<Time> {
        self.shared.lock().quota.paused(self.shared.clock.now())
    }

    /// Whether the provider is taken to have stalled.
    pub fn is_stalled(&self) -> bool {
        self.shared.lock().quota.is_stalled()
    }

    /// Whether there are clones of it, or permits of it are out.
    pub(crate) fn is_shared(&self) -> bool {
        self.clones() > 1
    }

    /// Clones of it, and permits of it that are out.
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Whether nothing is in use, under way or awaited; see [`Quota::is_idle`].
    pub fn is_idle(&self) -> bool {
        let now = self.shared.clock.now();
        self.shared.lock().quota.is_idle(now)
    }

    /// The silence from now on after which nothing can be in use any more, after `quiet` without a
    /// call; see [`Quota::silence`].
    pub fn silence(&self, quiet: Duration) -> Duration {
        let now = self.shared.clock.now();
        self.shared.lock().quota.silence(quiet, now)
    }

    /// What is in use now: index of the limit, units, and how long until they come back.
    pub fn used(&self) -> Vec<(usize, u64, Duration)> {
        let now = self.shared.clock.now();
        let used = self.shared.lock().quota.used(now);
        used.into_iter().map(|(limit, units, until)| (limit, units, until.since(now))).collect()
    }

    /// Takes units of a limit for as long, for calls that an earlier process made.
    pub fn charge(&self, limit: usize, units: u64, length: Duration) {
        if length.is_zero() {
            return;
        }
        let until = self.shared.clock.now() + length;
        let now = self.shared.clock.now();
        self.shared.lock().quota.charge(limit, units, until, now);
    }

    /// Permits that are out.
    pub fn in_flight(&self) -> u64 {
        self.shared.lock().quota.in_flight()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The quota's own arithmetic is the only code that runs under the lock; a panic there is
        // a defect, and going on with its half-done bookkeeping errs on the side of waiting.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an exchange with those who share the quota.
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// The same, if that is what ends the wait.
    fn ring_for(&self, wait: &Wait) {
        if matches!(wait.why, Why::Lease | Why::Share(_)) {
            self.ring();
        }
    }
}

/// The contract's wall clock is as of the clock's zero, the machine's boot. What it drifts from there
/// is not in what was read from it just now.
fn see_the_time(quota: &mut Quota, contract: &Contract, now: Time) {
    if let Some(wall) = contract.terms().wall {
        quota.observe(wall, now);
    }
}

impl State {
    /// Serves the line as far as it goes, and wakes its head if that must look earlier than it
    /// would by itself. Only the head keeps a timer: the others sleep until it is their turn.
    fn serve(&mut self, now: Time) {
        let Some(until) = self.serve_ready(now) else { return };
        if self.head_looks_at.is_none_or(|at| at > until) {
            self.head_looks_at = Some(until);
            if let Some((_, waker)) = self.wakers.front() {
                waker.wake_by_ref();
            }
        }
    }

    /// Serves the line as far as it goes; the time at which its head must look again, if that
    /// does not depend on an answer (which will come through `settle`, and so to here).
    fn serve_ready(&mut self, now: Time) -> Option<Time> {
        self.serve_until_wait(now)?.until
    }

    fn serve_until_wait(&mut self, now: Time) -> Option<Wait> {
        while let Some((id, decision)) = self.quota.serve(now) {
            match decision {
                Decision::Grant(grant) => {
                    self.served.insert(id, grant);
                    self.head_looks_at = None;
                    if let Some((_, waker)) = self.wakers.pop_front() {
                        waker.wake();
                    }
                }
                Decision::Wait(wait) => return Some(wait),
            }
        }
        None
    }
}

/// The future of [`Gate::acquire`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Acquire {
    shared: Arc<Shared>,
    costs: Costs,
    place: Place,
}

enum Place {
    New,
    InLine { id: WaiterId, generation: u32, timer: Option<(Time, Pin<Box<Sleep>>)> },
    Served,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        let now = this.shared.clock.now();
        let generation = state.generation;
        if matches!(this.place, Place::InLine { generation: joined, .. } if joined != generation) {
            this.place = Place::New; // that line is no more
        }
        if let Place::New = this.place {
            if let Decision::Grant(grant) = state.quota.take(&this.costs, now) {
                drop(state);
                return Poll::Ready(this.permit(grant, generation));
            }
            let id = state.quota.join(this.costs);
            state.wakers.push_back((id, cx.waker().clone()));
            this.place = Place::InLine { id, generation, timer: None };
        }
        let Place::InLine { id, timer, .. } = &mut this.place else {
            panic!("polled after it was ready");
        };
        let id = *id;
        let mut looks_at = None;
        if state.quota.head() == Some(id) {
            let wait = state.serve_until_wait(now);
            looks_at = wait.and_then(|wait| wait.until);
            if let Some(wait) = wait {
                this.shared.ring_for(&wait);
            }
            if state.quota.head() == Some(id) {
                state.head_looks_at = looks_at; // none as well: a time that has passed wakes nobody
            }
        }
        if let Some(grant) = state.served.remove(&id) {
            state.serve(now); // whoever is head now may need to be woken to set a timer
            drop(state);
            return Poll::Ready(this.permit(grant, generation));
        }
        if let Ok(place) = state.wakers.binary_search_by_key(&id, |(id, _)| *id) {
            state.wakers[place].1.clone_from(cx.waker());
        }
        drop(state);
        let Some(at) = looks_at else { return Poll::Pending };
        if timer.as_ref().is_none_or(|(set, _)| *set != at) {
            *timer = Some((at, Box::pin(sleep_until(this.shared.clock.instant(at)))));
        }
        if let Some((_, sleep)) = timer
            && sleep.as_mut().poll(cx).is_ready()
        {
            *timer = None;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Acquire {
    fn permit(&mut self, grant: Grant, generation: u32) -> Permit {
        self.place = Place::Served;
        Permit { shared: Arc::clone(&self.shared), grant: Some(grant), generation }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Place::InLine { id, generation, .. } = self.place else { return };
        let mut state = self.shared.lock();
        if generation != state.generation {
            return;
        }
        let now = self.shared.clock.now();
        if let Some(grant) = state.served.remove(&id) {
            state.quota.settle(grant, Outcome::NotSent, now);
        } else {
            if state.quota.head() == Some(id) {
                state.head_looks_at = None;
            }
            state.quota.leave(id);
            if let Ok(place) = state.wakers.binary_search_by_key(&id, |(id, _)| *id) {
                state.wakers.remove(place);
            }
        }
        state.serve(now);
    }
}

/// The right to send one call now.
///
/// Dropping it says that nobody knows what became of the call.
#[must_use = "dropping a permit uses it up as if its call's outcome were unknown"]
pub struct Permit {
    shared: Arc<Shared>,
    grant: Option<Grant>,
    generation: u32,
}

impl Permit {
    /// When it was granted, on the gate's clock.
    pub fn granted_at(&self) -> Time {
        self.grant.as_ref().map_or(Time::ZERO, Grant::at)
    }

    /// The response head has arrived. Returns the time at which this was noted.
    pub fn answered(&mut self) -> Time {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if let Some(grant) = &mut self.grant
            && self.generation == state.generation
        {
            state.quota.answered(grant, now);
            state.serve(now);
        }
        now
    }

    /// The call was rejected (429); `retry_after` is the silence asked for. Pauses the quota before
    /// anything comes back; see [`Quota::rejected`].
    pub fn rejected(&self, retry_after: Option<Duration>) -> Option<Incident> {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if self.generation != state.generation {
            state.quota.pause(now + retry_after.unwrap_or(Duration::ZERO));
            return None;
        }
        let incident = state.quota.rejected(self.grant.as_ref()?, retry_after, now);
        drop(state);
        self.shared.ring();
        incident
    }

    /// What the answer says is left of the limit with this index; see [`Quota::heed`].
    pub fn heed(&self, limit: usize, told: Told) -> Option<Others> {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if self.generation != state.generation {
            return None;
        }
        state.quota.heed(self.grant.as_ref()?, limit, told, now)
    }

    /// What the answer says of limits that are learnt; see [`Quota::follow`].
    pub fn follow(&self, readings: &[Reading], is_clean: bool) -> Heard {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        match &self.grant {
            Some(grant) if self.generation == state.generation => {
                state.quota.follow(grant, readings, is_clean, now)
            }
            _ => Heard::default(),
        }
    }

    /// Grants nothing for that long: the provider asked for it. Never shortens a pause in force.
    pub fn pause(&self, silence: Duration) {
        let until = self.shared.clock.now() + silence;
        self.shared.lock().quota.pause(until);
        self.shared.ring();
    }

    /// What the answer tells of the provider's wall clock; see [`Quota::observe`].
    pub fn observe(&self, wall: WallClock) {
        let now = self.shared.clock.now();
        self.shared.lock().quota.observe(wall, now);
    }

    /// What was reserved for the call.
    pub fn costs(&self) -> Costs {
        self.grant.as_ref().map_or(*self.shared.contract.costs(), |grant| *grant.costs())
    }

    /// The call is over. Returns the time at which this was noted.
    pub fn settle(mut self, outcome: Outcome) -> Time {
        self.finish(outcome, None)
    }

    /// The call is over, and has cost `actual`; see [`Quota::settle_costing`]. Returns the time at
    /// which this was noted.
    pub fn settle_costing(mut self, outcome: Outcome, actual: &Costs) -> Time {
        self.finish(outcome, Some(actual))
    }

    fn finish(&mut self, outcome: Outcome, actual: Option<&Costs>) -> Time {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if let Some(grant) = self.grant.take()
            && self.generation == state.generation
        {
            match actual {
                Some(actual) => state.quota.settle_costing(grant, outcome, actual, now),
                None => state.quota.settle(grant, outcome, now),
            }
            state.serve(now);
        }
        now
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.grant.is_some() {
            self.finish(Outcome::Unknown, None);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("granted_at", &self.granted_at()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
