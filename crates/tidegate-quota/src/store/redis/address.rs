//! Where a server is, and who we are there.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::store::StoreError;

/// All keys begin with it.
const PREFIX: &str = "tidegate";

/// The address of a server: `redis://HOST:PORT/DB`, `rediss://…` with TLS, or `unix:///PATH?db=DB`; with
/// `?prefix=NAME` if keys are to begin with another word than `tidegate`.
///
/// User and password may stand in it, or come from elsewhere ([`with_login`](Self::with_login)); nothing
/// prints them.
#[derive(Clone)]
pub struct RedisAddress {
    pub(super) info: ConnectionInfo,
    pub(super) prefix: String,
    shown: String,
}

impl RedisAddress {
    /// Reads it.
    ///
    /// # Errors
    /// If it is none. The message does not repeat it, as it may have a password.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let wrong = |message: &str| StoreError::Address { message: message.to_owned() };
        let url = redis::parse_redis_url(text).ok_or_else(|| wrong("it is no such URL"))?;
        let mut prefix = PREFIX.to_owned();
        for (name, value) in url.query_pairs() {
            match &*name {
                "prefix" => prefix = value.into_owned(),
                "db" | "user" | "pass" | "protocol" => {}
                _ => return Err(wrong("it has a parameter that nobody knows: expected prefix")),
            }
        }
        if prefix.is_empty() || prefix.contains(['{', '}']) || prefix.chars().any(char::is_control) {
            return Err(wrong("its prefix has to be a word without braces"));
        }
        let info =
            url.into_connection_info().map_err(|error| wrong(error.detail().unwrap_or(error.category())))?;
        // What the library calls itself is no business of the server's, and a command that not each user may use.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        let shown = shown(&info, &prefix);
        Ok(Self { info, prefix, shown })
    }

    /// With a user and a password from elsewhere, where the address has none.
    #[must_use]
    pub fn with_login(mut self, user: Option<&str>, password: Option<&str>) -> Self {
        let mut settings = self.info.redis_settings().clone();
        if let Some(user) = user.filter(|_| settings.username().is_none()) {
            settings = settings.set_username(user);
        }
        if let Some(password) = password.filter(|_| settings.password().is_none()) {
            settings = settings.set_password(password);
        }
        self.info = self.info.set_redis_settings(settings);
        self
    }

    /// The same keys under another word: for tests.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { shown: shown(&self.info, prefix), prefix: prefix.to_owned(), ..self }
    }

    pub(super) fn has_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }
}

/// The address again, but for user and password.
fn shown(info: &ConnectionInfo, prefix: &str) -> String {
    let db = info.redis_settings().db();
    let mut shown = match info.addr() {
        ConnectionAddr::Unix(path) if db == 0 => format!("unix://{}", path.display()),
        ConnectionAddr::Unix(path) => format!("unix://{}?db={db}", path.display()),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{}:{port}/{db}", in_brackets(host)),
        ConnectionAddr::Tcp(host, port) => format!("redis://{}:{port}/{db}", in_brackets(host)),
        _ => "the server".to_owned(),
    };
    if prefix != PREFIX {
        shown.push(if shown.contains('?') { '&' } else { '?' });
        shown.push_str("prefix=");
        shown.push_str(prefix);
    }
    shown
}

fn in_brackets(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_password() {
        for (text, expected) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            (
                "redis://me:se%40cret@cache.example:7000/2?prefix=ours",
                "redis://cache.example:7000/2?prefix=ours",
            ),
            ("rediss://:secret@cache.example/1", "rediss://cache.example:6379/1"),
            ("unix:///run/redis.sock?db=3&pass=secret", "unix:///run/redis.sock?db=3"),
            ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ] {
            let address = RedisAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), expected);
            assert!(!format!("{address:?}").contains("secret"));
            assert_eq!(RedisAddress::parse(expected).unwrap().to_string(), expected);
        }
        for text in [
            "redis://",
            "http://me:secret@x",
            "redis://:secret@x/two",
            "redis://x?prefix=a{b",
            "redis://:secret@x?pre=a",
        ] {
            let error = RedisAddress::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?} {}", error.hint()).contains("secret"), "{error}");
        }
    }

    #[test]
    fn who_we_are_may_come_from_elsewhere() {
        let login = |text: &str| {
            let address = RedisAddress::parse(text).unwrap().with_login(Some("env"), Some("word"));
            let settings = address.info.redis_settings();
            (settings.username().map(str::to_owned), settings.password().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(login("redis://x"), (some("env"), some("word")));
        assert_eq!(login("redis://me:mine@x"), (some("me"), some("mine")));
    }
}
