//! Looking at quotas, and changing them, from outside.

use std::time::Duration;

use tidegate_core::{Contract, Limit, MemberId, Pool, Priority, Reserve, Time};

use super::books::{Books, check_name};
use super::rows::{MemberRow, QuotaRow, Rows};
use super::{Definition, Held, HeldFor, Machine, Memory, Redis, SetBy, Sqlite, Store, StoreError, Who};

/// What a person does with the quotas of a store: list, show, create, set, pause, resume, forget.
///
/// Everything acts at each member's next exchange: within half a second.
#[derive(Debug)]
pub struct Admin {
    kept: Kept,
    who: Who,
}

#[derive(Debug)]
enum Kept {
    Sqlite(Box<Sqlite>),
    Memory(Memory),
    Redis(Box<Redis>),
}

/// A quota as it is now.
#[derive(Debug, Clone)]
pub struct QuotaView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: Definition,
    /// By whom it was set so, and when.
    pub set_by: SetBy,
    /// Whether a person set it, not a job that happened to be the first.
    pub explicit: bool,
    /// How long it is paused as a whole.
    pub paused_for: Option<Duration>,
    /// Why nothing is granted for how long, where nobody has begun yet.
    pub held_for: Option<(HeldFor, Duration)>,
    /// Its limits, over all partitions.
    pub limits: Vec<LimitView>,
    /// Who uses it.
    pub members: Vec<MemberView>,
    /// Its partitions with something in them; at most 1,000 of them.
    pub partitions: Vec<PartitionView>,
    /// How many there are.
    pub partition_count: usize,
}

/// The units of one limit.
#[derive(Debug, Clone, Default)]
pub struct LimitView {
    /// The limit.
    pub limit: String,
    /// All that there are; in each partition.
    pub units: u64,
    /// Those that members have leased.
    pub leased: u64,
    /// Those that nobody has, and that are not back yet from former use.
    pub coming_back: u64,
    /// When the last of these is back.
    pub back_in: Option<Duration>,
}

/// A process that uses a quota.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// As it is called in the store.
    pub id: MemberId,
    /// Who it is.
    pub who: Who,
    /// When it joined, in milliseconds since 1970.
    pub joined_ms: u64,
    /// How long ago it said something.
    pub silent_for: Duration,
    /// Its lease has ended: it is frozen, or cannot reach the store. It grants nothing.
    pub is_late: bool,
    /// Whom it comes before.
    pub priority: Priority,
    /// Units that it has leased, by limit, over all partitions.
    pub leased: Vec<u64>,
}

/// A partition of a quota.
#[derive(Debug, Clone)]
pub struct PartitionView {
    /// Its name; empty where there is only one.
    pub name: String,
    /// How long it is paused.
    pub paused_for: Option<Duration>,
    /// Its limits.
    pub limits: Vec<LimitView>,
}

/// More is not for people.
const MOST_PARTITIONS: usize = 1_000;

impl Admin {
    /// Over a file of quotas; `who` is noted with each change.
    pub fn new(store: Sqlite, who: Who) -> Self {
        Self { kept: Kept::Sqlite(Box::new(store)), who }
    }

    /// Over quotas in memory.
    pub fn of_memory(store: Memory, who: Who) -> Self {
        Self { kept: Kept::Memory(store), who }
    }

    /// Over quotas on a server.
    pub fn of_redis(store: Redis, who: Who) -> Self {
        Self { kept: Kept::Redis(Box::new(store)), who }
    }

