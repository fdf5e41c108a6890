//! `tidegate submit`, `worker`, `status` and the rest about a backlog that many machines work on.

pub(crate) mod together;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate::job::JobFile;
use tidegate::retry::parse_duration;
use tidegate_fleet::{
    Allowed, Backlog, Collected, Event, Fleet, FleetError, FleetJob, JobStatus, Parts, Rebought, Rebuilt,
    State, Stop, Submission, Worker, WorkerEnd, collect, rebuild, submit,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args::{FleetPlace, JobArgs, OutputArgs, SubmitArgs, WorkerArgs};
use crate::done::of_unknown_outcome;
use crate::exit::Exit;
use crate::printer::{Hinting, Printer, count};
use crate::run;

/// `tidegate submit`: the job's number goes to stdout.
pub(crate) fn submit_command(printer: Printer, args: &SubmitArgs) -> anyhow::Result<Exit> {
    let length = shard_length(&args.shard)?;
    let file = JobFile::read(&args.job)?;
    let mut fleet = open(&args.place)?;
    fleet.warnings().iter().for_each(|warning| printer.note(warning));
    let Submission { job, rows_each } = submit(&mut fleet, file, &args.queue, length, who())?;
    printer.labelled("rows", in_shards(&job, rows_each));
    printer.labelled("queue", &job.queue);
    printer.data(&job.id)?;
    Ok(Exit::Success)
}

fn shard_length(text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).map_err(|message| anyhow::anyhow!("--shard: {message}"))
}

fn in_shards(job: &FleetJob, rows_each: u64) -> String {
    format!("{} in {} shards of {}", count(job.rows), count(job.shards), count(rows_each))
}

/// `tidegate worker`
pub(crate) fn worker_command(printer: Printer, args: WorkerArgs) -> anyhow::Result<Exit> {
    let allowed = Allowed::new(&args.allow_host, args.allow_env, &args.allow_folder, args.allow_commands)?;
    let mut fleet = open(&args.place)?;
    if !args.quiet {
        fleet.warnings().iter().for_each(|warning| printer.note(warning));
    }
    let (ask, stop) = watch::channel(Stop::No);
    let quiet = args.quiet;
    let waits = AtomicU32::new(0);
    let say = move |event: Event<'_>| told(printer, quiet, &waits, &event);
    let backlog = Backlog::Queues(args.queue);
    let worker = Worker::new(fleet, backlog, allowed, args.until_empty, stop, say)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        let (end, asked) = Signals::new()?.watch(printer, worker.work(), &ask).await?;
        anyhow::Ok(match end {
            WorkerEnd::Empty => Exit::Success,
            WorkerEnd::Stopped => asked.unwrap_or(Exit::Interrupted),
        })
    })?;
    runtime.shutdown_background();
    Ok(exit)
}

/// What people and service managers stop a process with.
struct Signals {
    interrupts: Signal,
    terminations: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }

    /// The next one, by the code that it ends a command with.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupts.recv() => Exit::Interrupted,
            _ = self.terminations.recv() => Exit::Terminated,
        }
    }

    /// Lets a worker work to its end, which signals bring on; the first of them.
    async fn watch(
        &mut self,
        printer: Printer,
        work: impl Future<Output = Result<WorkerEnd, FleetError>> + Send + 'static,
        ask: &watch::Sender<Stop>,
    ) -> anyhow::Result<(WorkerEnd, Option<Exit>)> {
        let mut work = tokio::spawn(work);
        let mut asked = None;
        loop {
            let exit = tokio::select! {
                end = &mut work => return Ok((end??, asked)),
                exit = self.next() => exit,
            };
            if asked.is_none() {
                asked = Some(exit);
                printer.note("stopping: calls in flight may finish, and the shard is handed back; again to end at once");
                ask.send_replace(Stop::Soon);
            } else {
                ask.send_replace(Stop::Now);
            }
        }
    }
}

