//! Files that only grow.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::SinkError;
use super::scan::LineStart;

/// An output file.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) path: PathBuf,
    /// `None`: created with the first bytes, so that a run without failures leaves no empty file.
    file: Option<File>,
    /// Bytes of lines, without the header.
    length: u64,
    header: Vec<u8>,
}

impl Appended {
    /// The file at `path`, if there is one; its header, or what there is of it, is looked at.
    pub(super) fn look(path: &Path, header: &[u8]) -> Result<Self, SinkError> {
        let mut this = Self { path: path.to_owned(), file: None, length: 0, header: header.to_vec() };
        let Some(mut file) = open_existing(path)? else { return Ok(this) };
        let read = |source| SinkError::Read { path: path.to_owned(), source };
        let mut start = Vec::new();
        (&mut file).take(header.len() as u64).read_to_end(&mut start).map_err(read)?;
        if !header.starts_with(&start) {
            let expected = String::from_utf8_lossy(header).trim_end().to_owned();
            return Err(SinkError::OtherColumns { path: path.to_owned(), expected });
        }
        this.length = file.metadata().map_err(read)?.len().saturating_sub(header.len() as u64);
        this.file = Some(OpenOptions::new().append(true).open(path).map_err(|e| this.unopened(e))?);
        Ok(this)
    }

    /// Bytes of lines.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// What stands before the lines.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    pub(super) fn exists(&self) -> bool {
        self.file.is_some()
    }

    /// Cuts off what stands behind so many bytes of lines.
    pub(super) fn cut(&mut self, length: u64) -> Result<(), SinkError> {
        // Devices have no length to cut.
        if let Some(file) = self.file.as_ref().filter(|_| self.length > length) {
            file.set_len(self.header.len() as u64 + length).map_err(|e| self.unwritten(e))?;
            self.length = length;
        }
        Ok(())
    }

    /// Opens what was put in the file's place.
    pub(super) fn reopen(&mut self) -> Result<(), SinkError> {
        *self = Self::look(&self.path, &self.header)?;
        Ok(())
    }

    /// The bytes of lines from `from` on.
    pub(super) fn read_from(&self, from: u64) -> Result<File, SinkError> {
        let read = |source| SinkError::Read { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(read)?;
        file.seek(SeekFrom::Start(self.header.len() as u64 + from)).map_err(read)?;
        Ok(file)
    }

    /// Creates the file if it is not there, and writes the header if that is missing or was cut short.
    pub(super) fn create(&mut self) -> Result<&mut File, SinkError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)
                .map_err(|error| self.unopened(error))?,
        };
        if self.length == 0 && !self.header.is_empty() {
            let there = file.metadata().map_err(|e| self.unwritten(e))?.len();
            let missing = self.header.get(usize::try_from(there).unwrap_or(usize::MAX)..);
            file.write_all(missing.unwrap_or_default()).map_err(|e| self.unwritten(e))?;
        }
        Ok(self.file.insert(file))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.create()?.write_all(bytes);
        if let Err(error) = written {
            // A part of it may be there: as far as that can be taken off again, it is.
            let whole = self.header.len() as u64 + self.length;
            if let Some(file) = &self.file {
                let _ = file.set_len(whole); // else the next `open` does
            }
            return Err(self.unwritten(error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SinkError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| self.unwritten(error))
    }

    /// Refuses to go on with a file that has been deleted or replaced: what is written there is lost.
    pub(super) fn is_there(&self) -> Result<(), SinkError> {
        self.file.as_ref().map_or(Ok(()), |file| is_at(file, &self.path))
    }

    /// Refuses a file in which no line ends at `end`.
    pub(super) fn has_line_end_at(&self, end: u64) -> Result<(), SinkError> {
        if end == 0 {
            return Ok(());
        }
        let mut last = [0];
        let read = |source| SinkError::Read { path: self.path.clone(), source };
        self.read_from(end - 1)?.read_exact(&mut last).map_err(read)?;
        if last == *b"\n" { Ok(()) } else { Err(SinkError::Changed { path: self.path.clone(), at: end }) }
    }

    /// Refuses a file whose first line is not of this shape: the job was run with another before.
    pub(super) fn begins_like(&self, start: LineStart) -> Result<(), SinkError> {
        if self.length == 0 {
            return Ok(());
        }
        let mut head = Vec::new();
        let read = |source| SinkError::Read { path: self.path.clone(), source };
        let prefix = start.prefix();
        self.read_from(0)?.take(prefix.len() as u64).read_to_end(&mut head).map_err(read)?;
        // Zeros are what a crashed system leaves: `scan` has the last word.
        if prefix.starts_with(&head) || head.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(SinkError::NotOurs { path: self.path.clone(), line: 1 })
        }
    }

    fn unopened(&self, source: io::Error) -> SinkError {
        SinkError::Create { path: self.path.clone(), source }
    }

    fn unwritten(&self, source: io::Error) -> SinkError {
        SinkError::Write { path: self.path.clone(), source }
    }
}

/// The number by which the file system knows the file at `path`, whatever its name.
pub(super) fn inode(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    return Some(std::os::unix::fs::MetadataExt::ino(&metadata));
    #[cfg(not(unix))]
    return metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok().map(|t| t.as_nanos() as u64);
}

/// Refuses a file that is not at `path` any more.
pub(super) fn is_at(file: &File, path: &Path) -> Result<(), SinkError> {
    let gone = || SinkError::Gone { path: path.to_owned() };
    let ours = file.metadata().map_err(|source| SinkError::Write { path: path.to_owned(), source })?;
    let there = fs::metadata(path).map_err(|_| gone())?;
    if same_file(&ours, &there) { Ok(()) } else { Err(gone()) }
}

fn same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // A device that the user named is what it is.
        one.ino() == other.ino() && one.dev() == other.dev()
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

pub(super) fn open_existing(path: &Path) -> Result<Option<File>, SinkError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SinkError::Read { path: path.to_owned(), source }),
    }
}

/// Opens a file of the state folder for appending.
pub(super) fn append_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
