//! The pure half of the sink: rows to bytes.

use super::Finished;
use super::csv::Table;
use super::jsonl;
use super::stamp::Stamp;

/// Turns finished rows into bytes of a [`Batch`]; does no I/O.
#[derive(Debug)]
pub struct Formatter {
    /// `None`: JSONL.
    table: Option<Table>,
    /// Failures go where results go (stdout).
    merged: bool,
    stamp: Stamp,
}

/// Bytes that belong together, ready to be appended by [`Files`](super::Files).
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) results: Vec<u8>,
    pub(super) failures: Vec<u8>,
    pub(super) marks: Vec<Mark>,
    rows: u64,
}

/// One row of a CSV output and where its bytes end within the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) index: u64,
    pub(super) failed: bool,
    pub(super) end: usize,
}

impl Formatter {
    pub(super) fn new(table: Option<Table>, merged: bool) -> Self {
        Self { table, merged, stamp: Stamp::default() }
    }

    /// Adds the row to the batch.
    pub fn append(&mut self, row: &Finished<'_>, batch: &mut Batch) {
        batch.rows += 1;
        let failed = row.error.is_some() && !self.merged;
        let out = if failed { &mut batch.failures } else { &mut batch.results };
        match &self.table {
            None => jsonl::write(row, &mut self.stamp, out),
            Some(table) => {
                table.write(row, out);
                batch.marks.push(Mark { index: row.index, failed, end: out.len() });
            }
        }
    }
}

impl Batch {
    /// How many bytes it will write. Write it when they are more than some 64 KiB, or the oldest row
    /// has waited 100 ms.
    pub fn bytes(&self) -> usize {
        self.results.len() + self.failures.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Empties it for reuse. Usual capacity is kept; what one huge answer took is given back.
    pub fn clear(&mut self) {
        const KEEP: usize = 1 << 20;
        for bytes in [&mut self.results, &mut self.failures] {
            bytes.clear();
            bytes.shrink_to(KEEP);
        }
        self.marks.clear();
        self.rows = 0;
    }
}
