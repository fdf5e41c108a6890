//! What the lines of an output look like, and how they are known again.

use super::batch::BatchLines;
use super::csv::Table;
use super::scan::LineStart;

/// The shape of an output.
#[derive(Debug)]
pub(super) enum Shape {
    Jsonl,
    Table(Table),
    Batch(BatchLines),
}

impl Shape {
    /// How lines begin that say whose they are; rows of a table do not.
    pub(super) fn line_start(&self) -> Option<LineStart> {
        match self {
            Self::Jsonl => Some(LineStart::Jsonl),
            Self::Batch(_) => Some(LineStart::Batch),
            Self::Table(_) => None,
        }
    }
}
