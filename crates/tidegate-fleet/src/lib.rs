//! One backlog of jobs for many workers.
//!
//! A *job* is cut into *shards*, stretches of its input, which stand in *queues* on a Redis or Valkey server
//! ([`Fleet`]). A [`Worker`] takes one at a time and runs it as an ordinary [`Run`](tidegate::Run) into a *part*, a folder of its
//! own beside the job's output ([`Parts`]); the quota is on the same server, so its limits hold over all workers. [`collect`]
//! puts the parts together.
//!
//! A worker has a shard for as long as it says so ([`LEASE`]). One that is silent for longer loses it to another, which
//! begins with a copy of what the first has written, under a higher *epoch*: a number in the part's name, so that nobody writes where
//! another one does, and on the server, so that only who had it last can say that the shard is done.
//!
//! The truth is in the parts; the server only says who does what. [`rebuild`] makes its data again.

mod allow;
mod collect;
mod enter;
mod error;
mod event;
mod fleet;
mod job;
mod keep;
mod parts;
mod rebuild;
mod shard;
mod status;
mod submit;
mod worker;

pub use self::allow::Allowed;
pub use self::collect::{Collected, collect};
pub use self::enter::{Entered, enter};
pub use self::error::FleetError;
pub use self::event::{Event, Stop, WorkerEnd};
pub use self::fleet::{Fleet, Grant, LEASE, State};
pub use self::job::{FleetJob, Shard};
pub use self::parts::{Parts, Rebought};
pub use self::rebuild::{Rebuilt, rebuild};
pub use self::status::JobStatus;
pub use self::submit::{Submission, shard_rows, submit};
pub use self::worker::{Backlog, Worker};

#[cfg(test)]
mod tests;
