//! One quota, read from a server, and what is to be written there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::{MemberId, Pool, Time};

use super::frame::{Frame, NEVER, micros};
use super::image;
use super::server::{Loaded, Server};
use crate::store::rows::{MemberRow, QuotaRow, Rows, SetBy, Tombstone, Who};
use crate::store::{Held, HeldFor, StoreError};

/// A quota within a transaction. Its pools are read when somebody asks for them.
pub(super) struct Draft<'a> {
    pub(super) server: &'a mut Server,
    name: &'a str,
    frame: Frame,
    loaded: Loaded,
    /// It was changed while it was read.
    pub(super) is_torn: bool,
    /// Pools that were read are not what they were: then all of it is to be forgotten.
    pub(super) has_holes: bool,
    quota: Option<QuotaRow>,
    members: BTreeMap<MemberId, MemberRow>,
    pools: Option<BTreeMap<Box<str>, Pool>>,
    tombstones: BTreeMap<MemberId, Tombstone>,
    writes: Vec<Vec<String>>,
    last_id: Option<u64>,
}

/// What the scripts do not look at.
#[derive(Serialize, Deserialize)]
struct Rest {
    set_by: SetBy,
    explicit: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_for: Option<HeldFor>,
    longest: Duration,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        server: &'a mut Server,
        name: &'a str,
        frame: Frame,
        loaded: Loaded,
    ) -> Result<Self, StoreError> {
        let quota = if loaded.quota.is_empty() {
            None
        } else {
            Some(quota_row(&loaded.quota, frame).ok_or_else(|| server.damaged(name, "quota"))?)
        };
        let damaged = |what: &str| server.damaged(name, what);
        let members = loaded.members.iter().map(|(id, text)| {
            let row = member_row(id, text, frame).ok_or_else(|| damaged("members"))?;
            Ok((row.id, row))
        });
        let members = members.collect::<Result<_, StoreError>>()?;
        let tombstones = loaded.tombs.iter().map(|(id, text)| {
            let (id, tombstone) = tombstone(id, text, frame).ok_or_else(|| damaged("tombs"))?;
            Ok((id, tombstone))
        });
        let tombstones = tombstones.collect::<Result<_, StoreError>>()?;
        let pools = None;
        let writes = Vec::new();
        Ok(Self {
            server,
            name,
            frame,
            loaded,
            is_torn: false,
            has_holes: false,
            quota,
            members,
            pools,
            tombstones,
            writes,
            last_id: None,
        })
    }

    /// What is left of a quota that was lost says nothing about the next one of its name.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        self.remove_quota(self.name)
    }

    /// The server that it was read from, since it was started.
    pub(super) fn run(&self) -> &str {
        &self.loaded.run
    }

    /// What is to be written, as commands.
    pub(super) fn into_writes(self) -> Vec<Vec<String>> {
        self.writes
    }

    /// An id that nobody has had: not even if the server has forgotten everything, as time goes on.
    pub(super) fn new_id(&mut self, now: u64) -> MemberId {
        let last = self.loaded.quota.get("last").and_then(|last| last.parse::<u64>().ok()).unwrap_or(0);
        let id = now.max(last + 1);
        self.last_id = Some(id);
        MemberId(id)
    }

    fn write(&mut self, words: &[&str]) {
        self.writes.push(words.iter().map(|word| (*word).to_owned()).collect());
    }

    fn pools_of(&mut self) -> Result<&mut BTreeMap<Box<str>, Pool>, StoreError> {
        let pools = match self.pools.take() {
            Some(pools) => pools,
            None => self.read_pools()?,
        };
        Ok(self.pools.insert(pools))
    }

    fn read_pools(&mut self) -> Result<BTreeMap<Box<str>, Pool>, StoreError> {
        let again = self.server.load(self.name, true, false)?;
        self.is_torn |= again.revision() != self.loaded.revision() || again.run != self.loaded.run;
        let mut pools = BTreeMap::new();
        for (partition, pool, holders) in again.pools {
            if let Some(pool) = image::read(&pool, &holders, self.frame) {
                pools.insert(partition.into(), pool);
                continue;
            }
            self.has_holes = true;
            let keys = self.server.keys(self.name);
            self.write(&["DEL", &keys.pool(&partition), &keys.holders(&partition)]);
            self.write(&["SREM", &keys.pools, &partition]);
        }
        Ok(pools)
    }
}

