//! One input record, as every later stage sees it.

use std::sync::Arc;

use serde_json::value::RawValue;

/// One input record with its stable place in the input.
///
/// A record that cannot be read (broken UTF-8, a line over the limit, a ragged CSV line) is still
/// a row: it keeps its index and ends as one explained failure.
#[derive(Debug, Clone)]
pub struct Row {
    /// 0-based position among the input's records; stable from run to run.
    pub index: u64,
    /// 1-based line of the input on which the record starts.
    pub line: u64,
    /// What was read, or why it could not be.
    pub record: Result<Record, RowFault>,
}

/// The content of a readable row.
#[derive(Debug, Clone)]
pub enum Record {
    /// A whole line of a plain list, without its line end; templates call it `line`.
    Line(String),
    /// A CSV or TSV record; every value is a string (zip 01234 stays 01234).
    Fields {
        /// The header, shared by all rows.
        columns: Arc<[String]>,
        /// As many values as there are columns.
        values: csv::StringRecord,
    },
    /// A JSON value, its text exactly as it was read.
    Json(Box<RawValue>),
}

/// Why a record of the input could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// The record holds bytes that are not UTF-8.
    #[error("not valid UTF-8 at byte {at} of the record")]
    NotUtf8 {
        /// 0-based offset of the first offending byte.
        at: usize,
    },
    /// The record is longer than the limit.
    #[error("longer than the limit of {limit} bytes for one record")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A CSV record with another number of fields than the header.
    #[error("{found} fields where the header has {expected}")]
    Ragged {
        /// Columns in the header.
        expected: usize,
        /// Fields in this record.
        found: usize,
    },
    /// A line of JSONL that is not one JSON value.
    #[error("not valid JSON: {0}")]
    NotJson(String),
}

impl Record {
    /// The record as JSON text, for `"input"` in outputs: `{"line":"…"}` for a plain line, an
    /// object of strings for CSV, and the very bytes that were read for JSONL.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Line(line) => {
                out.extend_from_slice(b"{\"line\":");
                write_json_str(line, out);
                out.push(b'}');
            }
            Self::Fields { columns, values } => {
                out.push(b'{');
                for (i, (name, value)) in columns.iter().zip(values.iter()).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_json_str(name, out);
                    out.push(b':');
                    write_json_str(value, out);
                }
                out.push(b'}');
            }
            Self::Json(raw) => out.extend_from_slice(raw.get().as_bytes()),
        }
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_json_str(text: &str, out: &mut Vec<u8>) {
    // Writing a &str into a Vec cannot fail: neither side has an error to give.
    let _ = serde_json::to_writer(out, text);
}
