//! What a killed run, or a power cut, has left of the files, and how that is mended.
//!
//! Everything is looked at before anything is changed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::appended::{Appended, inode};
use super::scan::LineStart;
use super::{FailureKind, SinkError, scan};
use crate::log::{Commit, Control, EndsEncoder, Micros, OutputFile, Replay, rows_beyond};

/// Files are synced each second, and the disk may take its time: what was written longer than so many
/// microseconds before the last sign of life was not lost by a power cut.
const UNSYNCED: u64 = 30_000_000;

/// Found by [`find`](Self::find), done by [`records`](Self::records) and [`cut`](Self::cut).
#[derive(Debug, Default)]
pub(super) struct Mending {
    controls: Vec<Control>,
    /// Lines that were written, and of which the log does not know yet.
    found: Vec<Commit>,
    /// Where each file ends.
    ends: [u64; 3],
}

impl Mending {
    /// Compares the files with what the log says, and brings `replay` up to what will be.
    pub(super) fn find(
        files: &[Appended; 3],
        log: &Path,
        is_new: bool,
        start: Option<LineStart>,
        replay: &mut Replay,
    ) -> Result<Self, SinkError> {
        let mut this = Self::default();
        this.finish_rewriting(files, replay);
        for (file, appended) in OutputFile::ALL.into_iter().zip(files) {
            let (end, length) = (replay.ends[file.index()], appended.length());
            if length < end {
                this.lost(file, appended, log, replay)?;
            } else {
                appended.has_line_end_at(end)?;
                match start {
                    _ if length <= end => {}
                    None if is_new => {
                        let path = appended.path.clone();
                        return Err(SinkError::NoLog { path, log: log.to_owned() });
                    }
                    None => {}
                    Some(start) => this.recover(file, appended, (start, end), replay)?,
                }
            }
        }
        this.ends = replay.ends;
        Ok(this)
    }

    /// Where the files will end: bytes of lines.
    pub(super) fn lengths(&self) -> [u64; 3] {
        self.ends
    }

    /// What the log must say of it.
    pub(super) fn records(&self, blocks: &mut Vec<u8>) {
        let mut encoder = EndsEncoder::default();
        let mut records = Vec::new();
        for control in &self.controls {
            EndsEncoder::control(control, &mut records);
        }
        for commit in &self.found {
            encoder.put(None, Some(commit), &mut records);
        }
        EndsEncoder::block(&records, blocks);
    }

    /// Cuts off what no row ends in.
    pub(super) fn cut(&self, files: &mut [Appended; 3]) -> Result<(), SinkError> {
        files.iter_mut().zip(self.ends).try_for_each(|(file, end)| file.cut(end))
    }

    /// A file was about to be replaced when the run was killed: was it?
    fn finish_rewriting(&mut self, files: &[Appended; 3], replay: &mut Replay) {
        let Some(rewriting) = replay.rewriting.take() else { return };
        let appended = &files[rewriting.file.index()];
        // Of nothing that is left no new file is made.
        let done = match inode(&appended.path) {
            Some(inode) => inode == rewriting.inode,
            None => rewriting.length == 0,
        };
        if done {
            let (file, length, sorted) = (rewriting.file, rewriting.length, rewriting.sorted);
            self.controls.push(Control::Rewritten { file, length, sorted });
            replay.ends[file.index()] = length;
            replay.stale[file.index()] = false;
            replay.sorted[file.index()] = if sorted { length } else { 0 };
        }
    }

    /// Lines that the log tells of are not in the file. The end of what the last run wrote may be
    /// missing after a power cut; more than that was somebody's doing.
    fn lost(
        &mut self,
        file: OutputFile,
        appended: &Appended,
        log: &Path,
        replay: &mut Replay,
    ) -> Result<(), SinkError> {
        let begun = replay.last.as_ref().map_or(0, |run| run.lengths[file.index()]);
        let (path, length, expected) = (appended.path.clone(), appended.length(), replay.ends[file.index()]);
        if !appended.exists() {
            return Err(SinkError::Missing { path, expected });
        }
        let (whole, since, rows) = rows_beyond(log, file, length)?;
        let unsynced = Micros(since.0.saturating_add(UNSYNCED)) >= replay.latest;
        if length < begun || !unsynced {
            return Err(SinkError::Shorter { path, length, expected });
        }
        appended.has_line_end_at(whole)?;
        for row in rows.iter() {
            let _ = replay.done.reopen(row);
            replay.dangling.lose(row);
        }
        replay.ends[file.index()] = whole;
        self.controls.push(Control::Cut { file, length: whole, rows });
        Ok(())
    }

    /// Lines were written, and the process was killed before the log told of them. A line says whose
    /// it is.
    fn recover(
        &mut self,
        file: OutputFile,
        appended: &Appended,
        (start, from): (LineStart, u64),
        replay: &mut Replay,
    ) -> Result<(), SinkError> {
        let mut bytes = appended.read_from(from)?;
        let mut found = |index: u64, length: u64, error: Option<(FailureKind, u16)>| {
            let (kind, status) = error.map_or((None, 0), |(kind, status)| (Some(kind), status));
            let commit = Commit { row: index, file, length, kind, status };
            replay.commit(commit);
            self.found.push(commit);
        };
        if file == OutputFile::Results {
            scan::scan(&mut bytes, &appended.path, start, |index, length| found(index, length, None))?;
            return Ok(());
        }
        // Only few, and none is long.
        let mut lines = Vec::new();
        scan::scan(&mut bytes, &appended.path, start, |index, length| lines.push((index, length)))?;
        let mut text = BufReader::new(appended.read_from(from)?);
        for (index, length) in lines {
            let mut line = Vec::new();
            let read = |source| SinkError::Read { path: appended.path.clone(), source };
            text.read_until(b'\n', &mut line).map_err(read)?;
            found(index, length, Some(failure_in(&line, file)));
        }
        Ok(())
    }
}

/// Why a row failed, as its line says.
fn failure_in(line: &[u8], file: OutputFile) -> (FailureKind, u16) {
    #[derive(Deserialize)]
    struct Line {
        status: Option<u16>,
        /// Of a batch.
        response: Option<Response>,
        error: Error,
    }
    #[derive(Deserialize)]
    struct Response {
        status_code: u16,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(alias = "code")]
        kind: String,
    }
    let line: Option<Line> = serde_json::from_slice(line).ok();
    let kind = line.as_ref().and_then(|line| FailureKind::from_word(&line.error.kind));
    let default = if file == OutputFile::Unknown { FailureKind::Unknown } else { FailureKind::Status };
    let status = line.and_then(|line| line.status.or(line.response.map(|response| response.status_code)));
    (kind.unwrap_or(default), status.unwrap_or(0))
}

/// The name of the output that a state folder belongs to.
pub(crate) fn output_of(state: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Job {
        output: String,
    }
    let job: Job = serde_json::from_slice(&fs::read(state.join("job.json")).ok()?).ok()?;
    Some(job.output)
}
