//! The command line. Flags follow curl and the field.

mod fleet;
mod quota;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tidegate_sim::{FaultSpec, HeaderForm, HeaderName, Latency, LimitSpec, RetryAfter, WallTime};

pub(crate) use self::fleet::{FleetPlace, JobArgs, OutputArgs, SubmitArgs, TogetherArgs, WorkerArgs};
pub(crate) use self::quota::{PermitArgs, QuotaCommand, StorePlace};

/// Push millions of API calls through somebody else's rate limit, as fast as the limit provably
/// allows, without ever breaking it.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a call for each row of a list; the same command carries on where it stopped
    Run(Box<RunArgs>),
    /// Send again what has failed
    Retry(Box<RetryCommand>),
    /// Quotas that the processes of this machine share
    Quota {
        /// What to do with them.
        #[command(subcommand)]
        command: QuotaCommand,
    },
    /// Run a command when a quota has room for it: for cron jobs, scripts and workers of your own
    Permit(PermitArgs),
    /// Put a job into a queue that many machines work on; its number goes to stdout
    Submit(SubmitArgs),
    /// Work on the jobs of queues
    Worker(WorkerArgs),
    /// How the jobs of a fleet stand
    Status(FleetPlace),
    /// Let nobody go on with a job until it is resumed
    Pause(JobArgs),
    /// Go on with a job that was paused
    Resume(JobArgs),
    /// Take a job out of its queue; what it has stays where it is
    Cancel(JobArgs),
    /// Take a job that is done or cancelled off the server; its files stay
    Forget(JobArgs),
    /// Put the parts of a job together
    Collect(OutputArgs),
    /// Put a job into its queue again, by its parts, where the server has lost it
    Rebuild(OutputArgs),
    /// Say what limits compile to, which rate they allow, and what is given up
    Explain(ExplainArgs),
    /// Make one call and say what its answer tells of the provider's limits
    Probe(ProbeArgs),
    /// Check by the log alone that no limit was exceeded
    Verify(VerifyArgs),
    /// A strict provider on loopback, to rehearse against
    Sim(SimArgs),
    /// 20,000 rows through a strict 1,000 a second; nothing leaves this machine
    Demo(DemoArgs),
    /// Write shell completions to stdout
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: Shell,
    },
}

/// `tidegate run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Rows: lines, CSV, TSV or JSONL, also .gz or .zst; `-` for stdin; or a job file (.toml)
    #[arg(value_name = "INPUT|JOB.toml")]
    pub input: PathBuf,
    /// URL with `{column}` (or `{line}`), percent-encoded, and `{{ expression }}`
    #[arg(long)]
    pub url: Option<String>,
    /// Whose API it is: openai, anthropic, groq, mistral, deepseek, together, openrouter; sets the address, the key's
    /// header and variable, and time-outs, where nothing else does
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Results: .jsonl or .csv; failures go to OUT.failed.*, the rest to OUT.tidegate/ [default: stdout]
    #[arg(short, long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// Show three requests (secrets masked), the limits and how long it would take; send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only the first N rows; the full run continues behind them
    #[arg(long, value_name = "N")]
    pub head: Option<u64>,
    #[command(flatten)]
    pub flags: Flags,
    #[command(flatten)]
    pub together: TogetherArgs,
}

/// `tidegate retry`
#[derive(Debug, Args)]
pub(crate) struct RetryCommand {
    /// The output of the job, a file beside it, or its .tidegate folder
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Only what failed like this: a status (503), a class (5xx), timeout, network, unknown, …; repeat for more
    /// [default: all but unknown]
    #[arg(long, value_name = "SORT", value_delimiter = ',')]
    pub only: Vec<String>,
    #[command(flatten)]
    pub flags: Flags,
}

