//! One time line for all runs.

use std::collections::HashMap;

use crate::log::{Micros, RunRecord};

/// Later than all time: of calls that are never over.
pub(super) const NEVER: i64 = i64::MAX;

/// Times beyond, some 70,000 years, are as good as this.
const FAR: i64 = 1 << 61;

/// Puts the times of each boot on one line, in microseconds since 1970.
///
/// Within a boot all times keep their exact distances: they are of one clock. What passed between two
/// boots is on no clock but the wall's, which the first run of each has noted.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    boots: HashMap<String, i64>,
    /// Times of several boots were brought together.
    pub(super) bridged: bool,
    /// And by the wall clock a later boot began before an earlier one ended.
    pub(super) turned_back: bool,
}

impl Timeline {
    /// What to add to the times of a run, in a log whose times so far reach to `latest`.
    pub(super) fn enter(&mut self, run: &RunRecord, latest: Option<i64>) -> i64 {
        if let Some(offset) = self.boots.get(&run.boot) {
            return *offset;
        }
        self.bridged |= !self.boots.is_empty() || latest.is_some();
        let wall = wall_of(run);
        let begins = match latest {
            Some(latest) if latest > wall => {
                self.turned_back = true;
                latest
            }
            _ => wall,
        };
        let offset = begins - clip(run.at.0);
        // A boot without a name may be any.
        if !run.boot.is_empty() {
            self.boots.insert(run.boot.clone(), offset);
        }
        offset
    }
}

/// The wall clock when the run began, in microseconds since 1970.
pub(super) fn wall_of(run: &RunRecord) -> i64 {
    clip(run.wall_ms.saturating_mul(1_000))
}

/// A time of a log on the line.
pub(super) fn place(time: Micros, offset: i64) -> i64 {
    clip(time.0).saturating_add(offset).min(FAR)
}

/// A length or time of a log, as a number that can be reckoned with.
pub(super) fn clip(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(FAR).min(FAR)
}
