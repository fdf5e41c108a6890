//! From a checked job to one that is ready to run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use tidegate_core::{Contract, Costs, MemberId};
use tidegate_quota::store::Who;
use tidegate_quota::{Clock, Membership, Partitions};

use super::{
    Charges, CostSpec, Identity, Job, JobError, ProbeSpec, RATED_CONNECTIONS, SharedStore, State, absolute,
    hex, state,
};
use crate::Row;
use crate::engine::{IdempotencyKeys, Probe};
use crate::http::{Connector, Origin};
use crate::log::{self, Micros, Replay, RunRecord, SendsEncoder};
use crate::report::Before;
use crate::sink::{self, LogFile, OutputFormat, OutputPaths, OutputSpec, Outputs, SinkError, Target};
use crate::source::{Format, InputSpec, Marker, Source};
use crate::template::{BodySpec, Call, Input, InputKind, KeyTemplate, RenderError, Template};

/// Time beyond a call's own in which it is sure to have been given up.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// A job whose input, request and limits have been opened and compiled. Nothing has been sent.
#[derive(Debug)]
pub struct Plan {
    /// The job.
    pub job: Job,
    /// Its input, at the first row.
    pub source: Source,
    /// Its request.
    pub template: Template,
    /// What compiles from its limits.
    pub contract: Contract,
    /// The name of its quota.
    pub quota: String,
    probe: Option<Probe>,
    charges: Charges,
    key: Option<KeyTemplate>,
    clock: Clock,
    connector: Connector,
    /// Where its quota is kept, if other processes share it.
    store: Option<SharedStore>,
}

/// A plan with its outputs open: ready to run.
pub struct Prepared {
    pub(crate) job: Job,
    pub(crate) source: Source,
    pub(crate) template: Template,
    pub(crate) probe: Option<Probe>,
    pub(crate) key: Option<KeyTemplate>,
    pub(crate) charges: Charges,
    pub(crate) quotas: Partitions,
    pub(crate) connector: Connector,
    pub(crate) keys: IdempotencyKeys,
    pub(crate) outputs: Outputs,
    /// The log, for calls that will be sent.
    pub(crate) log: Option<(LogFile, SendsEncoder)>,
    pub(crate) state: Option<State>,
    held: Option<Held>,
}

/// Why nothing is sent at first, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How long.
    pub length: Duration,
    /// Why.
    pub why: HeldFor,
}

pub use tidegate_quota::store::HeldFor;

impl Plan {
    /// Whether calls of unknown outcome may be sent again. A key that rows bring along is not seen.
    pub fn may_resend(&self) -> bool {
        self.job.retry.unknown.resends(self.template.method(), self.job.idempotency.1)
    }

