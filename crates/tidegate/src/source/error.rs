//! What can be wrong with an input as a whole.

use std::io;

/// Why an input cannot be read. All but [`Read`](Self::Read) are found by `open`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file is missing or may not be read.
    #[error("cannot open {name}: {source}")]
    Open {
        /// The path.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a folder.
    #[error("{name} is a folder, where a file of rows is needed")]
    Folder {
        /// The path.
        name: String,
    },
    /// It cannot be read in parts: it is a stream, or it is compressed.
    #[error("{name} cannot be cut into shards: it is a stream, or compressed")]
    NotCuttable {
        /// The path, or `<stdin>`.
        name: String,
    },
    /// There is no record in it.
    #[error("{name} is empty")]
    Empty {
        /// The path, or `<stdin>`.
        name: String,
    },
    /// The name promises a compression that the content does not have.
    #[error("{name} is named like {expected} but does not begin like it")]
    NotCompressed {
        /// The path.
        name: String,
        /// `gzip` or `zstd`.
        expected: &'static str,
    },
    /// The header holds bytes that are not UTF-8.
    #[error("the header of {name} is not valid UTF-8 at byte {at}")]
    HeaderNotUtf8 {
        /// The path, or `<stdin>`.
        name: String,
        /// 0-based offset in the header of the first offending byte.
        at: usize,
    },
    /// The header is longer than a record may be, has too many columns, or never ends.
    #[error("the header of {name} does not end within {limit_bytes} bytes and {limit_columns} columns")]
    HeaderTooLong {
        /// The path, or `<stdin>`.
        name: String,
        /// The limit of one record in bytes.
        limit_bytes: usize,
        /// The limit of columns.
        limit_columns: usize,
    },
    /// It is not the input that earlier runs of the job have read.
    #[error("{name} has changed since this job was begun: {}", changed(*from, *to, *rows))]
    Changed {
        /// The path, or `<stdin>`.
        name: String,
        /// So many rows at its start are as they were.
        from: u64,
        /// Up to this one something differs.
        to: u64,
        /// Rows that are there now, of those.
        rows: u64,
    },
    /// A column without a name.
    #[error("column {column} in the header of {name} has no name")]
    UnnamedColumn {
        /// The path, or `<stdin>`.
        name: String,
        /// 1-based place in the header.
        column: usize,
    },
    /// Two columns of one name.
    #[error("the header of {name} has two columns `{column}`")]
    DuplicateColumn {
        /// The path, or `<stdin>`.
        name: String,
        /// The name.
        column: String,
    },
    /// Reading failed, or the compressed data is corrupt or cut short.
    #[error("cannot read {name} near line {line}: {source}")]
    Read {
        /// The path, or `<stdin>`.
        name: String,
        /// 1-based line that was last reached.
        line: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
}

impl SourceError {
    /// What the user can do about it, for a `hint:` line.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotCuttable { .. } => {
                Some("unpack it into a plain file first: gunzip, unzstd, or cat > FILE")
            }
            Self::Folder { .. } => Some("name one file; join several with `cat` and read `-`"),
            Self::Empty { .. } => Some("one row a line is needed; did the step before write anything?"),
            Self::NotCompressed { .. } => Some("drop .gz or .zst from the name if it was unpacked already"),
            Self::HeaderNotUtf8 { .. } => Some("convert it first: iconv -f WINDOWS-1252 -t UTF-8"),
            Self::HeaderTooLong { .. } => {
                Some("is a quote in the first line never closed, or is this no table?")
            }
            Self::UnnamedColumn { .. } | Self::DuplicateColumn { .. } => {
                Some("the first line must name every column once; for a plain list say --input-format lines")
            }
            Self::Changed { .. } => Some(
                "rows may only be added at its end: put it back as it was; or start over with another -o, which pays for all rows again",
            ),
            Self::Open { source, .. } => open_hint(source),
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                    Some("the compressed file is damaged or incomplete: fetch or pack it again")
                }
                _ => None,
            },
        }
    }
}

/// What to do about a file that cannot be opened for reading.
pub(crate) fn open_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::NotFound => Some("is the path right? it is relative to the folder you are in"),
        io::ErrorKind::PermissionDenied => Some("you may not read it: see who may with ls -l"),
        _ => None,
    }
}

/// Which rows differ, in the numbers that people are told.
fn changed(from: u64, to: u64, rows: u64) -> String {
    if rows < to {
        return format!("it had {to} rows or more, and has {rows}");
    }
    format!("something differs in rows {from} to {}", to.saturating_sub(1))
}
