//! `tidegate run --fleet`: submits a job or finds it, works on it beside others, waits, and puts it together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tidegate::job::{Job, JobFile, Plan};
use tidegate::verify::{Checked, Verdict, verify};
use tidegate_fleet::{
    Allowed, Backlog, Collected, Entered, Event, Fleet, FleetError, FleetJob, State, Stop, Submission,
    Worker, WorkerEnd, collect, enter,
};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::{Signals, exit_of, in_shards, left_by_dead, rows, shard_length, told, who};
use crate::exit::Exit;
use crate::printer::{Printer, count};
use crate::run::describe_limits;

const CARRY_ON: &str = "nothing is lost: the same command carries on where this one stopped";

/// Where and how a job is shared.
pub(crate) struct Together {
    pub(crate) fleet: String,
    pub(crate) queue: String,
    pub(crate) shard: String,
    pub(crate) quiet: bool,
}

/// How the work on a job ended.
enum End {
    Collected(Box<Collected>),
    /// Nobody goes on with it, for this reason.
    Stopped(String),
    Interrupted(Exit),
}

pub(crate) fn command(printer: Printer, how: &Together, mut file: JobFile) -> anyhow::Result<Exit> {
    let length = shard_length(&how.shard)?;
    if !file.quota.is_auto() {
        file.quota.store = Some(how.fleet.clone());
    }
    let mut fleet = Fleet::open(&how.fleet)?;
    // What is missing here is said before anything is queued.
    let plan = Plan::new(Job::from_file(file.clone())?, |name| std::env::var(name).ok())?;
    let entered = enter(&mut fleet, file, &how.queue, length, who())?;
    if !how.quiet {
        describe_limits(printer, &plan.job, &plan.contract);
        fleet.warnings().iter().for_each(|warning| printer.note(warning));
    }
    drop(plan);
    let job = match entered {
        Entered::Collected(job, lines) => {
            if !how.quiet {
                printer.labelled("rows", rows(&job, lines));
                printer.labelled("output", job.output().display());
                printer.line("Nothing was left to do; nothing was sent.");
            }
            return exit_of(&job, lines);
        }
        Entered::New(Submission { job, rows_each }) => {
            begun(printer, how.quiet, &job, &in_shards(&job, rows_each));
            job
        }
        Entered::Again(job, found) => {
            let found = match found {
                None => "found in its folder, and queued again".to_owned(),
                Some((State::Paused, why)) => format!("goes on; it was paused: {why}"),
                Some((state, _)) => format!("was submitted before, and is {state}"),
            };
            begun(printer, how.quiet, &job, &found);
            job
        }
    };
    let job = Arc::new(job);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = runtime.block_on(work(printer, how, fleet, Arc::clone(&job)))?;
    // Where it was interrupted, files may still be put together; whoever comes next does that anew.
    runtime.shutdown_background();
    match end {
        End::Collected(collected) => {
            if !how.quiet {
                summary(printer, &collected, job.output());
            }
            exit_of(&job, collected.lines)
        }
        End::Stopped(why) => {
            printer.error(&anyhow::anyhow!("stopped: {why}"));
            printer.hint(CARRY_ON);
            Ok(Exit::Stopped)
        }
        End::Interrupted(exit) => {
            printer.note(format_args!("interrupted: job {} stays in queue {}", job.id, job.queue));
            printer.hint(CARRY_ON);
            Ok(exit)
        }
    }
}

fn begun(printer: Printer, quiet: bool, job: &FleetJob, how: &str) {
    if !quiet {
        printer.labelled("job", format_args!("{} in queue {} · {how}", job.id, job.queue));
    }
}

/// Takes part in a job until it is over, and puts it together.
async fn work(printer: Printer, how: &Together, mut fleet: Fleet, job: Arc<FleetJob>) -> anyhow::Result<End> {
    let mut signals = Signals::new()?;
    let (ask, stop) = watch::channel(Stop::No);
    loop {
        let (quiet, waits) = (how.quiet, AtomicU32::new(0));
        let say = move |event: Event<'_>| match event {
            // Said at the end.
            Event::JobDone(_) | Event::Paused(..) => {}
            event => told(printer, quiet, &waits, &event),
        };
        let backlog = Backlog::Job(Arc::clone(&job));
        let worker = Worker::new(fleet, backlog, Allowed::all(), true, stop.clone(), say)?;
        let (end, asked) = signals.watch(printer, worker.work(), &ask).await?;
        if let (WorkerEnd::Stopped, asked) | (_, asked @ Some(_)) = (end, asked) {
            return Ok(End::Interrupted(asked.unwrap_or(Exit::Interrupted)));
        }
        fleet = Fleet::open(&how.fleet)?;
        match fleet.state(&job.id)? {
            None => return Err(FleetError::Unknown { id: job.id.clone() }.into()),
            Some((State::Paused | State::Cancelled, why)) => return Ok(End::Stopped(why)),
            Some((State::Done, _)) => break,
            // It was resumed in this moment.
            Some((State::Open | State::Loading, _)) => {}
        }
    }
    let collecting = spawn_blocking(move || collect(&mut fleet, job.output()));
    tokio::select! {
        collected = collecting => Ok(End::Collected(Box::new(collected??))),
        exit = signals.next() => Ok(End::Interrupted(exit)),
    }
}

fn summary(printer: Printer, collected: &Collected, output: &Path) {
    let Collected { job, lines, rebought } = collected;
    printer.labelled("rows", rows(job, *lines));
    // What a run knows of itself is in the logs of all workers together.
    match verify(&[output.to_owned()]) {
        Ok(findings) => {
            let calls = findings.logs.iter().map(|log| log.attempts).sum();
            printer.labelled("calls", format_args!("{} · {}", count(calls), left_by_dead(*rebought)));
            for Checked { limit, worst, allows, verdict, .. } in &findings.checks {
                if *verdict != Verdict::NotChecked {
                    let (worst, allows) = (count(*worst), count(*allows));
                    printer.labelled(
                        "window",
                        format_args!("{limit}: at most {worst} of {allows} in any window"),
                    );
                }
            }
        }
        Err(error) => printer.note(error),
    }
    printer.labelled("output", output.display());
}
