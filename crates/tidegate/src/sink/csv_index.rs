//! Which rows a CSV output holds. The table has the user's columns and none for the row's index, so
//! the indices stand in a file beside it: 16 bytes for each row, its index and where its bytes end.
//!
//! **Entries are written before the rows they tell of.** A process can be killed between any two
//! writes, and within one; then the files hold a prefix of what it meant to write:
//!
//! | killed while writing | found at the next open | mended by |
//! | --- | --- | --- |
//! | the entries | an entry cut short, and entries whose rows are not there | dropping them |
//! | the rows, or between the two | whole rows with their entries, one row cut short, entries beyond the end | dropping the entries whose row does not end within the file, and the bytes after the last row that does |
//! | the header of a new table | a part of the header, no entries | writing it again |
//! | the mending: before the rename | as before, and a file `.new` | mending again |
//! | the mending: after the rename, before the cut | no entries too many, bytes after the last row | cutting again |
//!
//! So every row that reached the file whole is found, and is the only copy: nothing is lost that
//! was not lost with the process's memory, nothing is there twice. (The other order would leave
//! whole rows without entries, answers that were paid for, and no way to tell whose they are.)
//! Dropped entries must leave the file, not only be skipped: rows appended later would reach
//! their offsets and make them look valid.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::format::Mark;
use super::{Done, SinkError, files};

const MAGIC: &[u8; 16] = b"tidegate csv 1\n\0";
const ENTRY: usize = 16;
/// Set in an entry's end when the row is in the file of failures.
const FAILED: u64 = 1 << 63;

/// The index file, open for appending.
#[derive(Debug)]
pub(super) struct CsvIndex {
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
}

/// What the index says about tables of a given length; nothing is changed yet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// There is an index at all.
    pub(super) exists: bool,
    /// Some of it must be dropped.
    stale: bool,
    lengths: Lengths,
    /// Where the last whole row ends; `None` without rows.
    pub(super) results_end: Option<u64>,
    /// The same in the file of failures.
    pub(super) failures_end: Option<u64>,
    pub(super) done: Done,
}

/// Bytes in the two tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    pub(super) results: u64,
    pub(super) failures: u64,
}

/// Reads the index at `path`.
pub(super) fn look(path: &Path, lengths: Lengths) -> Result<Found, SinkError> {
    let mut found = Found {
        path: path.to_owned(),
        exists: false,
        stale: true,
        lengths,
        results_end: None,
        failures_end: None,
        done: Done::default(),
    };
    let Some(mut entries) = Entries::open(path)? else { return Ok(found) };
    found.exists = true;
    let mut reached = [0, 0];
    while let Some(entry) = entries.next()? {
        let reached = &mut reached[usize::from(entry.failed)];
        if entry.end <= *reached {
            return Err(SinkError::IndexDamaged { index: path.to_owned(), at: entries.at - ENTRY as u64 });
        }
        *reached = entry.end;
        if !entry.is_within(lengths) {
            entries.stale = true;
        } else if entry.failed {
            found.failures_end = Some(entry.end);
            found.done.failed.insert(entry.index);
        } else {
            found.results_end = Some(entry.end);
            found.done.succeeded.insert(entry.index);
        }
    }
    found.stale = entries.stale;
    Ok(found)
}

impl Found {
    /// Drops what is stale and opens the index for appending.
    pub(super) fn mend(self) -> Result<(CsvIndex, Done), SinkError> {
        if self.stale {
            let new = self.path.with_extension("index.new");
            let failed = |source| SinkError::Create { path: new.clone(), source };
            let mut out = BufWriter::new(files::create_private(&new).map_err(failed)?);
            out.write_all(MAGIC).map_err(failed)?;
            if let Some(mut entries) = Entries::open(&self.path)? {
                while let Some(entry) = entries.next()? {
                    if entry.is_within(self.lengths) {
                        out.write_all(&entry.encode()).map_err(failed)?;
                    }
                }
            }
            // Renaming is atomic, but only synced bytes are sure to be there after a power cut.
            let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
            file.sync_data().map_err(failed)?;
            std::fs::rename(&new, &self.path)
                .map_err(|source| SinkError::Create { path: self.path.clone(), source })?;
        }
        let file = files::append_private(&self.path)
            .map_err(|source| SinkError::Create { path: self.path.clone(), source })?;
        Ok((CsvIndex { path: self.path, file, bytes: Vec::new() }, self.done))
    }
}

impl CsvIndex {
    /// Appends an entry for each mark of a batch that will be written at the ends of the tables.
    pub(super) fn append(&mut self, marks: &[Mark], ends: Lengths) -> Result<(), SinkError> {
        self.bytes.clear();
        for mark in marks {
            let base = if mark.failed { ends.failures } else { ends.results };
            let entry = Entry { index: mark.index, failed: mark.failed, end: base + mark.end as u64 };
            self.bytes.extend_from_slice(&entry.encode());
        }
        self.file
            .write_all(&self.bytes)
            .map_err(|source| SinkError::Write { path: self.path.clone(), source })
    }

    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.file.sync_data().map_err(|source| SinkError::Write { path: self.path.clone(), source })
    }
}

struct Entry {
    index: u64,
    failed: bool,
    end: u64,
}

impl Entry {
    fn is_within(&self, lengths: Lengths) -> bool {
        self.end <= if self.failed { lengths.failures } else { lengths.results }
    }

    fn encode(&self) -> [u8; ENTRY] {
        let end = self.end | if self.failed { FAILED } else { 0 };
        let mut bytes = [0; ENTRY];
        bytes[..8].copy_from_slice(&self.index.to_le_bytes());
        bytes[8..].copy_from_slice(&end.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; ENTRY]) -> Self {
        // One little-endian number of both halves: the end is the upper one.
        let both = u128::from_le_bytes(bytes);
        let end = (both >> 64) as u64;
        Self { index: both as u64, failed: end & FAILED != 0, end: end & !FAILED }
    }
}

/// The entries of an index file, one after the other.
struct Entries<'p> {
    path: &'p Path,
    input: BufReader<File>,
    /// Bytes read.
    at: u64,
    /// An entry was cut short, or tells of a row that is not there.
    stale: bool,
}

impl<'p> Entries<'p> {
    /// `None` when there is no index, or not even its first bytes were written.
    fn open(path: &'p Path) -> Result<Option<Self>, SinkError> {
        let failed = |source| SinkError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut entries = Self { path, input: BufReader::new(file), at: 0, stale: false };
        match entries.read().map_err(failed)? {
            None => Ok(None),
            Some(head) if head == *MAGIC => Ok(Some(entries)),
            Some(_) => Err(SinkError::IndexDamaged { index: path.to_owned(), at: 0 }),
        }
    }

    fn next(&mut self) -> Result<Option<Entry>, SinkError> {
        let entry = self.read().map_err(|source| SinkError::Read { path: self.path.to_owned(), source })?;
        Ok(entry.map(Entry::decode))
    }

    fn read(&mut self) -> io::Result<Option<[u8; ENTRY]>> {
        let mut bytes = [0; ENTRY];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // `read_exact` does not say how much it got; the file's length does.
                self.stale |= self.input.get_ref().metadata()?.len() != self.at;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        self.at += ENTRY as u64;
        Ok(Some(bytes))
    }
}
