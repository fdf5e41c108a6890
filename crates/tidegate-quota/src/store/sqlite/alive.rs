//! Who is alive: each member holds a lock on a file of its own, which the system lets go of when the
//! process ends, however it ends.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tidegate_core::MemberId;

use crate::store::StoreError;

/// Marks of members that are older than this and stand in no table were left by a process that ended
/// while it joined.
const JOINING: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Alive {
    folder: PathBuf,
    own: HashMap<MemberId, File>,
    /// Processes that this one starts hold the locks as well.
    pub(super) inherited: bool,
}

impl Alive {
    pub(super) fn new(folder: PathBuf) -> Result<Self, StoreError> {
        super::folder::make(&folder)?;
        Ok(Self { folder, own: HashMap::new(), inherited: false })
    }

    /// A new member, which lives as long as this.
    pub(super) fn enter(&mut self) -> Result<MemberId, StoreError> {
        for _ in 0..8 {
            // Never 0, and small enough for any database's and language's integers.
            let id = MemberId(fastrand::u64(1..1 << 53));
            let path = self.path(id);
            let failed = |source| StoreError::Folder { path: path.clone(), source };
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(error)),
            };
            file.lock().map_err(failed)?;
            #[cfg(unix)]
            if self.inherited {
                rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())
                    .map_err(|errno| failed(errno.into()))?;
            }
            // Nobody may have tidied it away in between.
            if is_still_there(&file, &path) {
                self.own.insert(id, file);
                return Ok(id);
            }
        }
        let source = io::Error::other("the marks of members vanish as they are made");
        Err(StoreError::Folder { path: self.folder.clone(), source })
    }

    /// Whether the member's process has ended. Of one without a mark nobody knows.
    pub(super) fn is_dead(&self, id: MemberId) -> bool {
        if self.own.contains_key(&id) {
            return false;
        }
        let Ok(file) = File::open(self.path(id)) else { return false };
        match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        }
    }

    pub(super) fn bury(&mut self, id: MemberId) {
        self.own.remove(&id);
        let _ = fs::remove_file(self.path(id)); // else it stays, and is tidied up some day
    }

    /// Removes marks that belong to nobody.
    pub(super) fn tidy(&self, known: impl Fn(MemberId) -> bool) {
        let Ok(marks) = fs::read_dir(&self.folder) else { return };
        for mark in marks.flatten() {
            let id = mark.file_name().to_str().and_then(|name| name.parse().ok()).map(MemberId);
            let age = mark.metadata().and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
            if let Some(id) = id
                && age.is_some_and(|age| age > JOINING)
                && !known(id)
                && self.is_dead(id)
            {
                let _ = fs::remove_file(mark.path());
            }
        }
    }

    fn path(&self, id: MemberId) -> PathBuf {
        self.folder.join(id.0.to_string())
    }
}

#[cfg(unix)]
fn is_still_there(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (ours, there) = (file.metadata(), fs::metadata(path));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours.ino() == there.ino() && ours.dev() == there.dev())
}

#[cfg(not(unix))]
fn is_still_there(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_dead_when_its_process_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Alive::new(folder.path().join("members")).unwrap();
        let mut other = Alive::new(folder.path().join("members")).unwrap();
        let id = one.enter().unwrap();
        assert!(!one.is_dead(id) && !other.is_dead(id));
        drop(one);
        assert!(other.is_dead(id));
        other.tidy(|_| false);
        assert!(other.path(id).exists(), "it may be joining just now");
        other.bury(id);
        assert!(!other.is_dead(id) && !other.path(id).exists());
    }
}