    /// Opens the input and compiles request and limits; `env` looks up environment variables.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn new(job: Job, env: impl Fn(&str) -> Option<String>) -> Result<Self, JobError> {
        Self::by_clock(job, env, Clock::start())
    }

    /// The same by another clock than the machine's: that of a simulation.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn by_clock(
        mut job: Job,
        env: impl Fn(&str) -> Option<String>,
        clock: Clock,
    ) -> Result<Self, JobError> {
        if let Some(auth) = &mut job.auth {
            auth.resolve(&env).map_err(|name| {
                JobError::value("auth.oauth2", format!("the environment variable {name} is not set"))
            })?;
        }
        let source = Source::open(&job.input)?;
        if source.format() == Format::Batch {
            job.take_batch()?;
        } else if job.request.body == BodySpec::None
            && job.provider.is_some_and(|provider| provider.base == job.request.url)
        {
            let hint = "give --json '{\"model\": …}', or an input in batch format, whose rows bring it";
            return Err(JobError::Missing { what: "body, and its rows bring none", hint });
        }
        let columns = source.columns().cloned();
        let input = Input {
            kind: match source.format() {
                Format::Csv | Format::Tsv => InputKind::Fields,
                Format::Jsonl | Format::Batch => InputKind::Json,
                _ => InputKind::Lines,
            },
            columns: columns.as_deref(),
        };
        let template = Template::compile(&job.request, input, &env)?;
        let probe = compile_probe(job.probe.as_ref(), &template, input, &env)?;
        let uri: Uri = template
            .origin()
            .to_string()
            .parse()
            .map_err(|_| JobError::value("request.url", "the origin is not a valid URL"))?;
        let quota = job.quota.clone().unwrap_or_else(|| host_of(&uri));
        let store = open_store(&mut job, &quota)?;
        let contract = job.contract(clock)?;
        let charges = Charges::compile(contract.clone(), &job, input)?;
        let key = job.key.as_deref().map(|column| KeyTemplate::compile(column, input)).transpose()?;
        let connector = Connector::new(Origin::try_from(&uri)?, job.http.clone())?;
        Ok(Self { job, source, template, contract, quota, probe, charges, key, clock, connector, store })
    }

    /// The call that some rows make together, with those of them that it carries; `None` if there is none. Rows
    /// that make no call at all are given to `fault`, with the reason.
    pub fn call<'r>(
        &self,
        rows: &'r [Row],
        mut fault: impl FnMut(&Row, RenderError),
    ) -> Option<(Vec<&'r Row>, Call)> {
        let makes_one =
            |row: &&'r Row| self.template.render_all(&[row]).map_err(|error| fault(row, error)).is_ok();
        let mut together: Vec<&Row> = rows.iter().filter(makes_one).collect();
        // All that make a call by themselves, unless they are too many.
        while !together.is_empty() {
            if let Ok(call) = self.template.render_all(&together) {
                return Some((together, call));
            }
            together.truncate(together.len() / 2);
        }
        None
    }

    /// Refuses to go on with what another job has begun in this output.
    ///
    /// # Errors
    /// If `was` is not the same job.
    pub fn check_same(&self, was: &Self, output: &Path) -> Result<(), JobError> {
        let identity =
            |plan: &Self| identity_of(&plan.job, &plan.source, &plan.template, output, String::new());
        identity(self).check_same(&identity(was), output)
    }

    /// What the call of these rows would reserve of each limit; `None` if that cannot be said.
    pub fn costs(&self, rows: &[&Row], call: &Call) -> Option<Costs> {
        self.charges.costs(rows, call).ok().map(|(costs, _)| costs)
    }

    /// What is to be known of the store before anybody relies on it.
    pub fn warnings(&mut self) -> Vec<String> {
        self.store.as_mut().map(SharedStore::warnings).unwrap_or_default()
    }

    /// Opens the outputs, finds what earlier runs have done, and joins those who use the quota.
    ///
    /// # Errors
    /// If the outputs cannot be written, or belong to another job; if the quota is another one than the
    /// job says.
    pub fn prepare(self) -> Result<Prepared, JobError> {
        let Self { job, source, template, contract, quota, probe, charges, key, clock, connector, store } =
            self;
        let (mut outputs, paths, id) = open_outputs(&job, &source, &template, clock)?;
        let boot = state::boot();
        let mut run = RunRecord::new(&contract, boot.clone(), state::micros(clock), state::wall_ms());
        let (quotas, held) = if let Some(store) = store {
            let quotas = Partitions::shared(&contract, store.into_store(), membership(quota, &job))?;
            run.member = quotas.member_id().map(|MemberId(id)| id);
            let seen = seen_over(&quotas, &outputs.before, &boot)?;
            run.former_over = seen.filter(|_| outputs.before.in_flight);
            let unseen = match seen {
                // Who ran a shard before was a member of the same quota on the same server, which knows better than
                // a log whose times are another machine's.
                _ if job.assume_idle || job.shard.is_some() => None,
                Some(_) => state::may_count_unseen(&quotas, &outputs.before),
                None => state::may_count(&quotas, &outputs.before, &boot),
            };
            let held =
                quotas.held().map(|held| Held { length: held.until.since(clock.now()), why: held.why });
            let former = unseen.map(|length| Held { length, why: HeldFor::FormerUse });
            if let Some(held) = &former {
                quotas.hold(held.length);
            }
            (quotas, held.into_iter().chain(former).max_by_key(|held| held.length))
        } else {
            let quotas = Partitions::new(contract, clock);
            let known = if job.assume_idle { None } else { outputs.before.last.as_ref() };
            let held = known.and_then(|_| state::may_count(&quotas, &outputs.before, &boot));
            if let Some(length) = held {
                quotas.hold(length);
            }
            (quotas, held.map(|length| Held { length, why: HeldFor::FormerUse }))
        };
        let log = outputs.files.begin(run)?;
        if let (Some(filters), Some(paths)) = (&job.again, &paths) {
            let rows = log::failures(&paths.state.join(log::FILE), filters).map_err(SinkError::from)?;
            outputs.files.reopen(&rows)?;
            outputs.before.reopen(&rows);
        }
        outputs.files.drop_stale(outputs.before.stale)?;
        let state = paths.map(|paths| State::new(&paths.state, &outputs.before));
        let (header, added) = job.idempotency.clone();
        let keys = IdempotencyKeys::new(header, added.then_some(id));
        Ok(Prepared {
            job,
            source,
            template,
            probe,
            key,
            charges,
            quotas,
            connector,
            keys,
            outputs,
            log,
            state,
            held,
        })
    }
}

/// Opens the outputs, if they are this job's, and finds what is done; with the job's own number.
fn open_outputs(
    job: &Job,
    source: &Source,
    template: &Template,
    clock: Clock,
) -> Result<(Outputs, Option<OutputPaths>, String), JobError> {
    let spec = |id: &str| OutputSpec {
        target: job.output.clone(),
        format: job.format.or_else(|| as_the_input(source.format(), &job.output)),
        job: id.to_owned(),
        select: job.select.clone(),
        columns: source.output_columns(),
    };
    let id = job.shard.as_ref().map_or_else(new_id, |shard| shard.id.clone());
    let Target::File(path) = &job.output else { return Ok((sink::open(&spec(&id), clock)?, None, id)) };
    let paths = OutputPaths::for_output(path);
    refuse_input_as_output(&job.input, &paths)?;
    let mut identity = identity_of(job, source, template, path, id);
    identity.check(path, &paths.state)?;
    let outputs = sink::open(&spec(&identity.id), clock)?;
    Marker::check(&job.input, &outputs.before.marks)?;
    identity.store(&paths.state)?;
    job.kept.store(&paths.state)?;
    Ok((outputs, Some(paths), identity.id))
}

