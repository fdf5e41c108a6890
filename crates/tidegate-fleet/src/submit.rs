//! A job on its way into a queue.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate::job::{Job, JobFile, KeptJob, Plan, new_id};
use tidegate::sink::OutputPaths;
use tidegate::source::{Cutter, InputSpec};
use tidegate_core::Contract;

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::job::{FleetJob, Shard, output_of};
use crate::parts::{Kept, Parts};

/// Rows of a shard: enough that starting one costs little, and few enough that one is soon done again.
const ROWS: std::ops::RangeInclusive<u64> = 100..=50_000;
/// Where no limit says how fast it goes.
const ROWS_WITHOUT_LIMIT: u64 = 1_000;
/// Written to the server at a time.
const AT_A_TIME: usize = 500;

/// A job that was submitted.
#[derive(Debug)]
pub struct Submission {
    /// The job.
    pub job: FleetJob,
    /// Rows of each shard, but for the last.
    pub rows_each: u64,
}

/// Rows of a shard that takes so long when the job has its quota to itself.
pub fn shard_rows(contract: &Contract, per_call: u64, length: Duration) -> u64 {
    let latency = contract.terms().latency;
    let rates = contract.limits().filter(|(limit, _)| limit.cost().is_some());
    let slowest = rates.map(|(limit, meter)| limit.provable_rate(meter, latency)).reduce(f64::min);
    let rows = slowest.map(|rate| rate * length.as_secs_f64() * per_call as f64);
    rows.map_or(ROWS_WITHOUT_LIMIT, |rows| rows as u64).clamp(*ROWS.start(), *ROWS.end())
}

/// A job that workers can share, as it is written down.
pub(crate) struct Checked {
    pub(crate) file: JobFile,
    pub(crate) output: PathBuf,
    pub(crate) plan: Plan,
}

/// Checks a job. Nothing is written.
pub(crate) fn check(fleet: &Fleet, mut file: JobFile) -> Result<Checked, FleetError> {
    no_secrets(&file)?;
    if !file.quota.is_auto() {
        file.quota.store = Some(fleet.address());
    }
    let mut job = Job::from_file(file.clone())?;
    let output = output_of(&job)?;
    if job.max_cost.is_some() {
        return Err(FleetError::NotKept("quota.max_cost"));
    }
    job.store = fleet.store();
    let plan = plan(job)?;
    // What was guessed by the first record must not be guessed again by each shard's.
    file.input.format = Some(plan.source.format().to_string());
    if let Some(path) = file.auth.as_mut().and_then(|auth| auth.file.as_mut()) {
        *path = std::path::absolute(&*path).map_err(FleetError::file(&path.clone()))?;
    }
    Ok(Checked { file, output, plan })
}

/// The workers have the values of the environment; here only the form is checked.
pub(crate) fn plan(job: Job) -> Result<Plan, FleetError> {
    Ok(Plan::new(job, |name| Some(std::env::var(name).unwrap_or_else(|_| "unset".to_owned())))?)
}

/// Cuts the input of a job into shards of so many seconds and puts it into a queue.
///
/// # Errors
/// Whatever is wrong with the job: nothing has been written then, neither here nor on the server.
pub fn submit(
    fleet: &mut Fleet,
    file: JobFile,
    queue: &str,
    length: Duration,
    who: (String, u64),
) -> Result<Submission, FleetError> {
    Fleet::check_queue(queue)?;
    let checked = check(fleet, file)?;
    submit_checked(fleet, &checked, queue, length, who)
}

pub(crate) fn submit_checked(
    fleet: &mut Fleet,
    Checked { file, output, plan }: &Checked,
    queue: &str,
    length: Duration,
    (by, at_ms): (String, u64),
) -> Result<Submission, FleetError> {
    let parts = Parts::of(output);
    if parts.folder().exists() {
        return Err(parts.submitted());
    }
    let paths = OutputPaths::for_output(output);
    if let Some(path) = [&paths.results, &paths.state].into_iter().find(|path| path.exists()) {
        return Err(FleetError::Foreign { path: path.clone() });
    }
    let per_call = plan.job.batch.as_ref().map_or(1, |(rows, _)| *rows as u64);
    let rows_each = shard_rows(&plan.contract, per_call, length);
    let (shards, bytes) = cut(&plan.job.input, rows_each)?;
    let rows = shards.iter().map(|shard| shard.cut.rows).sum();
    let number = new_id();
    let job = FleetJob {
        id: number.chars().take(8).collect(),
        number,
        queue: queue.to_owned(),
        by,
        at_ms,
        length: bytes,
        rows,
        shards: shards.len() as u64,
        in_order: plan.job.in_order,
        kept: KeptJob::of(file),
    };
    let kept = Kept { job, shards };
    parts.create(&kept)?;
    let Kept { job, shards } = kept;
    let shards: Vec<_> = shards.into_iter().map(|shard| (shard, 0, None)).collect();
    write_down(fleet, &job, &shards, [0; 4])?;
    Ok(Submission { job, rows_each })
}

/// Puts a job on the server: shards with the greatest epoch that was used of each, and the part that it is done by; sums of
/// those that are done. Said again after it was broken off, it goes on.
pub(crate) fn write_down(
    fleet: &mut Fleet,
    job: &FleetJob,
    shards: &[(Shard, u64, Option<u64>)],
    sums: [u64; 4],
) -> Result<(), FleetError> {
    let mut fields = vec![
        ("job", job.text()),
        ("output", job.output().display().to_string()),
        ("by", job.by.clone()),
        ("at_ms", job.at_ms.to_string()),
        ("rows", job.rows.to_string()),
        ("shards", job.shards.to_string()),
    ];
    fields.extend(["ok", "failed", "unknown", "rebought"].into_iter().zip(sums.map(|n| n.to_string())));
    if let Some(state) = fleet.begin(&job.id, &job.queue, &fields)? {
        return Err(FleetError::Known { id: job.id.clone(), state });
    }
    for (i, some) in shards.chunks(AT_A_TIME).enumerate() {
        fleet.load(&job.id, i * AT_A_TIME, some)?;
    }
    fleet.begin_work(&job.id)
}

fn cut(spec: &InputSpec, rows_each: u64) -> Result<(Vec<Shard>, u64), FleetError> {
    let mut cutter = Cutter::open(spec, rows_each)?;
    let path = spec.input.path().unwrap_or_else(|| Path::new("-"));
    let length = || fs::metadata(path).map(|found| found.len()).map_err(FleetError::file(path));
    let before = length()?;
    let mut shards = Vec::new();
    while let Some(cut) = cutter.next_cut()? {
        shards.push(Shard { number: shards.len() as u64, cut });
    }
    let after = length()?;
    if before != after {
        let what = format!("it had {before} bytes, and has {after}");
        return Err(FleetError::Changed { path: path.to_owned(), what });
    }
    Ok((shards, after))
}

/// The server is not the place for secrets: whoever sees one job there would see them.
fn no_secrets(file: &JobFile) -> Result<(), FleetError> {
    if let Some(name) = KeptJob::of(file).withheld.first() {
        return Err(FleetError::Secret { what: format!("the header {name}") });
    }
    let written = |value: &str| !value.contains("{{") && !value.contains('{');
    let query =
        file.request.query.0.iter().find(|(name, value)| KeptJob::may_be_secret(name) && written(value));
    if let Some((name, _)) = query {
        return Err(FleetError::Secret { what: format!("the query parameter {name}") });
    }
    if file.request.proxy.as_deref().is_some_and(|proxy| proxy.contains('@')) {
        return Err(FleetError::Secret { what: "the proxy's password".to_owned() });
    }
    Ok(())
}
