//! The folder of a job's parts, on which all its workers write.
//!
//! ```text
//! out.parts/job.json        the job and its shards: what the server's data can be made from again
//! out.parts/00017.e3/       shard 17 as whoever had it under epoch 3 writes it: an ordinary output with its log
//! out.parts/00017.e3.done/  the same, complete
//! ```
//!
//! An epoch's folder is made by who has that epoch, and by nobody twice; whoever finds it there takes a higher epoch. So no two
//! write in the same place, whatever the server has forgotten. `begun` is written into it when it has all that was taken over
//! from an earlier epoch, before any call is made: a folder without it has nothing that another one has not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::iter::Sum;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate::sink::OutputPaths;

use crate::error::FleetError;
use crate::job::{FleetJob, Shard, parts_of};

const JOB: &str = "job.json";
const BEGUN: &str = "begun";
/// What nobody takes over: who writes there, and room that is his.
const NOT_COPIED: [&str; 2] = ["lock", "reserve"];

/// The folder of a job's parts.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
    /// The name of the output, and of each part's.
    name: PathBuf,
}

/// A job with its shards, as its folder keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) job: FleetJob,
    pub(crate) shards: Vec<Shard>,
}

/// A place for a shard under an epoch.
#[derive(Debug)]
pub(crate) enum Place {
    /// The part of this epoch is complete: nothing is left to do.
    Complete(u64),
    /// Somebody else has used this epoch.
    Used,
    /// An empty folder.
    Own(PathBuf),
}

/// What was taken over from an earlier epoch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakenOver {
    /// The epoch.
    pub(crate) from: Option<u64>,
    /// Up to that epoch.
    pub(crate) rebought: Rebought,
}

/// What workers have left that died: perhaps bought again.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rebought {
    /// Calls in flight: sent again, or held, by the job's policy.
    pub in_flight: u64,
    /// Rows of shards whose log could not be read: at most these calls were made again.
    pub unread: u64,
}

/// Epochs of a shard.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    pub(crate) greatest: u64,
    /// The least that is complete.
    pub(crate) complete: Option<u64>,
    pub(crate) folders: Vec<PathBuf>,
}

