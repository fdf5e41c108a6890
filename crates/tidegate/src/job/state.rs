//! The job's folder beside its output: what one run leaves for the next.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tidegate_quota::Partitions;

use super::{JobError, write_private};
use crate::report::Summary;
use crate::sink::SinkError;

/// Stands in the folder while a run is under way; its time of change is the run's heartbeat.
const RUNNING: &str = "running";
/// What of the limits was in use when the last run ended.
const QUOTA: &str = "quota.json";
const SUMMARY: &str = "summary.json";
/// A run that was killed may have sent calls for so long after its last heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The folder of a job under way.
#[derive(Debug, Clone)]
pub(crate) struct State {
    folder: PathBuf,
    pub(crate) resumed_after_kill: bool,
    /// When the earlier run was alive for the last time.
    last_alive: Option<SystemTime>,
}

/// What of the limits is in use, by the wall clock.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Used {
    /// Milliseconds since 1970.
    at_ms: u64,
    units: Vec<UsedUnits>,
    /// Pauses that the provider asked for and that are not over, by partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pauses: Vec<PauseLeft>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PauseLeft {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    partition: String,
    for_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct UsedUnits {
    /// Empty if there is one quota for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    partition: String,
    limit: String,
    units: u64,
    for_ms: u64,
}

impl State {
    /// Notes that a run has begun; whether an earlier one never ended.
    pub(super) fn begin(folder: &Path) -> Result<Self, JobError> {
        let marker = folder.join(RUNNING);
        let changed = fs::metadata(&marker).and_then(|file| file.modified()).ok();
        write_private(&marker, b"")?;
        Ok(Self { folder: folder.to_owned(), resumed_after_kill: changed.is_some(), last_alive: changed })
    }

    /// Says that the run is alive. Without it a successor waits longer, and nothing worse.
    pub(crate) fn beat(&self) {
        if let Ok(marker) = File::options().write(true).open(self.folder.join(RUNNING)) {
            let _ = marker.set_modified(wall_clock());
        }
    }

    /// Charges what an earlier run of the job has used: its windows do not end with it. Of a run
    /// that was killed the last calls are not known, so nothing is sent until none of them can
    /// count any more; returns how long that is.
    pub(super) fn carry_over(&self, quotas: &Partitions) -> Option<Duration> {
        let now = wall_clock();
        if let Some(alive) = self.last_alive {
            // A clock that has stepped back shows no silence at all.
            let passed = now.duration_since(alive + HEARTBEAT).unwrap_or(Duration::ZERO);
            let left = quotas.silence(passed);
            quotas.hold(left);
            return (!left.is_zero()).then_some(left);
        }
        let text = fs::read(self.folder.join(QUOTA)).ok()?;
        let used: Used = serde_json::from_slice(&text).ok()?;
        let passed =
            now.duration_since(UNIX_EPOCH + Duration::from_millis(used.at_ms)).unwrap_or(Duration::ZERO);
        for UsedUnits { partition, limit, units, for_ms } in used.units {
            let left = Duration::from_millis(for_ms).saturating_sub(passed);
            match quotas.contract().limits().position(|(known, _)| known.to_string() == limit) {
                Some(index) => quotas.gate(&partition).charge(index, units, left),
                // The limits were declared otherwise then: what was used of those counts in full.
                None => quotas.hold(left),
            }
        }
        for PauseLeft { partition, for_ms } in used.pauses {
            let gate = quotas.gate(&partition);
            gate.pause(gate.clock().now() + Duration::from_millis(for_ms).saturating_sub(passed));
        }
        None
    }

    /// Writes the summary and what of the limits is in use, and notes that the run has ended.
    pub(crate) fn end(&self, summary: &Summary, quotas: &Partitions) -> Result<(), SinkError> {
        let limits: Vec<String> = quotas.contract().limits().map(|(limit, _)| limit.to_string()).collect();
        let (mut all, mut pauses) = (Vec::new(), Vec::new());
        for (partition, gate) in quotas.all() {
            all.extend(gate.used().into_iter().map(|(limit, units, length)| UsedUnits {
                partition: partition.to_string(),
                limit: limits[limit].clone(),
                units,
                for_ms: whole_ms(length),
            }));
            if let Some(until) = gate.paused() {
                let for_ms = whole_ms(until.since(gate.clock().now()));
                pauses.push(PauseLeft { partition: partition.to_string(), for_ms });
            }
        }
        let at = wall_clock().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let used = Used { at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX), units: all, pauses };
        write_private(&self.folder.join(QUOTA), json(&used).as_bytes())?;
        // A finished job that is run again has nothing to tell that is not told already.
        if summary.attempts > 0 || !self.folder.join(SUMMARY).exists() {
            write_private(&self.folder.join(SUMMARY), json(summary).as_bytes())?;
        }
        let marker = self.folder.join(RUNNING);
        fs::remove_file(&marker).map_err(|source| SinkError::Write { path: marker, source })
    }
}

/// Rounded up.
fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

#[expect(clippy::disallowed_methods, reason = "what passes between two runs is only on the wall clock")]
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
