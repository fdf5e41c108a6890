//! Many quotas under one contract: one for each tenant, shop or key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidegate_core::{Contract, LEASE, MemberId, Time};
use tokio::sync::Notify;

use crate::bell::Bell;
use crate::ledger::{Ledger, Membership, lock};
use crate::store::{Held, Store, StoreError};
use crate::{Clock, Gate};

/// Sweeping is not worth it for fewer.
const FEW: usize = 64;

/// Independent quotas under one contract, by name. Clones share them.
///
/// Those of [`new`](Self::new) are this process's own. Those of [`shared`](Self::shared) are one quota
/// with all processes that use a store: each holds a share of it, and spends that by itself.
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
    gates: Arc<Mutex<Gates>>,
    backing: Option<Backing>,
}

/// What makes the quotas those of many processes.
#[derive(Debug)]
struct Backing {
    ledger: Ledger,
    bell: Arc<Bell>,
}

#[derive(Debug)]
pub(crate) struct Gates {
    by_name: HashMap<Box<str>, Gate>,
    /// So many are looked through for idle ones.
    sweep_at: usize,
    /// What an earlier process sent may count until then, in any of them.
    held_until: Time,
    /// As of now; limits of a store can be changed.
    contract: Contract,
    /// Those that the ledger does not know yet.
    newcomers: Vec<Box<str>>,
    /// Nothing is granted any more.
    closed: bool,
}

impl Partitions {
    /// Quotas under `contract`, by `clock`, for this process alone.
    pub fn new(contract: Contract, clock: Clock) -> Self {
        let gates = Arc::new(Mutex::new(Gates::new(contract.clone())));
        Self { shared: Arc::new(Shared { contract, clock, gates, backing: None }) }
    }

    /// The quota of a store, shared with all others that use it.
    ///
    /// A thread exchanges with the store a few times a second, and never does a caller wait for that.
    /// It ends when the last clone is dropped, or at [`close`](Self::close).
    ///
    /// # Errors
    /// If the quota is defined otherwise there, or the store cannot be used.
    pub fn shared(
        contract: &Contract,
        store: Box<dyn Store>,
        membership: Membership,
    ) -> Result<Self, StoreError> {
        let (clock, bell) = (store.machine().clock(), Arc::new(Bell::default()));
        let gates = Arc::new(Mutex::new(Gates::new(contract.clone())));
        let (ledger, contract) =
            Ledger::open(contract, store, membership, Arc::clone(&bell), Arc::clone(&gates))?;
        let backing = Some(Backing { ledger, bell });
        Ok(Self { shared: Arc::new(Shared { contract, clock, gates, backing }) })
    }

    /// The contract that each of them keeps; for one that is shared, as it was at the start.
    pub fn contract(&self) -> &Contract {
        &self.shared.contract
    }

    /// The contract as it is now: somebody may have [changed](crate::store::Admin::set) it. Limits are
    /// as many and count the same as those of [`contract`](Self::contract).
    pub fn contract_now(&self) -> Contract {
        self.lock().contract.clone()
    }

    /// The clock that they read.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// The gate of the partition with this name.
    ///
    /// A new one of a shared quota has no units at first: [`changed`](Self::changed) says when they have
    /// come, within some milliseconds.
    pub fn gate(&self, name: &str) -> Gate {
        let mut gates = self.lock();
        if let Some(gate) = gates.by_name.get(name) {
            return gate.clone();
        }
        let gate = match &self.shared.backing {
            None => {
                gates.sweep();
                Gate::new(&gates.contract, self.shared.clock)
            }
            Some(backing) => {
                let gate = Gate::shared(&gates.contract, self.shared.clock, Arc::clone(&backing.bell));
                if gates.closed {
                    gate.forfeit();
                } else {
                    gates.newcomers.push(name.into());
                    backing.bell.ring();
                }
                gate
            }
        };
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

    /// Whether other processes use them as well.
    pub fn is_shared(&self) -> bool {
        self.shared.backing.is_some()
    }

    /// Notified when a shared quota may grant what it did not grant before: units have come, or a
    /// pause was ended. Whoever waits in [`acquire`](Gate::acquire) is served without it.
    pub fn changed(&self) -> Option<Arc<Notify>> {
        self.ledger().map(|ledger| Arc::clone(ledger.changed()))
    }

    /// What is wrong with the store, or with the quota in it, in words; what was leased is spent
    /// meanwhile, and then nothing is granted.
    pub fn trouble(&self) -> Option<String> {
        let (status, now) = (self.ledger()?.status(), self.shared.clock.now());
        // No silent wait: not even if that which should say something has come to an end.
        let silent = || {
            (status.heard + LEASE <= now).then(|| {
                format!("nothing was heard of the quota's store for {:.1?}", now.since(status.heard))
            })
        };
        status.ended.clone().or_else(|| status.trouble.clone()).or_else(silent)
    }

    /// Why nothing will ever be granted again: the quota was changed so that calls would cost something
    /// else, or this process has left it.
    pub fn ended(&self) -> Option<String> {
        self.ledger()?.status().ended.clone()
    }

    /// Why a shared quota grants nothing at the start, and until when; `None` when that is over.
    pub fn held(&self) -> Option<Held> {
        let held = self.ledger()?.status().held;
        held.filter(|held| held.until > self.shared.clock.now())
    }

    /// This process, as it is called in the store. It changes if the process was taken for dead.
    pub fn member_id(&self) -> Option<MemberId> {
        self.ledger()?.status().member
    }

    /// The time by which all calls of a former member of the store were counted; `None` if it lives,
    /// or nobody remembers it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn died_by(&self, member: MemberId) -> Result<Option<Time>, StoreError> {
        self.ledger().map_or(Ok(None), |ledger| ledger.died_by(member))
    }

