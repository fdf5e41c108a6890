//! Quotas in the memory of one process.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::{MemberId, Pool, Time};

use super::books::{Books, Candidate};
use super::rows::{MemberRow, QuotaRow, Rows, Tombstone};
use super::{Definition, Exchange, Join, Joined, Machine, Reply, Store, StoreError};

/// A store for members within one process: for tests, and as the measure of the others.
///
/// Clones are members of the same store.
#[derive(Debug, Clone)]
pub struct Memory {
    machine: Machine,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    books: Books,
    tables: Tables,
    last_id: u64,
}

#[derive(Debug, Default)]
struct Tables {
    quotas: BTreeMap<String, Table>,
    tombstones: BTreeMap<MemberId, Tombstone>,
    dead: HashSet<MemberId>,
}

#[derive(Debug)]
struct Table {
    quota: QuotaRow,
    members: BTreeMap<MemberId, MemberRow>,
    pools: BTreeMap<Box<str>, Pool>,
}

impl Memory {
    /// An empty store.
    pub fn new(machine: Machine) -> Self {
        let shared = Shared { books: Books::new(machine.clone()), tables: Tables::default(), last_id: 0 };
        Self { machine, shared: Arc::new(Mutex::new(shared)) }
    }

    /// Makes the member's process known to have ended.
    pub fn kill(&self, member: MemberId) {
        self.lock().tables.dead.insert(member);
    }

    /// The same store after the machine has started again, or its clock has jumped.
    #[must_use]
    pub fn on(&self, machine: Machine) -> Self {
        self.lock().books = Books::new(machine.clone());
        Self { machine, shared: Arc::clone(&self.shared) }
    }

    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Books, &mut dyn Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut shared = self.lock();
        let Shared { books, tables, .. } = &mut *shared;
        work(books, tables)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn definition(&mut self, quota: &str) -> Result<Option<Definition>, StoreError> {
        Ok(self.lock().tables.quota(quota)?.map(|quota| quota.definition))
    }

    fn join(&mut self, join: &Join<'_>) -> Result<Joined, StoreError> {
        let mut shared = self.lock();
        let Shared { books, tables, last_id } = &mut *shared;
        *last_id += 1;
        books.join(tables, &Candidate { join, id: MemberId(*last_id), forgets: false })
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Reply, StoreError> {
        self.transact(|books, rows| books.exchange(rows, exchange))
    }

    fn died_by(&mut self, member: MemberId) -> Result<Option<Time>, StoreError> {
        self.transact(|books, rows| books.died_by(rows, member))
    }
}

impl Rows for Tables {
    fn quota(&mut self, name: &str) -> Result<Option<QuotaRow>, StoreError> {
        Ok(self.quotas.get(name).map(|table| table.quota.clone()))
    }

    fn quotas(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(self.quotas.keys().cloned().collect())
    }

    fn put_quota(&mut self, name: &str, quota: &QuotaRow) -> Result<(), StoreError> {
        self.table(name, quota).quota = quota.clone();
        Ok(())
    }

    fn remove_quota(&mut self, name: &str) -> Result<(), StoreError> {
        self.quotas.remove(name);
        Ok(())
    }

    fn members(&mut self, quota: &str) -> Result<Vec<MemberRow>, StoreError> {
        let table = self.quotas.get(quota);
        Ok(table.map(|table| table.members.values().cloned().collect()).unwrap_or_default())
    }

    fn put_member(&mut self, quota: &str, member: &MemberRow) -> Result<(), StoreError> {
        if let Some(table) = self.quotas.get_mut(quota) {
            table.members.insert(member.id, member.clone());
        }
        Ok(())
    }

    fn remove_member(&mut self, id: MemberId) -> Result<(), StoreError> {
        self.quotas.values_mut().for_each(|table| {
            table.members.remove(&id);
        });
        Ok(())
    }

    fn pool(&mut self, quota: &str, partition: &str) -> Result<Option<Pool>, StoreError> {
        Ok(self.quotas.get(quota).and_then(|table| table.pools.get(partition)).cloned())
    }

    fn pools(&mut self, quota: &str) -> Result<Vec<(Box<str>, Pool)>, StoreError> {
        let table = self.quotas.get(quota);
        let pools = table.map(|table| table.pools.iter().map(|(name, pool)| (name.clone(), pool.clone())));
        Ok(pools.map(Iterator::collect).unwrap_or_default())
    }

    fn put_pool(&mut self, quota: &str, partition: &str, pool: &Pool) -> Result<(), StoreError> {
        if let Some(table) = self.quotas.get_mut(quota) {
            table.pools.insert(partition.into(), pool.clone());
        }
        Ok(())
    }

    fn remove_pool(&mut self, quota: &str, partition: &str) -> Result<(), StoreError> {
        if let Some(table) = self.quotas.get_mut(quota) {
            table.pools.remove(partition);
        }
        Ok(())
    }

    fn tombstone(&mut self, id: MemberId) -> Result<Option<Tombstone>, StoreError> {
        Ok(self.tombstones.get(&id).cloned())
    }

    fn put_tombstone(&mut self, id: MemberId, tombstone: &Tombstone) -> Result<(), StoreError> {
        self.tombstones.insert(id, tombstone.clone());
        Ok(())
    }

    fn prune_tombstones(&mut self, before_ms: u64) -> Result<(), StoreError> {
        self.tombstones.retain(|_, tombstone| tombstone.at_ms >= before_ms);
        Ok(())
    }

    fn is_dead(&mut self, id: MemberId) -> bool {
        self.dead.contains(&id)
    }

    fn bury(&mut self, id: MemberId) {
        self.dead.remove(&id);
    }
}

impl Tables {
    fn table(&mut self, name: &str, quota: &QuotaRow) -> &mut Table {
        self.quotas.entry(name.to_owned()).or_insert_with(|| Table {
            quota: quota.clone(),
            members: BTreeMap::new(),
            pools: BTreeMap::new(),
        })
    }
}
