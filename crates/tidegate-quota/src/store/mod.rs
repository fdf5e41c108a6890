//! Where a quota lives that several processes share.
//!
//! A store keeps quotas by name: what each is ([`Definition`]), who uses it, and a
//! [`Pool`](tidegate_core::Pool) for each of its partitions. A process that uses one is a *member*:
//! it joins, exchanges a few times a second, and leaves. Exchanges only move units between members;
//! each spends its own at full speed, and nothing after the end of its lease.
//!
//! [`Sqlite`] keeps them in a file, for all processes of a machine; [`Redis`] on a server, for those of many; [`Memory`]
//! in this process, for tests. All do the same, as the same code (`books.rs`) does it in a transaction of theirs; but
//! the exchanges of [`Redis`] run on the server, as a script that does what core's pools do.

mod admin;
mod books;
mod definition;
mod error;
mod loss;
mod machine;
mod memory;
mod redis;
mod rows;
mod sqlite;

use std::time::Duration;

use tidegate_core::{Allotment, MemberId, Report, Time};

pub use self::admin::{Admin, LimitView, MemberView, PartitionView, QuotaView};
pub use self::definition::Definition;
pub use self::error::StoreError;
pub use self::machine::Machine;
pub use self::memory::Memory;
pub use self::redis::{Redis, RedisAddress, RedisScript, RedisSession};
pub use self::rows::{Held, HeldFor, SetBy, Who};
pub use self::sqlite::{Sqlite, state_folder};

/// A place where quotas are kept.
///
/// One method matters: [`exchange`](Self::exchange). An answer that got lost is no harm: the same
/// exchange is made again, and is answered as before.
pub trait Store: Send {
    /// Whose clock all times are on.
    fn machine(&self) -> &Machine;

    /// The quota of this name, if it is defined.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn definition(&mut self, quota: &str) -> Result<Option<Definition>, StoreError>;

    /// Begins to use a quota.
    ///
    /// # Errors
    /// If it is defined otherwise than the one who joins says, or not at all; if the store cannot be
    /// used.
    fn join(&mut self, join: &Join<'_>) -> Result<Joined, StoreError>;

    /// Settles what happened and leases what is wanted, in any number of partitions.
    ///
    /// # Errors
    /// If the store cannot be used: then nothing has happened, or all of it.
    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Reply, StoreError>;

    /// The time by which all calls of a former member were counted: the past if that was before the
    /// machine started. `None` if it lives, or nobody remembers it.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn died_by(&mut self, member: MemberId) -> Result<Option<Time>, StoreError>;
}

/// Somebody who wants to use a quota.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// The quota's name.
    pub quota: &'a str,
    /// What it is taken to be; `None` takes it as it is.
    pub definition: Option<&'a Definition>,
    /// Who joins.
    pub who: &'a Who,
    /// Each of its calls is given up this long after its grant, at the latest.
    pub timeout: Duration,
    /// The user vouches that nobody has used it lately.
    pub assume_idle: bool,
}

/// A quota that can be used from here on.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Under this name; it is never given again.
    pub member: MemberId,
    /// What the quota is.
    pub definition: Definition,
    /// Of the definition.
    pub version: u64,
    /// Why nothing is granted at first, and until when.
    pub held: Option<Held>,
}

/// What a member says.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The quota's name.
    pub quota: &'a str,
    /// Who says it.
    pub member: MemberId,
    /// The version of the definition that it knows.
    pub version: u64,
    /// The partitions that it is about. None at all says that the member lives.
    pub visits: &'a [Visit],
    /// The last one: the member ends.
    pub leaves: bool,
}

/// What a member says about one partition.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Its name; empty where there is only one.
    pub partition: Box<str>,
    /// What happened there.
    pub report: Report,
    /// The member will not use this partition any more, unless it joins it again.
    pub leaves: bool,
}

/// What a store answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// All is well.
    Settled {
        /// For each visit.
        answers: Vec<Answer>,
        /// The definition, if it is another one than the member knows, and its version. Its shape is
        /// the same: quotas are resized before they take in the answers.
        news: Option<(u64, Definition)>,
    },
    /// The limits are other ones now: reports on those of before mean nothing. The member goes on
    /// with new quotas, and reports from 1 again.
    Redefined {
        /// The definition.
        definition: Definition,
        /// And its version.
        version: u64,
    },
    /// The member was buried, or the quota forgotten: it forfeits all, and may join anew.
    Unknown,
}

/// The answer to one visit.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A lease.
    Allotted(Allotment),
    /// It is no member there any more.
    Left,
    /// It was buried there.
    Buried,
}
