//! What can be wrong with an output.

use std::io;
use std::path::PathBuf;

use crate::log::LogError;

/// Why an output cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The file or folder cannot be created or opened.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is there already cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed. The files may end in a torn line; the next `open` mends it.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The path, or `<stdout>`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the output open.
    #[error("{} is in use by another tidegate{}", path.display(), process(holder))]
    Busy {
        /// The output.
        path: PathBuf,
        /// The number of its process, if that is known.
        holder: String,
    },
    /// The log of the output.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file was deleted or replaced while it was written.
    #[error("{} was deleted or replaced by another program", path.display())]
    Gone {
        /// The path.
        path: PathBuf,
    },
    /// A file that the log tells of is not there.
    #[error("{} is missing; the log knows of {expected} bytes in it", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// Bytes of lines that were written.
        expected: u64,
    },
    /// A file has lost more than a power cut could take.
    #[error("{} was changed by another program: it has {length} bytes of lines, and had {expected}", path.display())]
    Shorter {
        /// The path.
        path: PathBuf,
        /// Bytes of lines in it.
        length: u64,
        /// Bytes of lines that were written.
        expected: u64,
    },
    /// A line that this program did not write.
    #[error("{} exists and is not an output of tidegate (line {line})", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// 1-based number of the first foreign line.
        line: u64,
    },
    /// A CSV output without the log that knows whose its rows are.
    #[error("{} exists, but {} does not know its rows", path.display(), log.display())]
    NoLog {
        /// The CSV file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// An output whose rows are no longer where they were written.
    #[error("{} was changed by another program: no row ends at byte {at}", path.display())]
    Changed {
        /// The CSV file.
        path: PathBuf,
        /// Where a row ended when it was written.
        at: u64,
    },
    /// A CSV output with other columns than the job's.
    #[error("{} exists and has other columns than this job: expected {expected}", path.display())]
    OtherColumns {
        /// The CSV file.
        path: PathBuf,
        /// The header of this job.
        expected: String,
    },
    /// Two columns of one name.
    #[error("two columns of the output are named `{name}`")]
    DuplicateColumn {
        /// The name.
        name: String,
    },
    /// A kind of file that is not written.
    #[error("cannot write {}: outputs are .jsonl or .csv, not compressed", path.display())]
    Format {
        /// The path.
        path: PathBuf,
    },
    /// CSV without anything of the answers in it.
    #[error("a CSV output needs to know which values to keep of each answer")]
    CsvWithoutSelect,
    /// Selected values where whole answers are written.
    #[error("selected values are columns of a CSV output, and this output is JSONL")]
    SelectWithoutCsv,
    /// Results and failures have different columns, and stdout is one stream.
    #[error("stdout takes JSONL only")]
    CsvOnStdout,
    /// An earlier write failed.
    #[error("the output is closed after an earlier write error")]
    Closed,
}

impl SinkError {
    /// Whether there is no room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        matches!(self, Self::Write { source, .. } | Self::Create { source, .. } if full(source))
    }

    /// What the user can do about it, for a `hint:` line.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotOurs { .. } | Self::NoLog { .. } => Some("move it away, or choose another name with -o"),
            Self::Missing { .. } | Self::Gone { .. } | Self::Shorter { .. } | Self::Changed { .. } => Some(
                "put it back as it was; or move it and its .tidegate folder away to start over, which pays for all rows again",
            ),
            Self::Log(LogError::Damaged { .. } | LogError::NotALog { .. }) => {
                Some("restore the .tidegate folder from a copy, or move it and the output away to start over")
            }
            Self::OtherColumns { .. } => {
                Some("use the same input and --select as before, or choose another name with -o")
            }
            Self::Busy { .. } => Some("wait for the other run, or stop it; nothing is lost by stopping it"),
            Self::DuplicateColumn { .. } => {
                Some("give the selected value another name: --select NAME=/pointer")
            }
            Self::Format { .. } => Some("use -o out.jsonl or -o out.csv"),
            Self::CsvWithoutSelect => {
                Some("say --select city=/address/city, or write whole answers to .jsonl")
            }
            Self::SelectWithoutCsv => Some("use -o out.csv, or drop --select"),
            Self::CsvOnStdout => Some("give a file: -o out.csv"),
            Self::Create { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("create the folder first"),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("you may not write there: choose another place with -o")
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room on the disk"),
                io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
                    Some("something else has that name: choose another with -o")
                }
                _ => None,
            },
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::BrokenPipe => Some("the program that was reading the results has ended"),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room on the disk"),
                _ => None,
            },
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                Some("a file stands where a folder is needed: choose another place with -o")
            }
            Self::Log(_) | Self::Read { .. } | Self::Closed => None,
        }
    }
}

fn process(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" (process {holder})") }
}
