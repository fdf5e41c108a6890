//! `Desk`: the exchanges of one member, one turn at a time. It knows no thread and waits for nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_core::{Contract, LEASE, MemberId, Pacing, Time};
use tokio::sync::Notify;

use super::account::Account;
use super::{Membership, lock};
use crate::Clock;
use crate::partitions::Gates;
use crate::store::{
    Answer, Definition, Exchange, Held, HeldFor, Join, Joined, Reply, Store, StoreError, Visit,
};

/// A member says that it lives at least so often.
const LIVES: Duration = Duration::from_secs(1);
/// After an exchange that failed.
const RETRY: Duration = Duration::from_millis(500);
/// A store that cannot be used for so long after all leases have ended is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is due so soon after is done with the rest.
const TOGETHER: Duration = Duration::from_millis(60);
/// A hold of former users that is shorter is not worth a word.
const WORTH_SAYING: Duration = Duration::from_secs(1);
/// Partitions in one transaction, which others wait for.
const MOST_VISITS: usize = 500;

/// What people may want to know.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) member: Option<MemberId>,
    pub(crate) held: Option<Held>,
    pub(crate) trouble: Option<String>,
    /// Nothing will be granted any more, and why.
    pub(crate) ended: Option<String>,
    /// When the store answered for the last time.
    pub(crate) heard: Time,
}

pub(super) struct Desk {
    store: Box<dyn Store>,
    membership: Membership,
    clock: Clock,
    pacing: Pacing,
    contract: Contract,
    definition: Definition,
    version: u64,
    /// `None`: it was buried, and has to join again.
    member: Option<MemberId>,
    gates: Arc<Mutex<Gates>>,
    accounts: HashMap<Box<str>, Account>,
    /// Said, and not answered yet: it is said again as it was.
    pending: Option<Vec<Visit>>,
    /// When the last exchange was tried, and when one succeeded.
    tried: Time,
    heard: Time,
    /// Since when exchanges fail.
    failing: Option<Time>,
    closed: bool,
    status: Arc<Mutex<Status>>,
    changed: Arc<Notify>,
}

impl Desk {
    pub(super) fn open(
        contract: &Contract,
        store: Box<dyn Store>,
        membership: Membership,
        gates: Arc<Mutex<Gates>>,
        status: Arc<Mutex<Status>>,
        changed: Arc<Notify>,
    ) -> Result<Self, StoreError> {
        let clock = store.machine().clock();
        let mut desk = Self {
            store,
            membership,
            clock,
            pacing: contract.pacing(),
            contract: contract.clone(),
            definition: Definition::of(contract),
            version: 0,
            member: None,
            gates,
            accounts: HashMap::new(),
            pending: None,
            tried: Time::ZERO,
            heard: clock.now(),
            failing: None,
            closed: false,
            status,
            changed,
        };
        desk.join()?;
        Ok(desk)
    }

    pub(super) fn contract(&self) -> &Contract {
        &self.contract
    }

    pub(super) fn died_by(&mut self, member: MemberId) -> Result<Option<Time>, StoreError> {
        self.store.died_by(member)
    }

    /// Does what is due at `now`; when there is something to do again. `None` when it is closed.
    pub(super) fn turn(&mut self, now: Time, rung: bool) -> Option<Time> {
        if self.closed {
            return None;
        }
        self.adopt(now);
        if rung {
            self.accounts.values_mut().for_each(|account| account.hurry(self.tried));
        }
        let due = self.due();
        if due > now {
            return Some(due);
        }
        self.tried = now;
        match self.try_turn(now) {
            Ok(()) => {
                self.failing = None;
                lock(&self.status).trouble = None;
                if self.closed { None } else { Some(self.due()) }
            }
            Err(error) if error.may_pass() && self.has_patience(now) => {
                // From when it failed, which may take a while: others may have the desk meanwhile.
                let now = self.clock.now();
                self.say_trouble(&error, now);
                Some(now + RETRY)
            }
            Err(error) => {
                self.end(error.to_string());
                None
            }
        }
    }

