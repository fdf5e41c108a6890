//! A worker: takes shards of the jobs of some queues, one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate::job::StopPolicy;
use tidegate::report::Summary;
use tidegate::{Ended, Handle, Report, Run};
use tidegate_core::Time;
use tidegate_quota::Clock;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::allow::Allowed;
use crate::error::FleetError;
use crate::event::{Event, Stop, WorkerEnd};
use crate::fleet::{Finished, Fleet, Grant, REFUSED, State, Sums, Taken};
use crate::job::FleetJob;
use crate::keep::{Keeper, Kept};
use crate::parts::Parts;
use crate::shard::{self, Begun, Placed};

/// Who finds nothing to do, or no server, looks again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes shards and runs them.
pub struct Worker<F> {
    fleet: Arc<Mutex<Fleet>>,
    name: String,
    backlog: Backlog,
    allowed: Arc<Allowed>,
    until_empty: bool,
    refused: HashMap<String, Refusal>,
    stop: watch::Receiver<Stop>,
    say: F,
}

/// What a worker takes shards of.
#[derive(Debug, Clone)]
pub enum Backlog {
    /// The jobs of these queues, the first one first.
    Queues(Vec<String>),
    /// This job, whatever queue it stands in; as it is here, not as the server has it.
    Job(Arc<FleetJob>),
}

/// Why this worker does not run a job.
struct Refusal {
    why: String,
    /// When the server was told so.
    told_at: Time,
    /// A folder that is not there now may be there later.
    until: Option<Time>,
}

/// How a shard ended.
enum Shard {
    Done(Box<Summary>),
    GivenBack,
    Paused(String),
    Lost,
}

