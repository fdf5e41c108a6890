//! The gate of a quota that is shared with other processes: units come and go.

use std::sync::Arc;

use tidegate_core::{Allotment, Contract, Quota, Report, Time, Why};

use super::{Gate, see_the_time};
use crate::Clock;
use crate::bell::Bell;
use crate::ledger::Membership;

impl Gate {
    /// A gate without units, that rings when it needs some.
    pub(crate) fn shared(contract: &Contract, clock: Clock, bell: Arc<Bell>) -> Self {
        Self::over(Quota::shared(contract), contract, clock, Some(bell))
    }

    /// What there is to report: gives up what it holds above `targets`. Of a pause, only one that is
    /// longer than the others were `told`: else nobody could end it.
    pub(crate) fn draw_up(
        &self,
        seq: u64,
        targets: Option<&[u64]>,
        told: Time,
        membership: &Membership,
    ) -> Report {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if seq == 1 && state.quota.head().is_none() {
            // Whoever asked for the gate will ask it for a permit: that is a demand already. There is no
            // lease yet, so it cannot be one that is granted.
            let _ = state.quota.wait(self.shared.contract.costs(), now);
        }
        let ceded = targets.map(|targets| state.quota.cede(targets, now)).unwrap_or_default();
        Report {
            seq,
            ceded,
            demand: state.quota.demand(now),
            priority: membership.priority,
            granted: state.quota.granted(),
            timeout: membership.timeout,
            paused_until: state.quota.paused(now).filter(|until| *until > told).unwrap_or(Time::ZERO),
        }
    }

    /// Takes in an answer; `resumed` if somebody has ended the pause.
    pub(crate) fn take_up(&self, allotment: &Allotment, resumed: bool) {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        if resumed {
            state.quota.resume();
        }
        if allotment.paused_until > now {
            state.quota.pause(allotment.paused_until);
        }
        state.quota.receive(&allotment.parts, now);
        state.quota.lease_until(allotment.until);
        state.serve(now);
    }

    /// Others have its units.
    pub(crate) fn forfeit(&self) {
        self.shared.lock().quota.forfeit();
    }

    /// Goes on under other amounts.
    pub(crate) fn resize(&self, contract: &Contract) {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        state.quota.resize(contract, now);
    }

    /// Goes on under other limits, without units. Calls under way belong to the quota of before; those
    /// in line stand in line again.
    pub(crate) fn replace(&self, contract: &Contract) {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        let paused = state.quota.paused(now);
        state.quota = Quota::shared(contract);
        see_the_time(&mut state.quota, contract, now);
        if let Some(until) = paused {
            state.quota.pause(until);
        }
        state.generation += 1;
        state.served.clear();
        state.head_looks_at = None;
        for (_, waker) in std::mem::take(&mut state.wakers) {
            waker.wake();
        }
    }

    /// Whether it holds less than `targets`.
    pub(crate) fn is_short_of(&self, targets: &[u64]) -> bool {
        let state = self.shared.lock();
        state.quota.shares().iter().zip(targets).any(|(share, target)| share < target)
    }

    /// Calls granted so far.
    pub(crate) fn granted(&self) -> u64 {
        self.shared.lock().quota.granted()
    }

    /// Whether its share holds calls back.
    pub(crate) fn is_held_back(&self) -> bool {
        self.shared.lock().quota.is_held_back()
    }

    /// Whether nothing is under way, nobody waits, and no pause has to be remembered.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.shared.lock();
        let now = self.shared.clock.now();
        let quota = &state.quota;
        quota.in_flight() == 0 && quota.head().is_none() && quota.paused(now).is_none()
    }

    /// Until when it grants nothing because of what was used by others before.
    pub(crate) fn held_until(&self) -> Option<Time> {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        let wait = match state.quota.head() {
            Some(_) => state.serve_until_wait(now),
            None => state.quota.wait(self.shared.contract.costs(), now),
        };
        let wait = wait?;
        wait.until.filter(|_| matches!(wait.why, Why::Limit(_)))
    }
}
