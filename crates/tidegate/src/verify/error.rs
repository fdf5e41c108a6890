//! Why a log cannot be checked.

use std::path::PathBuf;

use crate::log::LogError;

/// Why a log cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is none.
    #[error("there is no log at {}", path.display())]
    NoLog {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The output was put together from parts that are not all there.
    #[error("{} was put together from {parts} parts, and the logs of {gone} are gone: only they say when calls were sent", path.display())]
    PartsGone {
        /// The output.
        path: PathBuf,
        /// Logs that are not there.
        gone: usize,
        /// All.
        parts: usize,
    },
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It contradicts itself.
    #[error("{}: {what}", path.display())]
    Broken {
        /// The log.
        path: PathBuf,
        /// In what.
        what: String,
    },
    /// Sends are told in an order too far from that of time.
    #[error(
        "{}: attempt {number} of row {row} was sent before calls that stand in front of it",
        path.display()
    )]
    OutOfOrder {
        /// The log.
        path: PathBuf,
        /// The row.
        row: u64,
        /// Which of its sends.
        number: u32,
    },
    /// More calls than can be kept in mind stand between a call's send and its end.
    #[error(
        "{}: attempt {number} of row {row} was under way while {most} others were sent",
        path.display()
    )]
    TooLong {
        /// The log.
        path: PathBuf,
        /// The row.
        row: u64,
        /// Which of its sends.
        number: u32,
        /// As many are kept in mind.
        most: usize,
    },
    /// A run wrote to a log while it was read.
    #[error("a run has begun while its log was read")]
    Changed,
}

impl VerifyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoLog { .. } => {
                "name the output of a run (-o OUT), its folder OUT.tidegate, or the log in it".to_owned()
            }
            Self::PartsGone { .. } => {
                "put the .parts folder back to where it was; it can be deleted once nothing is to be verified any more".to_owned()
            }
            Self::Log(LogError::Damaged { .. }) | Self::Broken { .. } | Self::OutOfOrder { .. } => {
                "the log is not as a run has written it; nothing can be said of its limits".to_owned()
            }
            Self::TooLong { .. } => "such a call cannot be checked in bounded memory".to_owned(),
            Self::Changed => "check it again when the run is over".to_owned(),
            Self::Log(_) => return None,
        })
    }
}

/// Why a pass over the logs ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// For good.
    Error(VerifyError),
    /// A run declares a limit that what was judged so far has not been held against.
    NewLimit,
}

impl<E: Into<VerifyError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}
