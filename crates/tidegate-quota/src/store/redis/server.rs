//! A server as the place of rows: its keys, and the scripts that read and write them.

use std::collections::BTreeMap;

use redis::Value;

use super::address::RedisAddress;
use super::script::Scripts;
use super::session::Session;
use crate::store::{Machine, StoreError};

#[derive(Debug)]
pub(super) struct Server {
    session: Session,
    scripts: Scripts,
    /// Whose clock is told to the scripts, in tests.
    simulated: Option<Machine>,
}

/// The keys of one quota. All have its name in braces, so that a cluster keeps them in one place.
pub(super) struct Keys {
    pub(super) quota: String,
    pub(super) members: String,
    pub(super) tombs: String,
    /// The names of its partitions; each has a key that begins so.
    pub(super) pools: String,
    /// Each partition has one that begins so.
    pub(super) holders: String,
}

impl Keys {
    pub(super) fn pool(&self, partition: &str) -> String {
        format!("{}:{partition}", self.pools)
    }

    /// What the members of a partition hold.
    pub(super) fn holders(&self, partition: &str) -> String {
        format!("{}:{partition}", self.holders)
    }

    pub(super) fn all(&self) -> [String; 5] {
        [&self.quota, &self.members, &self.tombs, &self.pools, &self.holders].map(String::clone)
    }
}

/// A quota as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What the server's clock showed, in microseconds; the latest that it has ever shown, if it has gone back by
    /// next to nothing.
    pub(super) now: u64,
    /// The server, since it was started.
    pub(super) run: String,
    pub(super) quota: BTreeMap<String, String>,
    pub(super) members: BTreeMap<String, String>,
    pub(super) tombs: BTreeMap<String, String>,
    /// How many partitions it lists.
    listed: u64,
    pub(super) pools: Vec<(String, Fields, Fields)>,
}

pub(super) type Fields = BTreeMap<String, String>;

impl Loaded {
    /// Another one after each change; empty if there is no quota.
    pub(super) fn revision(&self) -> &str {
        self.quota.get("rev").map_or("", String::as_str)
    }

    /// Whether keys of it are gone.
    pub(super) fn has_holes(&self) -> bool {
        let known = self.quota.get("pools").and_then(|pools| pools.parse().ok()).unwrap_or(0);
        !self.quota.is_empty() && self.listed != known
    }

    /// Whether there is something of a quota that is not there any more.
    pub(super) fn is_a_rest(&self) -> bool {
        self.quota.is_empty() && (self.listed > 0 || !self.members.is_empty())
    }
}

/// Clocks go back by so much without having been set.
const JITTER: u64 = 1_000_000;

impl Server {
    pub(super) fn new(address: RedisAddress) -> Self {
        Self { session: Session::new(address), scripts: Scripts::new(), simulated: None }
    }

    pub(super) fn simulated(address: RedisAddress, machine: Machine) -> Self {
        Self { session: Session::new(address), scripts: Scripts::simulated(), simulated: Some(machine) }
    }

    pub(super) fn address(&self) -> &RedisAddress {
        &self.session.address
    }

    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(super) fn keys(&self, quota: &str) -> Keys {
        // Braces mark what decides where a key is.
        let name = quota.replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
        let key = |of: &str| format!("{}:{{{name}}}:{of}", self.session.address.prefix);
        Keys {
            quota: key("quota"),
            members: key("members"),
            tombs: key("tombs"),
            pools: key("pools"),
            holders: key("holders"),
        }
    }

    /// The key of all quotas' names.
    pub(super) fn names(&self) -> String {
        format!("{}:quotas", self.session.address.prefix)
    }

    pub(super) fn load(&mut self, quota: &str, pools: bool, others_wait: bool) -> Result<Loaded, StoreError> {
        let flag = |is: bool| if is { "1" } else { "0" }.to_owned();
        let mut args = vec![flag(pools), flag(others_wait)];
        args.extend(self.time());
        let answer = self.session.run(&self.scripts.load, &self.keys(quota).all(), &args)?;
        Self::loaded(answer).ok_or_else(|| self.session.strange("a quota"))
    }

    fn loaded(answer: Value) -> Option<Loaded> {
        type Answer = (u64, String, Fields, Fields, Fields, u64, Vec<Value>);
        let (mut now, run, quota, members, tombs, listed, flat): Answer =
            redis::from_redis_value(answer).ok()?;
        let mut pools = Vec::new();
        let mut flat = flat.into_iter();
        while let (Some(partition), Some(pool), Some(holders)) = (flat.next(), flat.next(), flat.next()) {
            let partition = redis::from_redis_value(partition).ok()?;
            pools.push((
                partition,
                redis::from_redis_value(pool).ok()?,
                redis::from_redis_value(holders).ok()?,
            ));
        }
        if let Some(seen) = quota.get("seen").and_then(|seen| seen.parse::<u64>().ok())
            && seen <= now + JITTER
        {
            now = now.max(seen);
        }
        Some(Loaded { now, run, quota, members, tombs, listed, pools })
    }

    /// Writes, if the quota is still as it was read. Whether it was.
    pub(super) fn commit(
        &mut self,
        quota: &str,
        revision: &str,
        run: &str,
        writes: Vec<Vec<String>>,
    ) -> Result<bool, StoreError> {
        let mut args = vec![revision.to_owned(), run.to_owned()];
        for words in writes {
            args.push(words.len().to_string());
            args.extend(words);
        }
        let answer = self.session.run(&self.scripts.commit, &self.keys(quota).all(), &args)?;
        redis::from_redis_value(answer).map_err(|_| self.session.strange("a commit"))
    }

    /// An exchange: what the script says, word by word.
    pub(super) fn exchange(
        &mut self,
        keys: &[String],
        mut args: Vec<String>,
    ) -> Result<Vec<String>, StoreError> {
        args.extend(self.time());
        let answer = self.session.run(&self.scripts.exchange, keys, &args)?;
        redis::from_redis_value(answer).map_err(|_| self.session.strange("an exchange"))
    }

    fn time(&self) -> Option<String> {
        self.simulated.as_ref().map(|machine| {
            let micros = machine.wall_ms_at_zero().saturating_mul(1_000) + machine.now().as_nanos() / 1_000;
            micros.to_string()
        })
    }

    pub(super) fn damaged(&self, quota: &str, what: &str) -> StoreError {
        StoreError::Unsuitable {
            server: self.session.address.to_string(),
            message: format!("what it has of quota `{quota}` is not understood ({what})"),
            hint: "use one release of tidegate everywhere; or delete its keys, and wait as long as the longest window",
        }
    }
}
