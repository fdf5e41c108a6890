//! Replacing an output file as a whole: results in the order of the input, failures without the rows
//! that are to be sent again.
//!
//! The new file is written beside the old one and synced; the log says that it is about to take its
//! place, and by which number the file system knows it; it is renamed over the old one; the log says
//! that it is done. So after a kill at any point it is known which of the two is there.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use roaring::RoaringTreemap;

use super::SinkError;
use super::appended::inode;
use super::files::Beside;
use crate::log::{self, Control, Event, LogError, OutputFile, Reader};

/// Rows whose places are in memory at the same time: 12 bytes each.
const ROWS_AT_ONCE: usize = 4 << 20;
const BUFFER: usize = 1 << 20;

impl Beside {
    /// Puts the results in the order of the input, in bounded memory.
    pub(super) fn sort_results(&mut self) -> Result<(), SinkError> {
        let file = OutputFile::Results;
        let log = self.paths.state.join(log::FILE);
        let Some(results) = Results::read(&log)? else { return Ok(()) };
        if results.sorted == results.end {
            return Ok(());
        }
        let old = &self.files[file.index()];
        let new = self.new_path(file);
        let failed = |source| SinkError::Write { path: new.clone(), source };
        let read = |source| SinkError::Read { path: old.path.clone(), source };
        let mut out = BufWriter::with_capacity(BUFFER, create(&new)?);
        out.write_all(old.header()).map_err(failed)?;
        let mut sorted = BufReader::with_capacity(BUFFER, old.read_from(0)?);
        let mut appended = Places { file: BufReader::with_capacity(BUFFER, old.read_from(0)?), at: 0 };
        let mut next = results.rows.min();
        let mut line = Vec::new();
        while let Some(first) = next {
            let rows = results.rows.max().map_or(0, |last| last - first + 1);
            let table = Table::read(&log, first, usize::try_from(rows).unwrap_or(usize::MAX))?;
            for (offset, length) in table.lines() {
                line.resize(length as usize, 0);
                match offset {
                    IN_ORDER => sorted.read_exact(&mut line).map_err(read)?,
                    offset => appended.read(offset, &mut line).map_err(read)?,
                }
                out.write_all(&line).map_err(failed)?;
            }
            let behind = first.saturating_add(ROWS_AT_ONCE as u64);
            let rank = results.rows.rank(behind.saturating_sub(1));
            next = results.rows.select(rank);
        }
        finish(out).map_err(failed)?;
        self.replace(file, &new, results.end, true)
    }

    /// Takes the lines of these rows out of a file of failures.
    pub(super) fn drop_lines(&mut self, file: OutputFile) -> Result<(), SinkError> {
        let lines = kept_lines(&self.paths.state.join(log::FILE), file)?;
        let old = &self.files[file.index()];
        let new = self.new_path(file);
        let failed = |source| SinkError::Write { path: new.clone(), source };
        let read = |source| SinkError::Read { path: old.path.clone(), source };
        let mut input = BufReader::with_capacity(BUFFER, old.read_from(0)?);
        let mut out = BufWriter::with_capacity(BUFFER, create(&new)?);
        out.write_all(old.header()).map_err(failed)?;
        let mut length = 0;
        let mut line = Vec::new();
        for (bytes, kept) in lines {
            line.resize(bytes as usize, 0);
            input.read_exact(&mut line).map_err(read)?;
            if kept {
                out.write_all(&line).map_err(failed)?;
                length += bytes;
            }
        }
        finish(out).map_err(failed)?;
        self.replace(file, &new, length, false)
    }

    /// A file without lines is no file.
    fn replace(&mut self, file: OutputFile, new: &Path, length: u64, sorted: bool) -> Result<(), SinkError> {
        let path = self.files[file.index()].path.clone();
        let failed = |source| SinkError::Write { path: path.clone(), source };
        let inode = inode(new).unwrap_or(0);
        self.note(&[Control::Rewrite { file, length, inode, sorted }])?;
        self.sync()?;
        if length == 0 && file != OutputFile::Results {
            fs::remove_file(new).and_then(|()| fs::remove_file(&path)).map_err(failed)?;
        } else {
            fs::rename(new, &path).map_err(failed)?;
        }
        sync_folder(&path).map_err(failed)?;
        self.files[file.index()].reopen()?;
        self.note(&[Control::Rewritten { file, length, sorted }])
    }

    fn new_path(&self, file: OutputFile) -> PathBuf {
        let name = ["results.new", "failed.new", "unknown.new"][file.index()];
        self.paths.state.join(name)
    }
}

