//! The log of a job: every attempt and every line of output, in one append-only file.
//!
//! Outputs and reports are projections of it; nothing else is truth. Its layout, the order in which
//! files are written, and what is mended after a crash at any point: `docs/log.md`.
//!
//! Two *streams* of records share the file, each written by one thread and decoded with a state of
//! its own. *Sends* are written before the calls that they tell of. *Ends* are written after the
//! output bytes that they tell of.

mod block;
mod control;
mod describe;
mod ends;
mod read;
mod replay;
mod select;
mod sends;
mod varint;

use tidegate_core::Time;

pub use self::control::{Control, InputMark, LimitRecord, Rows, RunRecord, Window};
pub(crate) use self::ends::EndsEncoder;
pub use self::read::{Event, LogError, Reader};
pub(crate) use self::replay::{Dangling, Replay, rows_beyond};
pub use self::select::FailureFilter;
pub(crate) use self::select::failures;
pub(crate) use self::sends::{MOST_ROWS, SendsEncoder};
use crate::sink::FailureKind;

/// What a log file begins with; another number is another layout.
pub(crate) const MAGIC: &[u8; 16] = b"tidegate log 1\n\0";

/// The name of the log in a job's folder.
pub const FILE: &str = "log";

/// A point in time in whole microseconds since this machine was started, as all times in a log are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// Rounded down: nothing was sent before.
    pub fn floor(time: Time) -> Self {
        Self(time.as_nanos() / 1_000)
    }

    /// Rounded up: nothing was counted after.
    pub fn ceil(time: Time) -> Self {
        Self(time.as_nanos().div_ceil(1_000))
    }
}

/// A call is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Its number in the run, from 0.
    pub id: u64,
    /// Index of the row.
    pub row: u64,
    /// Of the row's sends, from 1; runs before are counted.
    pub number: u32,
    /// The other rows that the call carries, with their own numbers.
    pub mates: Box<[(u64, u32)]>,
    /// When its permit was granted.
    pub at: Micros,
    /// What it reserved of each limit, where that is not what every call costs.
    pub costs: Option<Box<[u64]>>,
    /// Whose quota it counts against: the number of a [`Control::Partition`].
    pub partition: u32,
}

impl Send {
    /// All rows that the call carries, each with the number of its send.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        std::iter::once((self.row, self.number)).chain(self.mates.iter().copied())
    }
}

/// A call is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The number of its send in the run.
    pub id: u64,
    /// When the head of its answer came, or it was given up: it was counted no later.
    pub answered: Micros,
    /// When its last byte came.
    pub ended: Micros,
    /// What became of it.
    pub outcome: Outcome,
    /// What it has cost of each limit, where that is not what was reserved.
    pub costs: Option<Box<[u64]>>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with this status.
    Answered(u16),
    /// Never written to the network.
    NotSent,
    /// Bytes of it had left, and no answer came: it may have been counted.
    Unknown,
    /// The same, given up when its time was over.
    TimedOut,
}

/// A row is at its end: its line has been appended to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Index of the row.
    pub row: u64,
    /// Which file.
    pub file: OutputFile,
    /// How many bytes.
    pub length: u64,
    /// Why it failed; `None` of a result.
    pub kind: Option<FailureKind>,
    /// The status of the last answer of a row that failed; 0 if there was none.
    pub status: u16,
}

/// The files that lines are appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFile {
    /// Results.
    Results,
    /// Failures.
    Failed,
    /// Rows of which nobody knows whether they were done.
    Unknown,
}

impl OutputFile {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Results, Self::Failed, Self::Unknown];

    /// Its place in arrays of three.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Where a row goes.
    pub fn of(kind: Option<FailureKind>) -> Self {
        match kind {
            None => Self::Results,
            Some(FailureKind::Unknown) => Self::Unknown,
            Some(_) => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