/// `waits` counts the seconds for which nothing was sent.
fn told(printer: Printer, quiet: bool, waits: &AtomicU32, event: &Event<'_>) {
    match event {
        Event::Refused(job, why) => printer.note(format_args!("job {job} is left to others: {why}")),
        Event::Paused(job, why) => {
            printer.note(format_args!("job {job} is paused: {why} (tidegate resume {job} goes on with it)"));
        }
        Event::CommandFailed(job, how) => printer.note(format_args!("on_complete of job {job}: {how}")),
        Event::Away(error) => printer.note(format_args!("{error}; trying again")),
        Event::Lost(grant) => printer.note(format_args!(
            "shard {} of job {} was taken over by another worker",
            grant.shard.number, grant.job
        )),
        _ if quiet => {}
        Event::Began { grant, shards, done, rebought } => {
            let before = match (*done, *rebought) {
                (0, Rebought { in_flight: 0, unread: 0 }) => String::new(),
                (done, rebought) => {
                    format!(" · {} rows are done already, {}", count(done), left_by_dead(rebought))
                }
            };
            let (shard, rows) = (grant.shard.number, count(grant.shard.cut.rows));
            printer.labelled(
                "shard",
                format_args!(
                    "{shard} of {shards} of job {} · {rows} rows · epoch {}{before}",
                    grant.job, grant.epoch
                ),
            );
        }
        Event::Held(held, quota) => printer.note(run::told(*held, quota)),
        Event::Done { grant, left, summary } => {
            let counts = summary.map_or_else(
                || "its part was there".to_owned(),
                |summary| {
                    format!(
                        "{} results · {} failures",
                        count(summary.ok),
                        count(summary.failed + summary.unknown)
                    )
                },
            );
            let shard = grant.shard.number;
            printer.labelled(
                "done",
                format_args!("shard {shard} of job {} · {counts} · {left} left", grant.job),
            );
        }
        Event::Waits => printer.line("waiting for the shards that other workers have"),
        Event::JobDone(job) => printer.labelled(
            "job",
            format_args!(
                "{} is done: tidegate collect {} --fleet … writes {}",
                job.id,
                job.id,
                job.output().display()
            ),
        ),
        Event::HandedBack(grant) => printer.labelled(
            "back",
            format_args!("shard {} of job {} is handed back", grant.shard.number, grant.job),
        ),
        Event::Running(_, None) => waits.store(0, Relaxed),
        Event::Running(_, Some(why)) => {
            // Not at each hitch, and not each second.
            if waits.fetch_add(1, Relaxed) % 10 == 1 {
                printer.labelled("waits", why);
            }
        }
    }
}

/// `tidegate status`: a line for each job.
pub(crate) fn status_command(printer: Printer, place: &FleetPlace) -> anyhow::Result<Exit> {
    let mut text = String::new();
    let jobs = open(place)?.jobs()?;
    for job in &jobs {
        text.push_str(&line(job));
        text.push('\n');
    }
    printer.bytes(text.as_bytes())?;
    if jobs.iter().any(|job| matches!(job.state, State::Done | State::Cancelled)) {
        printer.hint("a job that is over is listed until `tidegate forget ID` takes it off the server");
    }
    Ok(Exit::Success)
}

fn line(job: &JobStatus) -> String {
    let JobStatus {
        id, queue, state, done, shards, under_way, counts: [ok, failed, unknown], output, ..
    } = job;
    let mut line = format!(
        "{id}\t{queue}\t{state}\t{done} of {shards} shards, {under_way} with workers\t{} rows: {ok} results, {failed} failures, {unknown} unknown\t{output}",
        job.rows
    );
    if !job.why.is_empty() {
        let _ = write!(line, "\twhy: {}", job.why); // a String takes everything
    }
    if let Some(why) = job.refused.values().next().filter(|_| *state == State::Open && *under_way == 0) {
        let _ = write!(line, "\tno worker may run it: {why}");
    }
    line
}

