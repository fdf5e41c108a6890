//! What is true of an output whatever has happened to its job, and what its log says of kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tidegate::log::{Control, Event, Outcome, Reader};

use crate::support::Folder;

/// From `TIDEGATE_TEST_SEED`, else from the clock; tests print what they use.
#[expect(clippy::disallowed_methods, reason = "so that each run of the tests is another one")]
pub(crate) fn seed() -> u64 {
    match std::env::var("TIDEGATE_TEST_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("TIDEGATE_TEST_SEED={text}: {e}")),
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() * 1_000,
    }
}

#[expect(clippy::disallowed_methods, reason = "other processes are waited for, or given time")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until something is so that other processes bring about.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if is_so() {
            return;
        }
        pause(Duration::from_millis(5));
    }
    panic!("it never came that {what}");
}

/// What a log says of the runs of its job.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) runs: u64,
    /// Calls that left, or may have.
    pub(crate) sends: u64,
    /// Calls that were in flight when a run was killed.
    pub(crate) lost: u64,
}

/// Reads the log of `OUT.tidegate`.
pub(crate) fn log(state: &Path) -> Told {
    let mut told = Told::default();
    let Some(mut reader) = Reader::open(&state.join("log")).unwrap() else { return told };
    while let Some(event) = reader.next_event().unwrap() {
        match event {
            Event::Control(Control::Run(_)) => told.runs += 1,
            Event::Send(_) => told.sends += 1,
            Event::End(_, end) if end.outcome == Outcome::NotSent => told.sends -= 1,
            Event::Lost(_) => told.lost += 1,
            _ => {}
        }
    }
    told
}

/// The endings of a job's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endings {
    pub(crate) results: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
}

impl Endings {
    pub(crate) fn all(self) -> u64 {
        self.results + self.failed + self.unknown
    }
}

/// An output: `out.jsonl`, or `out.csv` whose first column is the row's name (`u7`).
pub(crate) struct Out<'f> {
    pub(crate) folder: &'f Folder,
    pub(crate) is_csv: bool,
}

impl<'f> Out<'f> {
    pub(crate) fn jsonl(folder: &'f Folder) -> Self {
        Self { folder, is_csv: false }
    }

    pub(crate) fn name(&self) -> &'static str {
        if self.is_csv { "out.csv" } else { "out.jsonl" }
    }

    pub(crate) fn files(&self) -> [&'static str; 3] {
        if self.is_csv {
            ["out.csv", "out.failed.csv", "out.unknown.csv"]
        } else {
            ["out.jsonl", "out.failed.jsonl", "out.unknown.jsonl"]
        }
    }

    /// The rows of a file, in its order. An answer that stands with another row is an error.
    pub(crate) fn rows(&self, file: &str) -> Vec<u64> {
        if !self.folder.exists(file) {
            return Vec::new();
        }
        if !self.is_csv {
            return self.folder.lines(file).iter().map(row_of_line).collect();
        }
        let text = self.folder.read(file);
        assert!(text.is_empty() || text.ends_with('\n'), "{file} ends in a torn line: {text}");
        text.lines().skip(1).map(row_of_record).collect()
    }

    /// How often each row stands in a file.
    pub(crate) fn counts(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for row in self.files().iter().flat_map(|file| self.rows(file)) {
            *counts.entry(row).or_default() += 1;
        }
        counts
    }

    pub(crate) fn endings(&self) -> Endings {
        let [results, failed, unknown] = self.files().map(|file| self.rows(file).len() as u64);
        Endings { results, failed, unknown }
    }

    /// Each of so many rows has one ending, the summary says the same, and `verify` accepts the run.
    #[track_caller]
    pub(crate) fn check_whole(&self, rows: u64) -> Endings {
        self.check_whole_after(rows, "")
    }

    /// The same; `what` has happened.
    #[track_caller]
    pub(crate) fn check_whole_after(&self, rows: u64, what: &str) -> Endings {
        let expected: BTreeMap<u64, u64> = (0..rows).map(|row| (row, 1)).collect();
        assert_eq!(self.counts(), expected, "{what}: rows that do not end exactly once");
        let endings = self.endings();
        let summary = self.folder.summary();
        let said = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!(said("rows"), rows, "{what}: {summary}");
        let said = Endings { results: said("ok"), failed: said("failed"), unknown: said("unknown") };
        assert_eq!(said, endings, "{what}: {summary}");
        self.verify(what);
        endings
    }

    /// `tidegate verify` accepts what the log says; not asked of a binary that does not have it yet.
    #[track_caller]
    fn verify(&self, what: &str) {
        static IS_THERE: OnceLock<bool> = OnceLock::new();
        let is_there = || {
            let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("help").output().unwrap();
            let help = String::from_utf8(help.stdout).unwrap();
            help.lines().any(|line| line.split_whitespace().next() == Some("verify"))
        };
        if *IS_THERE.get_or_init(is_there) {
            let ended = self.folder.tidegate(["verify", self.name()]);
            assert_eq!(ended.code, Some(0), "{what}: {ended}");
        }
    }

    pub(crate) fn log(&self) -> Told {
        log(&self.folder.path("out.tidegate"))
    }
}

fn row_of_line(line: &Value) -> u64 {
    let row = line["index"].as_u64().unwrap();
    if let Some(id) = line["body"]["id"].as_str().filter(|id| id.starts_with('u')) {
        assert_eq!(id, format!("u{row}"), "an answer on another row: {line}");
    }
    row
}

fn row_of_record(record: &str) -> u64 {
    let name = record.split(',').next().unwrap();
    let row = name.strip_prefix('u').and_then(|row| row.parse().ok());
    row.unwrap_or_else(|| panic!("not a whole record: {record}"))
}
