//! Rows in tables of `SQLite`.

use std::path::Path;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::{MemberId, Pool, Time};

use super::alive::Alive;
use super::said;
use crate::store::StoreError;
use crate::store::rows::{MemberRow, QuotaRow, Rows, Tombstone, Who};

/// The tables within a transaction.
pub(super) struct Tables<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) path: &'a Path,
    pub(super) alive: &'a Alive,
    /// Their marks are removed when the transaction is done.
    pub(super) buried: Vec<MemberId>,
}

impl Tables<'_> {
    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        self.transaction.execute(sql, params).map(drop).map_err(|error| said(self.path, &error))
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.transaction.query_row(sql, params, read).optional().map_err(|error| said(self.path, &error))
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let read = || -> rusqlite::Result<Vec<T>> {
            self.transaction.prepare(sql)?.query_map(params, read)?.collect()
        };
        read().map_err(|error| said(self.path, &error))
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text)
            .map_err(|error| StoreError::Damaged { path: self.path.to_owned(), message: error.to_string() })
    }

    fn text(&self, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value)
            .map_err(|error| StoreError::Damaged { path: self.path.to_owned(), message: error.to_string() })
    }
}

impl Rows for Tables<'_> {
    fn quota(&mut self, name: &str) -> Result<Option<QuotaRow>, StoreError> {
        let text: Option<String> =
            self.one("SELECT row FROM quotas WHERE name = ?1", [name], |row| row.get(0))?;
        text.map(|text| self.parse(&text)).transpose()
    }

    fn quotas(&mut self) -> Result<Vec<String>, StoreError> {
        self.all("SELECT name FROM quotas ORDER BY name", [], |row| row.get(0))
    }

    fn put_quota(&mut self, name: &str, quota: &QuotaRow) -> Result<(), StoreError> {
        let text = self.text(quota)?;
        self.run("INSERT OR REPLACE INTO quotas (name, row) VALUES (?1, ?2)", [name, text.as_str()])
    }

    fn remove_quota(&mut self, name: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM pools WHERE quota = ?1", [name])?;
        self.run("DELETE FROM members WHERE quota = ?1", [name])?;
        self.run("DELETE FROM quotas WHERE name = ?1", [name])
    }

    fn members(&mut self, quota: &str) -> Result<Vec<MemberRow>, StoreError> {
        self.all(
            "SELECT id, pid, does, joined_ms, seen_ns, until_ns, timeout_ns FROM members WHERE quota = ?1 \
             ORDER BY joined_ms, id",
            [quota],
            |row| {
                Ok(MemberRow {
                    id: MemberId(unsigned(row, 0)?),
                    who: Who { pid: row.get(1)?, does: row.get(2)? },
                    joined_ms: unsigned(row, 3)?,
                    seen: Time::from_nanos(unsigned(row, 4)?),
                    until: Time::from_nanos(unsigned(row, 5)?),
                    timeout: Duration::from_nanos(unsigned(row, 6)?),
                })
            },
        )
    }

    fn put_member(&mut self, quota: &str, member: &MemberRow) -> Result<(), StoreError> {
        let timeout = u64::try_from(member.timeout.as_nanos()).unwrap_or(u64::MAX);
        self.run(
            "INSERT OR REPLACE INTO members \
             (id, quota, pid, does, joined_ms, seen_ns, until_ns, timeout_ns) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                signed(member.id.0),
                quota,
                member.who.pid,
                member.who.does,
                signed(member.joined_ms),
                signed(member.seen.as_nanos()),
                signed(member.until.as_nanos()),
                signed(timeout)
            ],
        )
    }

    fn remove_member(&mut self, id: MemberId) -> Result<(), StoreError> {
        self.run("DELETE FROM members WHERE id = ?1", [signed(id.0)])
    }

    fn pool(&mut self, quota: &str, partition: &str) -> Result<Option<Pool>, StoreError> {
        let sql = "SELECT pool FROM pools WHERE quota = ?1 AND partition = ?2";
        let text: Option<String> = self.one(sql, [quota, partition], |row| row.get(0))?;
        text.map(|text| self.parse(&text)).transpose()
    }

    fn pools(&mut self, quota: &str) -> Result<Vec<(Box<str>, Pool)>, StoreError> {
        let rows: Vec<(Box<str>, String)> =
            self.all("SELECT partition, pool FROM pools WHERE quota = ?1", [quota], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        rows.into_iter().map(|(partition, text)| Ok((partition, self.parse(&text)?))).collect()
    }

    fn put_pool(&mut self, quota: &str, partition: &str, pool: &Pool) -> Result<(), StoreError> {
        let text = self.text(pool)?;
        self.run(
            "INSERT OR REPLACE INTO pools (quota, partition, pool) VALUES (?1, ?2, ?3)",
            [quota, partition, text.as_str()],
        )
    }

    fn remove_pool(&mut self, quota: &str, partition: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM pools WHERE quota = ?1 AND partition = ?2", [quota, partition])
    }

    fn tombstone(&mut self, id: MemberId) -> Result<Option<Tombstone>, StoreError> {
        let sql = "SELECT counted_by_ns, boot, at_ms FROM tombstones WHERE id = ?1";
        self.one(sql, [signed(id.0)], |row| {
            let counted_by = Time::from_nanos(unsigned(row, 0)?);
            Ok(Tombstone { counted_by, boot: row.get(1)?, at_ms: unsigned(row, 2)? })
        })
    }

    fn put_tombstone(&mut self, id: MemberId, tombstone: &Tombstone) -> Result<(), StoreError> {
        let (at, at_ms) = (signed(tombstone.counted_by.as_nanos()), signed(tombstone.at_ms));
        self.run(
            "INSERT OR REPLACE INTO tombstones (id, counted_by_ns, boot, at_ms) VALUES (?1, ?2, ?3, ?4)",
            params![signed(id.0), at, tombstone.boot, at_ms],
        )
    }

    fn prune_tombstones(&mut self, before_ms: u64) -> Result<(), StoreError> {
        self.run("DELETE FROM tombstones WHERE at_ms < ?1", [signed(before_ms)])
    }

    fn is_dead(&mut self, id: MemberId) -> bool {
        self.alive.is_dead(id)
    }

    fn bury(&mut self, id: MemberId) {
        self.buried.push(id);
    }
}

/// The integers of `SQLite` are signed. What is later than the year 2262 is then.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}
