//! Rows in: a stream of records from a file or stdin, in bounded memory.
//!
//! [`Source::open`] finds everything that can be wrong with an input as a whole (missing, empty,
//! a bad header) before anything is sent. After that only I/O and corrupt compression are errors;
//! a record that cannot be read is a [`Row`] with a fault, so that indices never shift.

mod batch;
mod cut;
mod delimited;
mod error;
mod input;
mod lines;
mod marker;

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub(crate) use self::batch::Request;
pub use self::cut::{Cut, Cutter, hash_of_range};
use self::delimited::Delimited;
pub use self::error::SourceError;
pub(crate) use self::error::open_hint;
pub use self::input::{Format, Input, InputRange, InputSpec, UnknownFormat};
use self::lines::{Line, Lines};
pub(crate) use self::marker::Marker;
use crate::row::{Record, Row, RowFault};

/// Records longer than this many bytes are faults unless [`InputSpec::max_record`] says otherwise.
pub const DEFAULT_MAX_RECORD: usize = 16 << 20;

/// Large enough that `memchr` and `read` dominate their own overhead, small enough for the L2 cache.
const BUFFER: usize = 128 << 10;

/// An opened input: call [`next_row`](Self::next_row) until it says `None`.
pub struct Source {
    name: String,
    format: Format,
    reader: Reader,
    /// Read by `open` to see that there is something, handed out first.
    first: Option<Row>,
    fingerprint: [u8; 32],
    next_index: u64,
    max_record: usize,
    /// Bytes of the file before those that the reader counts.
    base: u64,
    /// Where the first row's bytes begin, and on which line.
    begin: (u64, u64),
}

type Bytes = BufReader<Box<dyn Read + Send>>;

enum Reader {
    Lines(Lines<Bytes>),
    Delimited(Box<Delimited<Bytes>>),
    Jsonl(Lines<Bytes>),
}

impl Source {
    /// Opens the input, unpacks gzip and zstd, and reads the header and the first record.
    pub fn open(spec: &InputSpec) -> Result<Self, SourceError> {
        if let Some(range) = spec.range {
            return Self::open_range(spec, range);
        }
        let name = spec.input.to_string();
        let raw = spec.input.open()?;
        let packed = spec.input.path().and_then(input::Packing::of_name);
        let format = spec.format.or_else(|| spec.input.path().map(Format::of_name));
        let mut source = Self::start(raw, name, packed, format.unwrap_or(Format::Lines), spec.max_record)?;
        if spec.may_be_batch && spec.format.is_none() && source.format == Format::Jsonl {
            source.look_for_batch();
        }
        Ok(source)
    }

    /// The same for any byte stream; `name` stands in its errors.
    pub fn from_reader(
        reader: impl Read + Send + 'static,
        name: &str,
        format: Format,
        max_record: usize,
    ) -> Result<Self, SourceError> {
        Self::start(Box::new(reader), name.to_owned(), None, format, max_record)
    }

    fn start(
        raw: Box<dyn Read + Send>,
        name: String,
        packed: Option<input::Packing>,
        format: Format,
        max_record: usize,
    ) -> Result<Self, SourceError> {
        let bytes = input::unpack(raw, &name, packed)?;
        let read = |source| SourceError::Read { name: name.clone(), line: 1, source };
        let (text, base) = input::without_bom(bytes).map_err(read)?;
        let bytes = BufReader::with_capacity(BUFFER, text);
        let reader = match format {
            Format::Lines => Reader::Lines(Lines::new(bytes, max_record)),
            Format::Jsonl | Format::Batch => Reader::Jsonl(Lines::new(bytes, max_record)),
            Format::Csv | Format::Tsv => {
                Reader::Delimited(Box::new(Delimited::open(bytes, delimiter(format), max_record, &name)?))
            }
        };
        Self::begin(name, format, reader, max_record, (base, 0))
    }

