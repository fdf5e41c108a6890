//! A shard on its way from a grant to a run.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tidegate::job::{Plan, Prepared, ShardOf, StopPolicy};
use tidegate::sink::Target;
use tidegate::source::hash_of_range;

use crate::allow::{Allowed, not};
use crate::error::FleetError;
use crate::fleet::{Fleet, Grant};
use crate::job::FleetJob;
use crate::parts::{Parts, Place, TakenOver};

/// Where a shard will be written.
#[derive(Debug)]
pub(crate) enum Placed {
    /// All of it is there already, in the part of this epoch.
    Complete(u64),
    /// In this folder.
    Own(PathBuf),
    /// Another one has it meanwhile.
    Lost,
}

/// A shard that is ready to run.
pub(crate) struct Begun {
    pub(crate) prepared: Prepared,
    pub(crate) taken_over: TakenOver,
    /// The name of its quota.
    pub(crate) quota: String,
}

impl Begun {
    /// Rows at their end.
    pub(crate) fn done(&self) -> u64 {
        let before = self.prepared.done_before();
        before.ok + before.failed + before.unknown
    }
}

/// Finds a folder that nobody else writes in; the grant may get a higher epoch for that.
pub(crate) fn place(
    fleet: &Mutex<Fleet>,
    worker: &str,
    job: &FleetJob,
    grant: &mut Grant,
) -> Result<Placed, FleetError> {
    let parts = Parts::of(job.output());
    loop {
        match parts.place(grant.shard.number, grant.epoch)? {
            Place::Complete(epoch) => return Ok(Placed::Complete(epoch)),
            Place::Own(folder) => return Ok(Placed::Own(folder)),
            // A server that was restarted may have forgotten that it gave this one away.
            Place::Used => {
                let mut fleet = fleet.lock().unwrap_or_else(PoisonError::into_inner);
                match fleet.raise(worker, grant, grant.epoch)? {
                    Some(epoch) => grant.epoch = epoch,
                    None => return Ok(Placed::Lost),
                }
            }
        }
    }
}

/// Takes over what an earlier epoch has written and prepares the run. Nothing is sent.
pub(crate) fn begin(
    fleet: &Mutex<Fleet>,
    job: &FleetJob,
    grant: &Grant,
    folder: &std::path::Path,
    allowed: &Allowed,
) -> Result<Begun, FleetError> {
    check_input(job, grant)?;
    let parts = Parts::of(job.output());
    let mut this = job.job()?;
    let (store, has_results) = {
        let mut fleet = fleet.lock().unwrap_or_else(PoisonError::into_inner);
        let ok = fleet.field(&job.id, "ok")?;
        (fleet.store(), ok.is_some_and(|ok| ok != "0"))
    };
    this.store = store;
    this.shard = Some(ShardOf { id: job.number.clone(), has_results });
    this.input.range = Some(grant.shard.cut.range);
    this.output = Target::File(parts.output_in(folder));
    // The parts are put in order when they are put together.
    this.in_order = false;
    // Of so few rows a percentage says little: the job's is looked at after each shard.
    if matches!(this.stop, StopPolicy::Percent(_)) {
        this.stop = StopPolicy::Never;
    }
    let denied = RefCell::new(None);
    let plan = Plan::new(this, |name| {
        if !allowed.env(name) {
            let why = format!("it uses the environment variable {name} (--allow-env)");
            denied.borrow_mut().get_or_insert(why);
            return None;
        }
        let value = std::env::var(name).ok();
        if value.is_none() {
            // Another worker may have it.
            let why = format!("it uses the environment variable {name}, which is not set here");
            denied.borrow_mut().get_or_insert(why);
        }
        value
    });
    if let Some(why) = denied.into_inner() {
        return Err(not(&why));
    }
    let plan = plan?;
    allowed.check_plan(&plan)?;
    let resends = plan.may_resend().then_some(grant.shard.cut.rows);
    let mut taken_over = parts.take_over(grant.shard.number, grant.epoch, resends)?;
    let quota = plan.quota.clone();
    let prepared = plan.prepare()?;
    taken_over.rebought.in_flight += prepared.left_open();
    Parts::begin(folder, taken_over.rebought)?;
    Ok(Begun { prepared, taken_over, quota })
}

/// Each result would stand beside the wrong row otherwise.
fn check_input(job: &FleetJob, grant: &Grant) -> Result<(), FleetError> {
    let path = job.input();
    job.check_length(fs::metadata(path).map_err(FleetError::file(path))?.len())?;
    let cut = &grant.shard.cut;
    let hash = hash_of_range(path, cut.range).map_err(FleetError::file(path))?;
    if hash != cut.sha256 {
        let rows = format!("rows {} to {} differ", cut.range.row, cut.range.row + cut.rows.max(1) - 1);
        return Err(FleetError::Changed { path: path.to_owned(), what: rows });
    }
    Ok(())
}
