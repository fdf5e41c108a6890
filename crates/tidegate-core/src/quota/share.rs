//! A quota as one of several processes that share it: units come and go, and only under a lease.

use super::{Grant, Quota};
use crate::contract::{Contract, Costs, Metered};
use crate::meter::Meter;
use crate::pool::{Demand, Part};
use crate::time::Time;

/// What a share has seen since it was asked last what it would like to have.
#[derive(Debug)]
pub(super) struct Sharing {
    /// The limits that held calls back: a bit for each.
    short_of: u32,
    /// What a call would have taken that was held back.
    refused: Costs,
    /// By then.
    granted: u64,
    in_use: Vec<u64>,
}

impl Quota {
    /// A quota that starts without units and without a lease: both come from a
    /// [`Pool`](crate::Pool).
    ///
    /// Under a calendar, [`observe`](Self::observe) the wall clock right away: that of the contract is
    /// as of [`Time::ZERO`], and its drift since then widens the edges of days.
    pub fn shared(contract: &Contract) -> Self {
        let mut quota = Self::new(contract);
        let in_use = vec![0; quota.limits.len()];
        quota.sharing =
            Some(Box::new(Sharing { short_of: 0, refused: Costs::default(), granted: 0, in_use }));
        quota.give_up_all();
        quota
    }

    /// Takes in units, by limit.
    pub fn receive(&mut self, parts: &[Part], now: Time) {
        let now = self.advance(now);
        for (limit, part) in self.limits.iter_mut().zip(parts).filter(|(_, part)| !part.is_empty()) {
            limit.meter.receive(part, now);
            limit.respread(now);
        }
    }

    /// Gives away what it holds above `targets`, by limit, as far as it is not in flight; a fair mix of
    /// what is free and of what comes back later.
    #[must_use = "these units are gone"]
    pub fn cede(&mut self, targets: &[u64], now: Time) -> Vec<Part> {
        let now = self.advance(now);
        let cede = |(limit, target): (&mut Metered, &u64)| {
            let part = limit.meter.cede(limit.meter.share().saturating_sub(*target), now);
            if !part.is_empty() {
                limit.respread(now);
            }
            part
        };
        self.limits.iter_mut().zip(targets).map(cede).collect()
    }

    /// What it would like to hold, by limit, from what has happened since this was asked last: all
    /// there is of a limit that has held a call back, else a little more than was in use. Nothing if
    /// nothing happens.
    pub fn demand(&mut self, now: Time) -> Vec<Demand> {
        let now = self.advance(now);
        let waiting = self.line.front().map(|(_, costs)| *costs);
        if let Some(costs) = &waiting {
            // Whoever waits in line does not ask again and again.
            let _ = self.obstacle(costs, now);
        }
        let Some(sharing) = &mut self.sharing else { return Vec::new() };
        let granted_any = std::mem::replace(&mut sharing.granted, self.granted) < self.granted;
        let needs = waiting.unwrap_or(sharing.refused);
        let short_of = std::mem::take(&mut sharing.short_of);
        sharing.refused = Costs::default();
        let limits = self.limits.iter().zip(needs.all()).zip(&mut sharing.in_use).enumerate();
        let demand = |(i, ((limit, need), before)): (usize, ((&Metered, u64), &mut u64))| {
            let in_use = in_use(&limit.meter, now);
            let most = in_use.max(std::mem::replace(before, in_use));
            let units = if short_of & (1 << i) != 0 {
                u64::MAX
            } else if most == 0 && need == 0 && !granted_any {
                0
            } else {
                most.saturating_add(most / 8 + 1).saturating_add(need)
            };
            Demand { units, need }
        };
        limits.map(demand).collect()
    }

    /// Whether a share or its pacing has held a call back since [`demand`](Self::demand) was asked last:
    /// then an exchange soon is worth it.
    pub fn is_held_back(&self) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.short_of != 0)
    }

    /// Units that it holds, by limit.
    pub fn shares(&self) -> Vec<u64> {
        self.limits.iter().map(|limit| limit.meter.share()).collect()
    }

    /// Calls granted so far.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Grants nothing at or after `until`.
    pub fn lease_until(&mut self, until: Time) {
        self.lease = until;
    }

    /// The end of the lease; the end of time for a quota that is not shared.
    pub fn leased_until(&self) -> Time {
        self.lease
    }

    /// Others have this quota's units: it holds none from here on, has no lease, and what its calls in
    /// flight have taken never comes back to it.
    pub fn forfeit(&mut self) {
        self.give_up_all();
        // Not even when it is known what became of them. Whether the provider has stalled is known still.
        self.unresolved.iter_mut().for_each(|call| call.costs = Costs::default());
        self.generation = self.generation.wrapping_add(1);
    }

    /// Goes on under `contract`, which has the [same shape](Contract::same_shape) and other amounts;
    /// before it receives anything that was given under it.
    pub fn resize(&mut self, contract: &Contract, now: Time) {
        let now = self.advance(now);
        self.contract = contract.clone();
        for (limit, new) in self.limits.iter_mut().zip(contract.metered()) {
            limit.whole = new.whole;
            limit.meter.resize(&new.meter, now);
            limit.respread(now);
        }
    }

    /// A call that was granted before all units were forfeit has taken nothing of these.
    #[inline]
    pub(super) fn lapse(&self, grant: &mut Grant) -> bool {
        let lapsed = grant.generation != self.generation;
        if lapsed {
            grant.costs = Costs::default();
        }
        lapsed
    }

    fn give_up_all(&mut self) {
        self.lease = Time::ZERO;
        for limit in &mut self.limits {
            limit.meter.forfeit();
            (limit.watch, limit.left) = (None, 0);
        }
    }
}

impl Sharing {
    /// A call of such costs has to wait for these limits.
    pub(super) fn held_back(&mut self, costs: &Costs, limits: u32) {
        self.short_of |= limits;
        self.refused = *costs;
    }
}

fn in_use(meter: &Meter, now: Time) -> u64 {
    // At the edge of a calendar's period the same units are charged to both.
    let units = meter.used(now).iter().fold(0u64, |sum, (units, _)| sum.saturating_add(*units));
    units.min(meter.share())
}
