//! What a worker says, and what is said to it.

use tidegate::job::Held;
use tidegate::report::{Snapshot, Summary};

use crate::error::FleetError;
use crate::fleet::Grant;
use crate::job::FleetJob;
use crate::parts::Rebought;

/// Whether a worker is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stop {
    /// It is.
    #[default]
    No,
    /// It ends when the calls in flight are over.
    Soon,
    /// It ends at once.
    Now,
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// Somebody asked it to.
    Stopped,
    /// There is nothing left to do in its queues.
    Empty,
}

/// What a worker does, for people.
#[derive(Debug)]
pub enum Event<'a> {
    /// It has a shard; rows that others have done of it, and calls that were in flight when they stopped.
    Began {
        /// Which.
        grant: &'a Grant,
        /// Of the job.
        shards: u64,
        /// Rows that are done already.
        done: u64,
        /// What the dead have left.
        rebought: Rebought,
    },
    /// Nothing is sent for some time, because of what is known of the quota of this name.
    Held(Held, &'a str),
    /// How it goes.
    Running(&'a Snapshot, Option<String>),
    /// A shard is done.
    Done {
        /// Which.
        grant: &'a Grant,
        /// Shards of the job that are not done yet.
        left: u64,
        /// What was done; none if the part was there already.
        summary: Option<&'a Summary>,
    },
    /// That was the job's last shard.
    JobDone(&'a FleetJob),
    /// The command that the job has for its end went wrong, like this.
    CommandFailed(&'a str, &'a str),
    /// Others have all that is left of the one job that it works on.
    Waits,
    /// Another one has taken a shard over.
    Lost(&'a Grant),
    /// It has given a shard back.
    HandedBack(&'a Grant),
    /// Nobody goes on with a job until it is resumed.
    Paused(&'a str, &'a str),
    /// It must not run a job.
    Refused(&'a str, &'a str),
    /// The server cannot be used now.
    Away(&'a FleetError),
}