    /// All quotas, by name.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub fn list(&mut self) -> Result<Vec<QuotaView>, StoreError> {
        if let Kept::Redis(store) = &mut self.kept {
            // Each may be on another server.
            let names = store.quotas()?;
            let views = names.iter().map(|name| match self.show(name) {
                Err(StoreError::NoSuchQuota { .. }) => Ok(None), // forgotten just now, or lost
                view => view.map(Some),
            });
            return views.filter_map(Result::transpose).collect();
        }
        self.with("", |books, rows| {
            let names = rows.quotas()?;
            names.into_iter().map(|name| view(books, rows, name)).collect()
        })
    }

    /// One quota.
    ///
    /// # Errors
    /// If there is none of this name; if the store cannot be used.
    pub fn show(&mut self, quota: &str) -> Result<QuotaView, StoreError> {
        self.with(quota, |books, rows| view(books, rows, quota.to_owned()))
    }

    /// Defines a quota that nobody has used yet. It counts as idle: that is vouched for.
    ///
    /// # Errors
    /// If there is one of this name that is defined otherwise, or its limits cannot be kept.
    pub fn create(&mut self, quota: &str, definition: &Definition) -> Result<(), StoreError> {
        check_name(quota)?;
        let who = self.who.clone();
        self.with(quota, |books, rows| {
            books.compile(quota, definition)?;
            let now = books.machine.now();
            let set_by = SetBy { who: who.clone(), at_ms: books.machine.wall_ms() };
            let mut row = match rows.quota(quota)? {
                None => books.new_quota(definition.clone(), set_by, true, now),
                Some(mut row) if definition.agrees(&row.definition) => {
                    books.catch_up(rows, quota, &mut row, now)?;
                    (row.explicit, row.set_by) = (true, set_by);
                    row.held = row.held.filter(|held| !held.why.is_ignorance());
                    row
                }
                Some(row) => {
                    let definition = Box::new(row.definition);
                    return Err(StoreError::Exists { quota: quota.to_owned(), definition });
                }
            };
            books.put(rows, quota, &mut row, now)
        })
    }

    /// Changes what a quota is, for all who use it.
    ///
    /// Other amounts act at once. Where the limits are of another kind, what is in use of the old ones
    /// is waited for; processes whose calls would cost something else stop.
    ///
    /// # Errors
    /// If there is none of this name, or the limits cannot be kept.
    pub fn set(&mut self, quota: &str, definition: &Definition) -> Result<(), StoreError> {
        let who = self.who.clone();
        self.change(quota, |books, rows, row, now| {
            let set_by = SetBy { who: who.clone(), at_ms: books.machine.wall_ms() };
            row.explicit = true;
            if *definition == row.definition {
                row.set_by = set_by;
                return Ok(());
            }
            books.redefine(rows, quota, row, definition.clone(), set_by, now)
        })
    }

    /// The same with other limits only: terms stay as they are, and so does what the text of a limit
    /// does not say.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn set_limits(&mut self, quota: &str, limits: &[Limit]) -> Result<(), StoreError> {
        let before = self.show(quota)?.definition;
        self.set(quota, &before.with_limits(limits))
    }

    /// The same, but for what is kept for calls of a higher priority.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn set_reserve(&mut self, quota: &str, reserve: Reserve) -> Result<(), StoreError> {
        let before = self.show(quota)?.definition;
        self.set(quota, &before.with_reserve(reserve))
    }

    /// Lets nobody send anything for that long.
    ///
    /// # Errors
    /// If there is no quota of this name.
    pub fn pause(&mut self, quota: &str, length: Duration) -> Result<(), StoreError> {
        self.change(quota, |_, _, row, now| {
            row.paused_until = row.paused_until.max(now + length);
            Ok(())
        })
    }

    /// Ends all pauses, those that the provider asked for as well.
    ///
    /// # Errors
    /// If there is no quota of this name.
    pub fn resume(&mut self, quota: &str) -> Result<(), StoreError> {
        self.change(quota, |_, rows, row, _| {
            row.paused_until = Time::ZERO;
            row.resumes += 1;
            for (partition, mut pool) in rows.pools(quota)? {
                pool.resume();
                rows.put_pool(quota, &partition, &pool)?;
            }
            Ok(())
        })
    }

    /// Forgets a quota, and what was used of it.
    ///
    /// # Errors
    /// If there is none of this name; if it is in use, unless `force` says so.
    pub fn forget(&mut self, quota: &str, force: bool) -> Result<(), StoreError> {
        self.with(quota, |books, rows| {
            let mut row = existing(rows, quota)?;
            let now = books.machine.now();
            books.catch_up(rows, quota, &mut row, now)?;
            let members = books.bury_the_dead(rows, quota, &row, None, now)?.len();
            if members > 0 && !force {
                return Err(StoreError::InUse { quota: quota.to_owned(), members });
            }
            rows.remove_quota(quota)
        })
    }

    /// Whose clock all times are on.
    pub fn machine(&self) -> &Machine {
        match &self.kept {
            Kept::Sqlite(store) => store.machine(),
            Kept::Memory(store) => store.machine(),
            Kept::Redis(store) => store.machine(),
        }
    }

    fn change(
        &mut self,
        quota: &str,
        change: impl Fn(&mut Books, &mut dyn Rows, &mut QuotaRow, Time) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.with(quota, |books, rows| {
            let mut row = existing(rows, quota)?;
            let now = books.machine.now();
            books.catch_up(rows, quota, &mut row, now)?;
            books.bury_the_dead(rows, quota, &row, None, now)?;
            change(books, rows, &mut row, now)?;
            books.put(rows, quota, &mut row, now)
        })
    }

    /// The work may be done again, if others have changed the quota meanwhile.
    fn with<T>(
        &mut self,
        quota: &str,
        work: impl Fn(&mut Books, &mut dyn Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &mut self.kept {
            Kept::Redis(store) => store.transact(quota, work),
            Kept::Sqlite(store) => store.transact(work),
            Kept::Memory(store) => store.transact(work),
        }
    }
}

