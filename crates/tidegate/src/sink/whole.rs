//! What an output that was put together from parts has beside it: a folder as that of a run. Its log tells of the lines, so that the
//! job can be run and retried there; `parts.json` says where the logs of its calls are.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::appended::append_private;
use super::files::create_state_folder;
use super::{Part, SinkError};
use crate::job::{JobFile, KeptJob};
use crate::llm::{Money, Spent};
use crate::log::{self, Commit, Control, EndsEncoder, InputMark, RunRecord, SendsEncoder};
use crate::source::{InputSpec, Marker, Source};

const PARTS: &str = "parts.json";
/// Lines that one block of the log tells of.
const BLOCK: usize = 64 << 10;
/// Of an input that is not the one whose rows were sent: no rows have it.
const CHANGED: &str = "changed";

/// Where the logs are that tell of an output's calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartLogs(pub Vec<PartLog>);

/// The logs of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLog {
    /// Of the part that counts.
    pub log: PathBuf,
    /// Of those from which it has been taken over, and that may have gone on for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<PathBuf>,
}

impl PartLogs {
    /// What the folder beside an output says; `None` if that was not put together from parts.
    pub fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(state.join(PARTS)).ok()?).ok()
    }
}

/// Such a folder, while it is being written.
pub struct Whole {
    folder: PathBuf,
    log: BufWriter<File>,
    encoder: EndsEncoder,
    records: Vec<u8>,
    spent: Spent,
}

impl Whole {
    /// Begins one in `folder`, for the job of which `first` is the first part.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(folder: &Path, first: &Part, file: &JobFile, parts: &PartLogs) -> Result<Self, SinkError> {
        create_state_folder(folder)?;
        KeptJob::of(file).store(folder)?;
        let failed = |source| SinkError::Write { path: folder.to_owned(), source };
        // The first part begins where the whole does, and has all that makes the job the same job.
        fs::copy(first.paths.state.join("job.json"), folder.join("job.json")).map_err(failed)?;
        let text = serde_json::to_vec(parts).unwrap_or_default();
        append_private(&folder.join(PARTS)).and_then(|mut file| file.write_all(&text)).map_err(failed)?;
        let last = first.replay.last.clone().unwrap_or_default();
        let run = RunRecord { member: None, former_over: None, lengths: [0; 3], ..last };
        let mut blocks = log::MAGIC.to_vec();
        let mut sends = SendsEncoder::default();
        sends.control(&Control::Run(Box::new(run)));
        sends.take(&mut blocks);
        let log = append_private(&folder.join(log::FILE)).map_err(failed)?;
        let mut log = BufWriter::with_capacity(1 << 20, log);
        log.write_all(&blocks).map_err(failed)?;
        let (encoder, records, spent) = (EndsEncoder::default(), Vec::new(), Spent::default());
        Ok(Self { folder: folder.to_owned(), log, encoder, records, spent })
    }

    /// What the calls of a part have cost.
    pub fn add_costs(&mut self, part: &Part) {
        let Spent { money, at_most, unpriced } = part.replay.spent;
        let sum = |a: Money, b: Money| Money(a.0.saturating_add(b.0));
        self.spent = Spent {
            money: sum(self.spent.money, money),
            at_most: sum(self.spent.at_most, at_most),
            unpriced: self.spent.unpriced.saturating_add(unpriced),
        };
    }

    /// A line was written.
    pub(super) fn line(&mut self, commit: &Commit) -> Result<(), SinkError> {
        self.encoder.put(None, Some(commit), &mut self.records);
        if self.records.len() < BLOCK {
            return Ok(());
        }
        self.block().map_err(|source| SinkError::Write { path: self.folder.clone(), source })
    }

    fn block(&mut self) -> io::Result<()> {
        let mut block = Vec::new();
        EndsEncoder::block(&std::mem::take(&mut self.records), &mut block);
        self.log.write_all(&block)
    }

    /// All lines were told of. `same`: the input is still the one whose rows were sent; else nothing is ever sent for them again.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self, input: &InputSpec, same: bool, rows: u64) -> Result<(), SinkError> {
        let marks = if same { marks(input) } else { None };
        let changed = || vec![InputMark { rows, hash: CHANGED.to_owned(), stamp: None }];
        let mut controls: Vec<Control> =
            marks.unwrap_or_else(changed).into_iter().map(Control::Input).collect();
        if self.spent != Spent::default() {
            let Spent { money, at_most, unpriced } = self.spent;
            controls.push(Control::Spent { units: money.0, at_most: at_most.0, unpriced });
        }
        controls.push(Control::Stop { ended: "collected".to_owned() });
        for control in &controls {
            EndsEncoder::control(control, &mut self.records);
        }
        let written =
            self.block().and_then(|()| self.log.flush()).and_then(|()| self.log.get_ref().sync_all());
        written.map_err(|source| SinkError::Write { path: self.folder, source })
    }
}

/// What the rows of an input look like; `None` if it cannot be read.
fn marks(spec: &InputSpec) -> Option<Vec<InputMark>> {
    let mut source = Source::open(spec).ok()?;
    let mut marker = Marker::new(spec, Vec::new());
    let mut marks = Vec::new();
    while let Some(row) = source.next_row().ok()? {
        marks.extend(marker.add(&row).ok()?);
    }
    marks.extend(marker.last());
    Some(marks)
}
