//! What happens in a transaction, whatever keeps the rows.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_core::{Contract, LEASE, MemberId, Pacing, Pool, Time};

use super::rows::{MemberRow, QuotaRow, Rows, Tombstone};
use super::{
    Answer, Definition, Exchange, Held, HeldFor, Join, Joined, Machine, Reply, SetBy, StoreError, Visit,
};

/// A member says that it lives at least this often. Only one that is overdue can be dead, and only
/// then is it looked for.
const OVERDUE: Duration = Duration::from_millis(1_500);
/// A clock that is read in two places may differ so much; more, and it has jumped.
const JITTER: Duration = Duration::from_secs(1);
/// How wrong the wall clock may be about how long the machine was off. A hold is shortened by what is
/// above that.
const WALL_ERROR: Duration = Duration::from_secs(600);
/// Pools that nobody uses and that have nothing in use are removed so often.
const SWEEP: Duration = Duration::from_secs(60);
/// How long a former member is remembered.
pub(super) const REMEMBERED_MS: u64 = 7 * 86_400_000;
const MAX_NAME: usize = 200;

/// The logic over the rows, and what it remembers between transactions: nothing but what can be
/// computed again.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) machine: Machine,
    contracts: HashMap<String, (u64, Contract)>,
    /// Whose memory may be lost, or an old one: another start of it is no reboot, from which all comes back as it
    /// was.
    pub(super) is_server: bool,
}

/// Somebody who joins, as the store knows it.
pub(super) struct Candidate<'a> {
    pub(super) join: &'a Join<'a>,
    pub(super) id: MemberId,
    /// A name that was never seen may be one that was lost.
    pub(super) forgets: bool,
}