fn existing(rows: &mut dyn Rows, quota: &str) -> Result<QuotaRow, StoreError> {
    rows.quota(quota)?.ok_or_else(|| StoreError::NoSuchQuota { quota: quota.to_owned() })
}

fn view(books: &mut Books, rows: &mut dyn Rows, name: String) -> Result<QuotaView, StoreError> {
    let mut row = existing(rows, &name)?;
    let now = books.machine.now();
    books.catch_up(rows, &name, &mut row, now)?;
    let members = books.bury_the_dead(rows, &name, &row, None, now)?;
    books.put(rows, &name, &mut row, now)?;
    let contract = books.contract(&name, &row)?;
    let mut members: Vec<MemberView> =
        members.into_iter().map(|m| MemberView::new(m, &contract, now)).collect();
    let mut limits = limit_views(&contract);
    let (mut partitions, mut partition_count) = (Vec::new(), 0);
    for (partition, pool) in rows.pools(&name)? {
        for holder in pool.members() {
            let Some(member) = members.iter_mut().find(|member| member.id == holder.id()) else { continue };
            member.priority = holder.priority();
            member.leased.iter_mut().zip(holder.held()).for_each(|(sum, units)| *sum += units);
        }
        let mut own = limit_views(&contract);
        add(&mut own, &pool, now);
        add(&mut limits, &pool, now);
        partition_count += 1;
        if partitions.len() < MOST_PARTITIONS {
            let paused_for = left(pool.paused_until(), now);
            partitions.push(PartitionView { name: partition.into(), paused_for, limits: own });
        }
    }
    Ok(QuotaView {
        definition: row.definition,
        set_by: row.set_by,
        explicit: row.explicit,
        paused_for: left(row.paused_until, now),
        held_for: row.held.and_then(|Held { until, why }| Some((why, left(until, now)?))),
        limits,
        members,
        partitions,
        partition_count,
        name,
    })
}

impl MemberView {
    fn new(row: MemberRow, contract: &Contract, now: Time) -> Self {
        Self {
            id: row.id,
            who: row.who,
            joined_ms: row.joined_ms,
            silent_for: now.since(row.seen),
            is_late: row.until <= now,
            priority: Priority::default(),
            leased: vec![0; contract.limits().len()],
        }
    }
}

fn limit_views(contract: &Contract) -> Vec<LimitView> {
    let views = contract.limits().map(|(limit, meter)| LimitView {
        limit: limit.to_string(),
        units: meter.greatest_cost(),
        ..LimitView::default()
    });
    views.collect()
}

fn add(views: &mut [LimitView], pool: &Pool, now: Time) {
    for (i, view) in views.iter_mut().enumerate() {
        let held = pool.members().iter().filter_map(|member| member.held().get(i));
        view.leased += held.sum::<u64>();
        let Some(spare) = pool.spare().get(i) else { continue };
        view.coming_back += spare.in_use(now);
        let last = spare.dated.iter().map(|(at, _)| *at).max();
        view.back_in = view.back_in.max(last.and_then(|at| left(at, now)));
    }
}

fn left(until: Time, now: Time) -> Option<Duration> {
    (until > now).then(|| until.since(now))
}
