//! The pure half of the sink: rows to bytes.

use super::jsonl;
use super::shape::Shape;
use super::stamp::Stamp;
use super::{Failure, Finished};
use crate::log::{Commit, Control, End, EndsEncoder, OutputFile};

/// Turns finished rows into bytes of a [`Batch`]; does no I/O.
#[derive(Debug)]
pub struct Formatter {
    shape: Shape,
    /// Failures go where results go (stdout), and there is no log.
    merged: bool,
    stamp: Stamp,
    log: EndsEncoder,
}

/// Bytes that belong together, ready to be appended by [`Files`](super::Files).
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of [`OutputFile::ALL`].
    pub(super) lines: [Vec<u8>; 3],
    /// What the log says of them, and of calls that are over.
    pub(super) log: Vec<u8>,
    rows: u64,
}

impl Formatter {
    pub(super) fn new(shape: Shape, merged: bool) -> Self {
        Self { shape, merged, stamp: Stamp::default(), log: EndsEncoder::default() }
    }

    /// Adds the row to the batch, and the end of the call that brought it.
    pub fn append(&mut self, row: &Finished<'_>, call: Option<&End>, batch: &mut Batch) {
        batch.rows += 1;
        let kind = row.error.map(|Failure { kind, .. }| *kind);
        let file = if self.merged { OutputFile::Results } else { OutputFile::of(kind) };
        let out = &mut batch.lines[file.index()];
        let start = out.len();
        match &self.shape {
            Shape::Jsonl => jsonl::write(row, &mut self.stamp, out),
            Shape::Table(table) => table.write(row, out),
            Shape::Batch(batch) => batch.write(row, out),
        }
        if !self.merged {
            let (length, status) = ((out.len() - start) as u64, row.status.unwrap_or(0));
            let commit = Commit { row: row.index, file, length, kind, status };
            self.log.put(call, Some(&commit), &mut batch.log);
        }
    }

    /// Whether lines say by which number the provider knows the call.
    pub(crate) fn wants_request_ids(&self) -> bool {
        matches!(self.shape, Shape::Batch(_))
    }

    /// Adds something else to the log.
    pub(crate) fn control(&mut self, control: &Control, batch: &mut Batch) {
        if !self.merged {
            EndsEncoder::control(control, &mut batch.log);
        }
    }

    /// Notes that a call is over whose row is not at its end.
    pub fn end(&mut self, call: &End, batch: &mut Batch) {
        if !self.merged {
            self.log.put(Some(call), None, &mut batch.log);
        }
    }
}

impl Batch {
    /// How many bytes it will write. Write it when they are more than some 64 KiB, or when there is
    /// nothing else to do.
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(Vec::len).sum::<usize>() + self.log.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.log.is_empty()
    }

    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Empties it for reuse. Usual capacity is kept; what one huge answer took is given back.
    pub fn clear(&mut self) {
        const KEEP: usize = 1 << 20;
        for bytes in self.lines.iter_mut().chain([&mut self.log]) {
            bytes.clear();
            bytes.shrink_to(KEEP);
        }
        self.rows = 0;
    }
}
