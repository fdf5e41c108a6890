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
mod logs;
mod numbers;
mod rule;
mod stepped;
mod stream;
mod timeline;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::error::VerifyError;
pub use self::findings::{Call, Checked, Findings, LogFacts, Missing, Verdict, Worst};

use self::book::Book;
use self::error::Stop;
use self::judge::Judge;
use self::logs::Log;
use self::stream::{Attempt, Stream};
use crate::log::{Control, Event, LimitRecord, Reader};

/// Checks the logs of jobs that shared one quota, or of one job. Where an output was put together from parts, those are meant as well.
///
/// Each path is an output, its folder, or the log itself.
///
/// # Errors
/// If a log is not there, cannot be read, or is not in the order of time.
pub fn verify(paths: &[PathBuf]) -> Result<Findings, VerifyError> {
    let logs = logs::of(paths)?;
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

/// Reads the logs once, side by side: each from the time on when its first run begins, so that of many not all are open at once.
fn pass(logs: &[Log], limits: Vec<LimitRecord>) -> Result<Findings, Stop> {
    let mut book = Book::new(limits);
    let mut later = Vec::with_capacity(logs.len());
    for (i, log) in logs.iter().enumerate() {
        let begins = log.first_run()?.map(|run| timeline::place(run.at, book.timeline.enter(&run, None)));
        later.push((begins, i));
    }
    later.sort_unstable_by(|a, b| b.cmp(a));
    let mut facts = vec![LogFacts::default(); logs.len()];
    let mut open: Vec<(Attempt, usize, Stream)> = Vec::new();
    let mut judge = Judge::new();
    let mut latest = i64::MIN;
    loop {
        let first = open.iter().enumerate().min_by_key(|(_, (attempt, log, _))| (attempt.sent, *log));
        let first = first.map(|(place, (attempt, ..))| (attempt.sent, place));
        if let Some((_, log)) =
            later.pop_if(|(begins, _)| first.is_none_or(|(sent, _)| *begins <= Some(sent)))
        {
            let mut stream = Stream::open(&logs[log].path, log as u32, logs[log].told)?;
            match stream.next(&mut book)? {
                Some(attempt) => open.push((attempt, log, stream)),
                None => facts[log] = stream.facts(),
            }
            continue;
        }
        let Some((sent, place)) = first else { break };
        let (attempt, log, stream) = &mut open[place];
        let log = *log;
        let following = stream.next(&mut book)?;
        let attempt = if let Some(following) = following {
            std::mem::replace(attempt, following)
        } else {
            let (attempt, _, stream) = open.swap_remove(place);
            facts[log] = stream.facts();
            attempt
        };
        if sent < latest {
            let path = logs[log].path.clone();
            return Err(VerifyError::OutOfOrder { path, row: attempt.row, number: attempt.number }.into());
        }
        latest = sent;
        book.started = true;
        judge.attempt(&attempt, &book);
    }
    Ok(judge.findings(&book, facts))
}

/// The limits of all runs.
fn all_limits(logs: &[Log]) -> Result<Vec<LimitRecord>, VerifyError> {
    let mut limits: Vec<LimitRecord> = Vec::new();
    for Log { path, .. } in logs {
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
