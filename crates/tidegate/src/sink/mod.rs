//! Results out: every row ends as one line of results or one line of failures.
//!
//! The work is split so that the event loop never waits for a disk: the [`Formatter`] turns each
//! [`Finished`] row into bytes of a [`Batch`] (pure, on the engine's thread), and [`Files`]
//! appends batches (on a thread of its own). [`open`] mends what a killed process left behind and
//! tells which rows are [`Done`].
//!
//! ```text
//! out.jsonl          results, one JSON object a line (or out.csv)
//! out.failed.jsonl   failures, the same shape with `error`; appears with the first one
//! out.unknown.jsonl  the same for rows of which nobody knows whether they were done
//! out.tidegate/      0700: lock, log, and what other parts of the engine keep there
//! ```

mod appended;
mod batch;
mod csv;
mod error;
mod files;
mod format;
mod jsonl;
mod log_file;
mod mend;
mod part;
mod paths;
mod rewrite;
mod scan;
mod select;
mod shape;
mod stamp;
mod whole;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roaring::RoaringTreemap;
use tidegate_quota::Clock;

pub use self::error::SinkError;
pub use self::files::Files;
pub use self::format::{Batch, Formatter};
pub(crate) use self::log_file::LogFile;
use self::mend::output_of;
pub use self::part::Part;
pub use self::paths::OutputPaths;
pub use self::select::{Select, SelectError};
use self::shape::Shape;
pub use self::whole::{PartLog, PartLogs, Whole};
use crate::log::{OutputFile, Replay};
use crate::row::{Record, RowFault};

/// A row at its end, borrowed from wherever the engine keeps the parts.
#[derive(Debug, Clone)]
pub struct Finished<'a> {
    /// 0-based index of the row in the input.
    pub index: u64,
    /// Its identity, where the job names one.
    pub key: Option<&'a str>,
    /// The record, or why there was none.
    pub record: Result<&'a Record, &'a RowFault>,
    /// Status of the last answer; `None` when there was none.
    pub status: Option<u16>,
    /// How often it was sent.
    pub attempts: u32,
    /// When the last attempt was sent.
    pub sent_at: Option<SystemTime>,
    /// How long the last attempt took to its last byte.
    pub latency: Option<Duration>,
    /// By this the provider knows the last call, if it has said so.
    pub request_id: Option<&'a str>,
    /// Body of the last answer, decompressed.
    pub body: Option<&'a [u8]>,
    /// `None`: a result. `Some`: a failure.
    pub error: Option<&'a Failure>,
}

/// Why a row has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, for programs.
    pub kind: FailureKind,
    /// What went wrong, for people.
    pub message: String,
}

/// The kinds of failure that outputs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureKind {
    /// The last answer's status is not accepted.
    Status,
    /// No answer in time, and the attempts are used up.
    Timeout,
    /// Connection, name or TLS failed.
    Network,
    /// It may or may not have been counted and done; it is held rather than sent twice.
    Unknown,
    /// The row does not make a valid call.
    Template,
    /// The row could not be read.
    Input,
    /// The call costs more than its limit can ever grant.
    Quota,
    /// The answer is longer than allowed.
    BodyTooLarge,
    /// The answer is broken: bad framing, compression or encoding.
    BadBody,
}

impl FailureKind {
    /// In the order of their codes, which stand in logs: new ones come last.
    const ALL: [Self; 9] = [
        Self::Status,
        Self::Timeout,
        Self::Network,
        Self::Unknown,
        Self::Template,
        Self::Input,
        Self::Quota,
        Self::BodyTooLarge,
        Self::BadBody,
    ];

    /// The kind whose code (`kind as u8`) that is.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// All words, as they stand in outputs.
    pub fn words() -> [&'static str; 9] {
        Self::ALL.map(Self::as_str)
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The word that stands in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Unknown => "unknown",
            Self::Template => "template",
            Self::Input => "input",
            Self::Quota => "quota",
            Self::BodyTooLarge => "body_too_large",
            Self::BadBody => "bad_body",
        }
    }
}

/// Where results go, and in which shape.
#[derive(Debug, Clone)]
pub struct OutputSpec {
    /// A file with its neighbours, or stdout.
    pub target: Target,
    /// `None`: guessed from the file's name, JSONL for stdout.
    pub format: Option<OutputFormat>,
    /// The job's own number, of which a batch's ids are made.
    pub job: String,
    /// Values taken from JSON bodies into columns of a CSV output.
    pub select: Vec<Select>,
    /// The input's columns in a CSV output:
    /// [`Source::output_columns`](crate::source::Source::output_columns).
    pub columns: Arc<[String]>,
}

