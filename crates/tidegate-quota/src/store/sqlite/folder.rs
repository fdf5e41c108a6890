//! The folder that a machine's quotas are kept in.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Where quotas are kept, unless somebody says otherwise: `$TIDEGATE_STATE_DIR`, else
/// `$XDG_STATE_HOME/tidegate`, else `~/.local/state/tidegate`.
///
/// # Errors
/// If none of these is set.
pub fn state_folder(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StoreError> {
    let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = path("TIDEGATE_STATE_DIR") {
        return Ok(folder);
    }
    // The standard says that relative ones are to be ignored.
    if let Some(state) = path("XDG_STATE_HOME").filter(|state| state.is_absolute()) {
        return Ok(state.join("tidegate"));
    }
    let home = path("HOME").ok_or(StoreError::NoFolder)?;
    Ok(home.join(".local/state/tidegate"))
}

/// Makes a folder that only its owner may look into, with those above it.
pub(super) fn make(folder: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })
}

/// Refuses file systems of the network: their locks, and their memory shared between machines, are
/// not what `SQLite` needs, and time is not the same on two machines.
#[cfg(target_os = "linux")]
pub(super) fn refuse_network(folder: &Path) -> Result<(), StoreError> {
    let stat = rustix::fs::statfs(folder)
        .map_err(|error| StoreError::Folder { path: folder.to_owned(), source: error.into() })?;
    let magic = stat.f_type as u32; // some systems have it signed, and longer
    match network_kind(magic, || mounted_as(folder)) {
        Some(kind) => Err(StoreError::Network { path: folder.to_owned(), kind }),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_network(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// The numbers stand in Linux's `magic.h` and beside each file system.
#[cfg(target_os = "linux")]
fn network_kind(magic: u32, mounted_as: impl FnOnce() -> Option<String>) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x00C3_6400 => Some("Ceph"),
        0x0BD0_0BD0 => Some("Lustre"),
        0x5346_414F | 0x6B41_4653 => Some("AFS"),
        0x7375_7245 => Some("Coda"),
        0x0116_1970 => Some("GFS2"),
        0x7461_636F => Some("OCFS2"),
        0x4750_4653 => Some("GPFS"),
        0x1983_0326 => Some("BeeGFS"),
        // Anything can be behind FUSE, local disks, too: only its name tells.
        0x6573_5546 => match mounted_as()?.as_str() {
            "fuse.sshfs" => Some("sshfs"),
            "fuse.glusterfs" => Some("GlusterFS"),
            "fuse.s3fs" | "fuse.gcsfuse" | "fuse.goofys" | "fuse.rclone" | "fuse.mount-s3" => {
                Some("an object store")
            }
            "fuse.davfs" | "fuse.davfs2" => Some("WebDAV"),
            "fuse.ceph" | "fuse.ceph-fuse" => Some("Ceph"),
            _ => None,
        },
        _ => None,
    }
}

/// Whether what this folder holds is gone with the container that runs here.
pub(super) fn is_lost_with_container(folder: &Path) -> bool {
    let in_container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    in_container
        && mount_of(folder).is_some_and(|mount| mount.at == Path::new("/") && mount.kind == "overlay")
}

#[cfg(target_os = "linux")]
fn mounted_as(folder: &Path) -> Option<String> {
    mount_of(folder).map(|mount| mount.kind)
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    at: PathBuf,
    kind: String,
}

/// The mount that the folder is on; `None` where nobody says.
fn mount_of(folder: &Path) -> Option<Mount> {
    let folder = fs::canonicalize(folder).ok()?;
    innermost(&fs::read_to_string("/proc/self/mountinfo").ok()?, &folder)
}

fn innermost(mounts: &str, folder: &Path) -> Option<Mount> {
    let mounts = mounts.lines().filter_map(|line| {
        // … id parent major:minor root MOUNT-POINT options [tags] - KIND source …
        let (left, right) = line.split_once(" - ")?;
        let at = left.split(' ').nth(4)?.replace("\\040", " ");
        let kind = right.split(' ').next()?.to_owned();
        folder.starts_with(&at).then(|| Mount { at: at.into(), kind })
    });
    // The last of those that are mounted over each other is on top.
    mounts.max_by_key(|mount| mount.at.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(env: &[(&str, &str)]) -> Result<PathBuf, StoreError> {
        state_folder(|name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_folder_is_where_it_is_looked_for() {
        let all = [("TIDEGATE_STATE_DIR", "/t"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(folder(&all).unwrap(), Path::new("/t"));
        assert_eq!(folder(&all[1..]).unwrap(), Path::new("/x/tidegate"));
        assert_eq!(folder(&all[2..]).unwrap(), Path::new("/h/.local/state/tidegate"));
        assert_eq!(
            folder(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")]).unwrap(),
            Path::new("/h/.local/state/tidegate")
        );
        assert!(matches!(folder(&[("HOME", "")]), Err(StoreError::NoFolder)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn networks_are_known_by_their_numbers_and_names() {
        assert_eq!(network_kind(0x6969, || None), Some("NFS"));
        assert_eq!(network_kind(0x6573_5546, || Some("fuse.sshfs".into())), Some("sshfs"));
        assert_eq!(network_kind(0x6573_5546, || Some("fuse.ntfs-3g".into())), None);
        assert_eq!(network_kind(0xEF53, || None), None, "ext4");
        refuse_network(&std::env::temp_dir()).unwrap();
    }

    #[test]
    fn the_innermost_mount_holds_the_folder() {
        let mounts = "\
            22 1 0:50 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/l\n\
            23 22 8:1 /state /var/lib/state rw - ext4 /dev/sda1 rw\n\
            24 22 0:51 / /with\\040space rw master:2 - tmpfs tmpfs rw\n";
        let kind = |folder: &str| innermost(mounts, Path::new(folder)).unwrap();
        assert_eq!(kind("/srv/.local/state"), Mount { at: "/".into(), kind: "overlay".into() });
        assert_eq!(kind("/var/lib/state/tidegate").kind, "ext4");
        assert_eq!(kind("/var/lib/stateless").kind, "overlay");
        assert_eq!(kind("/with space/x").kind, "tmpfs");
    }
}
