//! A job: checked as a whole before anything is sent.

mod charges;
mod error;
mod file;
mod headers;
mod identity;
mod kept;
mod limits;
mod llm;
mod plan;
mod sections;
mod state;
mod store;
mod values;
mod words;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::HeaderName;
use tidegate_core::feedback::Dialects;
use tidegate_core::{Contract, Limit, Mode, Pacing, Priority, Reserve, Rule, Terms, Time, WallClock};
use tidegate_quota::Clock;

pub use self::charges::CostSpec;
pub(crate) use self::charges::{ChargeError, Charges};
pub use self::error::JobError;
pub use self::file::{
    FlagOrWord, HeadersSection, InputSection, JobFile, LimitSection, OutputSection, Pairs, PriceSection,
    ProbeSection, QuotaSection, RequestSection, RetrySection, SignSection, StatusOrWord,
};
use self::identity::Identity;
pub use self::kept::KeptJob;
use self::limits::{learns, limits, mode};
pub use self::plan::{Held, HeldFor, Plan, Prepared, new_id};
pub use self::sections::{AuthSection, FleetSection, OAuth2Section, ReserveSection};
pub(crate) use self::state::State;
pub use self::store::{SharedStore, StoreSpec};
use self::values::{duration, http_options, request_spec, retry_policy};
use crate::auth::AuthSpec;
use crate::http::Options;
use crate::llm::{Money, Prices, Provider, TokenSpec, provider};
use crate::log::FailureFilter;
use crate::retry::RetryPolicy;
use crate::signs::Signs;
use crate::sink::{self, OutputFormat, SinkError, Target};
use crate::source::{Format, InputSpec};
use crate::split::Split;
use crate::template::{BodySpec, RequestSpec, SuccessRule};
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
    /// A call carries up to so many rows, and its answer is divided like this.
    pub batch: Option<(usize, Split)>,
    /// What the provider allows.
    pub limits: Vec<Limit>,
    /// Limits are learnt from what the provider says: `auto`.
    pub learns: bool,
    /// How their costs are found where they differ from call to call, in the same order.
    pub costs: Vec<CostSpec>,
    /// How the provider tells of its limits.
    pub dialects: Dialects,
    /// Whose API it is, if that is said.
    pub provider: Option<&'static Provider>,
    /// What is declared of tokens beyond what bodies say.
    pub tokens: TokenSpec,
    /// What tokens cost.
    pub(crate) prices: Prices,
    /// What the job may cost, all its runs together.
    pub max_cost: Option<Money>,
    /// Answers say how many tokens they took.
    pub(crate) speaks_tokens: bool,
    /// The name of the quota; the URL's host if there is none.
    pub quota: Option<String>,
    /// Who shares it.
    pub store: StoreSpec,
    /// Whom of those the job comes before.
    pub priority: Priority,
    /// What is kept of the limits for those of a higher priority.
    pub reserve: Reserve,
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
    /// Where a key comes from that may expire.
    pub auth: Option<AuthSpec>,
    /// What answers say in their bodies.
    pub signs: Signs,
    /// Which answers of an accepted status are results; all without.
    pub success: Option<SuccessRule>,
    /// How the provider is asked about calls of unknown outcome.
    pub probe: Option<ProbeSpec>,
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
    /// Results end up in the order of the input, else in that in which they came.
    pub in_order: bool,
    /// Time for calls in flight when the job is interrupted.
    pub drain: Duration,
    /// Only the first rows of the input.
    pub head: Option<u64>,
    /// The user vouches that nothing of the limits is in use, whatever an earlier run did.
    pub assume_idle: bool,
    /// It is a part of a greater one.
    pub shard: Option<ShardOf>,
    /// Rows that have failed in one of these ways are sent again; all that have failed if there is none.
    pub again: Option<Vec<FailureFilter>>,
    /// The header of idempotency keys, and whether they are added to calls.
    pub idempotency: (HeaderName, bool),
    /// The job as it was written, as far as it may be kept.
    kept: Arc<KeptJob>,
}

/// The job that another one, a shard, is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardOf {
    /// The whole job's own number: idempotency keys are the same whoever runs the shard, and however often.
    pub id: String,
    /// Rows elsewhere in the job have had results: that the first ones here fail is no reason to stop.
    pub has_results: bool,
}

/// How the provider is asked whether a call was done, and what its answers mean.
#[derive(Debug, Clone)]
pub struct ProbeSpec {
    /// The question.
    pub request: RequestSpec,
    /// Statuses that say yes.
    pub done: Accept,
    /// Statuses that say no.
    pub missing: Accept,
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
    /// Whether so many failures of so many rows that are done stop the job.
    pub fn stops(self, failed: u64, done: u64) -> bool {
        const ENOUGH: u64 = 100;
        match self {
            Self::Never => false,
            Self::Count(_) => !self.allows(failed, done),
            Self::Percent(_) => done >= ENOUGH && !self.allows(failed, done),
        }
    }