/// `tidegate pause`, `resume` and `cancel`.
pub(crate) fn control_command(printer: Printer, args: &JobArgs, to: State) -> anyhow::Result<Exit> {
    let why = if to == State::Open { String::new() } else { format!("{} said so", whoami()) };
    open(&args.place)?.control(&args.id, to, &why)?;
    printer.line(format_args!("job {} is {to}", args.id));
    Ok(Exit::Success)
}

/// `tidegate forget`
pub(crate) fn forget_command(printer: Printer, args: &JobArgs) -> anyhow::Result<Exit> {
    open(&args.place)?.forget(&args.id)?;
    printer.line(format_args!("job {} is forgotten; its files stay", args.id));
    Ok(Exit::Success)
}

/// `tidegate collect`
pub(crate) fn collect_command(printer: Printer, args: &OutputArgs) -> anyhow::Result<Exit> {
    let mut fleet = open(&args.place)?;
    let output = output(&mut fleet, &args.job)?;
    let Collected { job, lines, rebought } = collect(&mut fleet, &output)?;
    printer.labelled("rows", rows(&job, lines));
    printer.labelled("calls", left_by_dead(rebought));
    printer.labelled("output", output.display());
    exit_of(&job, lines)
}

/// What of the calls of dead workers was perhaps bought again.
fn left_by_dead(Rebought { in_flight, unread }: Rebought) -> String {
    let unread = match unread {
        0 => String::new(),
        rows => format!(
            "; up to {} were made again, as what a dead worker had done could not be read",
            count(rows)
        ),
    };
    format!("{} were in flight when workers died, and were sent again or held{unread}", count(in_flight))
}

fn rows(job: &FleetJob, [ok, failed, unknown]: [u64; 3]) -> String {
    let unknown = of_unknown_outcome(unknown);
    format!("{} · {} results · {} failures{unknown}", count(job.rows), count(ok), count(failed))
}

/// As for any run.
fn exit_of(job: &FleetJob, [_, failed, unknown]: [u64; 3]) -> anyhow::Result<Exit> {
    Ok(if job.tolerates(failed + unknown)? { Exit::Success } else { Exit::Failures })
}

/// `tidegate rebuild`
pub(crate) fn rebuild_command(printer: Printer, args: &OutputArgs) -> anyhow::Result<Exit> {
    let mut fleet = open(&args.place)?;
    let output = output(&mut fleet, &args.job)?;
    let Rebuilt { job, done } = rebuild(&mut fleet, &output)?;
    printer.labelled(
        "job",
        format_args!("{} is back in queue {}: {done} of {} shards are done", job.id, job.queue, job.shards),
    );
    printer.data(&job.id)?;
    Ok(Exit::Success)
}

/// What to do about an output that is still in parts.
pub(crate) fn not_collected(output: &Path) -> Option<String> {
    let is_in_parts = !output.exists() && Parts::of(output).folder().is_dir();
    is_in_parts
        .then(|| "its parts are not put together yet: tidegate collect JOB.toml --fleet URL".to_owned())
}

fn open(place: &FleetPlace) -> anyhow::Result<Fleet> {
    Ok(Fleet::open(&place.fleet)?)
}

/// The output that a job file names, or the job of that number.
fn output(fleet: &mut Fleet, job: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(job);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let path = JobFile::read(path)?.output.path.ok_or_else(|| Hinting {
            message: format!("{job} names no output"),
            hint: "say `path = \"out.jsonl\"` in [output]".to_owned(),
        })?;
        return Ok(std::path::absolute(path)?);
    }
    Ok(fleet.output_of(job)?)
}

/// Who submits a job, and when.
fn who() -> (String, u64) {
    (whoami(), u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX))
}

/// For people who look at jobs.
fn whoami() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}

#[expect(clippy::disallowed_methods, reason = "for people: when a job was submitted")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
