//! Which logs belong to what was named.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::error::VerifyError;
use crate::log::{Control, Event, FILE, Reader, RunRecord};
use crate::sink::{OutputPaths, PartLogs};

/// A log that is to be read.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// What stands in its first bytes stands in another log as well.
    pub(super) told: u64,
}

impl Log {
    /// The run that it begins with.
    pub(super) fn first_run(&self) -> Result<Option<RunRecord>, VerifyError> {
        let path = &self.path;
        let mut reader = Reader::open(path)?.ok_or_else(|| VerifyError::NoLog { path: path.clone() })?;
        Ok(match reader.next_event()? {
            Some(Event::Control(Control::Run(run))) => Some(*run),
            _ => None,
        })
    }
}

/// The logs of what was named; with those of the parts that an output was put together from.
pub(super) fn of(paths: &[PathBuf]) -> Result<Vec<Log>, VerifyError> {
    let mut logs = Vec::with_capacity(paths.len());
    for path in paths {
        let log = log_of(path);
        if let Some(PartLogs(parts)) = log.parent().and_then(PartLogs::read) {
            let gone = parts.iter().filter(|part| !part.log.is_file()).count();
            if gone > 0 {
                return Err(VerifyError::PartsGone { path: path.clone(), gone, parts: parts.len() });
            }
            for part in parts {
                // Whoever has lost a part may have gone on for a while, behind what was taken over of it.
                for earlier in part.earlier {
                    let told = common(&earlier, &part.log).unwrap_or(0);
                    let length = earlier.metadata().map_or(0, |found| found.len());
                    if told < length && Reader::open(&earlier)?.is_some() {
                        logs.push(Log { path: earlier, told });
                    }
                }
                logs.push(Log { path: part.log, told: 0 });
            }
        }
        logs.push(Log { path: log, told: 0 });
    }
    Ok(logs)
}

/// Where the log that belongs to `path` is.
fn log_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.join(FILE);
    }
    match OutputPaths::around(path) {
        Some(paths) => paths.state.join(FILE),
        None if path.is_file() => path.to_owned(),
        None => OutputPaths::for_output(path).state.join(FILE),
    }
}

/// Bytes that two files begin with alike.
fn common(one: &Path, other: &Path) -> std::io::Result<u64> {
    let (mut one, mut other) = (BufReader::new(File::open(one)?), BufReader::new(File::open(other)?));
    let mut length = 0;
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let most = a.len().min(b.len());
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        length += same as u64;
        if same < most || most == 0 {
            return Ok(length);
        }
        one.consume(most);
        other.consume(most);
    }
}
