//! A job: checked as a whole before anything is sent.

mod charges;
mod error;
mod file;
mod identity;
mod limits;
mod state;
mod values;
mod words;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use http::Uri;
use tidegate_core::{Contract, Limit, Mode, Pacing, Rule, Terms, Time, WallClock};
use tidegate_quota::{Clock, Partitions};

pub use self::charges::CostSpec;
pub(crate) use self::charges::{ChargeError, Charges};
pub use self::error::JobError;
pub use self::file::{
    InputSection, JobFile, LimitSection, OutputSection, Pairs, QuotaSection, RequestSection, RetrySection,
    StatusOrWord,
};
use self::identity::Identity;
use self::limits::{limits, mode};
pub(crate) use self::state::State;
use self::values::{duration, http_options, request_spec, retry_policy};
use crate::http::{Connector, Options, Origin};
use crate::retry::RetryPolicy;
use crate::sink::{self, OutputFormat, OutputPaths, OutputSpec, Outputs, SinkError, Target};
use crate::source::{Format, InputSpec, Source};
use crate::template::{Input, InputKind, KeyTemplate, RequestSpec, Template};
use crate::verdict::Accept;

/// Connections at most where a rate decides how many are needed; few systems let a process have
/// more than 1,024 open files unasked.
const RATED_CONNECTIONS: usize = 800;
/// How far this machine's wall clock may be from the provider's before the first answer's `Date`
/// tells.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Connections at most where nothing else holds the job back.
const FREE_CONNECTIONS: usize = 64;

/// A job with all its values checked.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where rows come from.
    pub input: InputSpec,
    /// Column that identifies a row.
    pub key: Option<String>,
    /// The call made for each.
    pub request: RequestSpec,
    /// What the provider allows.
    pub limits: Vec<Limit>,
    /// How their costs are found where they differ from call to call, in the same order.
    pub costs: Vec<CostSpec>,
    /// Rows with different values of this template count against different quotas.
    pub partition: Option<String>,
    /// How sends are spread.
    pub pacing: Pacing,
    /// What is taken as true about when the provider counts.
    pub mode: Mode,
    /// How long answers are expected to take.
    pub latency: Duration,
    /// Connections at most.
    pub connections: usize,
    /// How to connect.
    pub http: Options,
    /// Redirects followed per row.
    pub redirects: u8,
    /// What is sent again.
    pub retry: RetryPolicy,
    /// Statuses that are results.
    pub accept: Accept,
    /// When failures stop the job.
    pub stop: StopPolicy,
    /// Where results go.
    pub output: Target,
    /// Their shape.
    pub format: Option<OutputFormat>,
    /// Columns of a CSV output.
    pub select: Vec<sink::Select>,
    /// Time for calls in flight when the job is interrupted.
    pub drain: Duration,
    /// Only the first rows of the input.
    pub head: Option<u64>,
    /// The user vouches that nothing of the limits is in use, whatever an earlier run did.
    pub assume_idle: bool,
}

/// How many failures are too many.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum StopPolicy {
    /// Any failure makes the exit code 1; none but the first twenty stop the job.
    #[default]
    Never,
    /// More failures than this stop the job.
    Count(u64),
    /// A greater percentage of failures stops the job, once a hundred rows are done.
    Percent(f64),
}

impl StopPolicy {
    pub(crate) fn stops(self, failed: u64, done: u64) -> bool {
        const ENOUGH: u64 = 100;
        match self {
            Self::Never => false,
            Self::Count(_) => !self.allows(failed, done),
            Self::Percent(_) => done >= ENOUGH && !self.allows(failed, done),
        }
    }

    pub(crate) fn allows(self, failed: u64, done: u64) -> bool {
        match self {
            Self::Never => failed == 0,
            Self::Count(most) => failed <= most,
            Self::Percent(most) => failed as f64 * 100.0 <= most * done as f64,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(Self::Percent(percent))
            }
            None => text.trim().parse().ok().map(Self::Count),
        }
    }
}

/// A job whose input, request and limits have been opened and compiled. Nothing has been written
/// or sent.
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
    charges: Charges,
    key: Option<KeyTemplate>,
    clock: Clock,
    connector: Connector,
}

/// A plan with its outputs open: ready to run.
pub struct Prepared {
    pub(crate) job: Job,
    pub(crate) source: Source,
    pub(crate) template: Template,
    pub(crate) key: Option<KeyTemplate>,
    pub(crate) charges: Charges,
    pub(crate) quotas: Partitions,
    pub(crate) connector: Connector,
    pub(crate) outputs: Outputs,
    pub(crate) state: Option<State>,
    held: Option<Duration>,
}