fn identity_of(job: &Job, source: &Source, template: &Template, output: &Path, id: String) -> Identity {
    Identity {
        version: 1,
        input: absolute(&job.input),
        input_start: hex(&source.first_record_fingerprint()),
        request: template.identity().to_owned(),
        key: job.key.clone(),
        output: output.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        id,
    }
}

/// Answers to a batch are a batch, unless they are to go into a table.
fn as_the_input(input: Format, output: &Target) -> Option<OutputFormat> {
    let plain = match output {
        Target::Stdout => true,
        Target::File(path) => OutputFormat::of_name(path) == Some(OutputFormat::Jsonl),
    };
    (input == Format::Batch && plain).then_some(OutputFormat::Batch)
}

/// How the job takes part in its quota.
fn membership(quota: String, job: &Job) -> Membership {
    Membership {
        quota,
        who: Who::this(what_it_does(job)),
        timeout: job.http.call_timeout + GIVEN_UP,
        assume_idle: job.assume_idle,
        priority: job.priority,
    }
}

fn compile_probe(
    spec: Option<&ProbeSpec>,
    of: &Template,
    input: Input<'_>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Probe>, JobError> {
    let Some(ProbeSpec { request, done, missing }) = spec else { return Ok(None) };
    let template = Template::compile(request, input, env)?;
    if template.origin() != of.origin() {
        let message = format!("it leads to {}, and the request to {}", template.origin(), of.origin());
        return Err(JobError::value("retry.probe.url", message)
            .hinting("credentials go to one origin only: ask where the calls are sent"));
    }
    Ok(Some(Probe { template, done: done.clone(), missing: missing.clone() }))
}

impl Prepared {
    /// Why nothing is sent at first, and for how long: of what was sent before not all is known, or it
    /// still counts.
    pub fn held(&self) -> Option<Held> {
        self.held
    }

    /// Calls of earlier runs of which nobody knows what became: rows that are sent again, or held.
    pub fn left_open(&self) -> u64 {
        self.outputs.before.dangling.unknown.len()
    }

    /// What earlier runs have finished.
    pub fn done_before(&self) -> Before {
        let done = self.outputs.done();
        Before { ok: done.succeeded.len(), failed: done.failed.len(), unknown: done.unknown.len() }
    }
}

/// The store of a job with limits. A job that names none takes those that its quota has there.
fn open_store(job: &mut Job, quota: &str) -> Result<Option<SharedStore>, JobError> {
    let Some(mut store) = job.store.open()? else { return Ok(None) };
    if job.limits.is_empty() {
        let Some(definition) = store.store().definition(quota)? else { return Ok(None) };
        job.limits = definition.limits()?;
        job.costs = vec![CostSpec::default(); job.limits.len()];
        job.connections = job.connections.max(RATED_CONNECTIONS);
    }
    Ok(Some(store))
}

/// The default name of a quota: the host, and its port if that is not the usual one.
fn host_of(uri: &Uri) -> String {
    uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default()
}

/// For people who look at who uses a quota.
fn what_it_does(job: &Job) -> String {
    match &job.output {
        Target::Stdout => format!("run {}", job.input.input),
        Target::File(path) => format!("run {} -o {}", job.input.input, path.display()),
    }
}

/// When the calls of the run before were over, as the quota's store has seen it: it knows when a process
/// ran no more. `None` if it is not the store that this run used, or it has lost its memory.
fn seen_over(quotas: &Partitions, before: &Replay, boot: &str) -> Result<Option<Micros>, JobError> {
    let Some(last) = before.last.as_ref().filter(|last| last.boot == boot) else { return Ok(None) };
    let Some(member) = last.member else { return Ok(None) };
    Ok(quotas.died_by(MemberId(member))?.map(Micros::ceil))
}

/// A number for a job, unlike that of any other.
pub fn new_id() -> String {
    let mut rng = fastrand::Rng::new(); // seeded by the system's hash keys, the time and the thread
    format!("{:032x}", rng.u128(..))
}

fn refuse_input_as_output(input: &InputSpec, paths: &OutputPaths) -> Result<(), JobError> {
    let Some(input) = input.input.path().and_then(|path| fs::canonicalize(path).ok()) else { return Ok(()) };
    for output in [&paths.results, &paths.failures, &paths.unknown] {
        if fs::canonicalize(output).is_ok_and(|output| output == input) {
            return Err(JobError::InputIsOutput { path: output.clone() });
        }
    }
    Ok(())
}
