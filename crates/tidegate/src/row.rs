//! One input record, as every later stage sees it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::json;

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
    #[error("{found} field{} where the header has {expected}", if *found == 1 { "" } else { "s" })]
    Ragged {
        /// Columns in the header.
        expected: usize,
        /// Fields in this record.
        found: usize,
    },
    /// A CSV record with a quote that the input never closes.
    #[error("a quote is opened and never closed: all the rest of the input would belong to this record")]
    UnclosedQuote,
    /// A line of JSONL that is not one JSON value.
    #[error("not valid JSON: {0}")]
    NotJson(String),
}

impl Record {
    /// The text of one value: `line` of a plain line, a column of a CSV record, a top-level member of
    /// a JSON object. A JSON string is unescaped; a number or boolean is its text exactly as it was
    /// read.
    pub fn field(&self, name: &str) -> Result<Cow<'_, str>, FieldError> {
        let missing = || FieldError::Missing { name: name.to_owned() };
        match self {
            Self::Line(line) if name == "line" => Ok(Cow::Borrowed(line)),
            Self::Line(_) => Err(missing()),
            Self::Fields { columns, values } => {
                let column = columns.iter().position(|column| column == name).ok_or_else(missing)?;
                values.get(column).map(Cow::Borrowed).ok_or_else(missing)
            }
            Self::Json(raw) => {
                let text = json::member(raw.get(), name).ok_or_else(missing)?.get();
                match text.as_bytes().first() {
                    Some(b'"') if text.contains('\\') => {
                        json::string(text).map(Cow::Owned).ok_or_else(missing)
                    }
                    Some(b'"') => Ok(Cow::Borrowed(&text[1..text.len() - 1])),
                    Some(b'n') => Err(FieldError::Null { name: name.to_owned() }),
                    Some(b'[') => Err(FieldError::NotScalar { name: name.to_owned(), found: "an array" }),
                    Some(b'{') => Err(FieldError::NotScalar { name: name.to_owned(), found: "an object" }),
                    _ => Ok(Cow::Borrowed(text)),
                }
            }
        }
    }

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

/// Why a record has no usable value under a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// There is no such column or member.
    #[error("there is no `{name}` in this row")]
    Missing {
        /// The name that was asked for.
        name: String,
    },
    /// The member is there and is `null`.
    #[error("`{name}` is null in this row")]
    Null {
        /// The name that was asked for.
        name: String,
    },
    /// The member is an array or an object, and has no single text.
    #[error("`{name}` is {found} in this row, where text, a number or a boolean is needed")]
    NotScalar {
        /// The name that was asked for.
        name: String,
        /// "an array" or "an object".
        found: &'static str,
    },
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_json_str(text: &str, out: &mut Vec<u8>) {
    // Writing a &str into a Vec cannot fail: neither side has an error to give.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Record {
        Record::Json(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn json_fields_keep_their_text() {
        let row = json(r#"{"s":"a\"b\u00e9","plain":"x","f":1.50,"t":true,"n":null,"l":[],"o":{}}"#);
        for (name, text) in [("s", "a\"bé"), ("plain", "x"), ("f", "1.50"), ("t", "true")] {
            assert_eq!(row.field(name).unwrap(), text);
        }
        assert_eq!(row.field("n"), Err(FieldError::Null { name: "n".into() }));
        assert_eq!(row.field("l"), Err(FieldError::NotScalar { name: "l".into(), found: "an array" }));
        assert_eq!(row.field("o"), Err(FieldError::NotScalar { name: "o".into(), found: "an object" }));
        assert_eq!(row.field("x"), Err(FieldError::Missing { name: "x".into() }));
        assert_eq!(json("[1]").field("0"), Err(FieldError::Missing { name: "0".into() }));
    }

    #[test]
    fn lines_and_columns_by_name() {
        assert_eq!(Record::Line("zip 01234".into()).field("line").unwrap(), "zip 01234");
        assert!(Record::Line(String::new()).field("row").is_err());
        let columns = ["id", "zip"].map(String::from).into();
        let row = Record::Fields { columns, values: vec!["7", "01234"].into() };
        assert_eq!(row.field("zip").unwrap(), "01234");
        assert!(row.field("ZIP").is_err());
    }
}