/// Stands for the place of a line that is among those in order already.
const IN_ORDER: u64 = u64::MAX;

/// What the log says of the results as a whole.
struct Results {
    rows: RoaringTreemap,
    sorted: u64,
    end: u64,
}

impl Results {
    fn read(log: &Path) -> Result<Option<Self>, LogError> {
        let replay = log::Replay::read(log)?;
        let index = OutputFile::Results.index();
        Ok(replay.map(|replay| Self {
            rows: replay.done.succeeded,
            sorted: replay.sorted[index],
            end: replay.ends[index],
        }))
    }
}

/// Where the lines of some rows are: of `ROWS_AT_ONCE` rows from `first` on.
pub(super) struct Table {
    offsets: Vec<u64>,
    /// 0 of rows without a result.
    lengths: Vec<u32>,
}

impl Table {
    /// `rows`: how many there are at most from `first` on.
    pub(super) fn read(log: &Path, first: u64, rows: usize) -> Result<Self, SinkError> {
        // All at once: growing would need twice the memory for a moment.
        let rows = rows.min(ROWS_AT_ONCE);
        let mut this = Self { offsets: Vec::with_capacity(rows), lengths: Vec::with_capacity(rows) };
        let mut end = 0;
        let Some(mut reader) = Reader::open(log)? else { return Ok(this) };
        let place = |row: u64| {
            let place = usize::try_from(row.checked_sub(first)?).ok()?;
            (place < ROWS_AT_ONCE).then_some(place)
        };
        while let Some(event) = reader.next_event()? {
            match event {
                Event::Commit(commit) if commit.file == OutputFile::Results => {
                    if let Some(place) = place(commit.row) {
                        if place >= this.offsets.len() {
                            this.offsets.resize(place + 1, 0);
                            this.lengths.resize(place + 1, 0);
                        }
                        this.offsets[place] = end;
                        this.lengths[place] = u32::try_from(commit.length).unwrap_or(u32::MAX);
                    }
                    end += commit.length;
                }
                Event::Control(Control::Rewritten { file: OutputFile::Results, length, .. }) => {
                    this.offsets.fill(IN_ORDER);
                    end = length;
                }
                Event::Control(Control::Cut { file: OutputFile::Results, length, rows }) => {
                    for place in rows.iter().filter_map(place) {
                        if let Some(length) = this.lengths.get_mut(place) {
                            *length = 0;
                        }
                    }
                    end = length;
                }
                _ => {}
            }
        }
        Ok(this)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.offsets.iter().copied().zip(self.lengths.iter().copied()).filter(|(_, length)| *length > 0)
    }
}

/// Lines in the order in which they are asked for, which is nearly that in which they stand.
struct Places {
    file: BufReader<File>,
    at: u64,
}

impl Places {
    fn read(&mut self, offset: u64, line: &mut [u8]) -> io::Result<()> {
        let by = offset.cast_signed() - self.at.cast_signed();
        self.file.seek_relative(by)?;
        self.file.read_exact(line)?;
        self.at = offset + line.len() as u64;
        Ok(())
    }
}

/// The lines of a file in their order: bytes, and whether the row has not been opened again since.
fn kept_lines(log: &Path, file: OutputFile) -> Result<Vec<(u64, bool)>, LogError> {
    let mut lines: Vec<(u64, u64)> = Vec::new();
    let mut reopened = RoaringTreemap::new();
    let Some(mut reader) = Reader::open(log)? else { return Ok(Vec::new()) };
    while let Some(event) = reader.next_event()? {
        match event {
            Event::Commit(commit) if commit.file == file => lines.push((commit.row, commit.length)),
            Event::Control(Control::Reopen { rows }) => reopened.extend(rows.iter()),
            Event::Control(Control::Rewritten { file: of, .. }) if of == file => {
                lines.retain(|(row, _)| !reopened.contains(*row));
                reopened.clear();
            }
            Event::Control(Control::Cut { file: of, rows, .. }) if of == file => {
                lines.truncate(lines.len().saturating_sub(rows.iter().count()));
            }
            _ => {}
        }
    }
    Ok(lines.into_iter().map(|(row, bytes)| (bytes, !reopened.contains(row))).collect())
}

fn create(path: &Path) -> Result<File, SinkError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.open(path).map_err(|source| SinkError::Create { path: path.to_owned(), source })
}

fn finish(out: BufWriter<File>) -> io::Result<()> {
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// A rename is sure to be there after a power cut once its folder is synced.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Some file systems cannot sync a folder: there the old name may be back after a power cut.
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all().or(Ok(()))
}
