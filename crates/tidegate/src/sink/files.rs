//! The half of the sink that does I/O: opening, mending, and appending batches.
//!
//! A batch is written in this order: lines of results, of failures, of unknown outcomes, and then the
//! block of the log that tells of them. `docs/log.md` goes through every way to be killed in between.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use roaring::RoaringTreemap;
use tidegate_core::Time;
use tidegate_quota::Clock;

use super::appended::{Appended, append_private};
use super::log_file::LogFile;
use super::mend::Mending;
use super::rewrite::sync_folder;
use super::shape::Shape;
use super::{Batch, OutputPaths, SinkError};
use crate::log::{self, Control, OutputFile, Replay, Rows, RunRecord, SendsEncoder};

/// How often files are synced, so that a power cut costs so much at most, and how often it is seen
/// whether they still are where they were.
const SYNC: Duration = Duration::from_secs(1);
/// Room that is kept on the disk: if there is no other left, the answers of calls in flight, which are
/// paid for, go there, and the job stops.
const RESERVE: usize = 8 << 20;

/// The open files of an output. Meant for a thread of its own; dropping it frees the output for
/// other processes.
#[derive(Debug)]
pub struct Files {
    destination: Destination,
    /// A write failed: more bytes after a torn line would make it a broken one.
    closed: bool,
}

#[derive(Debug)]
enum Destination {
    Stdout,
    Beside(Box<Beside>),
}

#[derive(Debug)]
pub(super) struct Beside {
    pub(super) paths: OutputPaths,
    pub(super) files: [Appended; 3],
    pub(super) log: LogFile,
    mending: Option<Mending>,
    blocks: Vec<u8>,
    clock: Clock,
    synced_at: Time,
    /// Told once, when the reserve had to be used.
    full: Option<SinkError>,
    _lock: File,
}

impl Files {
    pub(super) fn stdout() -> Self {
        Self { destination: Destination::Stdout, closed: false }
    }

    /// Looks at the files, and says what the log tells of them; changes nothing that was there.
    pub(super) fn open(
        paths: &OutputPaths,
        shape: &Shape,
        clock: Clock,
    ) -> Result<(Self, Replay), SinkError> {
        create_state_folder(&paths.state)?;
        let lock = lock(paths)?;
        let log_path = paths.state.join(log::FILE);
        let known = Replay::read(&log_path)?;
        let is_new = known.is_none();
        let mut replay = known.unwrap_or_default();
        let header = |file| match (shape, file) {
            (Shape::Table(table), OutputFile::Results) => &table.results_header,
            (Shape::Table(table), _) => &table.failures_header,
            _ => &[][..],
        };
        let of = |file: OutputFile| Appended::look(paths.of(file), header(file));
        let files = [of(OutputFile::Results)?, of(OutputFile::Failed)?, of(OutputFile::Unknown)?];
        let start = shape.line_start();
        if let Some(start) = start {
            files.iter().try_for_each(|file| file.begins_like(start))?;
        }
        let mending = Mending::find(&files, &log_path, is_new, start, &mut replay)?;
        let log = LogFile::open(&log_path, replay.length)?;
        let beside = Beside {
            paths: paths.clone(),
            files,
            log,
            mending: Some(mending),
            blocks: Vec::new(),
            clock,
            synced_at: clock.now(),
            full: None,
            _lock: lock,
        };
        Ok((Self { destination: Destination::Beside(Box::new(beside)), closed: false }, replay))
    }

    /// Begins a run: notes it in the log, and mends what the run before has left. Returns the log, for
    /// the calls that will be sent.
    pub(crate) fn begin(&mut self, mut run: RunRecord) -> Result<Option<(LogFile, SendsEncoder)>, SinkError> {
        let Destination::Beside(beside) = &mut self.destination else { return Ok(None) };
        let mending = beside.mending.take().unwrap_or_default();
        run.lengths = mending.lengths();
        let mut sends = SendsEncoder::default();
        sends.control(&Control::Run(Box::new(run)));
        let mut blocks = Vec::new();
        sends.take(&mut blocks);
        mending.records(&mut blocks);
        beside.log.append(&blocks)?;
        mending.cut(&mut beside.files)?;
        beside.files[OutputFile::Results.index()].create()?;
        beside.keep_reserve();
        sync_folder(&beside.paths.results)
            .map_err(|source| SinkError::Write { path: beside.paths.results.clone(), source })?;
        Ok(Some((beside.log.clone(), sends)))
    }

