//! A connection to a server, and what may go wrong with it.

use std::time::Duration;

use redis::{Client, Connection, ErrorKind, RedisError, Value};

use super::address::RedisAddress;
use super::script::Text;
use crate::store::StoreError;

/// For a connection to stand, and for an answer. Whoever gets none says the same again, so nothing is
/// repeated in here.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection to a server, made when it is needed. Whatever is said over it may have been done though no answer came, so it
/// has to be harmless if it is said again.
pub struct Session {
    pub(super) address: RedisAddress,
    connection: Option<Connection>,
}

impl Session {
    pub(super) fn new(address: RedisAddress) -> Self {
        Self { address, connection: None }
    }

    /// With a server that does not throw keys away in daily use, and knows what is asked of it.
    ///
    /// # Errors
    /// If it cannot be reached, or is another one.
    pub fn open(address: RedisAddress) -> Result<Self, StoreError> {
        let mut session = Self::new(address);
        super::checks::fitness(&mut session)?;
        Ok(session)
    }

    /// What people should know of the server before they rely on it.
    pub fn warnings(&mut self) -> Vec<String> {
        super::checks::warnings(self)
    }

    /// The word that all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.address.prefix
    }

    /// Where it is, without a password.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Runs a script; the server gets its text if it does not have it. What a server that has started again does
    /// not know any more, the script itself finds out.
    ///
    /// # Errors
    /// If there is no answer, or the server refuses.
    pub fn run(&mut self, script: &Text, keys: &[String], args: &[String]) -> Result<Value, StoreError> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len()).arg(keys).arg(args);
            command
        };
        match self.ask(&command("EVALSHA", &script.hash)) {
            Err(error) if error.code() == Some("NOSCRIPT") => self.ask(&command("EVAL", &script.text)),
            answer => answer,
        }
        .map_err(|error| self.said(&error))
    }

    /// A command by its words.
    ///
    /// # Errors
    /// If there is no answer, or the server refuses.
    pub fn command<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> Result<T, StoreError> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = self.ask(&command).and_then(|value| Ok(redis::from_redis_value(value)?));
        answer.map_err(|error| self.said(&error))
    }

    fn ask(&mut self, command: &redis::Cmd) -> Result<Value, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.address)?),
        };
        let answer = command.query::<Value>(connection);
        // The answer to this one may come yet: it must not be taken for the next one's.
        if answer.as_ref().is_err_and(|error| error.code().is_none()) {
            self.connection = None;
        }
        answer
    }

    pub(super) fn said(&self, error: &RedisError) -> StoreError {
        let server = self.address.to_string();
        let message = match (error.code().and_then(for_now), error.detail()) {
            (Some(why), _) => why.to_owned(),
            (None, Some(detail)) => format!("{}: {detail}", error.category()),
            (None, None) => error.to_string(),
        };
        match error.code() {
            Some("NOPERM" | "NOAUTH" | "WRONGPASS") => StoreError::Forbidden { server, message },
            // A script that may be run, and may not do what it does.
            _ if message.contains("can't run this command") || message.contains("ACL failure") => {
                StoreError::Forbidden { server, message }
            }
            _ if error.kind() == ErrorKind::AuthenticationFailed => StoreError::Forbidden { server, message },
            Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => StoreError::Unsuitable {
                server,
                message: "it is a node of a cluster".to_owned(),
                hint: "name a server that is no cluster, or the node that has the quota",
            },
            _ => StoreError::Unreachable { server, message },
        }
    }

    /// An answer that makes no sense.
    pub fn strange(&self, what: &str) -> StoreError {
        let message = format!("its answer is not understood: {what}");
        StoreError::Unreachable { server: self.address.to_string(), message }
    }
}

/// Why a server does nothing now that it may do later, and what to do about it.
fn for_now(code: &str) -> Option<&'static str> {
    Some(match code {
        "NOREPLICAS" => {
            "it takes no writes, as fewer replicas are connected than its min-replicas-to-write asks for (connect one, or lower that)"
        }
        "READONLY" | "MASTERDOWN" => {
            "it is a replica, which takes no writes (name its primary, or make it one: REPLICAOF NO ONE)"
        }
        "OOM" => "it takes no writes, as its memory is full (raise its maxmemory, or make room)",
        "MISCONF" => {
            "it takes no writes, as it cannot save its data (its log says why; mostly its disk is full)"
        }
        "BUSY" => "a script of somebody keeps it busy (SCRIPT KILL ends it)",
        "LOADING" => "it has just started, and is reading its data",
        _ => return None,
    })
}

fn connect(address: &RedisAddress) -> Result<Connection, RedisError> {
    if address.has_tls() {
        // The one that all of tidegate uses; an error says that it is chosen already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let connection = Client::open(address.info.clone())?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}
