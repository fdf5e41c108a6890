//! A job as the fleet knows it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate::job::{Job, JobFile, KeptJob};
use tidegate::sink::{OutputPaths, Target};
use tidegate::source::Cut;

use crate::error::FleetError;

/// A stretch of a job's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its place in the job, from 0.
    pub number: u64,
    /// Where it is.
    #[serde(flatten)]
    pub cut: Cut,
}

/// A job of a fleet; on the server, and in the folder of its parts. Nothing secret is in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct FleetJob {
    /// Its number.
    pub id: String,
    /// The number that idempotency keys are made of.
    pub number: String,
    /// The queue that it stands in.
    pub queue: String,
    /// Who submitted it.
    pub by: String,
    /// When, in milliseconds since 1970 by that machine's clock: for people.
    pub at_ms: u64,
    /// Bytes of the input.
    pub length: u64,
    /// Rows of the input.
    pub rows: u64,
    /// Shards that it was cut into.
    pub shards: u64,
    /// Results are to be in the order of the input.
    pub in_order: bool,
    pub(crate) kept: KeptJob,
}

impl FleetJob {
    /// The job as it was written, but for what may be secret.
    pub fn file(&self) -> &JobFile {
        &self.kept.file
    }

    /// The input.
    pub fn input(&self) -> &Path {
        self.kept.file.input.path.as_deref().unwrap_or_else(|| Path::new(""))
    }

    /// The output.
    pub fn output(&self) -> &Path {
        self.kept.file.output.path.as_deref().unwrap_or_else(|| Path::new(""))
    }

    /// Whether so many rows without a result are still a success, by the job's own word.
    ///
    /// # Errors
    /// If the job cannot be read.
    pub fn tolerates(&self, failed: u64) -> Result<bool, FleetError> {
        Ok(self.job()?.stop.allows(failed, self.rows))
    }

    /// The job, checked.
    pub(crate) fn job(&self) -> Result<Job, FleetError> {
        Ok(Job::from_file(self.kept.file.clone())?)
    }

    /// The input still has as many bytes as when it was cut.
    pub(crate) fn check_length(&self, length: u64) -> Result<(), FleetError> {
        if length == self.length {
            return Ok(());
        }
        let what = format!("it had {} bytes, and has {length}", self.length);
        Err(FleetError::Changed { path: self.input().to_owned(), what })
    }

    pub(crate) fn text(&self) -> String {
        // A job that was read has its body in its place; written down it stands apart.
        let kept = serde_json::to_value(KeptJob::of(&self.kept.file));
        let mut text = serde_json::to_value(self).unwrap_or_default();
        text["kept"] = kept.unwrap_or_default();
        text.to_string()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().map(Self::whole)
    }

    pub(crate) fn whole(self) -> Self {
        Self { kept: self.kept.whole(), ..self }
    }
}

/// The folder of the parts of an output: `out.parts` beside `out.jsonl`.
pub(crate) fn parts_of(output: &Path) -> PathBuf {
    OutputPaths::for_output(output).state.with_extension("parts")
}

/// The file that a job writes its results to, absolute.
pub(crate) fn output_of(job: &Job) -> Result<PathBuf, FleetError> {
    let Target::File(path) = &job.output else { return Err(FleetError::NoOutput) };
    std::path::absolute(path).map_err(FleetError::file(path))
}