    /// A stretch of a plain file; its format must be said or stand in its name.
    fn open_range(spec: &InputSpec, range: InputRange) -> Result<Self, SourceError> {
        let name = spec.input.to_string();
        let Some(path) = spec.input.path() else { return Err(SourceError::NotCuttable { name }) };
        let format = spec.format.unwrap_or_else(|| Format::of_name(path));
        let read = |source| SourceError::Read { name: name.clone(), line: range.line, source };
        let columns = match format {
            Format::Csv | Format::Tsv => {
                let (text, _) = input::without_bom(spec.input.open()?).map_err(read)?;
                let text = BufReader::with_capacity(BUFFER, text);
                let table = Delimited::open(text, delimiter(format), spec.max_record, &name)?;
                Arc::clone(table.columns())
            }
            _ => Arc::new([]),
        };
        let failed = |source| SourceError::Open { name: display_name(path), source };
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(range.from)).map_err(failed)?;
        let raw: Box<dyn Read + Send> = Box::new(file.take(range.to.saturating_sub(range.from)));
        // Further within, it would belong to a record.
        let (text, bom) = if range.from == 0 { input::without_bom(raw).map_err(read)? } else { (raw, 0) };
        let bytes = BufReader::with_capacity(BUFFER, text);
        let lines = range.line.saturating_sub(1);
        let reader = match format {
            Format::Lines => Reader::Lines(Lines::behind(bytes, spec.max_record, lines)),
            Format::Jsonl | Format::Batch => Reader::Jsonl(Lines::behind(bytes, spec.max_record, lines)),
            Format::Csv | Format::Tsv => Reader::Delimited(Box::new(Delimited::within(
                bytes,
                delimiter(format),
                spec.max_record,
                columns,
                range.line,
            ))),
        };
        Self::begin(name, format, reader, spec.max_record, (range.from + bom, range.row))
    }

    fn begin(
        name: String,
        format: Format,
        reader: Reader,
        max_record: usize,
        (base, next_index): (u64, u64),
    ) -> Result<Self, SourceError> {
        let mut source = Self {
            name,
            format,
            reader,
            first: None,
            fingerprint: [0; 32],
            next_index,
            max_record,
            base,
            begin: (0, 0),
        };
        source.begin = source.position();
        source.first = source.read_row()?;
        // A table with a header and no rows is a list that happens to be empty today; an input
        // without a single byte of content is a mistake (a failed download, a wrong path).
        if source.first.is_none() && source.columns().is_none() {
            return Err(SourceError::Empty { name: source.name });
        }
        source.fingerprint = source.hash_start();
        Ok(source)
    }

    /// Takes the input for a batch if its first record is a request.
    fn look_for_batch(&mut self) {
        if let Some(Row { record: Ok(Record::Json(first)), .. }) = &self.first
            && Request::read(first.get()).is_ok_and(|request| request.body.is_some())
        {
            self.format = Format::Batch;
            self.fingerprint = self.hash_start();
        }
    }

    /// The header of CSV and TSV inputs.
    pub fn columns(&self) -> Option<&Arc<[String]>> {
        match &self.reader {
            Reader::Delimited(table) => Some(table.columns()),
            Reader::Lines(_) | Reader::Jsonl(_) => None,
        }
    }

    /// The columns under which the input's rows stand in a CSV output: the header, `line` for a
    /// plain list, `input` (the JSON text) for JSONL.
    pub fn output_columns(&self) -> Arc<[String]> {
        match &self.reader {
            Reader::Delimited(table) => Arc::clone(table.columns()),
            Reader::Lines(_) => Arc::new(["line".to_owned()]),
            Reader::Jsonl(_) => Arc::new(["input".to_owned()]),
        }
    }

    /// The format that is being read: declared, or guessed from the name.
    pub fn format(&self) -> Format {
        self.format
    }

    /// SHA-256 over format, header and first record. An input that only grew keeps it; a resumed
    /// job whose input begins differently would put answers beside the wrong rows.
    pub fn first_record_fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The byte of the file behind the row that was read last, and the line there. Only of a plain file.
    fn position(&self) -> (u64, u64) {
        let (bytes, line) = match &self.reader {
            Reader::Lines(lines) | Reader::Jsonl(lines) => (lines.position(), lines.number() + 1),
            Reader::Delimited(table) => (table.position(), table.line()),
        };
        (self.base + bytes, line)
    }

    /// The next row; indices are consecutive from 0. An error is final: do not read on.
    pub fn next_row(&mut self) -> Result<Option<Row>, SourceError> {
        match self.first.take() {
            Some(row) => Ok(Some(row)),
            None => self.read_row(),
        }
    }

    fn read_row(&mut self) -> Result<Option<Row>, SourceError> {
        let read = match &mut self.reader {
            Reader::Lines(lines) => next_line(lines, self.max_record, plain),
            Reader::Jsonl(lines) => next_line(lines, self.max_record, json),
            Reader::Delimited(table) => table.next_record(),
        };
        let (line, record) = match read {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(source) => {
                let line = match &self.reader {
                    Reader::Lines(lines) | Reader::Jsonl(lines) => lines.number(),
                    Reader::Delimited(table) => table.line(),
                };
                return Err(SourceError::Read { name: self.name.clone(), line, source });
            }
        };
        let index = self.next_index;
        self.next_index += 1;
        Ok(Some(Row { index, line, record }))
    }

    fn hash_start(&self) -> [u8; 32] {
        let mut text = self.format.to_string().into_bytes();
        for column in self.columns().into_iter().flat_map(|columns| columns.iter()) {
            crate::row::write_json_str(column, &mut text);
        }
        match self.first.as_ref().map(|row| &row.record) {
            Some(Ok(record)) => record.write_json(&mut text),
            Some(Err(fault)) => text.extend_from_slice(fault.to_string().as_bytes()),
            None => {}
        }
        Sha256::digest(&text).into()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, format, next_index, .. } = self;
        f.debug_struct("Source")
            .field("name", name)
            .field("format", format)
            .field("next_index", next_index)
            .finish_non_exhaustive()
    }
}

fn delimiter(format: Format) -> u8 {
    if format == Format::Tsv { b'\t' } else { b',' }
}

/// The number of the line on which a record starts, and the record.
type Found = (u64, Result<Record, RowFault>);

/// The next line that is not blank, with its number.
fn next_line(
    lines: &mut Lines<Bytes>,
    limit: usize,
    parse: fn(&str) -> Result<Record, RowFault>,
) -> std::io::Result<Option<Found>> {
    let record = loop {
        match lines.next_line()? {
            None => return Ok(None),
            Some(Line::TooLong) => break Err(RowFault::TooLong { limit }),
            Some(Line::Bytes(line)) if line.trim_ascii().is_empty() => {}
            Some(Line::Bytes(line)) => {
                break std::str::from_utf8(line)
                    .map_err(|error| RowFault::NotUtf8 { at: error.valid_up_to() })
                    .and_then(parse);
            }
        }
    };
    Ok(Some((lines.number(), record)))
}

#[expect(clippy::unnecessary_wraps, reason = "the same shape as `json`")]
fn plain(line: &str) -> Result<Record, RowFault> {
    Ok(Record::Line(line.to_owned()))
}

fn json(line: &str) -> Result<Record, RowFault> {
    // Trimmed and sized exactly, the string becomes the RawValue without a second copy.
    RawValue::from_string(line.trim_ascii().to_owned())
        .map(Record::Json)
        .map_err(|error| RowFault::NotJson(error.to_string()))
}

/// The name of an input in messages.
fn display_name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
