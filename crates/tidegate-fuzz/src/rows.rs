//! Inputs: rows, or one reason why there are none.

use std::io::{self, Read};

use tidegate::Record;
use tidegate::source::{Format, Source};

use crate::assert_bounded;

pub(crate) const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "\r",
    "\"",
    "\"\"",
    ",",
    "\t",
    "a,b\n",
    "{\"a\":1}\n",
    "[1,2]\n",
    "\\u00e9",
    "\u{feff}",
    "\u{1f}\u{8b}",
    "null\n",
    "\"\n",
    "                                                                  ",
];

/// Bytes of the longest record: small, so that inputs of a few bytes get beyond it.
const MAX_RECORD: usize = 64;
/// Rows that are read: a few packed bytes can hold any number.
const MAX_ROWS: usize = 500;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Bytes in all formats: indices count up by one, a record is never longer than allowed, one that
/// cannot be read does not end the input, and it does not matter in which pieces the bytes come.
pub fn rows(data: &[u8]) {
    for format in [Format::Lines, Format::Csv, Format::Tsv, Format::Jsonl, Format::Batch] {
        let whole = read(data, format, usize::MAX);
        let packed = data.starts_with(GZIP) || data.starts_with(ZSTD);
        for piece in [1, 7] {
            let mut pieces = read(data, format, piece);
            if packed && whole.1.is_some() && pieces.1.is_some() {
                // Unpackers see the damage sooner if they see more at once.
                pieces.0.truncate(whole.0.len());
                assert_eq!(pieces.0, whole.0[..pieces.0.len()], "{format} in pieces of {piece}");
            } else {
                assert_eq!(pieces, whole, "{format} in pieces of {piece}");
            }
        }
        let (rows, error) = &whole;
        if matches!(format, Format::Lines | Format::Jsonl | Format::Batch) && !packed && rows.len() < MAX_ROWS
        {
            let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
            // One that is too long is not looked into.
            let blank = |line: &&[u8]| line.trim_ascii().is_empty() && line.len() <= MAX_RECORD;
            let lines =
                text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let lines = lines.filter(|line| !blank(line)).count();
            assert_eq!((rows.len(), error.is_some()), (lines, lines == 0), "{format}");
        }
    }
}

/// What was read, in words, and the error that ended it.
fn read(data: &[u8], format: Format, piece: usize) -> (Vec<String>, Option<String>) {
    let mut rows = Vec::new();
    let mut source = match Source::from_reader(Pieces(data.to_vec(), 0, piece), "input", format, MAX_RECORD) {
        Ok(source) => source,
        Err(error) => return (rows, Some(message(&error, data))),
    };
    let mut last_line = 0;
    while rows.len() < MAX_ROWS {
        let row = match source.next_row() {
            Ok(Some(row)) => row,
            Ok(None) => {
                assert!(matches!(source.next_row(), Ok(None)), "{format}: the end is no end");
                return (rows, None);
            }
            Err(error) => return (rows, Some(message(&error, data))),
        };
        assert_eq!(row.index, rows.len() as u64, "{format}");
        // A lone `\r` ends a record of a table, and is no line end.
        let least = last_line + u64::from(matches!(format, Format::Lines | Format::Jsonl | Format::Batch));
        assert!(row.line >= least.max(1), "{format}: line {} after line {last_line}", row.line);
        last_line = row.line;
        match &row.record {
            Ok(record) => {
                let len = length(record);
                assert!(len <= MAX_RECORD, "{format}: a record of {len} bytes");
                let mut json = Vec::new();
                record.write_json(&mut json);
                let json: Result<Box<serde_json::value::RawValue>, _> = serde_json::from_slice(&json);
                assert!(json.is_ok(), "{format}: the record is not written as JSON: {record:?}");
            }
            Err(fault) => assert_bounded(&fault.to_string(), 0),
        }
        rows.push(format!("{row:?}"));
    }
    (rows, None)
}

fn length(record: &Record) -> usize {
    match record {
        Record::Line(line) => line.len(),
        Record::Fields { columns, values } => {
            assert_eq!(columns.len(), values.len());
            values.iter().map(str::len).sum()
        }
        Record::Json(raw) => raw.get().len(),
    }
}

fn message(error: &tidegate::source::SourceError, data: &[u8]) -> String {
    let message = error.to_string();
    assert_bounded(&message, data.len());
    message
}

/// A reader that gives a few bytes at a time: content, position, size of a piece.
struct Pieces(Vec<u8>, usize, usize);

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Self(bytes, at, piece) = self;
        let len = buf.len().min(*piece).min(bytes.len() - *at);
        buf[..len].copy_from_slice(&bytes[*at..*at + len]);
        *at += len;
        Ok(len)
    }
}
