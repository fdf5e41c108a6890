//! Where the quota of a job is kept.

use std::path::PathBuf;

use tidegate_quota::store::{Admin, Machine, Redis, RedisAddress, Sqlite, Store, StoreError, Who};

use super::JobError;

/// Where a quota is kept.
#[derive(Debug, Clone, Default)]
pub enum StoreSpec {
    /// In this process: nobody else knows of it.
    #[default]
    Memory,
    /// In a file, for all processes of this machine: in this folder, or in the usual one.
    Sqlite(Option<PathBuf>),
    /// On a server, for the processes of many machines.
    Redis(Box<RedisAddress>),
}

/// One that others know of.
#[derive(Debug)]
pub enum SharedStore {
    /// In a file.
    Sqlite(Box<Sqlite>),
    /// On a server.
    Redis(Box<Redis>),
}

/// How addresses of servers begin.
const SERVERS: [&str; 7] = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"];

impl StoreSpec {
    /// Reads `memory`, `sqlite`, `sqlite:FOLDER`, or the address of a Redis or Valkey server.
    ///
    /// # Errors
    /// If it is something else. What may be a password is not repeated.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            None if text == "sqlite" => Ok(Self::Sqlite(None)),
            Some(("sqlite", folder)) if !folder.is_empty() => {
                let folder = folder.strip_prefix("//").unwrap_or(folder);
                Ok(Self::Sqlite(Some(folder.into())))
            }
            Some((scheme, _)) if SERVERS.contains(&scheme) => {
                Ok(Self::Redis(Box::new(RedisAddress::parse(text)?)))
            }
            _ => {
                let text = if text.contains('@') { "it" } else { &format!("`{text}`") };
                let message = format!(
                    "{text} is not a store: expected sqlite, sqlite:FOLDER, redis://HOST:PORT/DB or memory"
                );
                Err(JobError::value("quota.store", message))
            }
        }
    }

    /// What may be written down of it.
    pub(super) fn without_login(text: &str) -> Option<String> {
        Some(match Self::parse(text).ok()? {
            Self::Redis(address) => address.to_string(),
            Self::Memory | Self::Sqlite(_) => text.to_owned(),
        })
    }

    /// Opens it; `None` if it is this process's memory.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn open(&self) -> Result<Option<SharedStore>, StoreError> {
        let sqlite = |store| Some(SharedStore::Sqlite(Box::new(store)));
        match self {
            Self::Memory => Ok(None),
            Self::Sqlite(None) => Sqlite::of_this_machine().map(sqlite),
            Self::Sqlite(Some(folder)) => Sqlite::open(folder, Machine::this()).map(sqlite),
            Self::Redis(address) => {
                let address = with_login(address);
                Redis::open(address, Machine::this()).map(|store| Some(SharedStore::Redis(Box::new(store))))
            }
        }
    }

    /// The address, if it is a server's, with user and password from the environment where it has none.
    pub fn server(&self) -> Option<RedisAddress> {
        match self {
            Self::Redis(address) => Some(with_login(address)),
            Self::Memory | Self::Sqlite(_) => None,
        }
    }
}

fn with_login(address: &RedisAddress) -> RedisAddress {
    let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (user, password) = (env("TIDEGATE_REDIS_USER"), env("TIDEGATE_REDIS_PASSWORD"));
    address.clone().with_login(user.as_deref(), password.as_deref())
}

impl SharedStore {
    /// What people should know of it before they rely on it.
    pub fn warnings(&mut self) -> Vec<String> {
        match self {
            Self::Sqlite(_) => Vec::new(),
            Self::Redis(store) => store.warnings(),
        }
    }

    /// For looking at quotas, and changing them.
    pub fn into_admin(self, who: Who) -> Admin {
        match self {
            Self::Sqlite(store) => Admin::new(*store, who),
            Self::Redis(store) => Admin::of_redis(*store, who),
        }
    }

    /// For looking into it.
    pub fn store(&mut self) -> &mut dyn Store {
        match self {
            Self::Sqlite(store) => &mut **store,
            Self::Redis(store) => &mut **store,
        }
    }

    /// The same, for a process whose children act for it: see [`Sqlite::shared_with_children`]. A server knows of no
    /// death anyway.
    #[must_use]
    pub fn shared_with_children(self) -> Self {
        match self {
            Self::Sqlite(store) => Self::Sqlite(Box::new(store.shared_with_children())),
            Self::Redis(_) => self,
        }
    }

    /// For a ledger.
    pub fn into_store(self) -> Box<dyn Store> {
        match self {
            Self::Sqlite(store) => store,
            Self::Redis(store) => store,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_repeated() {
        for text in
            ["redis://:secret@host/1", "unix:///run/redis?pass=secret", "rediss://me:secret@host?prefix=a"]
        {
            let kept = StoreSpec::without_login(text).unwrap();
            assert!(!kept.contains("secret"), "{kept}");
            assert_eq!(StoreSpec::without_login(&kept).unwrap(), kept);
        }
        for text in ["redis://:secret@host/x", "redus://:secret@host"] {
            let error = StoreSpec::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
            assert_eq!(StoreSpec::without_login(text), None);
        }
        assert_eq!(StoreSpec::without_login("sqlite:a").unwrap(), "sqlite:a");
    }
}