/// A file with its neighbours, or stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Results and failures mixed, as JSONL; such a job cannot be resumed.
    Stdout,
    /// This file, its `.failed` sibling and its `.tidegate` folder.
    File(PathBuf),
}

/// The shape of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One JSON object a line.
    Jsonl,
    /// The input's columns and the selected values.
    Csv,
    /// One answer a line, as the batch endpoints of LLM providers give them.
    Batch,
}

impl OutputFormat {
    /// The guess from a file's name; `None` for formats that are not written (compressed, Parquet).
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Some(Self::Csv),
            Some("gz" | "zst" | "parquet" | "tsv" | "xlsx") => None,
            _ => Some(Self::Jsonl),
        }
    }
}

/// The rows that earlier runs have finished.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Done {
    /// Rows with a result.
    pub succeeded: RoaringTreemap,
    /// Rows that failed.
    pub failed: RoaringTreemap,
    /// Rows of which nobody knows whether they were done, and that are not sent twice.
    pub unknown: RoaringTreemap,
}

impl Done {
    /// Whether the row needs nothing more.
    pub fn contains(&self, index: u64) -> bool {
        self.succeeded.contains(index) || self.failed.contains(index) || self.unknown.contains(index)
    }

    /// How many rows are done.
    pub fn len(&self) -> u64 {
        self.succeeded.len() + self.failed.len() + self.unknown.len()
    }

    /// Whether this is a fresh start.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, index: u64, file: OutputFile) {
        match file {
            OutputFile::Results => &mut self.succeeded,
            OutputFile::Failed => &mut self.failed,
            OutputFile::Unknown => &mut self.unknown,
        }
        .insert(index);
    }

    /// The row is to be sent again; where its line is, if it has one.
    pub(crate) fn reopen(&mut self, index: u64) -> Option<OutputFile> {
        let sets = [&mut self.succeeded, &mut self.failed, &mut self.unknown];
        OutputFile::ALL.into_iter().zip(sets).find_map(|(file, set)| set.remove(index).then_some(file))
    }
}

/// An opened output.
#[derive(Debug)]
pub struct Outputs {
    /// Turns rows into bytes.
    pub formatter: Formatter,
    /// Writes the bytes.
    pub files: Files,
    /// What earlier runs have done.
    pub(crate) before: Replay,
}

impl Outputs {
    /// The rows that are there already.
    pub fn done(&self) -> &Done {
        &self.before.done
    }
}

/// Opens the output and finds the rows that are done. What is torn is mended when a run
/// begins.
///
/// Files that this program did not write are refused before anything is changed, and so is an
/// output that another process has open.
pub fn open(spec: &OutputSpec, clock: Clock) -> Result<Outputs, SinkError> {
    let format = match (&spec.target, spec.format) {
        (Target::Stdout, format) => format.unwrap_or(OutputFormat::Jsonl),
        (Target::File(_), Some(format)) => format,
        (Target::File(path), None) => {
            OutputFormat::of_name(path).ok_or_else(|| SinkError::Format { path: path.clone() })?
        }
    };
    match (format, &spec.target, spec.select.is_empty()) {
        (OutputFormat::Csv, Target::Stdout, _) => return Err(SinkError::CsvOnStdout),
        (OutputFormat::Csv, _, true) => return Err(SinkError::CsvWithoutSelect),
        (OutputFormat::Jsonl | OutputFormat::Batch, _, false) => return Err(SinkError::SelectWithoutCsv),
        _ => {}
    }
    let shape = match format {
        OutputFormat::Jsonl => Shape::Jsonl,
        OutputFormat::Csv => Shape::Table(csv::Table::new(&spec.columns, &spec.select)?),
        OutputFormat::Batch => Shape::Batch(batch::BatchLines::new(&spec.job)),
    };
    let (files, before) = match &spec.target {
        Target::Stdout => (Files::stdout(), Replay::default()),
        Target::File(path) => Files::open(&OutputPaths::for_output(path), &shape, clock)?,
    };
    let merged = spec.target == Target::Stdout;
    Ok(Outputs { formatter: Formatter::new(shape, merged), files, before })
}

#[cfg(test)]
mod tests;