impl<F: Fn(Event<'_>)> Worker<F> {
    /// A worker.
    ///
    /// # Errors
    /// If a queue cannot have its name.
    pub fn new(
        fleet: Fleet,
        backlog: Backlog,
        allowed: Allowed,
        until_empty: bool,
        stop: watch::Receiver<Stop>,
        say: F,
    ) -> Result<Self, FleetError> {
        if let Backlog::Queues(queues) = &backlog {
            queues.iter().try_for_each(|queue| Fleet::check_queue(queue))?;
        }
        let (fleet, allowed) = (Arc::new(Mutex::new(fleet)), Arc::new(allowed));
        // Unlike that of any other process, whatever the machines are called.
        let mut rng = fastrand::Rng::new();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = format!("{host}:{}:{:08x}", std::process::id(), rng.u32(..));
        let refused = HashMap::new();
        Ok(Self { fleet, name, backlog, allowed, until_empty, refused, stop, say })
    }

    /// Works until it is stopped, or until there is nothing left.
    ///
    /// # Errors
    /// If the server refuses; not if it is away.
    pub async fn work(mut self) -> Result<WorkerEnd, FleetError> {
        let (mut is_away, mut waits) = (false, false);
        loop {
            if *self.stop.borrow() != Stop::No {
                return Ok(WorkerEnd::Stopped);
            }
            let asked_at = Clock::start().now();
            let (name, backlog) = (self.name.clone(), self.backlog.clone());
            self.refused.retain(|_, refusal| refusal.until.is_none_or(|until| asked_at < until));
            let skip: Vec<String> = self.refused.keys().cloned().collect();
            let taken = self.ask(move |fleet| fleet.take(&name, &backlog, &skip)).await;
            match taken {
                Ok(Taken::Shard(grant)) => {
                    (is_away, waits) = (false, false);
                    // Boxed: it is large, and this loop mostly waits.
                    match Box::pin(self.shard(grant, asked_at)).await {
                        Err(error) if error.may_pass() => self.wait(&error, &mut is_away).await,
                        ended => ended?,
                    }
                    continue;
                }
                Ok(Taken::Empty) if self.until_empty => return Ok(WorkerEnd::Empty),
                Ok(Taken::Empty | Taken::Busy) => {
                    is_away = false;
                    if matches!(self.backlog, Backlog::Job(_)) && !std::mem::replace(&mut waits, true) {
                        (self.say)(Event::Waits);
                    }
                }
                Err(error) if error.may_pass() => {
                    self.wait(&error, &mut is_away).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.tell_refusals().await;
            self.pause().await;
        }
    }

    async fn wait(&mut self, error: &FleetError, is_away: &mut bool) {
        if !std::mem::replace(is_away, true) {
            (self.say)(Event::Away(error));
        }
        self.pause().await;
    }

    async fn pause(&mut self) {
        tokio::select! {
            () = sleep(AGAIN) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Takes a shard as far as it goes.
    async fn shard(&mut self, mut grant: Grant, asked_at: Time) -> Result<(), FleetError> {
        let job = match self.job(&grant.job).await {
            Ok(job) => job,
            Err(error) => return self.cannot(&grant, error).await,
        };
        let placed = {
            let (job, name, allowed) = (Arc::clone(&job), self.name.clone(), Arc::clone(&self.allowed));
            let (fleet, mut at) = (Arc::clone(&self.fleet), grant.clone());
            let placed = spawn_blocking(move || {
                allowed.check(&job)?;
                shard::place(&fleet, &name, &job, &mut at).map(|placed| (placed, at))
            });
            placed.await.unwrap_or_else(|error| Err(panicked(error)))
        };
        let placed = match placed {
            Ok((placed, at)) => {
                grant = at;
                placed
            }
            Err(error) => return self.cannot(&grant, error).await,
        };
        let keeper = Keeper::new(Arc::clone(&self.fleet), self.name.clone(), grant.clone(), asked_at);
        let folder = match placed {
            Placed::Own(folder) => folder,
            Placed::Complete(epoch) => return self.found(&job, &grant, epoch, &keeper).await,
            Placed::Lost => {
                (self.say)(Event::Lost(&grant));
                return Ok(());
            }
        };
        let begun = {
            let (job, fleet, grant) = (Arc::clone(&job), Arc::clone(&self.fleet), grant.clone());
            let allowed = Arc::clone(&self.allowed);
            let begun = spawn_blocking(move || shard::begin(&fleet, &job, &grant, &folder, &allowed));
            begun.await.unwrap_or_else(|error| Err(panicked(error)))
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return self.cannot(&grant, error).await,
        };
        if grant.ended > 0 {
            let (name, at, rows) = (self.name.clone(), grant.clone(), begun.done());
            if let Some(why) = self.ask(move |fleet| fleet.further(&name, &at, rows)).await? {
                return self.release(&grant, Some(&why)).await;
            }
        }
        match self.run(&job, &grant, begun, &keeper).await? {
            Shard::Done(summary) => {
                let (parts, number, epoch) = (Parts::of(job.output()), grant.shard.number, grant.epoch);
                if summary.rows == grant.shard.cut.rows {
                    if let Err(error) = parts.finish(number, epoch) {
                        return self.cannot(&grant, error).await;
                    }
                    let rebought = Parts::rebought(&parts.complete(number, epoch)).in_flight;
                    let Summary { ok, failed, unknown, .. } = *summary;
                    let sums = Sums { ok, failed, unknown, rebought };
                    return self.finish(&job, &grant, (epoch, sums), Some(&summary), &keeper).await;
                }
                let why = format!(
                    "shard {number} has {} rows, and {} came out",
                    grant.shard.cut.rows, summary.rows
                );
                self.release(&grant, Some(&why)).await
            }
            Shard::GivenBack => self.release(&grant, None).await,
            Shard::Paused(why) => self.release(&grant, Some(&why)).await,
            Shard::Lost => {
                (self.say)(Event::Lost(&grant));
                Ok(())
            }
        }
    }

    /// The shard cannot be run: by this worker, now, or by anybody.
    async fn cannot(&mut self, grant: &Grant, error: FleetError) -> Result<(), FleetError> {
        if error.may_pass() {
            (self.say)(Event::Away(&error));
            return self.release(grant, None).await;
        }
        let why = error.to_string();
        if matches!(error, FleetError::NotAllowed(_) | FleetError::File { .. }) {
            if matches!(self.backlog, Backlog::Job(_)) {
                self.release(grant, None).await?;
                return Err(error);
            }
            (self.say)(Event::Refused(&grant.job, &why));
            self.release(grant, None).await?;
            let later = Clock::start().now() + REFUSED;
            let until = matches!(error, FleetError::File { .. }).then_some(later);
            self.refused.insert(grant.job.clone(), Refusal { why, told_at: Time::ZERO, until });
            return Ok(());
        }
        self.release(grant, Some(&why)).await
    }

    async fn run(
        &mut self,
        job: &FleetJob,
        grant: &Grant,
        begun: Begun,
        keeper: &Keeper,
    ) -> Result<Shard, FleetError> {
        let (done, rebought) = (begun.done(), begun.taken_over.rebought);
        (self.say)(Event::Began { grant, shards: job.shards, done, rebought });
        let (run, handle) =
            Run::new(begun.prepared).map_err(|source| FleetError::file(job.output())(source))?;
        let mut kept = keeper.kept.clone();
        if keeper.now() != Kept::Mine || *self.stop.borrow() != Stop::No {
            handle.interrupt();
        }
        let report = self.drive((run, &begun.quota), &handle, &mut kept).await?;
        Ok(match (keeper.now(), report.ended) {
            (_, Ended::Finished) => Shard::Done(Box::new(report.summary)),
            (Kept::Lost, _) => Shard::Lost,
            (_, Ended::Stopped(why)) => Shard::Paused(why),
            (_, Ended::Output(error)) => Shard::Paused(error.to_string()),
            (_, Ended::Input(error)) => Shard::Paused(error.to_string()),
            _ => Shard::GivenBack,
        })
    }

    async fn drive(
        &mut self,
        (run, quota): (Run, &str),
        handle: &Handle,
        kept: &mut watch::Receiver<Kept>,
    ) -> Result<Report, FleetError> {
        let mut tick = interval(AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told_of = None;
        let mut run: JoinHandle<Report> = tokio::spawn(run.drive());
        loop {
            tokio::select! {
                biased; // a shard that is lost ends before anything else is done for it
                Ok(()) = kept.changed() => handle.interrupt(),
                Ok(()) = self.stop.changed() => handle.interrupt(),
                report = &mut run => return report.map_err(panicked),
                _ = tick.tick() => {
                    let held = handle.held();
                    if let Some(held) = held.filter(|held| told_of != Some(held.why)) {
                        told_of = Some(held.why);
                        (self.say)(Event::Held(held, quota));
                    }
                    (self.say)(Event::Running(&handle.snapshot(), handle.waiting()));
                }
            }
        }
    }

    /// The shard's part is complete: whoever wrote it did not come to say so.
    async fn found(
        &mut self,
        job: &FleetJob,
        grant: &Grant,
        part: u64,
        keeper: &Keeper,
    ) -> Result<(), FleetError> {
        let parts = Parts::of(job.output());
        let folder = parts.complete(grant.shard.number, part);
        let counts = match tidegate::sink::Part::open(&parts.output_in(&folder)) {
            Ok(part) => part.counts(),
            Err(error) => return self.cannot(grant, error.into()).await,
        };
        if counts.ok + counts.failed + counts.unknown != grant.shard.cut.rows {
            let error = FleetError::BrokenPart { shard: grant.shard.number, path: folder };
            return self.cannot(grant, error).await;
        }
        let rebought = Parts::rebought(&folder).in_flight;
        let sums = Sums { ok: counts.ok, failed: counts.failed, unknown: counts.unknown, rebought };
        self.finish(job, grant, (part, sums), None, keeper).await
    }

    /// Says that a shard is done, for as long as it takes: the part is complete, and others would only find it so.
    async fn finish(
        &mut self,
        job: &FleetJob,
        grant: &Grant,
        (part, sums): (u64, Sums),
        summary: Option<&Summary>,
        keeper: &Keeper,
    ) -> Result<(), FleetError> {
        let mut is_away = false;
        let finished = loop {
            let (name, at) = (self.name.clone(), grant.clone());
            match self.ask(move |fleet| fleet.finish(&name, &at, part, sums)).await {
                Ok(finished) => break finished,
                Err(error)
                    if error.may_pass() && *self.stop.borrow() == Stop::No && keeper.now() != Kept::Lost =>
                {
                    self.wait(&error, &mut is_away).await;
                }
                Err(error) => return Err(error),
            }
        };
        let Finished { accepted, left, ended_job, ok, failed, unknown } = finished;
        if !accepted {
            (self.say)(Event::Lost(grant));
            return Ok(());
        }
        (self.say)(Event::Done { grant, left, summary });
        if ended_job {
            (self.say)(Event::JobDone(job));
            self.on_complete(job, [ok, failed, unknown]).await;
        }
        let (bad, policy) = (failed + unknown, job.job()?.stop);
        if left > 0 && policy != StopPolicy::Never && policy.stops(bad, ok + bad) {
            let why = format!("{bad} rows have failed, more than max_failed allows");
            (self.say)(Event::Paused(&job.id, &why));
            let id = job.id.clone();
            self.ask(move |fleet| fleet.control(&id, State::Paused, &why)).await?;
        }
        Ok(())
    }

    /// Runs the job's own command, which this worker was allowed to: nobody else will.
    async fn on_complete(&self, job: &FleetJob, [ok, failed, unknown]: [u64; 3]) {
        let Some(text) = &job.file().fleet.on_complete else { return };
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", text]).stdin(std::process::Stdio::null());
        command.env("TIDEGATE_JOB", &job.id).env("TIDEGATE_OUTPUT", job.output());
        for (name, n) in [("RESULTS", ok), ("FAILURES", failed), ("UNKNOWN", unknown)] {
            command.env(format!("TIDEGATE_{name}"), n.to_string());
        }
        let ended = match command.status().await {
            Ok(status) if status.success() => return,
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        (self.say)(Event::CommandFailed(&job.id, &ended));
    }

    async fn release(&mut self, grant: &Grant, why: Option<&str>) -> Result<(), FleetError> {
        let (name, at, text) = (self.name.clone(), grant.clone(), why.map(str::to_owned));
        // If that fails, it is free when its lease ends.
        let was_mine = self.ask(move |fleet| fleet.release(&name, &at, text.as_deref())).await?;
        match why {
            _ if !was_mine => (self.say)(Event::Lost(grant)),
            Some(why) => (self.say)(Event::Paused(&grant.job, why)),
            None => (self.say)(Event::HandedBack(grant)),
        }
        Ok(())
    }

    /// The job, as it stands on the server now.
    async fn job(&mut self, id: &str) -> Result<Arc<FleetJob>, FleetError> {
        if let Backlog::Job(job) = &self.backlog {
            return Ok(Arc::clone(job));
        }
        let of = id.to_owned();
        let text = self.ask(move |fleet| fleet.field(&of, "job")).await?;
        let job = text.as_deref().and_then(FleetJob::parse);
        job.map(Arc::new).ok_or_else(|| FleetError::Unknown { id: id.to_owned() })
    }

    /// For `tidegate status`: that this worker is there, and cannot help.
    async fn tell_refusals(&mut self) {
        let now = Clock::start().now();
        let due = self.refused.iter().filter(|(_, refusal)| now.since(refusal.told_at) >= REFUSED / 3);
        let due: Vec<(String, String)> =
            due.map(|(job, refusal)| (job.clone(), refusal.why.clone())).collect();
        for (job, why) in due {
            let (name, id) = (self.name.clone(), job.clone());
            let told = self.ask(move |fleet| fleet.refuse(&id, &name, &why)).await.is_ok();
            if let Some(refusal) = self.refused.get_mut(&job).filter(|_| told) {
                refusal.told_at = now;
            }
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Fleet) -> Result<T, FleetError> + Send + 'static,
    ) -> Result<T, FleetError> {
        let fleet = Arc::clone(&self.fleet);
        let asked = spawn_blocking(move || what(&mut fleet.lock().unwrap_or_else(PoisonError::into_inner)));
        asked.await.unwrap_or_else(|error| Err(panicked(error)))
    }
}

fn panicked(error: tokio::task::JoinError) -> FleetError {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => FleetError::file(std::path::Path::new("a task"))(std::io::Error::other(error)),
    }
}