/// What may be said of a job's run, whatever the job.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// What the provider allows: `1000/s`, `100/6s`, `50/s bucket 10`, `10k/day UTC`; repeat for more. `auto` learns it
    /// from headers
    #[arg(long, visible_alias = "limit", value_name = "RATE")]
    pub rate: Vec<String>,
    /// Calls at the same time that the provider allows
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u64>,
    /// Vouch that nothing of the limits is in use, whatever an earlier run of this job did
    #[arg(long)]
    pub(crate) assume_idle: bool,
    /// No progress and no summary on stderr
    #[arg(short, long)]
    pub quiet: bool,
    // Groups come last: their headings would take in all that follows.
    #[command(flatten)]
    pub limit: LimitArgs,
    #[command(flatten)]
    pub tokens: TokenArgs,
    #[command(flatten)]
    pub request: RequestArgs,
    #[command(flatten)]
    pub rows: RowArgs,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// How limits are kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Assume that the provider counts a call within this time of its send (mode `estimated`)
    #[arg(long, value_name = "TIME")]
    pub counted_within: Option<String>,
    /// How long answers are expected to take; nothing is unsafe if they take longer [default: 100ms]
    #[arg(long, value_name = "TIME")]
    pub latency: Option<String>,
    /// even: spread sends at the steady rate; burst: as early as the limits allow [default: even]
    #[arg(long, value_name = "PACE")]
    pub pace: Option<String>,
    /// Name of the quota; all with the same name share it [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    pub quota: Option<String>,
    /// Who shares it: sqlite (the processes of this machine), sqlite:FOLDER, `redis://HOST:PORT/DB` (those of many), or
    /// memory (nobody) [default: sqlite]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// high, normal or low: higher ones have what they want of a shared quota before lower ones get anything
    /// [default: normal]
    #[arg(long, value_name = "PRIORITY")]
    pub priority: Option<String>,
}

/// Limits of LLM providers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct TokenArgs {
    /// Calls a minute that the provider allows
    #[arg(long, value_name = "N")]
    pub rpm: Option<u64>,
    /// Tokens a minute, of prompts and answers together
    #[arg(long, value_name = "N")]
    pub tpm: Option<u64>,
    /// Tokens of prompts a minute
    #[arg(long, value_name = "N")]
    pub itpm: Option<u64>,
    /// Tokens of answers a minute
    #[arg(long, value_name = "N")]
    pub otpm: Option<u64>,
    /// The most tokens of an answer whose call sets no limit; it is only reckoned with, not sent
    #[arg(long, value_name = "N")]
    pub max_output_tokens: Option<u64>,
    /// Of tokens, for each call: bound: the most that it can take; p99: what 99% of the answers so far took of that
    /// [default: bound]. Of the limits, for calls of a higher priority: high=5%. Both: tokens=p99,high=5%
    #[arg(long, value_name = "WHAT")]
    pub reserve: Option<String>,
    /// What the job may cost, all its runs together; needs prices in a job file
    #[arg(long, value_name = "AMOUNT")]
    pub max_cost: Option<String>,
}

/// The request.
#[derive(Debug, Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct RequestArgs {
    /// Method [default: GET, or POST with a body]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// Header, as `Name: value`; values may hold `{{ env.TOKEN }}`
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub header: Vec<String>,
    /// Body, or `@FILE`; form-encoded unless a content type is given
    #[arg(short, long, value_name = "BODY", conflicts_with = "json")]
    pub data: Option<String>,
    /// JSON body, or `@FILE`; `{{ … }}` in its strings, alone in one it keeps its type
    #[arg(long, value_name = "JSON")]
    pub json: Option<String>,
    /// Rows that one call carries; the body says `rows`, or has a list of one element, which is sent for each row
    #[arg(long, value_name = "N")]
    pub batch: Option<u64>,
    /// Environment variable to send as `Authorization: Bearer …`
    #[arg(long, value_name = "NAME")]
    pub bearer_env: Option<String>,
    /// Send an idempotency key with each call, the same in all attempts and runs [default header: Idempotency-Key]
    #[arg(long, value_name = "HEADER", num_args = 0..=1, require_equals = true, default_missing_value = "Idempotency-Key")]
    pub idempotency_key: Option<String>,
    /// Follow up to N redirects per row; each costs a permit
    #[arg(short = 'L', long, value_name = "N", num_args = 0..=1, default_missing_value = "10", require_equals = true)]
    pub location: Option<u8>,
}

