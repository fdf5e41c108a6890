//! The gate and its permits.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_core::{Decision, Grant, Outcome, Quota, Time, Wait, WaiterId};
use tokio::time::{Sleep, sleep_until};

use crate::Clock;

/// A quota that many tasks and threads share. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    quota: Quota,
    /// How to wake those in the quota's line; in the same order.
    wakers: VecDeque<(WaiterId, Waker)>,
    /// Grants of waiters that were served and have not picked them up.
    served: HashMap<WaiterId, Grant>,
    /// When the head of the line will look again by itself.
    head_looks_at: Option<Time>,
}

impl Gate {
    /// A gate before `quota`, with a clock of its own.
    pub fn new(quota: Quota) -> Self {
        Self::with_clock(quota, Clock::start())
    }

    /// A gate before `quota` that reads `clock`.
    pub fn with_clock(quota: Quota, clock: Clock) -> Self {
        let state = State { quota, wakers: VecDeque::new(), served: HashMap::new(), head_looks_at: None };
        Self { shared: Arc::new(Shared { clock, state: Mutex::new(state) }) }
    }

    /// The clock that the gate reads.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// A permit now, or what there is to wait for.
    pub fn try_acquire(&self) -> Result<Permit, Wait> {
        let mut state = self.shared.lock();
        // Read within the lock: whoever comes later also reads a later time.
        match state.quota.take(self.shared.clock.now()) {
            Decision::Grant(grant) => {
                drop(state);
                Ok(Permit { shared: Arc::clone(&self.shared), grant: Some(grant) })
            }
            Decision::Wait(wait) => Err(wait),
        }
    }

    /// What there is to wait for; `None` if [`try_acquire`](Self::try_acquire) would succeed.
    pub fn wait(&self) -> Option<Wait> {
        self.shared.lock().quota.wait(self.shared.clock.now())
    }

    /// Waits in line for a permit; first come, first served. Dropping the future leaves the line.
    pub fn acquire(&self) -> Acquire {
        Acquire { shared: Arc::clone(&self.shared), place: Place::New }
    }

    /// Grants nothing until `until`; never shortens a pause that is in force.
    pub fn pause(&self, until: Time) {
        self.shared.lock().quota.pause(until);
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

    /// What is in use now: index of the limit, units, and how long until they come back.
    pub fn used(&self) -> Vec<(usize, u64, Duration)> {
        let now = self.shared.clock.now();
        let used = self.shared.lock().quota.used(now);
        used.into_iter().map(|(limit, units, until)| (limit, units, until.since(now))).collect()
    }

    /// Takes units of a limit for as long, for calls that an earlier process made.
    pub fn charge(&self, limit: usize, units: u64, length: Duration) {
        let until = self.shared.clock.now() + length;
        self.shared.lock().quota.charge(limit, units, until);
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
        while let Some((id, decision)) = self.quota.serve(now) {
            match decision {
                Decision::Grant(grant) => {
                    self.served.insert(id, grant);
                    self.head_looks_at = None;
                    if let Some((_, waker)) = self.wakers.pop_front() {
                        waker.wake();
                    }
                }
                Decision::Wait(wait) => return wait.until,
            }
        }
        None
    }
}

/// The future of [`Gate::acquire`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Acquire {
    shared: Arc<Shared>,
    place: Place,
}

enum Place {
    New,
    InLine { id: WaiterId, timer: Option<(Time, Pin<Box<Sleep>>)> },
    Served,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        let now = this.shared.clock.now();
        if let Place::New = this.place {
            if let Decision::Grant(grant) = state.quota.take(now) {
                drop(state);
                return Poll::Ready(this.permit(grant));
            }
            let id = state.quota.join();
            state.wakers.push_back((id, cx.waker().clone()));
            this.place = Place::InLine { id, timer: None };
        }
        let Place::InLine { id, timer } = &mut this.place else {
            panic!("polled after it was ready");
        };
        let id = *id;
        let mut looks_at = None;
        if state.quota.head() == Some(id) {
            looks_at = state.serve_ready(now);
        }
        if let Some(grant) = state.served.remove(&id) {
            state.serve(now); // whoever is head now may need to be woken to set a timer
            drop(state);
            return Poll::Ready(this.permit(grant));
        }
        if let Ok(place) = state.wakers.binary_search_by_key(&id, |(id, _)| *id) {
            state.wakers[place].1.clone_from(cx.waker());
        }
        state.head_looks_at = looks_at.or(state.head_looks_at);
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
    fn permit(&mut self, grant: Grant) -> Permit {
        self.place = Place::Served;
        Permit { shared: Arc::clone(&self.shared), grant: Some(grant) }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Place::InLine { id, .. } = self.place else { return };
        let mut state = self.shared.lock();
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
        if let Some(grant) = &mut self.grant {
            state.quota.answered(grant, now);
            state.serve(now);
        }
        now
    }

    /// The call is over. Returns the time at which this was noted.
    pub fn settle(mut self, outcome: Outcome) -> Time {
        self.finish(outcome)
    }

    fn finish(&mut self, outcome: Outcome) -> Time {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if let Some(grant) = self.grant.take() {
            state.quota.settle(grant, outcome, now);
            state.serve(now);
        }
        now
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.grant.is_some() {
            self.finish(Outcome::Unknown);
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
