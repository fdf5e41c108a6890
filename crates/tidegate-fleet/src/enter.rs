//! A job that somebody wants to be done, whether it was submitted before or not.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate::job::{Job, JobFile, KeptJob, Plan, StoreSpec};
use tidegate::sink::OutputPaths;

use crate::collect::collected;
use crate::error::FleetError;
use crate::fleet::{Fleet, State};
use crate::job::FleetJob;
use crate::parts::{Kept, Parts};
use crate::rebuild::rebuild;
use crate::submit::{Checked, Submission, check, plan, submit_checked};

/// How a job was found.
#[derive(Debug)]
pub enum Entered {
    /// Nobody had submitted it: it is in the queue now.
    New(Submission),
    /// It was there, in this state and for this reason; workers may go on with it now. None: the server did not know it, and all
    /// that is done was found in its folder.
    Again(FleetJob, Option<(State, String)>),
    /// It is done, and was put together: results, failures, rows of unknown outcome.
    Collected(FleetJob, [u64; 3]),
}

/// Submits a job, or goes on with it as it is written now if the same one was submitted before.
///
/// # Errors
/// Whatever is wrong with it; if another job has this output, the input has changed, or the job was cancelled.
pub fn enter(
    fleet: &mut Fleet,
    file: JobFile,
    queue: &str,
    length: Duration,
    who: (String, u64),
) -> Result<Entered, FleetError> {
    Fleet::check_queue(queue)?;
    let checked = check(fleet, file)?;
    let parts = Parts::of(&checked.output);
    if !parts.folder().exists() {
        if let Some(lines) = collected(&checked.output) {
            return parts_deleted(checked, lines).map(|job| Entered::Collected(job, lines));
        }
        match submit_checked(fleet, &checked, queue, length, who) {
            // Somebody was faster.
            Err(FleetError::Submitted { .. }) => {}
            submitted => return submitted.map(Entered::New),
        }
    }
    let Checked { file, output, plan: now } = checked;
    let Kept { job: was, shards } = parts.kept()?;
    check_same(&now, was.job()?, &output)?;
    if let Some(lines) = collected(&output) {
        return Ok(Entered::Collected(was, lines));
    }
    let length = fs::metadata(was.input()).map_err(FleetError::file(was.input()))?.len();
    was.check_length(length)?;
    let (before, in_order) = (was.text(), now.job.in_order);
    let job = FleetJob { kept: KeptJob::of(&file), in_order, ..was };
    let kept = Kept { job, shards };
    if kept.job.text() != before {
        parts.keep(&kept)?;
    }
    let job = kept.job;
    let found = fleet.state(&job.id)?;
    match &found {
        Some((State::Cancelled, _)) => {
            return Err(FleetError::TooLate { id: job.id, state: State::Cancelled });
        }
        // The server has lost it, or whoever submitted it was killed before all was written down.
        None | Some((State::Loading, _)) => match rebuild(fleet, &output) {
            // Somebody was faster.
            Err(FleetError::Known { .. }) => {}
            rebuilt => drop(rebuilt?),
        },
        Some((State::Done, _)) => {}
        Some((State::Open | State::Paused, _)) => match fleet.reopen(&job) {
            // Meanwhile.
            Err(FleetError::TooLate { state: State::Done, .. }) => {}
            reopened => reopened?,
        },
    }
    Ok(Entered::Again(job, found))
}

fn check_same(now: &Plan, mut was: Job, output: &Path) -> Result<(), FleetError> {
    was.store = StoreSpec::Memory; // nobody asks the server for that
    Ok(now.check_same(&plan(was)?, output)?)
}

/// The job of an output that has been put together from parts which are gone: as it is kept beside it.
fn parts_deleted(checked: Checked, lines: [u64; 3]) -> Result<FleetJob, FleetError> {
    let Checked { file, output, plan: now } = checked;
    let was = KeptJob::read(&OutputPaths::for_output(&output).state)?;
    check_same(&now, Job::from_file(was.file)?, &output)?;
    Ok(FleetJob {
        id: String::new(),
        number: String::new(),
        queue: String::new(),
        by: String::new(),
        at_ms: 0,
        length: 0,
        rows: lines.iter().sum(),
        shards: 0,
        in_order: now.job.in_order,
        kept: KeptJob::of(&file),
    })
}