/// Rows and results.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rows and results")]
pub(crate) struct RowArgs {
    /// Column that identifies a row; echoed in results. Rows with the same key are all sent
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,
    /// lines, csv, tsv, jsonl or batch [default: by the name; batch by the first record]
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<String>,
    /// jsonl, csv or batch [default: by the name; batch if the input is one]
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<String>,
    /// Column of a CSV output: `name=/json/pointer`
    #[arg(long, value_name = "NAME=POINTER")]
    pub select: Vec<String>,
    /// completion, or input: at the end results are put in the order of the input [default: completion]
    #[arg(long, value_name = "ORDER")]
    pub order: Option<String>,
    /// Statuses that are results [default: 2xx]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// Which answers with such a status are results: `{{ body.ok }}`, over `status` and `body`
    #[arg(long, value_name = "EXPRESSION")]
    pub success: Option<String>,
    /// With --batch, where the answer has something for each row: a JSON pointer to a list or an object, or `whole`
    #[arg(long, value_name = "POINTER")]
    pub split: Option<String>,
    /// With --split, where each element has the key of its row [default: they are in the order of the rows]
    #[arg(long, value_name = "POINTER")]
    pub split_key: Option<String>,
    /// Failures that are tolerated, as a number or a percentage; more stop the job
    #[arg(long, value_name = "N|P%")]
    pub max_failed: Option<String>,
}

/// Retries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retries")]
pub(crate) struct RetryArgs {
    /// Attempts per row; answers of 429 are not counted [default: 5]
    #[arg(long, value_name = "N")]
    pub attempts: Option<u32>,
    /// Waits between attempts: exponential, full jitter [default: 1s..60s]
    #[arg(long, value_name = "MIN..MAX")]
    pub backoff: Option<String>,
    /// Calls of unknown outcome: resend, hold (they go to OUT.unknown.*), probe (needs a job file), or by method
    /// [default: method]
    #[arg(long, value_name = "POLICY")]
    pub unknown: Option<String>,
    /// From a row's first send, the longest it is sent again [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub max_elapsed: Option<String>,
    /// The longest silence a provider may ask for; beyond it the job stops, resumable [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub max_pause: Option<String>,
    /// Wait however long the provider asks, even for the quota of the next day
    #[arg(long, conflicts_with = "max_pause")]
    pub wait: bool,
    /// Retries for each hundred rows sent for the first time, while there are any [default: 20%]
    #[arg(long, value_name = "P%")]
    pub retry_budget: Option<String>,
}

/// Connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// Time for the whole call [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Time for name look-up, connection and TLS [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub connect_timeout: Option<String>,
    /// Connections at most; as many are made as are needed [default: 800 with a limit, else 64]
    #[arg(long, value_name = "N")]
    pub connections: Option<usize>,
    /// Largest answer in bytes, after decompression [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    pub max_body: Option<usize>,
    /// Time for calls in flight when interrupted [default: 20s]
    #[arg(long, value_name = "TIME")]
    pub drain: Option<String>,
    /// PEM file with certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
    /// auto (TLS decides), never or always [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub http2: Option<String>,
    /// HTTP proxy; none is taken from the environment
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
}

/// `tidegate explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Limits such as `1000/s`, or a job file (.toml)
    #[arg(required = true, value_name = "RATE|JOB.toml")]
    pub limits: Vec<String>,
    /// Calls at the same time that the provider allows
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u64>,
    /// Assume that the provider counts a call within this time of its send (mode `estimated`)
    #[arg(long, value_name = "TIME")]
    pub counted_within: Option<String>,
    /// How long answers take [default: the job's, else 100ms]
    #[arg(long, value_name = "TIME")]
    pub latency: Option<String>,
    /// Time for a whole call, after which it is given up [default: the job's, else 30s]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// How long so many rows would take
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
}