    /// Hands back all that is not in use, and leaves.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        let result = self.say_goodbye();
        self.forfeit();
        result
    }

    fn forfeit(&self) {
        self.accounts.values().for_each(|account| account.gate.forfeit());
        lock(&self.status).ended.get_or_insert_with(|| StoreError::Left.to_string());
        self.changed.notify_waiters();
    }

    /// Leaves without a word: the store finds this member dead, and holds what it had in use.
    pub(super) fn abandon(&mut self) {
        if !self.closed {
            self.closed = true;
            self.forfeit();
        }
    }

    fn say_goodbye(&mut self) -> Result<(), StoreError> {
        let Some(member) = self.member else { return Ok(()) };
        if let Some(pending) = self.pending.take() {
            // What that ceded is the store's only when it is answered.
            match self.exchange(member, &pending, false)? {
                Reply::Settled { answers, .. } => self.take_in(&pending, answers, self.clock.now()),
                Reply::Redefined { .. } | Reply::Unknown => return Ok(()),
            }
        }
        let membership = &self.membership;
        let joined = self.accounts.iter_mut().filter(|(_, account)| !account.is_new());
        let visits: Vec<Visit> =
            joined.map(|(partition, account)| account.report(partition, membership, true)).collect();
        self.exchange(member, &visits, true).map(drop)
    }

    fn due(&self) -> Time {
        if self.member.is_none() {
            return Time::ZERO;
        }
        if self.pending.is_some() {
            return self.tried + RETRY;
        }
        let first = self.accounts.values().map(|account| account.due).min();
        first.unwrap_or(Time::MAX).min(self.heard + LIVES)
    }

    /// Opens accounts for new gates.
    fn adopt(&mut self, now: Time) {
        for (name, gate) in lock(&self.gates).newcomers() {
            self.accounts.insert(name, Account::new(gate, self.tried, now));
        }
    }

    fn try_turn(&mut self, now: Time) -> Result<(), StoreError> {
        let Some(member) = self.member else { return self.join() };
        let visits = match self.pending.take() {
            Some(pending) => pending,
            None => self.reports(now),
        };
        match self.exchange(member, &visits, false) {
            Ok(Reply::Settled { answers, news }) => {
                let now = self.clock.now();
                if let Some((version, definition)) = news {
                    self.version = version;
                    if !self.follow(definition, Gates::resize)? {
                        return Ok(());
                    }
                }
                self.take_in(&visits, answers, now);
                self.hear(now);
                Ok(())
            }
            Ok(Reply::Redefined { definition, version }) => {
                self.version = version;
                self.follow(definition, Gates::replace)?;
                self.accounts.values_mut().for_each(|account| account.restart(now));
                Ok(())
            }
            Ok(Reply::Unknown) => {
                self.start_over(now);
                Ok(())
            }
            Err(error) => {
                self.pending = Some(visits);
                Err(error)
            }
        }
    }

    fn exchange(&mut self, member: MemberId, visits: &[Visit], leaves: bool) -> Result<Reply, StoreError> {
        let quota = &self.membership.quota;
        self.store.exchange(&Exchange { quota, member, version: self.version, visits, leaves })
    }

    fn reports(&mut self, now: Time) -> Vec<Visit> {
        let membership = &self.membership;
        let is_due = |account: &Account| account.due <= now + TOGETHER;
        let mut due: Vec<_> = self.accounts.iter_mut().filter(|(_, account)| is_due(account)).collect();
        if due.len() > MOST_VISITS {
            due.sort_by_key(|(_, account)| account.due);
            due.truncate(MOST_VISITS);
        }
        let gates = lock(&self.gates);
        let reports = due.into_iter().map(|(partition, account)| {
            let leaves = !account.is_new() && account.may_be_forgotten(now) && gates.may_forget(partition);
            account.report(partition, membership, leaves)
        });
        reports.collect()
    }

    fn take_in(&mut self, visits: &[Visit], answers: Vec<Answer>, now: Time) {
        let was_late = self.heard + LEASE <= now;
        // After that the gates had refused everything.
        let mut is_news = was_late;
        let mut is_buried = false;
        let among = self.accounts.len();
        for (visit, answer) in visits.iter().zip(answers) {
            let Some(account) = self.accounts.get_mut(&visit.partition) else { continue };
            match answer {
                Answer::Allotted(allotment) => {
                    let is_first = visit.report.seq == 1;
                    // Whoever was refused and waits to be told must ask again until it has something: it
                    // would seem to want nothing any more, and get nothing.
                    let wants_more = visit.report.demand.iter().any(|demand| demand.units == u64::MAX);
                    is_news |= account.settle(allotment, among, now) || is_first || wants_more;
                    if is_first {
                        self.note_former_use(&visit.partition);
                    }
                }
                Answer::Left => {
                    // Somebody may have asked for it meanwhile.
                    if lock(&self.gates).forget(&visit.partition) {
                        self.accounts.remove(&visit.partition);
                    } else {
                        account.gate.forfeit();
                        account.restart(now);
                    }
                }
                Answer::Buried => is_buried = true,
            }
        }
        if is_buried {
            self.start_over(now);
        }
        if is_news {
            self.tell();
        }
    }

    fn note_former_use(&self, partition: &str) {
        let Some(until) = self.accounts.get(partition).and_then(|account| account.gate.held_until()) else {
            return;
        };
        let mut status = lock(&self.status);
        if status.held.is_none() && until > self.clock.now() + WORTH_SAYING {
            status.held = Some(Held { until, why: HeldFor::FormerUse });
        }
    }

    /// Others have, or will have, all that it held.
    fn start_over(&mut self, now: Time) {
        self.member = None;
        self.pending = None;
        for account in self.accounts.values_mut() {
            account.gate.forfeit();
            account.restart(now);
        }
    }

    fn join(&mut self) -> Result<(), StoreError> {
        let Membership { quota, who, timeout, assume_idle, .. } = &self.membership;
        let (timeout, assume_idle) = (*timeout, *assume_idle);
        let join = Join { quota, definition: Some(&self.definition), who, timeout, assume_idle };
        let joined = if self.version == 0 {
            self.store.join(&join)
        } else {
            // Nobody has vouched for what it has sent itself.
            let again = Join { assume_idle: false, ..join };
            // Whatever it has become meanwhile, if it is still there.
            match self.store.join(&Join { definition: None, ..again }) {
                Err(StoreError::NoSuchQuota { .. }) => self.store.join(&again),
                joined => joined,
            }
        };
        let Joined { member, definition, version, held } = joined?;
        (self.member, self.version) = (Some(member), version);
        {
            let mut status = lock(&self.status);
            (status.member, status.held) = (Some(member), held);
        }
        self.hear(self.clock.now());
        // The store's may expect another latency.
        self.follow(definition, Gates::replace).map(drop)
    }

    /// Goes on under a definition that is another one than before, if that is possible.
    fn follow(&mut self, definition: Definition, act: fn(&mut Gates, &Contract)) -> Result<bool, StoreError> {
        if definition == self.definition {
            return Ok(true);
        }
        let quota = &self.membership.quota;
        let contract = definition
            .contract(self.pacing, Some(self.store.machine().wall()))
            .map_err(|source| StoreError::Limit { quota: quota.clone(), source })?;
        if !costs_as_before(&self.contract, &contract) {
            self.end(format!("quota `{quota}` was changed to {definition}: start this job again"));
            return Ok(false);
        }
        act(&mut lock(&self.gates), &contract);
        (self.contract, self.definition) = (contract, definition);
        self.tell();
        Ok(true)
    }

    fn hear(&mut self, now: Time) {
        self.heard = now;
        lock(&self.status).heard = now;
    }

    /// Nothing will be granted any more.
    fn end(&mut self, why: String) {
        lock(&self.status).ended = Some(why);
        // What cannot be handed back now is waited for by the others.
        let _ = self.close();
    }

    fn has_patience(&mut self, now: Time) -> bool {
        now.since(*self.failing.get_or_insert(now)) < LEASE + PATIENCE
    }

    fn say_trouble(&self, error: &StoreError, now: Time) {
        let lease_end = self.heard + LEASE;
        let then = if lease_end > now {
            format!("calls go on for {:.1?} with what is leased", lease_end.since(now))
        } else {
            "nothing is sent until it can be used again".to_owned()
        };
        lock(&self.status).trouble = Some(format!("{error}; {then}"));
    }

    fn tell(&self) {
        self.changed.notify_waiters();
        // One that was just about to wait.
        self.changed.notify_one();
    }
}

/// Whether what calls were said to cost still means the same.
fn costs_as_before(before: &Contract, after: &Contract) -> bool {
    before.limits().len() == after.limits().len()
        && before.costs() == after.costs()
        && before.limits().zip(after.limits()).all(|((old, _), (new, _))| old.unit() == new.unit())
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("quota", &self.membership.quota).finish_non_exhaustive()
    }
}
