//! What can be wrong with a job. All of it is found before anything is sent.

use std::path::PathBuf;

use tidegate_core::LimitError;
use tidegate_quota::store::StoreError;

use super::words;
use crate::http::SetupError;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::template::TemplateError;

/// A job that cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The job file could not be read.
    #[error("cannot read the job file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The job file has an unknown key or a value of the wrong kind.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// With line and column.
        message: String,
    },
    /// Something that every job needs is not there.
    #[error("the job has no {what}")]
    Missing {
        /// What.
        what: &'static str,
        /// How to give it.
        hint: &'static str,
    },
    /// A value does not make sense.
    #[error("{field}: {message}")]
    Value {
        /// Where it stands.
        field: &'static str,
        /// What was expected.
        message: String,
        /// What to write.
        hint: Option<String>,
    },
    /// A limit cannot be understood or kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The input.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The request.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The connection.
    #[error(transparent)]
    Http(#[from] SetupError),
    /// The output.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The quota's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output belongs to another job.
    #[error("{} holds the results of another job:{what}", path.display())]
    OtherJob {
        /// The output.
        path: PathBuf,
        /// What differs, was and is.
        what: String,
    },
    /// The output would overwrite the input.
    #[error("{} is both input and output", path.display())]
    InputIsOutput {
        /// The file.
        path: PathBuf,
    },
}

impl JobError {
    pub(super) fn value(field: &'static str, message: impl Into<String>) -> Self {
        Self::Value { field, message: message.into(), hint: None }
    }

    /// The same error of a value, with what to write in its place.
    pub(super) fn hinting(mut self, what: impl Into<String>) -> Self {
        if let Self::Value { hint, .. } = &mut self {
            *hint = Some(what.into());
        }
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { hint, .. } => Some((*hint).to_owned()),
            Self::Value { hint, .. } => hint.clone(),
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Template(error) => error.hint(),
            Self::Sink(error) => error.hint().map(str::to_owned),
            Self::Store(error) => Some(error.hint().into_owned()),
            Self::OtherJob { .. } => Some(
                "give this job another -o; or move the old output and its .tidegate folder away to start over"
                    .to_owned(),
            ),
            Self::InputIsOutput { .. } => Some("choose another file for -o".to_owned()),
            Self::Http(error) => error.hint().map(str::to_owned),
            Self::Limit(LimitError::Syntax { text, hint, .. }) => {
                Some(words::short_form(text).map_or_else(|| hint.clone(), str::to_owned))
            }
            Self::Limit(error) => Some(error.hint().into_owned()),
            Self::Read { source, .. } => crate::source::open_hint(source).map(str::to_owned),
            // The message shows the line and what may stand there.
            Self::File { message, .. } => words::key(message),
        }
    }
}