impl Rows for Draft<'_> {
    fn quota(&mut self, name: &str) -> Result<Option<QuotaRow>, StoreError> {
        Ok(self.quota.clone().filter(|_| name == self.name))
    }

    fn quotas(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(self.quota.iter().map(|_| self.name.to_owned()).collect())
    }

    fn put_quota(&mut self, name: &str, quota: &QuotaRow) -> Result<(), StoreError> {
        let keys = self.server.keys(name);
        let is_new = self.quota.replace(quota.clone()).is_none();
        let rest = Rest {
            set_by: quota.set_by.clone(),
            explicit: quota.explicit,
            held_for: quota.held.map(|held| held.why),
            longest: quota.longest,
        };
        let damaged = |_| self.server.damaged(name, "quota");
        let definition = serde_json::to_string(&quota.definition).map_err(damaged)?;
        let rest = serde_json::to_string(&rest).map_err(damaged)?;
        let held = quota.held.map_or(Time::ZERO, |held| held.until);
        let mut words = vec!["HSET".to_owned(), keys.quota];
        for (field, value) in [
            ("version", quota.version.to_string()),
            ("pools_since", quota.pools_since.to_string()),
            ("boot", quota.boot.to_string()),
            ("seen", self.frame.micros(quota.seen).to_string()),
            ("paused", self.frame.micros(quota.paused_until).to_string()),
            ("resumes", quota.resumes.to_string()),
            ("held", self.frame.micros(held).to_string()),
            ("gather", self.frame.micros(quota.gathers).to_string()),
            ("swept", self.frame.micros(quota.swept).to_string()),
            ("definition", definition),
            ("rest", rest),
        ] {
            words.extend([field.to_owned(), value]);
        }
        if let Some(id) = self.last_id {
            words.extend(["last".to_owned(), id.to_string()]);
        }
        if is_new {
            // No two quotas of one name, one after the other, have a revision in common.
            words.extend(["rev".to_owned(), self.loaded.now.to_string()]);
        }
        self.writes.push(words);
        Ok(())
    }

    fn remove_quota(&mut self, name: &str) -> Result<(), StoreError> {
        let partitions: Vec<Box<str>> = self.pools_of()?.keys().cloned().collect();
        for partition in partitions {
            self.remove_pool(name, &partition)?;
        }
        let keys = self.server.keys(name);
        self.write(&["DEL", &keys.quota, &keys.members, &keys.tombs, &keys.pools]);
        self.quota = None;
        self.members.clear();
        Ok(())
    }

    fn members(&mut self, _: &str) -> Result<Vec<MemberRow>, StoreError> {
        let mut members: Vec<MemberRow> = self.members.values().cloned().collect();
        members.sort_by_key(|member| (member.joined_ms, member.id));
        Ok(members)
    }

    fn put_member(&mut self, quota: &str, member: &MemberRow) -> Result<(), StoreError> {
        let (frame, keys) = (self.frame, self.server.keys(quota));
        let Who { pid, does } = &member.who;
        let (seen, until, timeout) =
            (frame.micros(member.seen), frame.micros(member.until), micros(member.timeout));
        let text = format!("{seen} {until} {timeout} {} {pid} {does}", member.joined_ms);
        self.write(&["HSET", &keys.members, &member.id.0.to_string(), &text]);
        self.members.insert(member.id, member.clone());
        Ok(())
    }

    fn remove_member(&mut self, id: MemberId) -> Result<(), StoreError> {
        if self.members.remove(&id).is_some() {
            let keys = self.server.keys(self.name);
            self.write(&["HDEL", &keys.members, &id.0.to_string()]);
        }
        Ok(())
    }

    fn pool(&mut self, _: &str, partition: &str) -> Result<Option<Pool>, StoreError> {
        Ok(self.pools_of()?.get(partition).cloned())
    }

    fn pools(&mut self, _: &str) -> Result<Vec<(Box<str>, Pool)>, StoreError> {
        Ok(self.pools_of()?.iter().map(|(name, pool)| (name.clone(), pool.clone())).collect())
    }

    fn put_pool(&mut self, quota: &str, partition: &str, pool: &Pool) -> Result<(), StoreError> {
        const AT_ONCE: usize = 1_000;
        let keys = self.server.keys(quota);
        let written = image::write(pool, self.frame).map_err(|_| self.server.damaged(quota, "pools"))?;
        let (pool_key, holders_key) = (keys.pool(partition), keys.holders(partition));
        self.write(&["DEL", &pool_key, &holders_key]);
        for (key, fields) in [(pool_key, written.pool), (holders_key, written.holders)] {
            for fields in fields.chunks(AT_ONCE) {
                let mut words = vec!["HSET".to_owned(), key.clone()];
                words.extend(fields.iter().flat_map(|(field, value)| [field.clone(), value.clone()]));
                self.writes.push(words);
            }
        }
        self.write(&["SADD", &keys.pools, partition]);
        self.pools_of()?.insert(partition.into(), pool.clone());
        Ok(())
    }

    fn remove_pool(&mut self, quota: &str, partition: &str) -> Result<(), StoreError> {
        let keys = self.server.keys(quota);
        self.write(&["DEL", &keys.pool(partition), &keys.holders(partition)]);
        self.write(&["SREM", &keys.pools, partition]);
        self.pools_of()?.remove(partition);
        Ok(())
    }

    fn tombstone(&mut self, id: MemberId) -> Result<Option<Tombstone>, StoreError> {
        Ok(self.tombstones.get(&id).cloned())
    }

    fn put_tombstone(&mut self, id: MemberId, tombstone: &Tombstone) -> Result<(), StoreError> {
        let keys = self.server.keys(self.name);
        let text = format!("{} {}", self.frame.micros(tombstone.counted_by), tombstone.at_ms * 1_000);
        self.write(&["HSET", &keys.tombs, &id.0.to_string(), &text]);
        self.tombstones.insert(id, tombstone.clone());
        Ok(())
    }

    fn prune_tombstones(&mut self, before_ms: u64) -> Result<(), StoreError> {
        let old = self.tombstones.iter().filter(|(_, tombstone)| tombstone.at_ms < before_ms);
        let old: Vec<MemberId> = old.map(|(id, _)| *id).collect();
        let keys = self.server.keys(self.name);
        for id in old {
            self.tombstones.remove(&id);
            self.write(&["HDEL", &keys.tombs, &id.0.to_string()]);
        }
        Ok(())
    }

    fn is_dead(&mut self, _: MemberId) -> bool {
        false // a server sees a connection end, and not why
    }

    fn bury(&mut self, _: MemberId) {}
}

