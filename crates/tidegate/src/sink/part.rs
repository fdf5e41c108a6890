//! The output of a part of a job, to be put together with those of the others.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{OutputPaths, SinkError, Whole};
use crate::log::{self, Commit, Control, Event, OutputFile, Reader, Replay};
use crate::report::Before;

/// An output that is finished, as its log has it.
#[derive(Debug)]
pub struct Part {
    pub(super) paths: OutputPaths,
    pub(super) replay: Replay,
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
    /// are the first. Tells `whole` of each. Returns their number.
    ///
    /// # Errors
    /// If the file is not as the log says, or something cannot be read or written.
    pub fn copy(
        &self,
        file: OutputFile,
        in_order: bool,
        with_header: bool,
        (out, whole): (&mut impl Write, &mut Whole),
    ) -> Result<u64, SinkError> {
        let has_header = with_header && file == OutputFile::Results;
        if !(self.has(file) || has_header) {
            return Ok(0);
        }
        let path = self.paths.of(file);
        let read = |source| SinkError::Read { path: path.to_owned(), source };
        let length = self.replay.ends[file.index()];
        let there = fs::metadata(path).map_err(read)?.len();
        let header = there.checked_sub(length).ok_or_else(|| {
            let message = format!("it has {there} bytes, and its log tells of {length}");
            read(std::io::Error::new(std::io::ErrorKind::InvalidData, message))
        })?;
        let mut from = File::open(path).map_err(read)?;
        if with_header {
            std::io::copy(&mut (&mut from).take(header), out).map_err(read)?;
        } else {
            from.seek(SeekFrom::Start(header)).map_err(read)?;
        }
        let mut lines = self.lines(file)?;
        if !(in_order && file == OutputFile::Results) {
            std::io::copy(&mut from, out).map_err(read)?;
            lines.iter().try_for_each(|(_, commit)| whole.line(commit))?;
            return Ok(lines.len() as u64);
        }
        lines.sort_unstable_by_key(|(_, commit)| commit.row);
        let (mut from, mut at, mut line) = (BufReader::new(from), 0_u64, Vec::new());
        for (offset, commit) in &lines {
            line.resize(commit.length as usize, 0);
            from.seek_relative(offset.cast_signed() - at.cast_signed()).map_err(read)?;
            from.read_exact(&mut line).map_err(read)?;
            at = offset + commit.length;
            out.write_all(&line).map_err(read)?;
            whole.line(commit)?;
        }
        Ok(lines.len() as u64)
    }

    fn has(&self, file: OutputFile) -> bool {
        let done = &self.replay.done;
        !match file {
            OutputFile::Results => &done.succeeded,
            OutputFile::Failed => &done.failed,
            OutputFile::Unknown => &done.unknown,
        }
        .is_empty()
    }

    /// The lines of a file as they stand there, each with its place. A part is neither sorted nor retried.
    fn lines(&self, file: OutputFile) -> Result<Vec<(u64, Commit)>, SinkError> {
        let mut lines: Vec<(u64, Commit)> = Vec::new();
        let Some(mut reader) = Reader::open(&self.paths.state.join(log::FILE))? else { return Ok(lines) };
        while let Some(event) = reader.next_event()? {
            match event {
                Event::Commit(commit) if commit.file == file => {
                    let end = lines.last().map_or(0, |(at, last)| at + last.length);
                    lines.push((end, commit));
                }
                Event::Control(Control::Cut { file: of, length, .. }) if of == file => {
                    lines.retain(|(at, commit)| at + commit.length <= length);
                }
                _ => {}
            }
        }
        Ok(lines)
    }
}
