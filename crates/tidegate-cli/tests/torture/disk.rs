//! A small disk over a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Folder;

/// Mounted in memory; goes with its test. Declared after its folder, so that it goes first.
pub(crate) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// With room for so many KiB, in the place of `folder`.
    pub(crate) fn over(folder: &Path, kib: u64) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let disk = Self { at: folder.to_owned() };
        let size = format!("size={kib}k");
        disk.mount(&["-t", "tmpfs", "-o", &size, "tidegate-test"]);
        disk
    }

    pub(crate) fn resize(&self, kib: u64) {
        self.mount(&["-o", &format!("remount,size={kib}k")]);
    }

    pub(crate) fn make_read_only(&self, is_read_only: bool) {
        self.mount(&["-o", if is_read_only { "remount,ro" } else { "remount,rw" }]);
    }

    /// Leaves no room for anything.
    pub(crate) fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.at.join("filler")).unwrap();
        let block = [7; 4096];
        while file.write_all(&block).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.at.join("filler")).unwrap();
    }

    /// Not to be skipped: without a full disk nobody knows.
    fn mount(&self, args: &[&str]) {
        let mount = Command::new("mount").args(args).arg(&self.at).output().unwrap();
        assert!(
            mount.status.success(),
            "this test needs to mount a small disk ({}): run it as root, or under `unshare --map-root-user --mount`",
            String::from_utf8_lossy(&mount.stderr).trim()
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A folder that is a disk of its own, of so many KiB.
pub(crate) fn small(kib: u64) -> (Folder, Disk) {
    let folder = Folder::new();
    let disk = Disk::over(&folder.path(""), kib);
    (folder, disk)
}