/// `tidegate probe`
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// What to call; running jobs do not know of the call
    #[arg(value_name = "URL")]
    pub url: String,
    /// Method [default: GET, or POST with a body]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// Header, as `Name: value`; values may hold `{{ env.TOKEN }}`
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub header: Vec<String>,
    /// Body, or `@FILE`; form-encoded unless a content type is given
    #[arg(short, long, value_name = "BODY")]
    pub data: Option<String>,
    /// Environment variable to send as `Authorization: Bearer …`
    #[arg(long, value_name = "NAME")]
    pub bearer_env: Option<String>,
    /// Time for the whole call [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// PEM file with certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
    /// Job file with headers of the request and `[[quota.headers]]`
    #[arg(long, value_name = "JOB.toml")]
    pub job: Option<PathBuf>,
    /// What was found, as JSON
    #[arg(long)]
    pub json: bool,
}

/// `tidegate verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Output of a run, its folder, or the log in it; several, if their jobs shared a quota
    #[arg(required = true, value_name = "OUT")]
    pub outputs: Vec<PathBuf>,
    /// What was found, as JSON
    #[arg(long)]
    pub json: bool,
}

/// `tidegate sim`
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// `rolling 100/min`, `rolling 2M tokens/min`, `fixed 100/6s phase 2s`, `bucket 50/s capacity 10`, `gcra 50/s
    /// capacity 10`, `counter 1000/s`, `concurrency 20`, `calendar 10k/day zone Europe/Berlin`; repeat for more
    #[arg(long, value_name = "LIMIT")]
    pub limit: Vec<LimitSpec>,
    /// Header that names whose limits a request counts against; each value has all limits for itself
    #[arg(long, value_name = "HEADER")]
    pub per: Option<HeaderName>,
    /// Rejected requests use up the limit as well
    #[arg(long)]
    pub reject_counts: bool,
    /// What tokens cost in the end takes the place of what was reserved
    #[arg(long)]
    pub refund: bool,
    /// Service time: `60ms`, `uniform 20ms..80ms`, `lognormal 60ms 0.5`
    #[arg(long, default_value = "0", value_name = "LATENCY")]
    pub service: Latency,
    /// From an answer's head to its last byte
    #[arg(long, default_value = "0", value_name = "LATENCY")]
    pub body: Latency,
    /// Network delay before the limit is checked
    #[arg(long, default_value = "0", value_name = "LATENCY")]
    pub jitter: Latency,
    /// `status 503 5%`, `reset 10%`, `hang 2%`, `truncate 2%`, `html 1%`, `unauthorized after 100`, `pause after 100 for 90s`, `stall after 100 for 40s`
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<FaultSpec>,
    /// What a 429 says: none, seconds, decimal, date, iso or ms
    #[arg(long, default_value = "seconds", value_name = "FORM")]
    pub retry_after: RetryAfter,
    /// Tell with every answer what remains, in the form of x (X-RateLimit-Limit, -Remaining and -Reset), ietf,
    /// ietf-old, github, openai or anthropic
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "x")]
    pub ratelimit_headers: Option<HeaderForm>,
    /// Wall time at the start, like `2026-10-25T02:59:50+02:00`: for calendars and `Date` [default: now]
    #[arg(long, value_name = "TIME")]
    pub clock: Option<WallTime>,
    /// Seed of all that is random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// `tidegate demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Rows to send
    #[arg(long, default_value_t = 20_000)]
    pub rows: u64,
    /// What the provider allows in any second
    #[arg(long, default_value_t = 1_000)]
    pub per_second: u64,
}
