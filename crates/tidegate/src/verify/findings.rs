//! What has been found.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::book::Book;
use super::judge;
use super::rule::Edge;

/// What the logs show, as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// No limit was exceeded, and no attempt is missing.
    pub ok: bool,
    /// Each limit, in each way that it may be enforced.
    pub checks: Vec<Checked>,
    /// The logs.
    pub logs: Vec<LogFacts>,
    /// What the numbers rest on, for people.
    pub notes: Vec<String>,
}

/// A log as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Runs in it.
    pub runs: u64,
    /// Calls that were written to the network, or may have been.
    pub attempts: u64,
    /// Calls that were not, and count nowhere.
    pub not_sent: u64,
    /// Calls that were under way when a run was killed: over at the latest when the next one began.
    pub killed: u64,
    /// Calls of which the log does not tell the end: never over.
    pub never_over: u64,
    /// Attempts that a later one of the same row shows to be missing.
    pub missing: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_missing: Option<Missing>,
}

/// An attempt that is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The row.
    pub row: u64,
    /// Which of its sends.
    pub number: u32,
}

/// One limit, held against in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// As it was declared.
    pub limit: String,
    /// What it counts.
    pub unit: String,
    /// In which way, where the limit leaves it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
    /// Units that it allows: in a window, at a time, or in the bucket.
    pub allows: u64,
    /// The most that can have been counted; of a bucket, the least that it must have held.
    pub worst: u64,
    /// No more than `worst` can have been counted, and perhaps less.
    pub at_most: bool,
    /// Whether that is within.
    pub verdict: Verdict,
    /// Why it was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Some runs do not say what their calls cost of this; those are left out.
    pub partial: bool,
    /// Partitions with calls of their own.
    pub partitions: u64,
    /// Those that were above.
    pub partitions_above: u64,
    /// The worst window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Worst>,
}

/// Whether a limit was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// In every window.
    Within,
    /// Not in some.
    Above,
    /// Not known: no way to check it is known.
    NotChecked,
}

/// A window, by its place in time and its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// When it begins, by the wall clock of the run that its last call is of, in UTC.
    pub start: String,
    /// The same in microseconds since 1970.
    pub start_us: i64,
    /// Its length.
    pub length_us: i64,
    /// From the begin of that run to the window's.
    pub since_run_us: i64,
    /// Which run of its log.
    pub run: u32,
    /// Which log.
    pub log: PathBuf,
    /// Whose quota; empty if it has no name.
    pub partition: String,
    /// The first call that may have been counted in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Call>,
    /// The last.
    pub last: Call,
}

/// An attempt by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Call {
    /// 0-based index of the row.
    pub row: u64,
    /// Which of its sends, from 1.
    pub attempt: u32,
}

impl Findings {
    pub(super) fn new(book: &Book, logs: Vec<LogFacts>, checks: Vec<Checked>) -> Self {
        let above = checks.iter().any(|check| check.verdict == Verdict::Above);
        let missing = logs.iter().any(|log| log.missing > 0);
        let mut notes = Vec::new();
        let mut assumed: Vec<i64> = book.runs.iter().filter_map(|run| run.within).collect();
        assumed.sort_unstable();
        assumed.dedup();
        notes.extend(assumed.into_iter().map(|within| {
            let within = seconds(within);
            format!(
                "assumed, as a run declared it: each of its calls is counted within {within} s of its send"
            )
        }));
        if book.timeline.bridged {
            notes.push(
                "between machines, and between boots of one, times are compared by their wall clocks: right as far as these agree".to_owned(),
            );
        }
        if book.timeline.turned_back {
            notes.push(
                "the wall clock went back between two boots: no time is taken to have passed".to_owned(),
            );
        }
        let checked = checks.iter();
        notes.extend(checked.filter(|check| check.partial).map(|check| {
            format!("{}: calls of runs that do not say what they cost of it are left out", check.limit)
        }));
        Self { ok: !above && !missing, checks, logs, notes }
    }
}

impl judge::Worst {
    pub(super) fn named(self, book: &Book, logs: &[LogFacts]) -> Worst {
        let run = &book.runs[self.last.run as usize];
        let start = self.sight.begin.saturating_add(run.to_wall);
        let call = |edge: Edge| Call { row: edge.row, attempt: edge.number };
        Worst {
            start: Timestamp::from_microsecond(start).map_or_else(|_| start.to_string(), |at| at.to_string()),
            start_us: start,
            length_us: self.sight.end.saturating_sub(self.sight.begin),
            since_run_us: self.sight.begin.saturating_sub(run.began),
            run: run.number,
            log: logs.get(run.log as usize).map(|log| log.path.clone()).unwrap_or_default(),
            partition: book.partitions[self.partition as usize].to_string(),
            first: self.sight.first.map(call),
            last: call(self.last),
        }
    }
}

/// Microseconds as seconds, to the last digit that says anything.
pub(super) fn seconds(micros: i64) -> String {
    let (sign, micros) = if micros < 0 { ("-", micros.unsigned_abs()) } else { ("", micros.unsigned_abs()) };
    let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