    /// Whether so many failures of so many rows that are done are a success.
    pub fn allows(self, failed: u64, done: u64) -> bool {
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
    pub fn from_file(mut file: JobFile) -> Result<Self, JobError> {
        let kept = Arc::new(KeptJob::of(&file));
        let provider = file.request.provider.as_deref().map(provider).transpose()?;
        if let Some(provider) = provider {
            provider.complete(&mut file);
        }
        let JobFile { input, request, auth, quota, retry, output, prices, fleet: _ } = file;
        let path = input.path.ok_or(JobError::Missing {
            what: "input",
            hint: "name a file of lines, CSV, TSV or JSONL, or `-` for stdin",
        })?;
        let mut input_spec = InputSpec::new(path);
        if let Some(format) = input.format {
            input_spec.format =
                Some(format.parse::<Format>().map_err(|e| JobError::value("input.format", e.to_string()))?);
        }
        // A job that says what it sends does not take that from its rows.
        input_spec.may_be_batch = request.method.is_none()
            && request.json.is_none()
            && request.body.is_none()
            && request.form.is_none();
        let (limits, costs): (Vec<_>, Vec<_>) =
            limits(&quota, provider.is_some_and(|provider| provider.refunds))?.into_iter().unzip();
        let store = quota.store.as_deref().map_or(Ok(StoreSpec::Memory), StoreSpec::parse)?;
        let learns = learns(&quota, &limits, &store)?;
        let tokens = llm::token_spec(&quota)?;
        let prices = llm::prices(&prices)?;
        let max_cost = llm::max_cost(&quota, &prices)?;
        let by_tokens = costs.iter().any(|cost: &CostSpec| cost.tokens.is_some());
        let http = http_options(&request)?;
        let batch = values::batch(&request, &output, input.key.as_deref(), &retry)?;
        let auth = auth.map(|auth| values::auth(auth, &http)).transpose()?;
        let idempotency = values::idempotency(&request)?;
        let probe = values::probe(&retry, &request)?;
        let connections = connections(&quota, &limits, learns)?;
        Ok(Self {
            input: input_spec,
            key: input.key,
            redirects: request.redirects.unwrap_or(0),
            request: RequestSpec { many_rows: batch.is_some(), ..request_spec(request)? },
            batch,
            pacing: values::pacing(&quota)?,
            limits,
            learns,
            costs,
            dialects: headers::dialects(&quota.headers)?,
            provider,
            tokens,
            speaks_tokens: by_tokens || provider.is_some() || !prices.is_empty(),
            prices,
            max_cost,
            quota: quota.name.clone(),
            priority: values::priority(&quota)?,
            reserve: values::reserve(&quota, &store)?,
            store,
            partition: quota.partition.clone(),
            mode: mode(&quota)?,
            latency: duration("quota.latency", quota.latency.as_deref(), Terms::default().latency)?,
            connections,
            http,
            retry: retry_policy(&retry)?,
            probe,
            auth,
            signs: Signs::new(values::signs(&retry)?),
            success: output
                .success
                .as_deref()
                .map(|text| SuccessRule::compile(text).map_err(|m| JobError::value("output.success", m)))
                .transpose()?,
            accept: values::statuses("output.accept", output.accept.as_deref(), Accept::default())?,
            stop: values::stop_policy(&output)?,
            output: match &output.path {
                Some(path) if path != Path::new("-") => Target::File(path.clone()),
                _ => Target::Stdout,
            },
            format: values::output_format(&output)?,
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
            in_order: values::in_order(&output)?,
            drain: duration("output.drain", output.drain.as_deref(), Duration::from_secs(20))?,
            head: None,
            assume_idle: false,
            shard: None,
            again: None,
            idempotency,
            kept,
        })
    }

    /// The job, now that its rows turn out to be whole requests.
    fn take_batch(&mut self) -> Result<(), JobError> {
        if !self.input.may_be_batch {
            return Err(JobError::value(
                "input.format",
                "the rows of a batch bring method and body themselves",
            )
            .hinting("leave method and body away; or say input.format = \"jsonl\" and use {{ row.body }}"));
        }
        if self.batch.is_some() {
            let message = "the rows of a batch are whole calls: none carries many of them";
            return Err(JobError::value("request.batch", message)
                .hinting("leave it away; or say input.format = \"jsonl\" and write the body with `rows`"));
        }
        self.request.body = BodySpec::Batch;
        self.speaks_tokens = true;
        self.key.get_or_insert_with(|| "custom_id".to_owned());
        Ok(())
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
        let (mode, latency, reserve) = (self.mode, self.latency, self.reserve);
        let terms = Terms { mode, latency, wall, reserve, ..Terms::default() };
        let contract = Contract::new(&self.limits, self.pacing, terms)?;
        Ok(if self.learns { contract.learning() } else { contract })
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

/// Connections at most.
fn connections(quota: &QuotaSection, limits: &[Limit], learns: bool) -> Result<usize, JobError> {
    let is_concurrency = |limit: &&Limit| matches!(limit.rule(), Rule::Concurrency { .. });
    let is_free = limits.is_empty() && !learns;
    let default = if is_free { FREE_CONNECTIONS } else { RATED_CONNECTIONS };
    let most = limits.iter().filter(is_concurrency).map(Limit::amount).min();
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    if quota.connections == Some(0) {
        return Err(JobError::value(
            "quota.connections",
            "0 connections would never send anything: expected 1 or more",
        ));
    }
    Ok(quota.connections.unwrap_or(default).min(most))
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
