//! The job's folder beside its output: what a run leaves there besides its log.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tidegate_core::Time;
use tidegate_quota::{Clock, Partitions};

use super::write_private;
use crate::log::{Micros, Replay};
use crate::report::Summary;
use crate::sink::SinkError;

const SUMMARY: &str = "summary.json";

/// The folder of a job under way.
#[derive(Debug, Clone)]
pub(crate) struct State {
    folder: PathBuf,
    pub(crate) resumed_after_kill: bool,
    /// Rows that were at their end when it began.
    done_before: u64,
}

impl State {
    pub(super) fn new(folder: &Path, before: &Replay) -> Self {
        let resumed_after_kill = before.last.is_some() && !before.stopped;
        Self { folder: folder.to_owned(), resumed_after_kill, done_before: before.done.len() }
    }

    /// Writes the summary.
    pub(crate) fn end(&self, summary: &Summary) -> Result<(), SinkError> {
        // A finished job that is run again has nothing to tell that is not told already. But rows may end
        // without a call: those of unknown outcome that a killed run has left.
        let is_news = summary.attempts > 0 || summary.rows != self.done_before || self.resumed_after_kill;
        if is_news || !self.folder.join(SUMMARY).exists() {
            write_private(&self.folder.join(SUMMARY), json(summary).as_bytes())?;
        }
        Ok(())
    }
}

/// Without a store that knows of it, all that is known of what a quota was used for is in the job's own
/// log. Returns for how long that may still count.
pub(super) fn may_count(quotas: &Partitions, before: &Replay, boot: &str) -> Option<Duration> {
    let last = before.last.as_ref()?;
    let now = quotas.clock().now();
    let since = |over: Micros| now.since(Time::from_nanos(over.0.saturating_mul(1_000)));
    // What passed over a restart of the machine is only on the wall clock.
    let since_wall = |over_ms: u64| Duration::from_millis(wall_ms().saturating_sub(over_ms));
    let same_boot = last.boot == boot;
    let quiet = [
        // Calls that were in flight when the run was killed may have been counted until now.
        before.in_flight.then_some(Duration::ZERO),
        before.over.map(|over| {
            if same_boot {
                return since(over);
            }
            since_wall(last.wall_ms + over.0.saturating_sub(last.at.0) / 1_000)
        }),
        before.over_wall_ms.map(since_wall),
    ];
    let left = quotas.silence(quiet.into_iter().flatten().min()?);
    (!left.is_zero()).then_some(left)
}

/// The store knows of the run before, but perhaps not of those before that.
pub(super) fn may_count_unseen(quotas: &Partitions, before: &Replay) -> Option<Duration> {
    let since = |over: Micros| quotas.clock().now().since(Time::from_nanos(over.0.saturating_mul(1_000)));
    let left = quotas.silence(since(before.unseen?));
    (!left.is_zero()).then_some(left)
}

/// The clock's reading for a log.
pub(super) fn micros(clock: Clock) -> Micros {
    Micros::floor(clock.now())
}

/// Names this boot of the machine: times of the clock mean nothing in another.
pub(super) fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "what passes between two runs is only on the wall clock")]
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
