//! What can be wrong with a fleet, or a job of it.

use std::io;
use std::path::{Path, PathBuf};

use tidegate::job::JobError;
use tidegate::sink::SinkError;
use tidegate::source::SourceError;
use tidegate_quota::store::StoreError;

use crate::fleet::State;

/// A fleet that cannot be used, or that refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// The job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Its input.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A part.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The server.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address is that of no server.
    #[error("a fleet needs a server that all its machines reach")]
    NoServer,
    /// The name of a queue.
    #[error("`{0}` cannot be the name of a queue: expected 1 to 100 letters, digits, `-`, `_` or `.`")]
    QueueName(String),
    /// The job has no output that can be put together from parts.
    #[error("the job has no output file, and its workers have to leave its results somewhere")]
    NoOutput,
    /// What a job says, and workers cannot keep together.
    #[error("`{0}` is not kept over several workers yet")]
    NotKept(&'static str),
    /// A value that may be secret is written out.
    #[error("{what} may be secret, and is written out: it would be on the server for all to read")]
    Secret {
        /// Which.
        what: String,
    },
    /// The output has parts already.
    #[error("{} is there already: job {id} was submitted before", path.display())]
    Submitted {
        /// The folder of its parts.
        path: PathBuf,
        /// The job.
        id: String,
    },
    /// The server knows the job.
    #[error("the server has job {id}: it is {state}")]
    Known {
        /// The job.
        id: String,
        /// Its state.
        state: String,
    },
    /// The server does not know it.
    #[error("the server knows no job {id}")]
    Unknown {
        /// The job.
        id: String,
    },
    /// Not all shards are done.
    #[error("job {id} is not finished: {left} of {shards} shards are not done yet")]
    NotDone {
        /// The job.
        id: String,
        /// Shards that are missing.
        left: usize,
        /// All.
        shards: usize,
    },
    /// Nobody made this file by collecting.
    #[error("{} is there, and was not made by collecting this job", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The part of a shard that is done is not there, or not whole.
    #[error("the part of shard {shard} is missing or not whole: {}", path.display())]
    BrokenPart {
        /// The shard.
        shard: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// The input is not the one that was submitted.
    #[error("{} has changed since the job was submitted: {what}", path.display())]
    Changed {
        /// The input.
        path: PathBuf,
        /// How that is known.
        what: String,
    },
    /// This worker must not run it.
    #[error("not allowed here: {0}")]
    NotAllowed(String),
    /// What was asked of a job is too early.
    #[error("job {id} is {state}: workers may go on with it")]
    NotOver {
        /// The job.
        id: String,
        /// Its state.
        state: State,
    },
    /// What was asked of a job is too late.
    #[error("job {id} is {state} already")]
    TooLate {
        /// The job.
        id: String,
        /// Its state.
        state: State,
    },
}

impl FleetError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::File { path: path.to_owned(), source }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Job(JobError::OtherJob { .. }) => {
                "give this job another [output] path; or move the old output and its .parts folder away to start over".to_owned()
            }
            Self::Job(error) => return error.hint(),
            Self::Source(error) => return error.hint().map(str::to_owned),
            Self::Sink(error) => return error.hint().map(str::to_owned),
            Self::Store(error) => error.hint().into_owned(),
            Self::File { .. } => "it has to be on a folder that this machine reaches, and may write".to_owned(),
            Self::NoServer => "--fleet redis://HOST:PORT/DB".to_owned(),
            Self::QueueName(_) => "for example --queue high".to_owned(),
            Self::NoOutput => "say `path = \"out.jsonl\"` in [output]".to_owned(),
            Self::NotKept(_) => "leave it away, or run the job in one process: tidegate run JOB.toml".to_owned(),
            Self::Secret { .. } => {
                "let it come from the environment of the workers: {{ env.NAME }}, and --allow-env NAME there".to_owned()
            }
            Self::Submitted { .. } => {
                "tidegate run JOB.toml --fleet URL goes on with it, tidegate status shows it; another [output] path begins anew".to_owned()
            }
            Self::Known { .. } => "there is nothing to rebuild while the server has it".to_owned(),
            Self::Unknown { .. } => {
                "tidegate status lists those it knows; if it has lost its data: tidegate rebuild JOB.toml".to_owned()
            }
            Self::NotDone { .. } => "tidegate status says what they wait for".to_owned(),
            Self::Foreign { .. } => "move it away, or give the job another [output] path".to_owned(),
            Self::BrokenPart { .. } => {
                "put it back from where it went; nobody but tidegate may write in that folder".to_owned()
            }
            Self::Changed { .. } => "put it back as it was, then tidegate resume; or submit it as another job".to_owned(),
            Self::NotAllowed(_) => "the worker's own command line says what it may do: --allow-host, --allow-env, --allow-folder, --allow-commands".to_owned(),
            Self::NotOver { id, .. } => format!("tidegate cancel {id} first, or wait until it is done"),
            Self::TooLate { state: State::Cancelled, .. } => {
                "what it has stays in its .parts folder; another [output] path begins anew".to_owned()
            }
            Self::TooLate { .. } => "tidegate status lists all jobs".to_owned(),
        })
    }

    /// Whether the server may be there again in a moment.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_pass())
    }
}
