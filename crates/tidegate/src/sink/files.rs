//! The half of the sink that does I/O: opening and mending, and appending batches.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::csv::Table;
use super::csv_index::{self, CsvIndex, Lengths};
use super::{Batch, Done, OutputPaths, SinkError, scan};

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
    Beside { results: Appended, failures: Appended, index: Option<CsvIndex>, _lock: File },
}

impl Files {
    pub(super) fn stdout() -> Self {
        Self { destination: Destination::Stdout, closed: false }
    }

    pub(super) fn open(paths: &OutputPaths, table: Option<&Table>) -> Result<(Self, Done), SinkError> {
        create_state_folder(&paths.state)?;
        let lock = lock(paths)?;
        let (results, failures, index, done) = match table {
            None => open_lines(paths)?,
            Some(table) => open_table(paths, table)?,
        };
        let destination = Destination::Beside { results, failures, index, _lock: lock };
        Ok((Self { destination, closed: false }, done))
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
                    .write_all(&batch.results)
                    .and_then(|()| stdout.flush())
                    .map_err(|source| SinkError::Write { path: PathBuf::from("<stdout>"), source })?;
            }
            Destination::Beside { results, failures, index, .. } => {
                if let Some(index) = index {
                    // Before the rows: see `csv_index`.
                    index
                        .append(&batch.marks, Lengths { results: results.end(), failures: failures.end() })?;
                }
                results.append(&batch.results)?;
                failures.append(&batch.failures)?;
            }
        }
        self.closed = false;
        Ok(())
    }

    /// Waits until what was written is on the medium, and survives a power cut.
    pub fn sync(&self) -> Result<(), SinkError> {
        match &self.destination {
            Destination::Stdout => Ok(()),
            Destination::Beside { results, failures, index, .. } => {
                results.sync()?;
                failures.sync()?;
                index.as_ref().map_or(Ok(()), CsvIndex::sync)
            }
        }
    }
}

type Opened = (Appended, Appended, Option<CsvIndex>, Done);

fn open_lines(paths: &OutputPaths) -> Result<Opened, SinkError> {
    let mut done = Done::default();
    // Both are looked at before either is changed.
    let results = whole_lines(&paths.results, &mut done.succeeded)?;
    let failures = whole_lines(&paths.failures, &mut done.failed)?;
    let mut results = Appended::open(&paths.results, results, &[])?;
    results.create()?;
    let failures = Appended::open(&paths.failures, failures, &[])?;
    Ok((results, failures, None, done.settle()))
}

fn whole_lines(path: &Path, indices: &mut roaring::RoaringTreemap) -> Result<u64, SinkError> {
    match open_existing(path)? {
        Some(mut file) => scan::scan(&mut file, path, indices),
        None => Ok(0),
    }
}

fn open_table(paths: &OutputPaths, table: &Table) -> Result<Opened, SinkError> {
    let lengths = Lengths { results: length(&paths.results)?, failures: length(&paths.failures)? };
    let found = csv_index::look(&paths.state.join("csv.index"), lengths)?;
    // Everything is looked at before anything is changed.
    let results = whole_rows(&paths.results, &table.results_header, &found, found.results_end)?;
    let failures = whole_rows(&paths.failures, &table.failures_header, &found, found.failures_end)?;
    let (index, done) = found.mend()?;
    let mut results = Appended::open(&paths.results, results, &table.results_header)?;
    results.create()?;
    let failures = Appended::open(&paths.failures, failures, &table.failures_header)?;
    Ok((results, failures, Some(index), done.settle()))
}