    /// Leaves a shared quota: hands back all that no call under way uses. Nothing is granted from here
    /// on. Dropping the last clone does the same, without a word about what went wrong.
    ///
    /// # Errors
    /// If the store cannot be used: then the others have the units when those can no longer be in use.
    pub fn close(&self) -> Result<(), StoreError> {
        let Some(ledger) = self.ledger() else { return Ok(()) };
        self.lock().closed = true;
        ledger.close()
    }

    /// Says nothing more to the store, and hands nothing back: what this process had in use is held as
    /// if it had been killed now. For a process that can keep no account any more of what it does.
    pub fn abandon(&self) {
        if let Some(ledger) = self.ledger() {
            ledger.abandon();
        }
    }

    fn ledger(&self) -> Option<&Ledger> {
        self.shared.backing.as_ref().map(|backing| &backing.ledger)
    }

    fn lock(&self) -> MutexGuard<'_, Gates> {
        lock(&self.shared.gates)
    }
}

impl Gates {
    fn new(contract: Contract) -> Self {
        Self {
            by_name: HashMap::new(),
            sweep_at: FEW,
            held_until: Time::ZERO,
            contract,
            newcomers: Vec::new(),
            closed: false,
        }
    }

    fn sweep(&mut self) {
        if self.by_name.len() >= self.sweep_at {
            // Whoever holds a clone may be about to use it.
            self.by_name.retain(|_, gate| gate.is_shared() || !gate.is_idle());
            self.sweep_at = (self.by_name.len() * 2).max(FEW);
        }
    }

    /// Those that were asked for since this was asked last.
    pub(crate) fn newcomers(&mut self) -> Vec<(Box<str>, Gate)> {
        let names = std::mem::take(&mut self.newcomers);
        names
            .into_iter()
            .filter_map(|name| self.by_name.get(&name).cloned().map(|gate| (name, gate)))
            .collect()
    }

    /// Whether nobody would miss the gate. The ledger has one of its clones.
    pub(crate) fn may_forget(&self, name: &str) -> bool {
        self.by_name.get(name).is_none_or(|gate| gate.clones() <= 2 && gate.is_unused())
    }

    /// Forgets it, if that is still so.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        let may = self.may_forget(name);
        if may {
            self.by_name.remove(name);
        }
        may
    }

    /// Other amounts of the same limits.
    pub(crate) fn resize(&mut self, contract: &Contract) {
        self.by_name.values().for_each(|gate| gate.resize(contract));
        self.contract = contract.clone();
    }

    /// Other limits.
    pub(crate) fn replace(&mut self, contract: &Contract) {
        self.by_name.values().for_each(|gate| gate.replace(contract));
        self.contract = contract.clone();
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::{Limit, Outcome, Pacing, Terms};
    use tokio::time::advance;

    use super::*;

    fn partitions(limit: &str) -> Partitions {
        let limits = [limit.parse::<Limit>().unwrap()];
        Partitions::new(Contract::new(&limits, Pacing::Burst, Terms::default()).unwrap(), Clock::simulated())
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
