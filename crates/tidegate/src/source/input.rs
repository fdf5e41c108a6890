//! Where rows come from: file or stdin, packed or not, in one of five formats.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{BUFFER, DEFAULT_MAX_RECORD, SourceError, display_name};

/// What to read, and how.
#[derive(Debug, Clone)]
pub struct InputSpec {
    /// File or stdin.
    pub input: Input,
    /// `None`: guessed from the file's name, lines for stdin.
    pub format: Option<Format>,
    /// JSONL whose first record is a request is taken for a batch, where no format is given.
    pub may_be_batch: bool,
    /// Longest record in bytes; a longer one is a fault of its row.
    pub max_record: usize,
    /// Only this stretch of a plain file.
    pub range: Option<InputRange>,
}

/// A stretch of a plain file, cut where records begin. Its rows keep the index and the line that they have in the
/// file; the header of a table is read from the file's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InputRange {
    /// Its first byte.
    pub from: u64,
    /// The byte behind it.
    pub to: u64,
    /// The index of its first row.
    pub row: u64,
    /// The line on which it begins, from 1.
    pub line: u64,
}

impl InputSpec {
    /// The input at `path` (`-` is stdin), everything else guessed.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            input: Input::new(path),
            format: None,
            may_be_batch: false,
            max_record: DEFAULT_MAX_RECORD,
            range: None,
        }
    }
}

/// A file or stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, a pipe or a device.
    File(PathBuf),
}

impl Input {
    /// `-` is stdin, anything else a path.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        if path == Path::new("-") { Self::Stdin } else { Self::File(path.to_owned()) }
    }

    /// The path of a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdin => None,
            Self::File(path) => Some(path),
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, SourceError> {
        let Self::File(path) = self else { return Ok(Box::new(io::stdin())) };
        let failed = |source| SourceError::Open { name: display_name(path), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(SourceError::Folder { name: display_name(path) });
        }
        Ok(Box::new(file))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("<stdin>"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// How the bytes of an input are cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Every line that is not blank is a record.
    Lines,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header; quotes work as in CSV.
    Tsv,
    /// A JSON value on every line that is not blank.
    Jsonl,
    /// The same, each a whole request: `custom_id`, `method`, `url` and `body`, as LLM providers' batch
    /// endpoints take them.
    Batch,
}

impl Format {
    /// The guess from a file's name, after `.gz` or `.zst` is taken off.
    pub fn of_name(path: &Path) -> Self {
        let path =
            if Packing::of_name(path).is_some() { path.file_stem().map(Path::new) } else { Some(path) };
        match path.and_then(Path::extension).and_then(OsStr::to_str).map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Self::Csv,
            Some("tsv") => Self::Tsv,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ => Self::Lines,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Batch => "batch",
        })
    }
}

/// A word that names no input format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an input format: expected lines, csv, tsv, jsonl or batch")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word.to_ascii_lowercase().as_str() {
            "lines" => Ok(Self::Lines),
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "batch" => Ok(Self::Batch),
            _ => Err(UnknownFormat(word.to_owned())),
        }
    }
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BOM: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) fn of_content(head: &[u8]) -> Option<Self> {
        match head {
            GZIP => Some(Self::Gzip),
            ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Unpacks what the content says is packed (a pipe has no name to go by). A name that promises
/// more than the content keeps is refused: sending the garbage of a broken download as rows
/// would be worse than asking.
pub(super) fn unpack(
    mut raw: Box<dyn Read + Send>,
    name: &str,
    promised: Option<Packing>,
) -> Result<Box<dyn Read + Send>, SourceError> {
    let failed = |source| SourceError::Read { name: name.to_owned(), line: 1, source };
    let head = start_of(&mut raw, &[GZIP, ZSTD]).map_err(failed)?;
    let found = Packing::of_content(&head);
    if let Some(promised) = promised.filter(|promised| found != Some(*promised) && !head.is_empty()) {
        return Err(SourceError::NotCompressed { name: name.to_owned(), expected: promised.name() });
    }
    let whole = Cursor::new(head).chain(raw);
    Ok(match found {
        None => Box::new(whole),
        // Members and frames that were concatenated are one stream, as for gunzip and unzstd.
        Some(Packing::Gzip) => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
        }
        Some(Packing::Zstd) => {
            Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, whole)).map_err(failed)?)
        }
    })
}

/// Takes a UTF-8 byte order mark off: Windows tools write it, and the first value would carry it. Says how many bytes
/// that took.
pub(super) fn without_bom(mut bytes: Box<dyn Read + Send>) -> io::Result<(Box<dyn Read + Send>, u64)> {
    let head = start_of(&mut bytes, &[BOM])?;
    let bom = head == BOM;
    Ok(if bom { (bytes, BOM.len() as u64) } else { (Box::new(Cursor::new(head).chain(bytes)), 0) })
}

/// Takes the input's start as far as it is, or may still become, one of `marks`. Not a byte more:
/// the first row of a pipe may be all that there is for now.
fn start_of(reader: &mut impl Read, marks: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while marks.iter().any(|mark| mark.len() > head.len() && mark.starts_with(&head)) {
        if reader.take(1).read_to_end(&mut head)? == 0 {
            break;
        }
    }
    Ok(head)
}
