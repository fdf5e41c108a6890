//! Checks the log of a run against the limits that it declares.
//!
//! For each limit: the greatest number of units that *can* have been counted in any window, wherever
//! between its send and its answer each call was counted. Nothing here knows how limits are kept; it
//! reads what was logged and counts. What is exact and what is a bound: `docs/verify.md`.
//!
//! ```text
//! log ──► stream ──► attempts, in the order of their sends ──► judge ──► rule by rule ──► findings
//! log ──► stream ──►            on one time line
//! ```
//!
//! Times in a log are rounded outwards to microseconds: sends down, answers up. An honest run may
//! therefore look as if it had been up to two of them too fast. Exactly that is allowed for, once, where an
//! attempt is made: its send is taken a microsecond later, its answer a microsecond earlier. After
//! that all windows are closed on both sides, and nothing else is forgiven.

mod answers;
mod any;
mod book;
mod bucket;
mod calendar;
mod concurrency;
mod counter;
mod error;
mod findings;
mod judge;
mod numbers;
mod rule;
mod stepped;
mod stream;
mod timeline;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use self::error::VerifyError;
pub use self::findings::{Call, Checked, Findings, LogFacts, Missing, Verdict, Worst};

use self::book::Book;
use self::error::Stop;
use self::judge::Judge;
use self::stream::Stream;
use crate::log::{Control, Event, FILE, LimitRecord, Reader};
use crate::sink::OutputPaths;

/// Checks the logs of jobs that shared one quota, or of one job.
///
/// Each path is an output, its folder, or the log itself.
///
/// # Errors
/// If a log is not there, cannot be read, or is not in the order of time.
pub fn verify(paths: &[PathBuf]) -> Result<Findings, VerifyError> {
    let logs: Vec<PathBuf> = paths.iter().map(|path| log_of(path)).collect();
    match pass(&logs, Vec::new()) {
        Ok(findings) => Ok(findings),
        Err(Stop::Error(error)) => Err(error),
        // A later run has a limit of its own: what was sent before counts against that as well.
        Err(Stop::NewLimit) => match pass(&logs, all_limits(&logs)?) {
            Ok(findings) => Ok(findings),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::NewLimit) => Err(VerifyError::Changed),
        },
    }
}

/// Where the log that belongs to `path` is.
fn log_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.join(FILE);
    }
    match OutputPaths::around(path) {
        Some(paths) => paths.state.join(FILE),
        None if path.is_file() => path.to_owned(),
        None => OutputPaths::for_output(path).state.join(FILE),
    }
}

/// Reads the logs once, side by side.
fn pass(logs: &[PathBuf], limits: Vec<LimitRecord>) -> Result<Findings, Stop> {
    let mut book = Book::new(limits);
    let mut streams = Vec::with_capacity(logs.len());
    for (log, path) in logs.iter().enumerate() {
        streams.push(Stream::open(path, log as u32)?);
    }
    let mut next = Vec::with_capacity(streams.len());
    for stream in &mut streams {
        next.push(stream.next(&mut book)?);
    }
    let mut judge = Judge::new();
    let mut latest = i64::MIN;
    loop {
        let first =
            next.iter().enumerate().filter_map(|(i, attempt)| Some((attempt.as_ref()?.sent, i))).min();
        let Some((sent, place)) = first else { break };
        let following = streams[place].next(&mut book)?;
        let Some(attempt) = std::mem::replace(&mut next[place], following) else { break };
        if sent < latest {
            let path = logs[place].clone();
            return Err(VerifyError::OutOfOrder { path, row: attempt.row, number: attempt.number }.into());
        }
        latest = sent;
        book.started = true;
        judge.attempt(&attempt, &book);
    }
    let facts = streams.into_iter().map(Stream::facts).collect();
    Ok(judge.findings(&book, facts))
}

/// The limits of all runs.
fn all_limits(logs: &[PathBuf]) -> Result<Vec<LimitRecord>, VerifyError> {
    let mut limits: Vec<LimitRecord> = Vec::new();
    for path in logs {
        let Some(mut reader) = Reader::open(path)? else { continue };
        while let Some(event) = reader.next_event()? {
            if let Event::Control(Control::Run(run)) = event {
                let new = run.limits.into_iter().filter(|limit| !limits.contains(limit));
                let new: Vec<_> = new.collect();
                limits.extend(new);
            }
        }
    }
    Ok(limits)
}
