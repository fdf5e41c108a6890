//! How the jobs of a fleet stand.

use std::collections::BTreeMap;

use redis::FromRedisValue;

use crate::error::FleetError;
use crate::fleet::{Fleet, State};

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// Its number.
    pub id: String,
    /// The queue that it stands in.
    pub queue: String,
    /// Its state.
    pub state: State,
    /// Why it is paused.
    pub why: String,
    /// Its output.
    pub output: String,
    /// Who submitted it.
    pub by: String,
    /// Shards.
    pub shards: u64,
    /// Of these, done.
    pub done: u64,
    /// Of these, with workers.
    pub under_way: u64,
    /// Rows of its input.
    pub rows: u64,
    /// Of shards that are done, rows with a result, with a failure, of unknown outcome.
    pub counts: [u64; 3],
    /// Calls that were in flight when workers died.
    pub left_open: u64,
    /// What workers that are there have against it.
    pub refused: BTreeMap<String, String>,
}

impl Fleet {
    /// All jobs, in the order in which they were submitted.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub fn jobs(&mut self) -> Result<Vec<JobStatus>, FleetError> {
        type Fields = BTreeMap<String, String>;
        type Row = (String, Fields, u64, u64, Fields);
        let rows = self.status()?;
        let rows = rows.into_iter().filter_map(|row| Row::from_redis_value(row).ok());
        Ok(rows
            .filter_map(|(id, fields, done, under_way, refused)| {
                let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
                let number = |name: &str| text(name).parse().unwrap_or(0);
                Some(JobStatus {
                    id,
                    queue: text("queue"),
                    state: State::of(&text("state"))?,
                    why: text("why"),
                    output: text("output"),
                    by: text("by"),
                    shards: number("shards"),
                    done,
                    under_way,
                    rows: number("rows"),
                    counts: ["ok", "failed", "unknown"].map(number),
                    left_open: number("rebought"),
                    refused,
                })
            })
            .collect())
    }
}
