//! Servers that lose their memory, and what has to be done in them now and then.

use std::time::Duration;

use tidegate_core::{LEASE, Pool, Time};

use super::books::{Books, REMEMBERED_MS};
use super::rows::{QuotaRow, Rows, Tombstone};
use super::{Held, HeldFor, Join, StoreError};

impl Books {
    /// What stands here is not all that happened, or its dates mean nothing: nobody is known, and all units may be in
    /// use, for as long as calls of former members may be under way. These spend their leases, as they cannot
    /// know; when they come again they are told that they are unknown.
    pub(super) fn lose_memory(
        &mut self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &mut QuotaRow,
        why: HeldFor,
        now: Time,
    ) -> Result<(), StoreError> {
        let contract = self.contract(name, quota)?;
        let counted_by = now + LEASE + quota.longest;
        for member in rows.members(name)? {
            let (boot, at_ms) = (self.machine.boot().into(), self.machine.wall_ms());
            rows.put_tombstone(member.id, &Tombstone { counted_by, boot, at_ms })?;
            rows.remove_member(member.id)?;
        }
        for (partition, pool) in rows.pools(name)? {
            quota.paused_until = quota.paused_until.max(pool.paused_until());
            rows.remove_pool(name, &partition)?;
        }
        if why == HeldFor::ClockJumped && quota.paused_until > quota.seen {
            // Its date is by the clock of before; it is not shortened, whichever way that was set.
            quota.paused_until = now + quota.paused_until.since(quota.seen);
        }
        let mut until = counted_by + Pool::silence(&contract, counted_by);
        if let Some(held) = quota.held {
            until = until.max(now + held.until.since(quota.seen));
        }
        quota.held = Some(Held { until, why });
        quota.gathers = now + LEASE;
        quota.boot = self.machine.boot().into();
        (quota.seen, quota.swept) = (now, now);
        Ok(())
    }

    /// Somebody comes from another server, which gave out units of the same quota so long ago at most, and none of
    /// them is known here: this one was away for a while, whatever it shows. If all was held since then, that holds
    /// those as well.
    pub(super) fn come_back(
        &mut self,
        rows: &mut dyn Rows,
        name: &str,
        quota: &mut QuotaRow,
        ago: Duration,
    ) -> Result<(), StoreError> {
        let now = self.machine.now();
        // Another run id is seen anyway. Clocks may differ in rate.
        let given_out = now - ago.saturating_sub(ago / 1_000);
        if *quota.boot != *self.machine.boot() || quota.gathers >= given_out + LEASE {
            return Ok(());
        }
        self.lose_memory(rows, name, quota, HeldFor::Restarted, now)?;
        self.put(rows, name, quota, now)
    }

    /// Somebody comes (back) just after a server has lost its memory, whose calls of before may last longer than
    /// was known.
    pub(super) fn hold_longer(
        &mut self,
        rows: &mut dyn Rows,
        join: &Join<'_>,
        quota: &mut QuotaRow,
        now: Time,
    ) -> Result<(), StoreError> {
        let Some(held) = quota.held.filter(|held| held.why.is_ignorance()) else { return Ok(()) };
        if quota.gathers <= now {
            return Ok(());
        }
        let contract = self.contract(join.quota, quota)?;
        let counted_by = quota.gathers + join.timeout;
        let until = counted_by + Pool::silence(&contract, counted_by);
        if until > held.until {
            quota.held = Some(Held { until, ..held });
            // Nothing was given out of these yet.
            for (partition, mut pool) in rows.pools(join.quota)? {
                pool.hold(until);
                rows.put_pool(join.quota, &partition, &pool)?;
            }
        }
        Ok(())
    }

    /// What has to be done now and then, in a store whose exchanges do not see to it.
    pub(super) fn tend(&mut self, rows: &mut dyn Rows, name: &str) -> Result<(), StoreError> {
        let Some(mut quota) = rows.quota(name)? else { return Ok(()) };
        let now = self.machine.now();
        self.catch_up(rows, name, &mut quota, now)?;
        self.bury_the_dead(rows, name, &quota, None, now)?;
        self.sweep(rows, name, &mut quota, now)?;
        rows.prune_tombstones(self.machine.wall_ms().saturating_sub(REMEMBERED_MS))?;
        self.put(rows, name, &mut quota, now)
    }
}
