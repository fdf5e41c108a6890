//! Whether a server is fit to keep quotas, as far as it says.

use super::session::Session;
use crate::store::StoreError;

/// Scripts replicate what they did, and may read the time before they write.
const OLDEST: (u32, u32) = (6, 2);

/// Refuses servers on which quotas would be lost in daily use.
pub(super) fn fitness(session: &mut Session) -> Result<(), StoreError> {
    let info: String = session.command(&["INFO", "server"])?;
    let server = session.address.to_string();
    let version = field(&info, "redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        return Err(StoreError::Unsuitable {
            server,
            message: format!("it is Redis {version}"),
            hint: "use Redis 6.2 or later, or Valkey",
        });
    }
    if field(&info, "redis_mode") == Some("cluster") {
        return Err(StoreError::Unsuitable {
            server,
            message: "it is a node of a cluster, which this release does not find its way in".to_owned(),
            hint: "name a server that is no cluster",
        });
    }
    match eviction(session) {
        Some(policy) if policy != "noeviction" => Err(StoreError::Unsuitable {
            server,
            message: format!("it throws keys away when its memory is full (maxmemory-policy {policy})"),
            hint: "set maxmemory-policy noeviction, or use a server of its own",
        }),
        _ => Ok(()),
    }
}

/// What does not make it unfit.
pub(super) fn warnings(session: &mut Session) -> Vec<String> {
    let mut warnings = Vec::new();
    let server = session.address.to_string();
    let mut warn = |text: &str| warnings.push(format!("{server}: {text}"));
    match session
        .command::<String>(&["INFO", "persistence"])
        .ok()
        .as_deref()
        .map(|info| field(info, "aof_enabled"))
    {
        Some(Some("0")) => warn(
            "it keeps no append-only file (appendonly no): if it starts again, every quota on it is unknown, and nothing \
             is sent for a while",
        ),
        Some(Some(_)) => {}
        _ => warn(
            "it does not say whether it keeps an append-only file: without one a restart loses every quota",
        ),
    }
    if eviction(session).is_none() {
        warn(
            "it does not say what it does when its memory is full (CONFIG is forbidden): maxmemory-policy has to be noeviction",
        );
    }
    warnings
}

/// What happens when memory is full; `None` if that is not told.
fn eviction(session: &mut Session) -> Option<String> {
    let pair: Vec<String> = session.command(&["CONFIG", "GET", "maxmemory-policy"]).ok()?;
    pair.into_iter().nth(1)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