    /// Appends the batch; rows in it survive the end of the process from here on. After an error
    /// nothing more can be written: end the job, and the next [`open`](super::open) mends the files.
    pub fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if std::mem::replace(&mut self.closed, true) {
            return Err(SinkError::Closed);
        }
        match &mut self.destination {
            Destination::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(&batch.lines[OutputFile::Results.index()])
                    .and_then(|()| stdout.flush())
                    .map_err(|source| SinkError::Write { path: "<stdout>".into(), source })?;
            }
            Destination::Beside(beside) => beside.write(batch)?,
        }
        self.closed = false;
        Ok(())
    }

    /// Why the job should stop although all was written: the disk was full, and this went into the room
    /// that was kept.
    pub(crate) fn take_warning(&mut self) -> Option<SinkError> {
        match &mut self.destination {
            Destination::Stdout => None,
            Destination::Beside(beside) => beside.full.take(),
        }
    }

    /// Waits until what was written is on the medium, and survives a power cut.
    pub fn sync(&self) -> Result<(), SinkError> {
        match &self.destination {
            Destination::Stdout => Ok(()),
            Destination::Beside(beside) => beside.sync(),
        }
    }

    /// Puts the results in the order of the input, at the end of a job.
    pub(crate) fn sort(&mut self) -> Result<(), SinkError> {
        match &mut self.destination {
            Destination::Beside(beside) if !self.closed => beside.sort_results(),
            _ => Ok(()),
        }
    }

    /// The run has ended by itself: no room need be kept any more.
    pub(crate) fn release_reserve(&self) {
        if let Destination::Beside(beside) = &self.destination {
            let _ = fs::remove_file(beside.paths.state.join("reserve")); // none is there as well
        }
    }

    /// Opens rows again that have failed, or whose outcome is unknown; before any row is written.
    pub(crate) fn reopen(&mut self, rows: &RoaringTreemap) -> Result<(), SinkError> {
        let Destination::Beside(beside) = &mut self.destination else { return Ok(()) };
        let controls: Vec<Control> = Rows::in_parts(rows).map(|rows| Control::Reopen { rows }).collect();
        beside.note(&controls)
    }

    /// Takes lines out of the files of failures whose rows were opened again.
    pub(crate) fn drop_stale(&mut self, stale: [bool; 3]) -> Result<(), SinkError> {
        let Destination::Beside(beside) = &mut self.destination else { return Ok(()) };
        let stale = OutputFile::ALL.into_iter().filter(|file| stale[file.index()]);
        stale.into_iter().try_for_each(|file| beside.drop_lines(file))
    }
}

impl Beside {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let now = self.clock.now();
        let due = now.since(self.synced_at) >= SYNC;
        if due {
            self.are_there()?;
        }
        let before = self.files.each_ref().map(Appended::length);
        if let Err(error) = self.append(batch) {
            if !error.is_disk_full() || fs::remove_file(self.paths.state.join("reserve")).is_err() {
                return Err(error);
            }
            for (file, length) in self.files.iter_mut().zip(before) {
                file.cut(length)?;
            }
            self.append(batch)?;
            self.full = Some(error);
        }
        if due {
            self.sync()?;
            self.synced_at = now;
        }
        Ok(())
    }

    fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        for (file, lines) in self.files.iter_mut().zip(&batch.lines) {
            file.append(lines)?;
        }
        self.blocks.clear();
        log::EndsEncoder::block(&batch.log, &mut self.blocks);
        self.log.append(&self.blocks)
    }

    /// Without it a full disk costs the answers of calls in flight, and nothing worse.
    fn keep_reserve(&self) {
        let path = self.paths.state.join("reserve");
        if fs::metadata(&path).is_ok_and(|file| file.len() == RESERVE as u64) {
            return;
        }
        // Zeros that are really there: a file with a hole in it keeps no room.
        let written = append_private(&path).and_then(|mut file| {
            file.set_len(0)?;
            let zeros = vec![0; 64 << 10];
            (0..RESERVE / zeros.len()).try_for_each(|_| file.write_all(&zeros))
        });
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
    }

    /// Whether all files are where they were.
    fn are_there(&self) -> Result<(), SinkError> {
        self.files.iter().try_for_each(Appended::is_there)?;
        self.log.is_there()
    }

    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.are_there()?;
        self.files.iter().try_for_each(Appended::sync)?;
        let (path, log) = self.log.handle()?;
        log.sync_data().map_err(|source| SinkError::Write { path, source })
    }

    /// Appends control records to the log.
    pub(super) fn note(&mut self, controls: &[Control]) -> Result<(), SinkError> {
        let (mut records, mut blocks) = (Vec::new(), Vec::new());
        for control in controls {
            log::EndsEncoder::control(control, &mut records);
        }
        log::EndsEncoder::block(&records, &mut blocks);
        self.log.append(&blocks)
    }
}

/// Two processes that append to one output would cut each other's lines off.
fn lock(paths: &OutputPaths) -> Result<File, SinkError> {
    let path = paths.state.join("lock");
    let create = |source| SinkError::Create { path: path.clone(), source };
    let mut file = append_private(&path).map_err(create)?;
    match file.try_lock() {
        Ok(()) => {
            // Whoever comes second is told who was first.
            let text = format!("{}\n", std::process::id());
            file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(create)?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            if let Ok(mut file) = File::open(&path) {
                let _ = file.rewind();
                let _ = file.take(32).read_to_string(&mut holder); // without a name it is busy all the same
            }
            Err(SinkError::Busy { path: paths.results.clone(), holder: holder.trim().to_owned() })
        }
        Err(fs::TryLockError::Error(source)) => Err(SinkError::Create { path, source }),
    }
}

/// State may hold what rows are about: it is for the user alone.
pub(super) fn create_state_folder(path: &Path) -> Result<(), SinkError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(SinkError::Create { path: path.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}