impl JobFile {
    /// Reads a job file.
    ///
    /// # Errors
    /// If it cannot be read, has an unknown key, or a value of the wrong kind; with its line.
    pub fn read(path: &Path) -> Result<Self, JobError> {
        let text =
            fs::read_to_string(path).map_err(|source| JobError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| JobError::File {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }
}

impl Job {
    /// Checks a job.
    ///
    /// # Errors
    /// The first value that is missing or does not make sense.
    pub fn from_file(file: JobFile) -> Result<Self, JobError> {
        let JobFile { input, request, quota, retry, output } = file;
        let path = input.path.ok_or(JobError::Missing {
            what: "input",
            hint: "name a file of lines, CSV, TSV or JSONL, or `-` for stdin",
        })?;
        let mut input_spec = InputSpec::new(path);
        if let Some(format) = input.format {
            input_spec.format =
                Some(format.parse::<Format>().map_err(|e| JobError::value("input.format", e.to_string()))?);
        }
        let (limits, costs): (Vec<_>, Vec<_>) = limits(&quota)?.into_iter().unzip();
        let http = http_options(&request)?;
        let rated = limits.iter().any(|limit| !matches!(limit.rule(), Rule::Concurrency { .. }));
        let concurrency =
            limits.iter().filter(|l| matches!(l.rule(), Rule::Concurrency { .. })).map(Limit::amount).min();
        let default = if rated || concurrency.is_some() { RATED_CONNECTIONS } else { FREE_CONNECTIONS };
        let most = concurrency.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        if quota.connections == Some(0) {
            return Err(JobError::value(
                "quota.connections",
                "0 connections would never send anything: expected 1 or more",
            ));
        }
        Ok(Self {
            input: input_spec,
            key: input.key,
            redirects: request.redirects.unwrap_or(0),
            request: request_spec(request)?,
            pacing: match quota.pace.as_deref() {
                None | Some("even") => Pacing::Even,
                Some("burst") => Pacing::Burst,
                Some(other) => {
                    return Err(JobError::value(
                        "quota.pace",
                        format!("`{other}` is not a pace: expected even or burst"),
                    ));
                }
            },
            limits,
            costs,
            partition: quota.partition.clone(),
            mode: mode(&quota)?,
            latency: duration("quota.latency", quota.latency.as_deref(), Terms::default().latency)?,
            connections: quota.connections.unwrap_or(default).min(most),
            http,
            retry: retry_policy(&retry)?,
            accept: match &output.accept {
                None => Accept::default(),
                Some(list) => Accept::parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>())
                    .map_err(|message| JobError::value("output.accept", message))?,
            },
            stop: match &output.max_failed {
                None => StopPolicy::Never,
                Some(text) => StopPolicy::parse(&text.to_string()).ok_or_else(|| {
                    JobError::value(
                        "output.max_failed",
                        format!("`{text}` is neither a number nor a percentage such as `2%`"),
                    )
                })?,
            },
            output: match &output.path {
                Some(path) if path != Path::new("-") => Target::File(path.clone()),
                _ => Target::Stdout,
            },
            format: match output.format.as_deref() {
                None => None,
                Some("jsonl") => Some(OutputFormat::Jsonl),
                Some("csv") => Some(OutputFormat::Csv),
                Some(other) => {
                    let message = format!("`{other}` is not an output format: expected jsonl or csv");
                    return Err(JobError::value("output.format", message));
                }
            },
            select: output
                .select
                .iter()
                .map(|text| {
                    text.parse().map_err(|e: sink::SelectError| JobError::Value {
                        field: "output.select",
                        hint: Some(e.hint().to_owned()),
                        message: e.to_string(),
                    })
                })
                .collect::<Result<_, _>>()?,
            drain: duration("output.drain", output.drain.as_deref(), Duration::from_secs(20))?,
            head: None,
            assume_idle: false,
        })
    }

    /// The limits on the job's terms, compiled.
    ///
    /// # Errors
    /// If one of them cannot be kept.
    pub fn contract(&self, clock: Clock) -> Result<Contract, JobError> {
        let unix = state::wall_clock().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let at_zero = unix.saturating_sub(clock.now().since(Time::ZERO));
        let at_zero = i64::try_from(at_zero.as_nanos()).unwrap_or(i64::MAX);
        let wall = Some(WallClock::new(at_zero, CLOCK_SKEW));
        let terms = Terms { mode: self.mode, latency: self.latency, wall, ..Terms::default() };
        Ok(Contract::new(&self.limits, self.pacing, terms)?)
    }

    /// The pause after a 429 that names none: the shortest window, or a second.
    pub(crate) fn throttle_pause(&self) -> Duration {
        let windows = self.limits.iter().filter_map(|limit| match limit.rule() {
            Rule::Window { per } => Some(*per),
            _ => None,
        });
        windows.min().unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(100))
    }
}

