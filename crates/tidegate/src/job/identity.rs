//! What makes a job the same job: input, method, URL template and body.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::JobError;
use crate::sink::SinkError;

/// The identity of a job, kept beside its output. Header values, environment, rates, retries and
/// time-outs are no part of it: they may change between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) version: u32,
    pub(super) input: String,
    /// SHA-256 over format, header and first record: an input that only grew keeps it.
    pub(super) input_start: String,
    pub(super) request: String,
    pub(super) key: Option<String>,
    /// The name of the output in the folder that this stands in.
    pub(super) output: String,
    /// The job's own number: what idempotency keys are made of.
    pub(super) id: String,
}

const FILE: &str = "job.json";

impl Identity {
    /// Refuses an output that another job has begun; takes on the number of the one that has begun it.
    pub(super) fn check(&mut self, output: &Path, state: &Path) -> Result<(), JobError> {
        let path = state.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(SinkError::Read { path, source }.into()),
        };
        let differs = match serde_json::from_str::<Self>(&text) {
            Ok(was) if was.is_same_job(self) => {
                self.id = was.id;
                return Ok(());
            }
            Ok(was) => self.differences(&was),
            Err(_) => format!("\n  {} cannot be read as the identity of a job", path.display()),
        };
        Err(JobError::OtherJob { path: output.to_owned(), what: differs })
    }

    /// Refuses to be another job than that.
    pub(super) fn check_same(&self, was: &Self, output: &Path) -> Result<(), JobError> {
        if was.is_same_job(self) {
            return Ok(());
        }
        Err(JobError::OtherJob { path: output.to_owned(), what: self.differences(was) })
    }

    /// Keeps the identity; readable by its owner only.
    pub(super) fn store(&self, state: &Path) -> Result<(), JobError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        super::write_private(&state.join(FILE), text.as_bytes()).map_err(JobError::from)
    }

    fn is_same_job(&self, other: &Self) -> bool {
        let parts = |job: &Self| {
            (job.version, job.input.clone(), job.input_start.clone(), job.request.clone(), job.key.clone())
        };
        parts(self) == parts(other)
    }

    fn differences(&self, was: &Self) -> String {
        let mut out = String::new();
        let mut differs = |what: &str, was: &str, is: &str| {
            if was != is {
                let _ = write!(out, "\n  {what} was {was}\n  {:width$} is  {is}", "", width = what.len());
            }
        };
        differs("version", &was.version.to_string(), &self.version.to_string());
        differs("input", &was.input, &self.input);
        if was.input == self.input {
            differs("first record", &was.input_start, &self.input_start);
        }
        differs("request", &was.request, &self.request);
        differs("key", was.key.as_deref().unwrap_or("none"), self.key.as_deref().unwrap_or("none"));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_job_in_the_same_output_is_refused_with_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = Identity {
            output: "out.jsonl".into(),
            id: "7".into(),
            version: 1,
            input: "a.csv".into(),
            input_start: "00".into(),
            request: "[\"GET\",\"http://h/{id}\"]".into(),
            key: None,
        };
        let output = Path::new("out.jsonl");
        job.check(output, folder.path()).unwrap();
        job.store(folder.path()).unwrap();
        job.check(output, folder.path()).unwrap();
        let mut other = Identity { request: "[\"GET\",\"http://h/v2/{id}\"]".into(), ..job.clone() };
        let error = other.check(output, folder.path()).unwrap_err().to_string();
        assert!(error.contains("request was [\"GET\",\"http://h/{id}\"]"), "{error}");
        assert!(!error.contains("input was"), "{error}");
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(matches!(job.check(output, folder.path()), Err(JobError::OtherJob { .. })));
    }
}
