//! The output of a part of a job, to be put together with those of the others.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::rewrite::Table;
use super::{OutputPaths, SinkError};
use crate::log::{self, OutputFile, Replay};
use crate::report::Before;

/// An output that is finished, as its log has it.
#[derive(Debug)]
pub struct Part {
    paths: OutputPaths,
    replay: Replay,
}

impl Part {
    /// Reads the log of the output at `results`.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn open(results: &Path) -> Result<Self, SinkError> {
        let paths = OutputPaths::for_output(results);
        let log = paths.state.join(log::FILE);
        let replay = Replay::read(&log)?.ok_or_else(|| SinkError::Read {
            path: log,
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        })?;
        Ok(Self { paths, replay })
    }

    /// Rows at their end.
    pub fn counts(&self) -> Before {
        let done = &self.replay.done;
        Before { ok: done.succeeded.len(), failed: done.failed.len(), unknown: done.unknown.len() }
    }

    /// Copies the lines of a file: as they came, or in the order of the input; with what stands before them, if they
    /// are the first. Returns their number.
    ///
    /// # Errors
    /// If the file is not as the log says, or something cannot be read or written.
    pub fn copy(
        &self,
        file: OutputFile,
        in_order: bool,
        with_header: bool,
        out: &mut impl Write,
    ) -> Result<u64, SinkError> {
        let path = self.paths.of(file);
        let done = &self.replay.done;
        let rows = match file {
            OutputFile::Results => &done.succeeded,
            OutputFile::Failed => &done.failed,
            OutputFile::Unknown => &done.unknown,
        };
        let length = self.replay.ends[file.index()];
        if rows.is_empty() && !(with_header && file == OutputFile::Results) {
            return Ok(0);
        }
        let read = |source| SinkError::Read { path: path.to_owned(), source };
        let there = fs::metadata(path).map_err(read)?.len();
        let header = there.checked_sub(length).ok_or_else(|| {
            let message = format!("it has {there} bytes, and its log tells of {length}");
            read(std::io::Error::new(std::io::ErrorKind::InvalidData, message))
        })?;
        let mut from = File::open(path).map_err(read)?;
        if !with_header {
            from.seek(SeekFrom::Start(header)).map_err(read)?;
        }
        if !(in_order && file == OutputFile::Results) {
            std::io::copy(&mut from, out).map_err(read)?;
            return Ok(rows.len());
        }
        if with_header {
            std::io::copy(&mut (&mut from).take(header), out).map_err(read)?;
        }
        let first = rows.min().unwrap_or(0);
        let span = rows.max().map_or(0, |last| last - first + 1);
        let log = self.paths.state.join(log::FILE);
        let table = Table::read(&log, first, usize::try_from(span).unwrap_or(usize::MAX))?;
        let (mut from, mut at, mut line) = (BufReader::new(from), 0_u64, Vec::new());
        for (offset, length) in table.lines() {
            line.resize(length as usize, 0);
            from.seek_relative(offset.cast_signed() - at.cast_signed()).map_err(read)?;
            from.read_exact(&mut line).map_err(read)?;
            at = offset + u64::from(length);
            out.write_all(&line).map_err(read)?;
        }
        Ok(rows.len())
    }
}
