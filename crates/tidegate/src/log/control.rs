//! Records that are rare: JSON, so that they can say more in later versions.

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::{Micros, OutputFile, varint};

/// What a log says besides attempts and lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// A run begins. All calls of earlier runs are over.
    Run(Box<RunRecord>),
    /// The run has ended by itself.
    Stop {
        /// As in `summary.json`.
        ended: String,
    },
    /// The run goes by another number in its quota's store: it was taken for dead, and has joined anew.
    Member {
        /// The number.
        id: u64,
    },
    /// A partition gets a number.
    Partition {
        /// Its number in this run; 0 is the partition without a name.
        number: u32,
        /// Its name.
        name: String,
    },
    /// What the input looked like so far.
    Input(InputMark),
    /// What the job has spent, all calls included whose ends the log has told by here.
    Spent {
        /// In millionths of a millionth of the currency that prices are in.
        units: u64,
        /// Of that, the most that calls can have cost of which it is not known.
        at_most: u64,
        /// Calls of which not even that is known.
        unpriced: u64,
    },
    /// Rows that had failed, or of unknown outcome, are to be sent again.
    Reopen {
        /// Which.
        rows: Rows,
    },
    /// Bytes that the log tells of were not in the file any more: it ends here now.
    Cut {
        /// Which file.
        file: OutputFile,
        /// Its length.
        length: u64,
        /// Rows whose lines were lost.
        rows: Rows,
    },
    /// A file is about to be replaced by one that was written anew beside it.
    Rewrite {
        /// Which file.
        file: OutputFile,
        /// Length of the new one.
        length: u64,
        /// Its number in the file system: whether the old or the new one is there is seen by that.
        inode: u64,
        /// In the order of the input, or without rows that are to be sent again.
        sorted: bool,
    },
    /// It has been replaced.
    Rewritten {
        /// Which file.
        file: OutputFile,
        /// Its length.
        length: u64,
        /// In the order of the input.
        sorted: bool,
    },
}

/// A run, as far as those who read the log must know.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of the program.
    pub version: String,
    /// The machine's boot: times of different boots cannot be compared.
    pub boot: String,
    /// When it began.
    pub at: Micros,
    /// The wall clock then, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Who it is in its quota's store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u64>,
    /// Calls of the run before that had not ended by its last record were over at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_over: Option<Micros>,
    /// The limits that it keeps.
    pub limits: Vec<LimitRecord>,
    /// What every call costs of each, in the same order.
    pub costs: Vec<u64>,
    /// Microseconds from a send to its count, if that is assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_within_us: Option<u64>,
    /// Lengths of the files when it began: results, failed, unknown.
    pub lengths: [u64; 3],
}

/// A limit, in numbers that need no knowledge of how it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitRecord {
    /// As it was declared.
    pub limit: String,
    /// What is counted.
    pub unit: String,
    /// Units.
    pub amount: u64,
    /// In which way.
    pub window: Window,
    /// A call counts from its send to the head of its answer, else to its last byte.
    pub ends_with_head: bool,
}

/// How a limit counts. Times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Window {
    /// In any window of this length.
    Any {
        /// Length.
        per_us: u64,
    },
    /// A weighted count of two windows of this length.
    Counter {
        /// Length.
        per_us: u64,
    },
    /// Not known: any window, a counter or a bucket.
    Unknown {
        /// Length.
        per_us: u64,
    },
    /// A bucket that gains the amount in this time.
    Bucket {
        /// Time.
        per_us: u64,
        /// What it holds.
        capacity: u64,
        /// It gains in steps of this time.
        step_us: u64,
    },
    /// Each day, week or month in a time zone.
    Calendar {
        /// `day`, `week` or `month`.
        period: String,
        /// By its IANA name.
        zone: String,
    },
    /// At the same time.
    Concurrency {
        /// How long a call still counts after its last byte.
        linger_us: u64,
    },
    /// In a way that this version has no name for.
    Other,
}

/// How much of the input was read, and what it looked like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputMark {
    /// Rows read.
    pub rows: u64,
    /// The start of the SHA-256 of their records, in hex.
    pub hash: String,
    /// Size and time of change of the file, if it is one: while they stay, its content does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<(u64, u64)>,
}

/// A set of rows: runs of consecutive ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rows(Vec<(u64, u64)>);

impl From<&RoaringTreemap> for Rows {
    fn from(rows: &RoaringTreemap) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for row in rows {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == row => *count += 1,
                _ => runs.push((row, 1)),
            }
        }
        Self(runs)
    }
}

impl Rows {
    /// `rows` in parts that are not too long for a record.
    pub(crate) fn in_parts(rows: &RoaringTreemap) -> impl Iterator<Item = Self> {
        const RUNS: usize = 10_000;
        let Self(runs) = Self::from(rows);
        runs.chunks(RUNS).map(|part| Self(part.to_vec())).collect::<Vec<_>>().into_iter()
    }

    /// The rows one by one.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|(first, count)| *first..first.saturating_add(*count))
    }
}

pub(super) fn put(control: &Control, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(control).unwrap_or_default(); // no map keys but strings: it cannot fail
    varint::put(json.len() as u64, out);
    out.extend_from_slice(&json);
}

pub(super) fn take(bytes: &mut &[u8]) -> Option<Control> {
    let length = usize::try_from(varint::take(bytes)?).ok()?;
    let (json, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    serde_json::from_slice(json).ok()
}
