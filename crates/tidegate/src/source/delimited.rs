//! CSV and TSV on top of `csv-core`.
//!
//! `csv::Reader` would buffer a record of any size (one quote that is never closed is a record as
//! long as the rest of the file), and gives the line where the *previous* record ended, which is
//! wrong after blank lines and `\r\n`. So this drives the same parser by hand.

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::sync::Arc;

use csv_core::ReadRecordResult;

use super::{Found, SourceError};
use crate::row::{Record, RowFault};

const MAX_COLUMNS: usize = 1 << 16;

/// Records of a delimited text with a header.
pub(super) struct Delimited<R> {
    input: R,
    parser: csv_core::Reader,
    columns: Arc<[String]>,
    max: usize,
    /// Bytes read so far.
    position: u64,
    /// Unescaped bytes of the record's fields, one after the other.
    text: Vec<u8>,
    /// Where each field ends in `text`; one slot more than there are columns.
    ends: Vec<usize>,
}

/// What the parser said of one record, whose bytes are in `text` and `ends`.
struct Shape {
    line: u64,
    fields: usize,
    too_long: bool,
    unclosed: bool,
}

impl<R: BufRead> Delimited<R> {
    pub(super) fn open(input: R, delimiter: u8, max: usize, name: &str) -> Result<Self, SourceError> {
        let mut table = Self::within(input, delimiter, max, Arc::new([]), 1);
        table.ends = vec![0; MAX_COLUMNS + 1];
        table.columns = table.read_header(name)?;
        table.ends.truncate(table.columns.len() + 1);
        table.ends.shrink_to_fit();
        Ok(table)
    }

    /// Records from within a text whose header was read elsewhere; the first is on this line.
    pub(super) fn within(input: R, delimiter: u8, max: usize, columns: Arc<[String]>, line: u64) -> Self {
        let mut parser = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // It would take off a byte order mark of its own, but only one that it gets in one piece. After a
        // blank line it does not look for any.
        parser.read_record(b"\n", &mut [0], &mut [0]);
        parser.set_line(line);
        let ends = vec![0; columns.len() + 1];
        Self { input, parser, columns, max, position: 0, text: Vec::new(), ends }
    }

    /// Bytes up to the end of the record that was last returned.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn columns(&self) -> &Arc<[String]> {
        &self.columns
    }

    /// 1-based line that reading has reached.
    pub(super) fn line(&self) -> u64 {
        self.parser.line()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    pub(super) fn next_record(&mut self) -> io::Result<Option<Found>> {
        let Some(shape) = self.parse()? else { return Ok(None) };
        let record = if shape.unclosed {
            Err(RowFault::UnclosedQuote)
        } else if shape.too_long {
            Err(RowFault::TooLong { limit: self.max })
        } else if shape.fields != self.columns.len() {
            Err(RowFault::Ragged { expected: self.columns.len(), found: shape.fields })
        } else {
            self.fields(shape.fields)
                .map(|values| Record::Fields { columns: Arc::clone(&self.columns), values })
        };
        Ok(Some((shape.line, record)))
    }

    fn read_header(&mut self, name: &str) -> Result<Arc<[String]>, SourceError> {
        let name = name.to_owned();
        let shape = match self.parse() {
            Ok(Some(shape)) => shape,
            Ok(None) => return Err(SourceError::Empty { name }),
            Err(source) => return Err(SourceError::Read { name, line: 1, source }),
        };
        if shape.too_long || shape.unclosed || shape.fields > MAX_COLUMNS {
            return Err(SourceError::HeaderTooLong {
                name,
                limit_bytes: self.max,
                limit_columns: MAX_COLUMNS,
            });
        }
        let names = match self.fields(shape.fields) {
            Ok(names) => names,
            Err(RowFault::NotUtf8 { at }) => return Err(SourceError::HeaderNotUtf8 { name, at }),
            Err(_) => return Err(SourceError::HeaderNotUtf8 { name, at: 0 }),
        };
        let mut seen = HashSet::new();
        for (i, column) in names.iter().enumerate() {
            if column.trim().is_empty() {
                return Err(SourceError::UnnamedColumn { name, column: i + 1 });
            }
            if !seen.insert(column) {
                return Err(SourceError::DuplicateColumn { name, column: column.to_owned() });
            }
        }
        Ok(names.iter().map(str::to_owned).collect())
    }

    /// Runs the parser over one record; bytes and fields beyond the limits are parsed and dropped.
    fn parse(&mut self) -> io::Result<Option<Shape>> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let mut shape = Shape { line: self.parser.line(), fields: 0, too_long: false, unclosed: false };
        let (mut read, mut length) = (0, 0);
        let mut spare_ends = [0; 64];
        loop {
            let input = self.input.fill_buf()?;
            // A last line end is given to the parser in any case: only an open quote goes on after it.
            let at_end = input.is_empty();
            let input = if at_end { b"\n" } else { input };
            if shape.too_long {
                length = 0;
            }
            // With room for the whole input the parser never stops for want of it.
            if self.text.len() < length + input.len() + 1 {
                self.text.resize(length + input.len() + 1, 0);
            }
            let ends = self.ends.get_mut(shape.fields..).filter(|free| !free.is_empty());
            let ends = ends.unwrap_or(&mut spare_ends);
            let (result, used, wrote, fields) =
                self.parser.read_record(input, &mut self.text[length..], ends);
            length += wrote;
            shape.fields += fields;
            if !at_end {
                self.input.consume(used);
                self.position += used as u64;
                read += used;
                shape.too_long |= read > self.max.saturating_add(2);
            }
            if result == ReadRecordResult::Record {
                // The grace above is for a line end, which this record may not have had.
                shape.too_long |= length > self.max;
                return Ok(Some(shape));
            }
            if at_end {
                return Ok(Some(Shape { unclosed: true, ..shape }));
            }
        }
    }

    /// False at the end of the input. The parser would skip them too, but then the record would
    /// seem to start on the first of them.
    fn skip_blank_lines(&mut self) -> io::Result<bool> {
        loop {
            let input = self.input.fill_buf()?;
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let newlines = memchr::memchr_iter(b'\n', &input[..blank]).count() as u64;
            let more = blank < input.len();
            let at_end = input.is_empty();
            self.input.consume(blank);
            self.position += blank as u64;
            self.parser.set_line(self.parser.line() + newlines);
            if more || at_end {
                return Ok(more);
            }
        }
    }

    fn fields(&self, count: usize) -> Result<csv::StringRecord, RowFault> {
        let ends = &self.ends[..count];
        let mut record = csv::ByteRecord::with_capacity(ends.last().copied().unwrap_or(0), count);
        let mut start = 0;
        for &end in ends {
            record.push_field(&self.text[start..end]);
            start = end;
        }
        csv::StringRecord::from_byte_record(record).map_err(|error| {
            let field = error.utf8_error().field();
            let start = field.checked_sub(1).map_or(0, |before| ends[before]);
            RowFault::NotUtf8 { at: start + error.utf8_error().valid_up_to() }
        })
    }
}