/// How much of a table is header and whole rows, of which the last ends at `end`.
fn whole_rows(
    path: &Path,
    header: &[u8],
    index: &csv_index::Found,
    end: Option<u64>,
) -> Result<u64, SinkError> {
    let Some(mut file) = open_existing(path)? else { return Ok(0) };
    let failed = |source| SinkError::Read { path: path.to_owned(), source };
    let mut start = Vec::new();
    (&mut file).take(header.len() as u64 + 1).read_to_end(&mut start).map_err(failed)?;
    if start.len() <= header.len() && header.starts_with(&start) {
        // No row can be in it: the header alone, perhaps cut short.
        return Ok(if start == header { start.len() as u64 } else { 0 });
    }
    if !index.exists {
        return Err(SinkError::NotIndexed { path: path.to_owned(), index: index.path.clone() });
    }
    if !start.starts_with(header) {
        let expected = String::from_utf8_lossy(header).trim_end().to_owned();
        return Err(SinkError::OtherColumns { path: path.to_owned(), expected });
    }
    let Some(end) = end else { return Ok(header.len() as u64) };
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
    if last == *b"\n" { Ok(end) } else { Err(SinkError::Changed { path: path.to_owned(), at: end }) }
}

/// A file that only grows.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    /// `None`: created with the first bytes, so that a run without failures leaves no empty file.
    file: Option<File>,
    length: u64,
    header: Vec<u8>,
}

impl Appended {
    /// Opens the file if it is there, and cuts it to the `whole` bytes that are good.
    fn open(path: &Path, whole: u64, header: &[u8]) -> Result<Self, SinkError> {
        let mut this = Self { path: path.to_owned(), file: None, length: whole, header: header.to_vec() };
        if open_existing(path)?.is_some() {
            let file = OpenOptions::new().append(true).open(path).map_err(|e| this.unopened(e))?;
            // Devices have no length to cut.
            if file.metadata().map_err(|e| this.unopened(e))?.len() > whole {
                file.set_len(whole).map_err(|e| this.unwritten(e))?;
            }
            this.file = Some(file);
        }
        Ok(this)
    }

    /// Creates the file if it is not there, and writes the header if it is empty.
    fn create(&mut self) -> Result<&mut File, SinkError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)
                .map_err(|error| self.unopened(error))?,
        };
        let file = self.file.insert(file);
        if self.length == 0 && !self.header.is_empty() {
            file.write_all(&self.header)
                .map_err(|source| SinkError::Write { path: self.path.clone(), source })?;
            self.length = self.header.len() as u64;
        }
        Ok(file)
    }

    /// Where the next bytes will stand.
    fn end(&self) -> u64 {
        if self.length == 0 { self.header.len() as u64 } else { self.length }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.create()?.write_all(bytes);
        written.map_err(|error| self.unwritten(error))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<(), SinkError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| self.unwritten(error))
    }

    fn unopened(&self, source: io::Error) -> SinkError {
        SinkError::Create { path: self.path.clone(), source }
    }

    fn unwritten(&self, source: io::Error) -> SinkError {
        SinkError::Write { path: self.path.clone(), source }
    }
}

fn open_existing(path: &Path) -> Result<Option<File>, SinkError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SinkError::Read { path: path.to_owned(), source }),
    }
}

fn length(path: &Path) -> Result<u64, SinkError> {
    let Some(file) = open_existing(path)? else { return Ok(0) };
    let metadata = file.metadata();
    metadata.map(|m| m.len()).map_err(|source| SinkError::Read { path: path.to_owned(), source })
}

/// Two processes that append to one output would cut each other's lines off.
fn lock(paths: &OutputPaths) -> Result<File, SinkError> {
    let path = paths.state.join("lock");
    let file = append_private(&path).map_err(|source| SinkError::Create { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SinkError::Busy { path: paths.results.clone() }),
        Err(TryLockError::Error(source)) => Err(SinkError::Create { path, source }),
    }
}

/// State may hold what rows are about: it is for the user alone.
fn create_state_folder(path: &Path) -> Result<(), SinkError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(SinkError::Create { path: path.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

/// Opens a file of the state folder for appending.
pub(super) fn append_private(path: &Path) -> io::Result<File> {
    private().append(true).open(path)
}

/// Creates a file of the state folder anew.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    private().write(true).truncate(true).open(path)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