fn quota_row(fields: &BTreeMap<String, String>, frame: Frame) -> Option<QuotaRow> {
    let number = |field: &str| fields.get(field)?.parse::<u64>().ok();
    let time = |field: &str| number(field).map(|micros| frame.time(micros));
    let rest: Rest = serde_json::from_str(fields.get("rest")?).ok()?;
    let seen = time("seen")?;
    let until = time("held")?;
    Some(QuotaRow {
        definition: serde_json::from_str(fields.get("definition")?).ok()?,
        version: number("version")?,
        pools_since: number("pools_since")?,
        set_by: rest.set_by,
        explicit: rest.explicit,
        boot: fields.get("boot")?.as_str().into(),
        seen,
        seen_wall_ms: number("seen")? / 1_000,
        paused_until: time("paused")?,
        resumes: number("resumes")?,
        held: rest.held_for.map(|why| Held { until, why }),
        swept: time("swept")?,
        gathers: time("gather")?,
        longest: rest.longest,
    })
}

fn member_row(id: &str, text: &str, frame: Frame) -> Option<MemberRow> {
    let mut words = text.splitn(6, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (seen, until, timeout, joined_ms, pid) = (number()?, number()?, number()?, number()?, number()?);
    Some(MemberRow {
        id: MemberId(id.parse().ok()?),
        seen: frame.time(seen),
        until: frame.time(until),
        timeout: Duration::from_micros(timeout.min(NEVER)),
        joined_ms,
        who: Who { pid: u32::try_from(pid).ok()?, does: words.next()?.to_owned() },
    })
}

fn tombstone(id: &str, text: &str, frame: Frame) -> Option<(MemberId, Tombstone)> {
    let (counted_by, at) = text.split_once(' ')?;
    let (counted_by, at) = (counted_by.parse().ok()?, at.parse::<u64>().ok()?);
    let tombstone = Tombstone { counted_by: frame.time(counted_by), boot: "".into(), at_ms: at / 1_000 };
    Some((MemberId(id.parse().ok()?), tombstone))
}