impl Books {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, contracts: HashMap::new(), is_server: false }
    }

    /// Those of a server, for one transaction at the time that it has told.
    pub(super) fn of_server(machine: Machine) -> Self {
        Self { is_server: true, ..Self::new(machine) }
    }

    pub(super) fn now(&self) -> Time {
        self.machine.now()
    }

    pub(super) fn join(&mut self, rows: &mut dyn Rows, new: &Candidate<'_>) -> Result<Joined, StoreError> {
        let Candidate { join, id, forgets } = new;
        check_name(join.quota)?;
        let now = self.machine.now();
        let set_by = SetBy { who: join.who.clone(), at_ms: self.machine.wall_ms() };
        let mut quota = if let Some(mut quota) = rows.quota(join.quota)? {
            self.catch_up(rows, join.quota, &mut quota, now)?;
            self.bury_the_dead(rows, join.quota, &quota, None, now)?;
            self.agree(rows, join, &mut quota, set_by, now)?;
            quota
        } else {
            let Some(definition) = join.definition else {
                return Err(StoreError::NoSuchQuota { quota: join.quota.to_owned() });
            };
            let mut quota = self.new_quota(definition.clone(), set_by, false, now);
            let contract = self.contract(join.quota, &quota)?;
            if *forgets && !join.assume_idle {
                let counted_by = if self.is_server { now + LEASE + join.timeout } else { now };
                let until = counted_by + Pool::silence(&contract, counted_by);
                quota.held = Some(Held { until, why: HeldFor::ColdStart });
                quota.gathers = if self.is_server { now + LEASE } else { Time::ZERO };
            }
            quota
        };
        // After a restart others may have used it until just now, which who joins cannot know.
        if join.assume_idle && quota.held.is_some_and(|held| held.why == HeldFor::ColdStart) {
            (quota.held, quota.gathers) = (None, Time::ZERO);
        }
        quota.held = quota.held.filter(|held| held.until > now);
        self.hold_longer(rows, join, &mut quota, now)?;
        quota.longest = quota.longest.max(join.timeout);
        self.sweep(rows, join.quota, &mut quota, now)?;
        let member = MemberRow {
            id: *id,
            who: join.who.clone(),
            joined_ms: self.machine.wall_ms(),
            seen: now,
            until: now + LEASE,
            timeout: join.timeout,
        };
        self.put(rows, join.quota, &mut quota, now)?; // before what belongs to it
        rows.put_member(join.quota, &member)?;
        Ok(Joined { member: *id, definition: quota.definition, version: quota.version, held: quota.held })
    }

    pub(super) fn exchange(
        &mut self,
        rows: &mut dyn Rows,
        exchange: &Exchange<'_>,
    ) -> Result<Reply, StoreError> {
        let name = exchange.quota;
        let Some(mut quota) = rows.quota(name)? else { return Ok(Reply::Unknown) };
        let now = self.machine.now();
        self.catch_up(rows, name, &mut quota, now)?;
        let members = self.bury_the_dead(rows, name, &quota, Some(exchange.member), now)?;
        let Some(mut member) = members.into_iter().find(|member| member.id == exchange.member) else {
            self.put(rows, name, &mut quota, now)?;
            return Ok(Reply::Unknown);
        };
        member.seen = now;
        member.until = now + LEASE;
        if exchange.version < quota.pools_since && !exchange.leaves {
            rows.put_member(name, &member)?;
            self.put(rows, name, &mut quota, now)?;
            return Ok(Reply::Redefined { definition: quota.definition, version: quota.version });
        }
        let contract = self.contract(name, &quota)?;
        let mut answers = Vec::with_capacity(exchange.visits.len());
        let mut counted_by = now;
        if exchange.version >= quota.pools_since {
            for visit in exchange.visits {
                let (answer, last) = Self::visit(rows, exchange, visit, &contract, &quota, now)?;
                answers.push(answer);
                counted_by = counted_by.max(last.unwrap_or(now));
            }
        }
        if exchange.leaves {
            self.entomb(rows, exchange.member, counted_by)?;
            rows.remove_member(exchange.member)?;
            rows.bury(exchange.member);
        } else {
            rows.put_member(name, &member)?;
        }
        self.sweep(rows, name, &mut quota, now)?;
        self.put(rows, name, &mut quota, now)?;
        let news = (exchange.version != quota.version).then_some((quota.version, quota.definition));
        Ok(Reply::Settled { answers, news })
    }

    /// One partition; and when all calls there were counted, if the member leaves.
    fn visit(
        rows: &mut dyn Rows,
        exchange: &Exchange<'_>,
        visit: &Visit,
        contract: &Contract,
        quota: &QuotaRow,
        now: Time,
    ) -> Result<(Answer, Option<Time>), StoreError> {
        let (name, partition) = (exchange.quota, &*visit.partition);
        let mut pool = match rows.pool(name, partition)? {
            Some(pool) => pool,
            None => Self::new_pool(contract, quota, now),
        };
        pool.expire(contract, now);
        let mut counted_by = None;
        let answer = if visit.leaves || exchange.leaves {
            counted_by = pool.leave(contract, exchange.member, &visit.report, now);
            Answer::Left
        } else {
            match pool.exchange(contract, exchange.member, &visit.report, now) {
                Some(mut allotment) => {
                    allotment.paused_until = allotment.paused_until.max(quota.paused_until);
                    allotment.resumes = quota.resumes;
                    Answer::Allotted(allotment)
                }
                None => Answer::Buried,
            }
        };
        if pool.is_idle(now) {
            rows.remove_pool(name, partition)?;
        } else {
            rows.put_pool(name, partition, &pool)?;
        }
        Ok((answer, counted_by))
    }

    fn new_pool(contract: &Contract, quota: &QuotaRow, now: Time) -> Pool {
        let mut pool = Pool::new(contract);
        if let Some(held) = quota.held.filter(|held| held.until > now) {
            pool.hold(held.until);
        }
        pool
    }

    pub(super) fn died_by(
        &mut self,
        rows: &mut dyn Rows,
        member: MemberId,
    ) -> Result<Option<Time>, StoreError> {
        let Some(tombstone) = rows.tombstone(member)? else {
            // It may have died just now, and nobody has looked yet: whoever buries it dates it later.
            return Ok(rows.is_dead(member).then(|| self.machine.now()));
        };
        // A server's dates are by the same clock after it has started again.
        let same_boot = self.is_server || *tombstone.boot == *self.machine.boot();
        Ok(Some(if same_boot { tombstone.counted_by } else { Time::ZERO }))
    }

    pub(super) fn new_quota(
        &self,
        definition: Definition,
        set_by: SetBy,
        explicit: bool,
        now: Time,
    ) -> QuotaRow {
        QuotaRow {
            definition,
            // Two quotas of one name, one after the other, never have the same version.
            version: self.machine.wall_ms(),
            pools_since: self.machine.wall_ms(),
            set_by,
            explicit,
            boot: self.machine.boot().into(),
            seen: now,
            seen_wall_ms: self.machine.wall_ms(),
            paused_until: Time::ZERO,
            resumes: 0,
            held: None,
            swept: now,
            gathers: Time::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// Another boot, or a clock that went back: dates mean nothing any more.
    pub(super) fn catch_up(
        &mut self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &mut QuotaRow,
        now: Time,
    ) -> Result<(), StoreError> {
        let rebooted = *quota.boot != *self.machine.boot();
        if !rebooted && now + JITTER >= quota.seen {
            return Ok(());
        }
        if self.is_server {
            let why = if rebooted { HeldFor::Restarted } else { HeldFor::ClockJumped };
            return self.lose_memory(rows, name, quota, why, now);
        }
        let wall_ms = self.machine.wall_ms();
        let passed = Duration::from_millis(wall_ms.saturating_sub(quota.seen_wall_ms));
        let credit = passed.saturating_sub(WALL_ERROR);
        let zero_ns = |wall_ms: u64, at: Time| i128::from(wall_ms) * 1_000_000 - i128::from(at.as_nanos());
        let shift = zero_ns(quota.seen_wall_ms, quota.seen) - zero_ns(wall_ms, now);
        let shift = i64::try_from(shift).unwrap_or(if shift < 0 { i64::MIN } else { i64::MAX });
        self.contracts.clear(); // they know the wall clock by the old one
        let contract = self.contract(name, quota)?;
        for (partition, mut pool) in rows.pools(name)? {
            pool.rebooted(&contract, now, shift, credit);
            rows.put_pool(name, &partition, &pool)?;
        }
        for member in rows.members(name)? {
            let boot = quota.boot.clone();
            rows.put_tombstone(member.id, &Tombstone { counted_by: now, boot, at_ms: wall_ms })?;
            rows.remove_member(member.id)?;
            rows.bury(member.id);
        }
        let (seen, left) = (quota.seen, |until: Time, seen: Time| now + until.since(seen));
        if quota.paused_until > seen {
            quota.paused_until = left(quota.paused_until, seen);
        }
        quota.held = quota.held.map(|held| Held { until: left(held.until, seen), ..held });
        quota.boot = self.machine.boot().into();
        (quota.seen, quota.swept) = (now, now);
        Ok(())
    }

    /// Removes members whose process has ended, and those whose lease has ended for so long that none
    /// of their calls is under way. Returns those that are left.
    pub(super) fn bury_the_dead(
        &mut self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &QuotaRow,
        but: Option<MemberId>,
        now: Time,
    ) -> Result<Vec<MemberRow>, StoreError> {
        let mut left = Vec::new();
        for member in rows.members(name)? {
            let is_self = but == Some(member.id);
            let given_up = member.until + member.timeout;
            let (counted_by, dead) = if given_up <= now {
                (given_up, true) // itself, too, if it was frozen for so long
            } else {
                // It may have died with its last calls under way.
                (now, !is_self && member.seen + OVERDUE <= now && rows.is_dead(member.id))
            };
            if !dead {
                left.push(member);
                continue;
            }
            let contract = self.contract(name, quota)?;
            let mut counted_by = counted_by;
            for (partition, mut pool) in rows.pools(name)? {
                let expired = pool.expire(&contract, now);
                let buried = pool.bury(&contract, member.id, now);
                if let Some(at) = buried {
                    counted_by = counted_by.max(at);
                }
                if buried.is_some() || !expired.is_empty() {
                    rows.put_pool(name, &partition, &pool)?;
                }
            }
            self.entomb(rows, member.id, counted_by)?;
            rows.remove_member(member.id)?;
            rows.bury(member.id);
        }
        Ok(left)
    }

    fn entomb(&self, rows: &mut dyn Rows, id: MemberId, counted_by: Time) -> Result<(), StoreError> {
        let (boot, at_ms) = (self.machine.boot().into(), self.machine.wall_ms());
        rows.put_tombstone(id, &Tombstone { counted_by, boot, at_ms })?;
        rows.prune_tombstones(at_ms.saturating_sub(REMEMBERED_MS))
    }

    /// Whether who joins means the quota that there is; or nobody minds if it becomes that.
    fn agree(
        &mut self,
        rows: &mut dyn Rows,
        join: &Join<'_>,
        quota: &mut QuotaRow,
        set_by: SetBy,
        now: Time,
    ) -> Result<(), StoreError> {
        let Some(ours) = join.definition else { return Ok(()) };
        if ours.agrees(&quota.definition) {
            return Ok(());
        }
        if quota.explicit || !rows.members(join.quota)?.is_empty() {
            return Err(StoreError::Disagrees {
                quota: join.quota.to_owned(),
                theirs: Box::new(quota.definition.clone()),
                ours: Box::new(ours.clone()),
                set_by: Box::new(quota.set_by.clone()),
                explicit: quota.explicit,
            });
        }
        self.redefine(rows, join.quota, quota, ours.clone(), set_by, now)
    }

    /// From here on the quota is `definition`.
    pub(super) fn redefine(
        &mut self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &mut QuotaRow,
        definition: Definition,
        set_by: SetBy,
        now: Time,
    ) -> Result<(), StoreError> {
        let before = self.contract(name, quota)?;
        let after = self.compile(name, &definition)?;
        quota.version += 1;
        quota.set_by = set_by;
        quota.definition = definition;
        let pools = rows.pools(name)?;
        if before.same_shape(&after) {
            for (partition, mut pool) in pools {
                pool.resize(&after, now);
                rows.put_pool(name, &partition, &pool)?;
            }
            return Ok(());
        }
        // What was used of the old limits counts against the new ones as well: for as long as either
        // remembers, after the last call that is under way.
        let members = rows.members(name)?;
        let used = !members.is_empty() || pools.iter().any(|(_, pool)| !pool.is_idle(now));
        if used {
            let last = members.iter().map(|member| member.until + member.timeout).max().unwrap_or(now);
            let longest = Pool::silence(&before, last);
            let longest = if quota.explicit { longest } else { longest.max(Pool::silence(&after, last)) };
            let until = (last + longest).max(quota.held.map_or(Time::ZERO, |held| held.until));
            quota.held = Some(Held { until, why: HeldFor::Redefined });
        }
        for (partition, pool) in pools {
            quota.paused_until = quota.paused_until.max(pool.paused_until());
            rows.remove_pool(name, &partition)?;
        }
        quota.pools_since = quota.version;
        Ok(())
    }

    /// Forgets pools that are as good as new.
    pub(super) fn sweep(
        &mut self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &mut QuotaRow,
        now: Time,
    ) -> Result<(), StoreError> {
        if quota.swept + SWEEP > now {
            return Ok(());
        }
        quota.swept = now;
        let contract = self.contract(name, quota)?;
        for (partition, mut pool) in rows.pools(name)? {
            let expired = !pool.expire(&contract, now).is_empty();
            if pool.is_idle(now) {
                rows.remove_pool(name, &partition)?;
            } else if expired {
                rows.put_pool(name, &partition, &pool)?;
            }
        }
        Ok(())
    }

    pub(super) fn put(
        &self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &mut QuotaRow,
        now: Time,
    ) -> Result<(), StoreError> {
        quota.seen = quota.seen.max(now);
        quota.seen_wall_ms = self.machine.wall_ms();
        rows.put_quota(name, quota)
    }

    /// What the quota compiles to. How it is paced makes no difference to a pool.
    pub(super) fn contract(&mut self, name: &str, quota: &QuotaRow) -> Result<Contract, StoreError> {
        if let Some((version, contract)) = self.contracts.get(name)
            && *version == quota.version
        {
            return Ok(contract.clone());
        }
        let contract = self.compile(name, &quota.definition)?;
        self.contracts.insert(name.to_owned(), (quota.version, contract.clone()));
        Ok(contract)
    }

    pub(super) fn compile(&self, name: &str, definition: &Definition) -> Result<Contract, StoreError> {
        definition
            .contract(Pacing::Burst, Some(self.machine.wall()))
            .map_err(|source| StoreError::Limit { quota: name.to_owned(), source })
    }
}

pub(super) fn check_name(quota: &str) -> Result<(), StoreError> {
    if quota.is_empty() || quota.chars().count() > MAX_NAME || quota.chars().any(char::is_control) {
        return Err(StoreError::Name { quota: quota.to_owned() });
    }
    Ok(())
}