impl Plan {
    /// Opens the input and compiles request and limits; `env` looks up environment variables.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn new(job: Job, env: impl Fn(&str) -> Option<String>) -> Result<Self, JobError> {
        let clock = Clock::start();
        let contract = job.contract(clock)?;
        let source = Source::open(&job.input)?;
        let columns = source.columns().cloned();
        let input = Input {
            kind: match source.format() {
                Format::Csv | Format::Tsv => InputKind::Fields,
                Format::Jsonl => InputKind::Json,
                _ => InputKind::Lines,
            },
            columns: columns.as_deref(),
        };
        let template = Template::compile(&job.request, input, env)?;
        let charges = Charges::compile(contract.clone(), &job.costs, job.partition.as_deref(), input)?;
        let key = job.key.as_deref().map(|column| KeyTemplate::compile(column, input)).transpose()?;
        let uri: Uri = template
            .origin()
            .to_string()
            .parse()
            .map_err(|_| JobError::value("request.url", "the origin is not a valid URL"))?;
        let connector = Connector::new(Origin::try_from(&uri)?, job.http.clone())?;
        Ok(Self { job, source, template, contract, charges, key, clock, connector })
    }

    /// Opens the outputs and finds what an earlier run has done.
    ///
    /// # Errors
    /// If they cannot be written, or belong to another job.
    pub fn prepare(self) -> Result<Prepared, JobError> {
        let Self { job, source, template, contract, charges, key, clock, connector } = self;
        let quotas = Partitions::new(contract, clock);
        let spec = OutputSpec {
            target: job.output.clone(),
            format: job.format,
            select: job.select.clone(),
            columns: source.output_columns(),
        };
        let (mut state, mut held) = (None, None);
        let outputs = match &job.output {
            Target::Stdout => sink::open(&spec)?,
            Target::File(path) => {
                let paths = OutputPaths::for_output(path);
                refuse_input_as_output(&job.input, &paths)?;
                let identity = Identity {
                    version: 1,
                    input: absolute(&job.input),
                    input_start: hex(&source.first_record_fingerprint()),
                    request: template.identity().to_owned(),
                    key: job.key.clone(),
                };
                identity.check(path, &paths.state)?;
                let outputs = sink::open(&spec)?;
                identity.store(&paths.state)?;
                let begun = State::begin(&paths.state)?;
                if !job.assume_idle {
                    held = begun.carry_over(&quotas);
                }
                state = Some(begun);
                outputs
            }
        };
        Ok(Prepared { job, source, template, key, charges, quotas, connector, outputs, state, held })
    }
}

impl Prepared {
    /// How long nothing is sent because an earlier run was killed, and what it sent last is not
    /// known.
    pub fn held(&self) -> Option<Duration> {
        self.held
    }

    /// Rows that an earlier run has finished: results and failures.
    pub fn done_before(&self) -> (u64, u64) {
        (self.outputs.done.succeeded.len(), self.outputs.done.failed.len())
    }
}

/// Writes a whole file that only its owner may read.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
    let failed = |source: io::Error| SinkError::Write { path: path.to_owned(), source };
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

fn refuse_input_as_output(input: &InputSpec, paths: &OutputPaths) -> Result<(), JobError> {
    let Some(input) = input.input.path().and_then(|path| fs::canonicalize(path).ok()) else { return Ok(()) };
    for output in [&paths.results, &paths.failures] {
        if fs::canonicalize(output).is_ok_and(|output| output == input) {
            return Err(JobError::InputIsOutput { path: output.clone() });
        }
    }
    Ok(())
}

fn absolute(input: &InputSpec) -> String {
    let path = input.input.path().and_then(|path| fs::canonicalize(path).ok());
    path.map_or_else(|| input.input.to_string(), |path| path.display().to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // a String takes everything
        out
    })
}