impl Parts {
    /// The parts of the output at this path.
    pub fn of(output: &Path) -> Self {
        let name = output.file_name().map(PathBuf::from).unwrap_or_default();
        Self { folder: parts_of(output), name }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, for a job that has none. It is there with all that is in it, or not at all.
    pub(crate) fn create(&self, kept: &Kept) -> Result<(), FleetError> {
        let new = self.folder.with_extension(format!("parts.{}", kept.job.id));
        fs::create_dir(&new).map_err(FleetError::file(&new))?;
        fs::write(new.join(JOB), text(kept)).map_err(FleetError::file(&new))?;
        fs::rename(&new, &self.folder).map_err(|error| {
            let _ = fs::remove_dir_all(&new);
            let there = [io::ErrorKind::AlreadyExists, io::ErrorKind::DirectoryNotEmpty];
            if there.contains(&error.kind()) {
                self.submitted()
            } else {
                FleetError::file(&self.folder)(error)
            }
        })
    }

    /// That there is a job already.
    pub(crate) fn submitted(&self) -> FleetError {
        let id = self.kept().map_or_else(|_| "?".to_owned(), |kept| kept.job.id);
        FleetError::Submitted { path: self.folder.clone(), id }
    }

    /// Writes the job anew.
    pub(crate) fn keep(&self, kept: &Kept) -> Result<(), FleetError> {
        let (path, new) = (self.folder.join(JOB), self.folder.join("job.new"));
        fs::write(&new, text(kept)).and_then(|()| fs::rename(&new, &path)).map_err(FleetError::file(&path))
    }

    /// The job that they are of.
    pub(crate) fn kept(&self) -> Result<Kept, FleetError> {
        let path = self.folder.join(JOB);
        let text = fs::read_to_string(&path).map_err(FleetError::file(&path))?;
        let kept: Kept = serde_json::from_str(&text)
            .map_err(|error| FleetError::file(&path)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(Kept { job: kept.job.whole(), ..kept })
    }

    /// The output within a part.
    pub(crate) fn output_in(&self, folder: &Path) -> PathBuf {
        folder.join(&self.name)
    }

    fn begun(&self, shard: u64, epoch: u64) -> PathBuf {
        self.folder.join(format!("{shard:05}.e{epoch}"))
    }

    pub(crate) fn complete(&self, shard: u64, epoch: u64) -> PathBuf {
        self.folder.join(format!("{shard:05}.e{epoch}.done"))
    }

    /// A folder for a shard under this epoch.
    pub(crate) fn place(&self, shard: u64, epoch: u64) -> Result<Place, FleetError> {
        if let Some(complete) = (1..=epoch).find(|epoch| is_folder(&self.complete(shard, *epoch))) {
            return Ok(Place::Complete(complete));
        }
        let own = self.begun(shard, epoch);
        match fs::create_dir(&own) {
            Ok(()) => Ok(Place::Own(own)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Place::Used),
            Err(error) => Err(FleetError::file(&own)(error)),
        }
    }

    /// Copies what the highest epoch below has written into the folder of this one. Whoever still writes there goes on in his
    /// own. If it cannot be read, so many rows as are given may be sent again.
    ///
    /// # Errors
    /// If it cannot be read, and no row may be sent twice.
    pub(crate) fn take_over(
        &self,
        shard: u64,
        epoch: u64,
        resends: Option<u64>,
    ) -> Result<TakenOver, FleetError> {
        let own = self.begun(shard, epoch);
        let mut unread = 0;
        for from in (1..epoch).rev() {
            let old = self.begun(shard, from);
            if !is_folder(&old) {
                continue;
            }
            let before = match fs::read_to_string(old.join(BEGUN)) {
                // No call was made there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.and_then(|text| self.copy(&old, &own).map(|()| text)),
            };
            match (before, resends) {
                (Ok(text), _) => {
                    let mut rebought = Rebought::read(&text);
                    rebought.unread += unread;
                    return Ok(TakenOver { from: Some(from), rebought });
                }
                (Err(_), Some(rows)) => unread += rows,
                (Err(error), None) => return Err(FleetError::file(&old)(error)),
            }
            // All of it or nothing.
            let _ = fs::remove_dir_all(&own).and_then(|()| fs::create_dir(&own));
        }
        Ok(TakenOver { from: None, rebought: Rebought { in_flight: 0, unread } })
    }

    /// The log first: what is written meanwhile is then in the outputs and not in the log, as after a kill; the other way round
    /// lines would be missing that the log tells of.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) =
            (OutputPaths::for_output(&self.output_in(from)), OutputPaths::for_output(&self.output_in(to)));
        if !is_folder(&from.state) {
            return Ok(()); // nothing was written yet
        }
        let mut private = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
        private.create(&to.state)?;
        for entry in fs::read_dir(&from.state)? {
            let entry = entry?;
            let is_own = NOT_COPIED.iter().any(|name| entry.file_name() == *name);
            // No link is followed: it may lead anywhere.
            if entry.file_type()?.is_file() && !is_own && entry.path().extension().is_none_or(|e| e != "new")
            {
                fs::copy(entry.path(), to.state.join(entry.file_name()))?;
            }
        }
        for (from, to) in
            [(&from.results, &to.results), (&from.failures, &to.failures), (&from.unknown, &to.unknown)]
        {
            match fs::symlink_metadata(from) {
                Ok(found) if found.is_file() => drop(fs::copy(from, to)?),
                Ok(_) => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All that was taken over is there; from now on calls may be made.
    pub(crate) fn begin(folder: &Path, Rebought { in_flight, unread }: Rebought) -> Result<(), FleetError> {
        let path = folder.join(BEGUN);
        fs::write(&path, format!("{in_flight} {unread}")).map_err(FleetError::file(&path))
    }

    /// What workers of this part have left that died.
    pub(crate) fn rebought(folder: &Path) -> Rebought {
        fs::read_to_string(folder.join(BEGUN))
            .map_or_else(|_| Rebought::default(), |text| Rebought::read(&text))
    }

    /// The part has all rows of its shard.
    pub(crate) fn finish(&self, shard: u64, epoch: u64) -> Result<(), FleetError> {
        let (from, to) = (self.begun(shard, epoch), self.complete(shard, epoch));
        fs::rename(&from, &to).map_err(FleetError::file(&from))?;
        // Some file systems cannot sync a folder: there the old name may be back after a power cut.
        let _ = fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// What there is of each shard.
    pub(crate) fn epochs(&self) -> Result<BTreeMap<u64, Epochs>, FleetError> {
        let mut found: BTreeMap<u64, Epochs> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder).map_err(FleetError::file(&self.folder))? {
            let entry = entry.map_err(FleetError::file(&self.folder))?;
            let name = entry.file_name();
            let Some((shard, epoch, complete)) = name.to_str().and_then(read_name) else { continue };
            let epochs = found.entry(shard).or_default();
            epochs.folders.push(entry.path());
            epochs.greatest = epochs.greatest.max(epoch);
            if complete {
                epochs.complete = Some(epochs.complete.map_or(epoch, |least| least.min(epoch)));
            }
        }
        Ok(found)
    }
}

impl Rebought {
    fn read(text: &str) -> Self {
        let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
        Self { in_flight: numbers.next().unwrap_or(0), unread: numbers.next().unwrap_or(0) }
    }
}

impl Sum for Rebought {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, more| Self {
            in_flight: sum.in_flight + more.in_flight,
            unread: sum.unread + more.unread,
        })
    }
}

fn text(kept: &Kept) -> String {
    serde_json::to_string(kept).unwrap_or_default()
}

/// A folder, and no link to one: that may lead anywhere.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Shard, epoch, and whether it is complete.
fn read_name(name: &str) -> Option<(u64, u64, bool)> {
    let (shard, rest) = name.split_once(".e")?;
    let (epoch, complete) = match rest.strip_suffix(".done") {
        Some(epoch) => (epoch, true),
        None => (rest, false),
    };
    Some((shard.parse().ok()?, epoch.parse().ok()?, complete))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(folder: &Path) -> Parts {
        fs::create_dir(folder.join("out.parts")).unwrap();
        Parts::of(&folder.join("out.jsonl"))
    }

    fn write(folder: &Path, line: &str) {
        fs::create_dir_all(folder.join("out.tidegate")).unwrap();
        for name in ["out.jsonl", "out.tidegate/log", "out.tidegate/lock", "out.tidegate/reserve"] {
            fs::write(folder.join(name), line).unwrap();
        }
    }

    #[test]
    fn an_epoch_is_used_once_and_begins_with_what_the_highest_begun_one_has() {
        let folder = tempfile::tempdir().unwrap();
        let parts = parts(folder.path());
        let Place::Own(first) = parts.place(17, 1).unwrap() else { panic!("it was used") };
        Parts::begin(&first, Rebought::default()).unwrap();
        write(&first, "a");
        assert!(matches!(parts.place(17, 1).unwrap(), Place::Used));
        // Died while it took over: what it has is worth nothing.
        let Place::Own(second) = parts.place(17, 2).unwrap() else { panic!("it was used") };
        write(&second, "torn");
        let Place::Own(third) = parts.place(17, 3).unwrap() else { panic!("it was used") };
        assert_eq!(
            parts.take_over(17, 3, None).unwrap(),
            TakenOver { from: Some(1), ..TakenOver::default() }
        );
        assert_eq!(fs::read_to_string(third.join("out.tidegate/log")).unwrap(), "a");
        assert!(!third.join("out.tidegate/lock").exists() && !third.join("out.tidegate/reserve").exists());
        let left = Rebought { in_flight: 3, unread: 70 };
        Parts::begin(&third, left).unwrap();
        parts.finish(17, 3).unwrap();
        assert_eq!(Parts::rebought(&parts.complete(17, 3)), left);
        assert!(matches!(parts.place(17, 9).unwrap(), Place::Complete(3)));
        let epochs = &parts.epochs().unwrap()[&17];
        assert_eq!((epochs.greatest, epochs.complete), (3, Some(3)));
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let parts = parts(folder.path());
        let Place::Own(first) = parts.place(0, 1).unwrap() else { panic!("it was used") };
        Parts::begin(&first, Rebought::default()).unwrap();
        write(&first, "a");
        fs::write(folder.path().join("secret"), "s").unwrap();
        fs::remove_file(first.join("out.jsonl")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), first.join("out.jsonl")).unwrap();
        let Place::Own(second) = parts.place(0, 2).unwrap() else { panic!("it was used") };
        let unread = |unread| TakenOver { from: None, rebought: Rebought { in_flight: 0, unread } };
        assert_eq!(parts.take_over(0, 2, Some(70)).unwrap(), unread(70));
        assert!(parts.take_over(0, 2, None).is_err(), "it may have sent anything");
        assert!(!second.join("out.jsonl").exists());
        let away = folder.path().join("away");
        fs::rename(&second, &away).unwrap();
        Parts::begin(&away, Rebought::default()).unwrap();
        std::os::unix::fs::symlink(&away, &second).unwrap();
        let Place::Own(_) = parts.place(0, 3).unwrap() else { panic!("it was used") };
        assert_eq!(parts.take_over(0, 3, Some(70)).unwrap(), unread(70));
    }
}
