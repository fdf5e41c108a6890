//! A job's parts, put together.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidegate::log::OutputFile;
use tidegate::sink::{OutputPaths, Part};

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::job::FleetJob;
use crate::parts::{Kept, Parts};

const COLLECTED: &str = "collected.json";
const LOCK: &str = "collect.lock";

/// What was put together.
#[derive(Debug)]
pub struct Collected {
    /// The job.
    pub job: FleetJob,
    /// Results, failures, rows of unknown outcome.
    pub lines: [u64; 3],
    /// Calls that were in flight when workers died: sent again, or held, by the job's policy.
    pub left_open: u64,
}

/// What the folder says of how it was put together.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    made: Vec<Made>,
    /// Lines of each file, once all are in their places.
    #[serde(default)]
    lines: Option<[u64; 3]>,
}

/// By these a file is known again: it was written here, and by nobody since.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    inode: u64,
    length: u64,
    changed_ns: i128,
}

/// Puts the parts of the job with this output together, in the order of its shards.
///
/// # Errors
/// If shards are missing, or an output is there that was not made so.
pub fn collect(fleet: &mut Fleet, output: &Path) -> Result<Collected, FleetError> {
    let parts = Parts::of(output);
    let Kept { job, shards } = parts.kept()?;
    // Whoever waited for the last shard comes to collect: one after the other.
    let lock = parts.folder().join(LOCK);
    let lock =
        File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(FleetError::file(&lock))?;
    if fleet.field(&job.id, "state")?.is_none() {
        return Err(FleetError::Unknown { id: job.id });
    }
    // Of all parts of a shard the one that was accepted, so that no row is there twice.
    let done = fleet.done(&job.id)?;
    let left = shards.iter().filter(|shard| !done.contains_key(&shard.number)).count();
    if left > 0 {
        return Err(FleetError::NotDone { id: job.id, left, shards: shards.len() });
    }
    let paths = OutputPaths::for_output(output);
    let made = Note::read(&parts).made;
    for file in OutputFile::ALL {
        let path = paths.of(file);
        if path.exists() && !made.iter().any(|made| seen(path).as_ref() == Some(made)) {
            return Err(FleetError::Foreign { path: path.to_owned() });
        }
    }
    let mut lines = [0; 3];
    let mut left_open = 0;
    let mut opened = Vec::new();
    for shard in &shards {
        let epoch = done.get(&shard.number).copied().unwrap_or(0);
        let folder = parts.complete(shard.number, epoch);
        let broken = || FleetError::BrokenPart { shard: shard.number, path: folder.clone() };
        let part = Part::open(&parts.output_in(&folder)).map_err(|_| broken())?;
        let counts = part.counts();
        if counts.ok + counts.failed + counts.unknown != shard.cut.rows {
            return Err(broken());
        }
        left_open += Parts::left_open(&folder);
        opened.push((part, counts));
    }
    let new = OutputFile::ALL.map(|file| parts.folder().join(format!("collected.{}", file as u8)));
    for (file, new) in OutputFile::ALL.into_iter().zip(&new) {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(new).map_err(FleetError::file(new))?);
        let mut first = true;
        for (part, counts) in &opened {
            let some = [counts.ok, counts.failed, counts.unknown][file.index()] > 0;
            if some || (first && file == OutputFile::Results) {
                lines[file.index()] += part.copy(file, job.in_order, first, &mut out)?;
                first = false;
            }
        }
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(FleetError::file(new))?;
    }
    // Known before they are in place, or a kill in between would make them somebody else's.
    let known: Vec<Made> = made.into_iter().chain(new.iter().filter_map(|path| seen(path))).collect();
    let mut note = Note { made: known, lines: None };
    note.write(&parts)?;
    for (file, new) in OutputFile::ALL.into_iter().zip(&new) {
        let path = paths.of(file);
        if file != OutputFile::Results && lines[file.index()] == 0 {
            let _ = fs::remove_file(new);
            let _ = fs::remove_file(path); // one of an earlier time, or none
        } else {
            fs::rename(new, path).map_err(FleetError::file(path))?;
        }
    }
    note.lines = Some(lines);
    note.write(&parts)?;
    drop(lock);
    Ok(Collected { job, lines, left_open })
}

/// Results, failures and rows of unknown outcome of an output that was put together and is still as it was then.
pub(crate) fn collected(output: &Path) -> Option<[u64; 3]> {
    let Note { made, lines } = Note::read(&Parts::of(output));
    lines.filter(|_| seen(output).is_some_and(|seen| made.contains(&seen)))
}

impl Note {
    fn read(parts: &Parts) -> Self {
        let text = fs::read_to_string(parts.folder().join(COLLECTED)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Whoever reads it finds all of it, or that of before.
    fn write(&self, parts: &Parts) -> Result<(), FleetError> {
        let (path, new) = (parts.folder().join(COLLECTED), parts.folder().join("collected.new"));
        let text = serde_json::to_string(self).unwrap_or_default();
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(FleetError::file(&path))
    }
}

fn seen(path: &Path) -> Option<Made> {
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let changed_ns = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Some(Made { inode: found.ino(), length: found.len(), changed_ns })
}
