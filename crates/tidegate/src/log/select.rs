//! Which failures are meant by a word.

use std::path::Path;
use std::str::FromStr;

use roaring::RoaringTreemap;

use super::{Commit, Control, Event, LogError, OutputFile, Reader};
use crate::sink::FailureKind;

/// Failures of one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureFilter {
    /// Of this kind.
    Kind(FailureKind),
    /// Answered last with a status of this range.
    Status(u16, u16),
}

impl FromStr for FailureFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim().to_ascii_lowercase();
        if let Some(kind) = FailureKind::from_word(&word) {
            return Ok(Self::Kind(kind));
        }
        if let Some(class) = word.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok())
            && (1..=5).contains(&class)
        {
            return Ok(Self::Status(class * 100, class * 100 + 99));
        }
        match word.parse::<u16>() {
            Ok(status) if (100..600).contains(&status) => Ok(Self::Status(status, status)),
            _ => Err(format!(
                "`{text}` is no sort of failure: expected a status such as `503`, a class such as `5xx`, or one of {}",
                FailureKind::words().join(", ")
            )),
        }
    }
}

impl FailureFilter {
    fn takes(self, commit: &Commit) -> bool {
        match self {
            Self::Kind(kind) => commit.kind == Some(kind),
            Self::Status(from, to) => (from..=to).contains(&commit.status),
        }
    }
}

/// Rows that have failed in one of these ways; without any, all that have failed. Rows of unknown
/// outcome may have been done: they are taken only if they are asked for.
pub(crate) fn failures(log: &Path, filters: &[FailureFilter]) -> Result<RoaringTreemap, LogError> {
    let mut rows = RoaringTreemap::new();
    let Some(mut reader) = Reader::open(log)? else { return Ok(rows) };
    while let Some(event) = reader.next_event()? {
        match event {
            Event::Commit(commit) if commit.file != OutputFile::Results => {
                let taken = match filters {
                    [] => commit.file == OutputFile::Failed,
                    filters => filters.iter().any(|filter| filter.takes(&commit)),
                };
                if taken {
                    rows.insert(commit.row);
                }
            }
            Event::Control(Control::Reopen { rows: reopened }) => {
                for row in reopened.iter() {
                    let _ = rows.remove(row);
                }
            }
            _ => {}
        }
    }
    Ok(rows)
}
