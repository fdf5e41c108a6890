//! Whether the input is still the one that earlier runs have read. Rows may have been added at its
//! end; but if others came or went, each result would stand under the wrong row.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::{InputSpec, Source, SourceError};
use crate::log::InputMark;
use crate::row::{Record, Row};

/// A mark is made each so many rows: often at first, when jobs are tried out and stopped early.
const ROWS: (u64, u64) = (1 << 10, 1 << 14);
/// At first.
const FIRST: u64 = 1 << 16;

/// Reads along, makes marks and compares them with those of earlier runs.
pub(crate) struct Marker {
    name: String,
    digest: Sha256,
    rows: u64,
    /// Those of earlier runs that are still ahead, the next one last.
    ahead: Vec<InputMark>,
    stamp: Option<(u64, u64)>,
    marked: u64,
}

impl Marker {
    /// For the input `spec` from its first row on; `known` are the marks of earlier runs.
    pub(crate) fn new(spec: &InputSpec, mut known: Vec<InputMark>) -> Self {
        known.reverse();
        let stamp = spec.input.path().and_then(stamp);
        Self { name: spec.input.to_string(), digest: Sha256::new(), rows: 0, ahead: known, stamp, marked: 0 }
    }

    /// Refuses an input that has changed, before anything is sent. A stream can be read only once: of
    /// that it is seen as it comes.
    pub(crate) fn check(spec: &InputSpec, known: &[InputMark]) -> Result<(), SourceError> {
        let Some(last) = known.last() else { return Ok(()) };
        let Some(path) = spec.input.path() else { return Ok(()) };
        match stamp(path) {
            None => return Ok(()), // a pipe
            same if same == last.stamp => return Ok(()),
            _ => {}
        }
        let mut marker = Self::new(spec, known.to_vec());
        let mut source = Source::open(spec)?;
        while marker.rows < last.rows {
            match source.next_row()? {
                Some(row) => drop(marker.add(&row)?),
                None => return Err(marker.changed()),
            }
        }
        Ok(())
    }

    /// Reads a row; a mark, if it is time for one.
    pub(crate) fn add(&mut self, row: &Row) -> Result<Option<InputMark>, SourceError> {
        match &row.record {
            Ok(Record::Line(line)) => self.field(line.as_bytes()),
            Ok(Record::Fields { values, .. }) => values.iter().for_each(|value| self.field(value.as_bytes())),
            Ok(Record::Json(raw)) => self.field(raw.get().as_bytes()),
            Err(fault) => self.field(fault.to_string().as_bytes()),
        }
        self.rows += 1;
        if let Some(known) = self.ahead.last().filter(|known| known.rows <= self.rows) {
            if known.hash != self.hash() {
                return Err(self.changed());
            }
            self.ahead.pop();
            self.marked = self.rows;
        }
        if !self.ahead.is_empty() {
            return Ok(None); // what lies before a mark needs no other
        }
        let step = if self.rows <= FIRST { ROWS.0 } else { ROWS.1 };
        Ok((self.rows - self.marked >= step).then(|| self.mark()))
    }

    /// A mark of what was read so far, if there is news.
    pub(crate) fn last(&mut self) -> Option<InputMark> {
        // Behind what was read there is more that an earlier run has seen: its mark says more.
        (self.ahead.is_empty() && self.rows > self.marked).then(|| self.mark())
    }

    fn mark(&mut self) -> InputMark {
        self.marked = self.rows;
        InputMark { rows: self.rows, hash: self.hash(), stamp: self.stamp }
    }

    fn field(&mut self, bytes: &[u8]) {
        self.digest.update((bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    fn hash(&self) -> String {
        let digest = self.digest.clone().finalize();
        digest.iter().take(8).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // a String takes everything
            hex
        })
    }

    fn changed(&self) -> SourceError {
        let to = self.ahead.last().map_or(self.rows, |known| known.rows);
        SourceError::Changed { name: self.name.clone(), from: self.marked, to, rows: self.rows.min(to) }
    }
}

/// Size and time of change of a plain file: as long as both stay, so does the content.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Some((metadata.len(), u64::try_from(changed.as_nanos()).unwrap_or(u64::MAX)))
}
