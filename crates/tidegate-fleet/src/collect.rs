//! A job's parts, put together.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate::log::OutputFile;
use tidegate::sink::{OutputPaths, Part, PartLog, PartLogs, Whole};
use tidegate::source::hash_of_range;

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::job::{FleetJob, Shard};
use crate::parts::{Kept, Parts, Rebought};

const COLLECTED: &str = "collected.json";
const LOCK: &str = "collect.lock";

/// What was put together.
#[derive(Debug)]
pub struct Collected {
    /// The job.
    pub job: FleetJob,
    /// Results, failures, rows of unknown outcome.
    pub lines: [u64; 3],
    /// What workers have left that died.
    pub rebought: Rebought,
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

/// Puts the parts of the job with this output together, in the order of its shards. Beside it stands what stands beside that of any
/// run, so that it can be retried and verified.
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
    let files = OutputFile::ALL.iter().map(|file| paths.of(*file));
    let mut foreign =
        files.filter(|path| path.exists() && !seen(path).is_some_and(|seen| made.contains(&seen)));
    let state = Some(&*paths.state).filter(|state| state.exists() && PartLogs::read(state).is_none());
    if let Some(path) = foreign.next().or(state) {
        return Err(FleetError::Foreign { path: path.to_owned() });
    }
    let opened = open(&parts, &shards, &done)?;
    let rebought = opened.iter().map(|part| Parts::rebought(&part.folder)).sum();
    let new = New::of(&parts);
    let lines = write(&job, &shards, &parts, &opened, &new)?;
    // Known before they are in place, or a kill in between would make them somebody else's.
    let known: Vec<Made> = made.into_iter().chain(new.files.iter().filter_map(|path| seen(path))).collect();
    let mut note = Note { made: known, lines: None };
    note.write(&parts)?;
    let old = parts.folder().join("old.tidegate");
    let _ = fs::remove_dir_all(&old); // usually there is none
    if paths.state.exists() {
        fs::rename(&paths.state, &old).map_err(FleetError::file(&paths.state))?;
    }
    for (file, new) in OutputFile::ALL.into_iter().zip(&new.files) {
        let path = paths.of(file);
        if file != OutputFile::Results && lines[file.index()] == 0 {
            let _ = fs::remove_file(new);
            let _ = fs::remove_file(path); // one of an earlier time, or none
        } else {
            fs::rename(new, path).map_err(FleetError::file(path))?;
        }
    }
    if !opened.is_empty() {
        fs::rename(&new.state, &paths.state).map_err(FleetError::file(&paths.state))?;
    }
    note.lines = Some(lines);
    note.write(&parts)?;
    drop(lock);
    Ok(Collected { job, lines, rebought })
}

/// A shard's part that counts.
struct Accepted {
    shard: u64,
    folder: PathBuf,
    part: Part,
    counts: [u64; 3],
}

fn open(parts: &Parts, shards: &[Shard], done: &HashMap<u64, u64>) -> Result<Vec<Accepted>, FleetError> {
    let open = |shard: &Shard| {
        let epoch = done.get(&shard.number).copied().unwrap_or(0);
        let folder = parts.complete(shard.number, epoch);
        let broken = || FleetError::BrokenPart { shard: shard.number, path: folder.clone() };
        let part = Part::open(&parts.output_in(&folder)).map_err(|_| broken())?;
        let counts = part.counts();
        let counts = [counts.ok, counts.failed, counts.unknown];
        if counts.iter().sum::<u64>() != shard.cut.rows {
            return Err(broken());
        }
        Ok(Accepted { shard: shard.number, folder, part, counts })
    };
    shards.iter().map(open).collect()
}

/// Where all is written before it is put in its place.
struct New {
    files: [PathBuf; 3],
    state: PathBuf,
}

impl New {
    fn of(parts: &Parts) -> Self {
        let files = OutputFile::ALL.map(|file| parts.folder().join(format!("collected.{}", file as u8)));
        Self { files, state: parts.folder().join("collected.tidegate") }
    }
}

fn write(
    job: &FleetJob,
    shards: &[Shard],
    parts: &Parts,
    opened: &[Accepted],
    new: &New,
) -> Result<[u64; 3], FleetError> {
    let _ = fs::remove_dir_all(&new.state); // of one that was killed
    let mut lines = [0; 3];
    let logs = logs(parts, opened)?;
    let whole = opened.first().map(|first| Whole::begin(&new.state, &first.part, job.file(), &logs));
    let Some(mut whole) = whole.transpose()? else {
        let create = |path: &PathBuf| File::create(path).map(drop).map_err(FleetError::file(path));
        return new.files.iter().try_for_each(create).map(|()| lines);
    };
    for (file, new) in OutputFile::ALL.into_iter().zip(&new.files) {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(new).map_err(FleetError::file(new))?);
        let mut first = true;
        for Accepted { part, counts, .. } in opened {
            if counts[file.index()] > 0 || (first && file == OutputFile::Results) {
                lines[file.index()] += part.copy(file, job.in_order, first, (&mut out, &mut whole))?;
                first = false;
            }
        }
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(FleetError::file(new))?;
    }
    for Accepted { part, .. } in opened {
        whole.add_costs(part);
    }
    let is_same = |shard: &Shard| {
        hash_of_range(job.input(), shard.cut.range).is_ok_and(|hash| hash == shard.cut.sha256)
    };
    let length = fs::metadata(job.input()).map_or(0, |found| found.len());
    let same = job.check_length(length).is_ok() && shards.iter().all(is_same);
    whole.finish(&job.job()?.input, same, job.rows)?;
    Ok(lines)
}

/// The logs that say what was sent: of the parts that count, and of those before them.
fn logs(parts: &Parts, opened: &[Accepted]) -> Result<PartLogs, FleetError> {
    let mut found = parts.epochs()?;
    let of =
        |folder: &Path| OutputPaths::for_output(&parts.output_in(folder)).state.join(tidegate::log::FILE);
    let logs = opened.iter().map(|Accepted { shard, folder, .. }| {
        let folders = found.remove(shard).unwrap_or_default().folders;
        let earlier = folders.iter().filter(|other| *other != folder).map(|other| of(other));
        PartLog { log: of(folder), earlier: earlier.filter(|log| log.is_file()).collect() }
    });
    Ok(PartLogs(logs.collect()))
}

/// Results, failures and rows of unknown outcome of an output that was put together, and perhaps retried since.
pub(crate) fn collected(output: &Path) -> Option<[u64; 3]> {
    let parts = Parts::of(output);
    // Nobody deletes parts that are still to be put together.
    let is_over = !parts.folder().exists() || Note::read(&parts).lines.is_some();
    if !is_over || !output.exists() {
        return None;
    }
    // Of no rows there is no log.
    if Note::read(&parts).lines == Some([0; 3]) {
        return Some([0; 3]);
    }
    PartLogs::read(&OutputPaths::for_output(output).state)?;
    let counts = Part::open(output).ok()?.counts();
    Some([counts.ok, counts.failed, counts.unknown])
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
