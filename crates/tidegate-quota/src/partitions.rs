//! Many quotas under one contract: one for each tenant, shop or key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::{Contract, Time};

use crate::{Clock, Gate};

/// Sweeping is not worth it for fewer.
const FEW: usize = 64;

/// Independent quotas under one contract, by name. Clones share them.
///
/// A quota that has been idle for so long that a new one would be the same is forgotten, and only
/// then: memory grows with the partitions in use, not with those ever seen.
#[derive(Debug, Clone)]
pub struct Partitions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    contract: Contract,
    clock: Clock,
    gates: Mutex<Gates>,
}

#[derive(Debug)]
struct Gates {
    by_name: HashMap<Box<str>, Gate>,
    /// So many are looked through for idle ones.
    sweep_at: usize,
    /// What an earlier process sent may count until then, in any of them.
    held_until: Time,
}

impl Partitions {
    /// Quotas under `contract`, by `clock`.
    pub fn new(contract: Contract, clock: Clock) -> Self {
        let gates = Gates { by_name: HashMap::new(), sweep_at: FEW, held_until: Time::ZERO };
        Self { shared: Arc::new(Shared { contract, clock, gates: Mutex::new(gates) }) }
    }

    /// The contract that each of them keeps.
    pub fn contract(&self) -> &Contract {
        &self.shared.contract
    }

    /// The clock that they read.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// The gate of the partition with this name.
    pub fn gate(&self, name: &str) -> Gate {
        let mut gates = self.lock();
        if let Some(gate) = gates.by_name.get(name) {
            return gate.clone();
        }
        if gates.by_name.len() >= gates.sweep_at {
            // Whoever holds a clone may be about to use it.
            gates.by_name.retain(|_, gate| gate.is_shared() || !gate.is_idle());
            gates.sweep_at = (gates.by_name.len() * 2).max(FEW);
        }
        let gate = Gate::new(&self.shared.contract, self.shared.clock);
        if gates.held_until > self.shared.clock.now() {
            gate.pause(gates.held_until);
        }
        gates.by_name.insert(name.into(), gate.clone());
        gate
    }

    /// Lets none of them grant anything for that long: what was sent before is not known.
    pub fn hold(&self, length: Duration) {
        let until = self.shared.clock.now() + length;
        let mut gates = self.lock();
        gates.held_until = gates.held_until.max(until);
        gates.by_name.values().for_each(|gate| gate.pause(until));
    }

    /// The silence from now on after which nothing can be in use any more, after `quiet` without a
    /// call.
    pub fn silence(&self, quiet: Duration) -> Duration {
        Gate::new(&self.shared.contract, self.shared.clock).silence(quiet)
    }

    /// All that are remembered, by name.
    pub fn all(&self) -> Vec<(Box<str>, Gate)> {
        self.lock().by_name.iter().map(|(name, gate)| (name.clone(), gate.clone())).collect()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Gates> {
        self.shared.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::{Limit, Outcome, Pacing, Terms};
    use tokio::time::advance;

    use super::*;

    fn partitions(limit: &str) -> Partitions {
        let limits = [limit.parse::<Limit>().unwrap()];
        Partitions::new(Contract::new(&limits, Pacing::Burst, Terms::default()).unwrap(), Clock::start())
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_has_a_quota_of_its_own() {
        let shops = partitions("1/s");
        let first = shops.gate("a").try_acquire().unwrap();
        assert!(shops.gate("a").try_acquire().is_err());
        shops.gate("b").try_acquire().unwrap().settle(Outcome::Answered);
        first.settle(Outcome::Answered);
        assert!(shops.gate("a").try_acquire().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_idle_is_forgotten() {
        let shops = partitions("1/s");
        let in_flight = shops.gate("in flight").try_acquire().unwrap();
        let kept = shops.gate("kept by somebody");
        for i in 0..1_000 {
            shops.gate(&i.to_string()).try_acquire().unwrap().settle(Outcome::Answered);
            if i % 100 == 99 {
                advance(Duration::from_millis(1_100)).await;
            }
        }
        assert!(shops.len() < 300, "{}", shops.len());
        assert!(shops.gate("999").try_acquire().is_ok());
        assert!(shops.gate("in flight").try_acquire().is_err());
        in_flight.settle(Outcome::Answered);
        kept.try_acquire().unwrap().settle(Outcome::Answered);
        assert!(shops.gate("kept by somebody").try_acquire().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_reaches_those_that_come_later() {
        let shops = partitions("1/s");
        let before = shops.gate("a");
        shops.hold(Duration::from_secs(5));
        assert!(before.try_acquire().is_err() && shops.gate("b").try_acquire().is_err());
        advance(Duration::from_secs(5)).await;
        assert!(before.try_acquire().is_ok() && shops.gate("b").try_acquire().is_ok());
    }
}
