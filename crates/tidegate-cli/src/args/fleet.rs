//! Flags of commands about a fleet.

use std::path::PathBuf;

use clap::Args;

/// The server.
#[derive(Debug, Args)]
pub(crate) struct FleetPlace {
    /// The server that has the queues, and the quotas of their jobs: `redis://HOST:PORT/DB`
    #[arg(long, value_name = "URL")]
    pub fleet: String,
}

/// `tidegate run --fleet`
#[derive(Debug, Args)]
#[command(next_help_heading = "Many workers")]
pub(crate) struct TogetherArgs {
    /// Share the work with all workers of this server (`redis://HOST:PORT/DB`), wait for the end, and put their parts
    /// together; with -o only
    #[arg(long, value_name = "URL", conflicts_with_all = ["head", "assume_idle"])]
    pub fleet: Option<String>,
    /// The queue that the job is put into
    #[arg(long, value_name = "NAME", default_value = "default", requires = "fleet")]
    pub queue: String,
    /// A shard has the rows that its quota allows in so long a time
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "fleet")]
    pub shard: String,
}

/// `tidegate submit`
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub job: PathBuf,
    #[command(flatten)]
    pub place: FleetPlace,
    /// The queue that it is put into
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub queue: String,
    /// A shard has the rows that its quota allows in so long a time
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub shard: String,
}

/// `tidegate worker`
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub place: FleetPlace,
    /// Queues, the most urgent first
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "default")]
    pub queue: Vec<String>,
    /// A host that jobs may call, with its port if only that; repeat for more
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub allow_host: Vec<String>,
    /// An environment variable that jobs may use; repeat for more
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_env: Vec<String>,
    /// A folder that jobs may read and write in; repeat for more
    #[arg(long, value_name = "FOLDER")]
    pub allow_folder: Vec<PathBuf>,
    /// Jobs may run commands of theirs on this machine
    #[arg(long)]
    pub allow_commands: bool,
    /// End when nothing is left in these queues
    #[arg(long)]
    pub until_empty: bool,
    /// Say nothing but what went wrong
    #[arg(short, long)]
    pub quiet: bool,
}

/// `tidegate cancel`, `forget`, `pause`, `resume`
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job's number
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub place: FleetPlace,
}

/// `tidegate collect`, `rebuild`
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// The job file, or the job's number if the server knows it
    #[arg(value_name = "JOB.toml|ID")]
    pub job: String,
    #[command(flatten)]
    pub place: FleetPlace,
}
