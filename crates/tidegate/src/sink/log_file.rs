//! The log, open for appending. Two threads do: one before calls are sent, one after lines are written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::SinkError;
use super::appended::{append_private, is_at};
use crate::log::MAGIC;

/// A log that may be appended to. Clones are the same log.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: File,
    length: u64,
    /// A write failed, and what it left could not be taken off again: nothing may follow.
    broken: bool,
}

impl LogFile {
    /// Opens the log at `path`, of which `length` bytes are good; the rest is cut off.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self, SinkError> {
        let create = |source| SinkError::Create { path: path.to_owned(), source };
        let write = |source| SinkError::Write { path: path.to_owned(), source };
        let mut file = append_private(path).map_err(create)?;
        if file.metadata().map_err(create)?.len() > length {
            file.set_len(length).map_err(write)?;
        }
        let mut length = length;
        if length == 0 {
            file.write_all(MAGIC).map_err(write)?;
            length = MAGIC.len() as u64;
        }
        let shared = Shared { path: path.to_owned(), file, length, broken: false };
        Ok(Self { shared: Arc::new(Mutex::new(shared)) })
    }

    /// Appends whole blocks. They survive the end of the process from here on.
    pub(crate) fn append(&self, blocks: &[u8]) -> Result<(), SinkError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.broken {
            return Err(SinkError::Closed);
        }
        if let Err(source) = shared.file.write_all(blocks) {
            // A part of a block may stand there; what the other thread appended behind it would be lost.
            shared.broken = shared.file.set_len(shared.length).is_err();
            return Err(SinkError::Write { path: shared.path.clone(), source });
        }
        shared.length += blocks.len() as u64;
        Ok(())
    }

    /// Refuses to go on with a log that has been deleted or replaced: what is written there is lost.
    pub(super) fn is_there(&self) -> Result<(), SinkError> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        is_at(&shared.file, &shared.path)
    }

    /// A handle of its own, to sync without keeping others from appending.
    pub(super) fn handle(&self) -> Result<(PathBuf, File), SinkError> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let file = shared.file.try_clone();
        let path = shared.path.clone();
        file.map(|file| (path.clone(), file)).map_err(|source| SinkError::Write { path, source })
    }
}
