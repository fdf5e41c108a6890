//! What a store keeps, and the few ways to get at it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::{MemberId, Pool, Time};

use super::{Definition, StoreError};

/// Who uses a quota, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Who {
    /// The process.
    pub pid: u32,
    /// What it does: its command line, or the name of its job.
    pub does: String,
}

impl Who {
    /// This process, doing that.
    pub fn this(does: impl Into<String>) -> Self {
        Self { pid: std::process::id(), does: does.into() }
    }
}

/// By whom a quota was defined, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBy {
    /// Who.
    pub who: Who,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Who { pid, does } = &self.who;
        write!(f, "by `{does}` (process {pid})")?;
        let at = i64::try_from(self.at_ms / 1_000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        at.map_or(Ok(()), |at| write!(f, " at {at}"))
    }
}

/// Why a quota grants nothing at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeldFor {
    /// What was sent before is not known: the state folder does not outlive its container.
    ColdStart,
    /// The limits were defined otherwise, and what was used of those still counts.
    Redefined,
    /// Former users have used it up; what they used comes back by and by.
    FormerUse,
    /// The server that keeps it has started again, or another one has taken its place: what happened last may be
    /// missing there.
    Restarted,
    /// The clock of the server that keeps it was set.
    ClockJumped,
}

impl HeldFor {
    /// Whether it is that nobody knows what was used: then somebody may vouch that nothing was.
    pub(crate) fn is_ignorance(self) -> bool {
        matches!(self, Self::ColdStart | Self::Restarted | Self::ClockJumped)
    }
}

/// Until when nothing is granted at first, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Until then, on the clock of the quota.
    pub until: Time,
    /// Why.
    pub why: HeldFor,
}

/// A quota.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QuotaRow {
    pub(crate) definition: Definition,
    /// Rises with each change of the definition.
    pub(crate) version: u64,
    /// The version with which the pools began: reports on older ones say nothing about these.
    pub(crate) pools_since: u64,
    pub(crate) set_by: SetBy,
    /// Set by a person, not by a job that happened to be the first.
    pub(crate) explicit: bool,
    /// The boot that all times are of, and the latest time seen, on both clocks.
    pub(crate) boot: Box<str>,
    pub(crate) seen: Time,
    pub(crate) seen_wall_ms: u64,
    /// All of it is paused until then.
    pub(crate) paused_until: Time,
    /// How often somebody has ended a pause by hand.
    pub(crate) resumes: u64,
    /// What has no pool yet grants nothing until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<Held>,
    /// Idle pools were looked for then.
    pub(crate) swept: Time,
    /// Nothing at all is given out until then: whoever used it before a server lost its memory says so until then.
    #[serde(default)]
    pub(crate) gathers: Time,
    /// The longest time-out that anybody had.
    #[serde(default)]
    pub(crate) longest: Duration,
}

/// A process that uses a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberRow {
    pub(crate) id: MemberId,
    pub(crate) who: Who,
    pub(crate) joined_ms: u64,
    pub(crate) seen: Time,
    /// The latest end of its leases.
    pub(crate) until: Time,
    pub(crate) timeout: Duration,
}

/// What became of a former member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) counted_by: Time,
    pub(crate) boot: Box<str>,
    pub(crate) at_ms: u64,
}

/// One transaction: all of it or nothing.
pub(crate) trait Rows {
    fn quota(&mut self, name: &str) -> Result<Option<QuotaRow>, StoreError>;
    fn quotas(&mut self) -> Result<Vec<String>, StoreError>;
    fn put_quota(&mut self, name: &str, quota: &QuotaRow) -> Result<(), StoreError>;
    /// With its pools and members.
    fn remove_quota(&mut self, name: &str) -> Result<(), StoreError>;

    fn members(&mut self, quota: &str) -> Result<Vec<MemberRow>, StoreError>;
    fn put_member(&mut self, quota: &str, member: &MemberRow) -> Result<(), StoreError>;
    fn remove_member(&mut self, id: MemberId) -> Result<(), StoreError>;

    fn pool(&mut self, quota: &str, partition: &str) -> Result<Option<Pool>, StoreError>;
    fn pools(&mut self, quota: &str) -> Result<Vec<(Box<str>, Pool)>, StoreError>;
    fn put_pool(&mut self, quota: &str, partition: &str, pool: &Pool) -> Result<(), StoreError>;
    fn remove_pool(&mut self, quota: &str, partition: &str) -> Result<(), StoreError>;

    fn tombstone(&mut self, id: MemberId) -> Result<Option<Tombstone>, StoreError>;
    fn put_tombstone(&mut self, id: MemberId, tombstone: &Tombstone) -> Result<(), StoreError>;
    /// Forgets those that are older.
    fn prune_tombstones(&mut self, before_ms: u64) -> Result<(), StoreError>;

    /// Whether the process is known not to run any more.
    fn is_dead(&mut self, id: MemberId) -> bool;
    /// Nothing will be asked about it any more.
    fn bury(&mut self, id: MemberId);
}
