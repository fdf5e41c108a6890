//! What the logs say besides attempts: runs, limits, partitions.

use std::collections::HashMap;

use super::error::Stop;
use super::timeline::{Timeline, clip, wall_of};
use crate::log::{LimitRecord, RunRecord};

/// Runs, limits and partitions of all logs, by their numbers here.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) limits: Vec<LimitRecord>,
    pub(super) runs: Vec<Run>,
    pub(super) partitions: Vec<Box<str>>,
    pub(super) timeline: Timeline,
    /// Attempts have been judged: a limit that comes now has missed them.
    pub(super) started: bool,
    by_name: HashMap<Box<str>, u32>,
}

/// A run.
#[derive(Debug)]
pub(super) struct Run {
    /// Its number in its log, from 1.
    pub(super) number: u32,
    /// Its log's place in the list.
    pub(super) log: u32,
    /// When it began.
    pub(super) began: i64,
    /// From the time line to the wall clock that it saw.
    pub(super) to_wall: i64,
    /// The assumption under which it ran.
    pub(super) within: Option<i64>,
    /// What its calls are to each limit of the book.
    pub(super) columns: Vec<Column>,
    pub(super) record: RunRecord,
    /// The run before it in its log.
    before: Option<u32>,
}

/// Where it says what a run's calls cost of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) cost: Cost,
    /// The run has declared this limit, and is held to it.
    pub(super) declared: bool,
    /// The run before in the same log had not.
    pub(super) fresh: bool,
}

/// What a call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// What stands at this place in the costs of its run; usually so much.
    At(usize, u64),
    /// Always so much.
    Fixed(u64),
    /// The log does not say.
    Unknown,
}

impl Book {
    pub(super) fn new(limits: Vec<LimitRecord>) -> Self {
        Self {
            limits,
            runs: Vec::new(),
            partitions: vec!["".into()],
            timeline: Timeline::default(),
            started: false,
            by_name: HashMap::from([("".into(), 0)]),
        }
    }

    /// Notes that a run begins, `latest` being the latest time in its log so far.
    pub(super) fn begin(
        &mut self,
        record: RunRecord,
        before: Option<u32>,
        log: u32,
        latest: Option<i64>,
    ) -> Result<(u32, i64), Stop> {
        for limit in &record.limits {
            if self.limits.contains(limit) {
                continue;
            }
            if self.started {
                return Err(Stop::NewLimit);
            }
            self.limits.push(limit.clone());
        }
        let offset = self.timeline.enter(&record, latest);
        let began = clip(record.at.0).saturating_add(offset);
        let number = before.map_or(1, |before| self.runs[before as usize].number + 1);
        let run = Run {
            number,
            log,
            began,
            to_wall: wall_of(&record) - began,
            within: record.counted_within_us.map(clip),
            columns: Vec::new(),
            record,
            before,
        };
        self.runs.push(run);
        let place = self.runs.len() - 1;
        self.set_columns();
        Ok((place as u32, offset))
    }

    /// The number of a partition, by its name: runs number theirs each in their own way.
    pub(super) fn partition(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let number = self.partitions.len() as u32;
        self.partitions.push(name.into());
        self.by_name.insert(name.into(), number);
        number
    }

    /// Of all runs that do not know all limits yet.
    fn set_columns(&mut self) {
        for run in 0..self.runs.len() {
            let known = self.runs[run].columns.len();
            let columns: Vec<_> =
                self.limits[known..].iter().map(|limit| self.column_of(run, limit)).collect();
            self.runs[run].columns.extend(columns);
        }
    }

    fn column_of(&self, run: usize, limit: &LimitRecord) -> Column {
        let Run { record, before, .. } = &self.runs[run];
        let place_in = |record: &RunRecord| record.limits.iter().position(|other| other == limit);
        let own = place_in(record);
        let cost = match own.or_else(|| record.limits.iter().position(|other| other.unit == limit.unit)) {
            Some(place) => Cost::At(place, record.costs.get(place).copied().unwrap_or(1)),
            None if limit.unit == "requests" => Cost::Fixed(1),
            None => Cost::Unknown,
        };
        let fresh = own.is_some()
            && before.is_some_and(|before| place_in(&self.runs[before as usize].record).is_none());
        Column { cost, declared: own.is_some(), fresh }
    }

    /// What the calls of a run are to a limit.
    pub(super) fn column(&self, run: u32, limit: usize) -> Column {
        self.runs[run as usize].columns[limit]
    }
}
