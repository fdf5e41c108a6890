//! What a log says of a job as a whole: which rows are done, and what an earlier run has left open.

use std::collections::HashMap;
use std::path::Path;

use roaring::RoaringTreemap;

use super::control::Rows;
use super::{
    Commit, Control, Event, InputMark, LogError, Micros, Outcome, OutputFile, Reader, RunRecord, Send,
};
use crate::llm::{Money, Spent};
use crate::sink::Done;

/// A log, read to its end.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Rows at their end.
    pub(crate) done: Done,
    /// Rows that were sent, and of which nobody knows what became.
    pub(crate) dangling: Dangling,
    /// Bytes in each file that the log tells of.
    pub(crate) ends: [u64; 3],
    /// A file that was about to be replaced: its old length, and the record.
    pub(crate) rewriting: Option<Rewriting>,
    /// Files with lines of rows that were opened again.
    pub(crate) stale: [bool; 3],
    /// Lengths of what is in the order of the input already.
    pub(crate) sorted: [u64; 3],
    /// What the input looked like, in the order of its rows.
    pub(crate) marks: Vec<InputMark>,
    /// The run before.
    pub(crate) last: Option<RunRecord>,
    /// It has ended by itself.
    pub(crate) stopped: bool,
    /// Calls were in flight when the run before was killed.
    pub(crate) in_flight: bool,
    /// Until when calls may have been counted of which neither the log nor a store says when they were
    /// over: those of the run before the one that began then.
    pub(crate) unseen: Option<Micros>,
    /// When the last call of this boot that is known to be over was.
    pub(crate) over: Option<Micros>,
    /// The same of earlier boots, in milliseconds since 1970.
    pub(crate) over_wall_ms: Option<u64>,
    /// The latest time that it tells of.
    pub(crate) latest: Micros,
    /// What was spent.
    pub(crate) spent: Spent,
    /// Where the log goes on.
    pub(crate) length: u64,
    /// A call that has just ended: its row, its number, and whether its outcome is unknown.
    ended: Option<(u64, u32, bool)>,
}

/// What rows were sent for that are not at their end.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dangling {
    /// Rows of which it is not known whether they were done.
    pub(crate) unknown: RoaringTreemap,
    /// How often rows were sent so far; those that were sent once and are unknown are left out.
    sends: HashMap<u64, u32>,
    /// Of unknown rows that were sent in one call with others: its first row.
    calls: HashMap<u64, u64>,
}

/// A file that was about to be replaced when the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewriting {
    pub(crate) file: OutputFile,
    pub(crate) length: u64,
    pub(crate) inode: u64,
    pub(crate) sorted: bool,
}

impl Dangling {
    /// How often the row was sent by earlier runs.
    pub(crate) fn sends(&self, row: u64) -> u32 {
        let known = self.sends.get(&row).copied();
        known.unwrap_or_else(|| u32::from(self.unknown.contains(row)))
    }

    /// Rows of calls with several of which it is not known whether they were done, each with the first row of
    /// its call: sent again, they go together, as the same call.
    pub(crate) fn calls(&self) -> &HashMap<u64, u64> {
        &self.calls
    }

    /// Calls with these rows, whose outcome is not known.
    #[cfg(test)]
    pub(crate) fn of_calls(calls: &[&[u64]]) -> Self {
        let mut this = Self::default();
        for rows in calls {
            rows.iter().for_each(|row| this.lost(*row, 1));
            let together = rows.iter().filter(|_| rows.len() > 1);
            this.calls.extend(together.map(|row| (*row, rows[0])));
        }
        this
    }

    /// The row was done, and its result is lost.
    pub(crate) fn lose(&mut self, row: u64) {
        self.lost(row, 1);
    }

    fn lost(&mut self, row: u64, number: u32) {
        self.unknown.insert(row);
        if number > 1 {
            self.sends.insert(row, number);
        }
    }

    /// Of the call it is not known whether it was done.
    fn lost_together(&mut self, send: &Send) {
        if !send.mates.is_empty() {
            self.calls.extend(send.rows().map(|(row, _)| (row, send.row)));
        }
    }

    /// What it was sent with before makes no difference any more.
    fn sent(&mut self, send: &Send) {
        if !self.calls.is_empty() {
            self.calls.retain(|row, _| !send.rows().any(|(sent, _)| sent == *row));
        }
    }

    /// The call has ended, and is not known to be the last of its row.
    fn left_open(&mut self, row: u64, sends: u32, unknown: bool) {
        if unknown {
            self.unknown.insert(row);
        }
        self.sends.insert(row, sends);
    }

    fn over(&mut self, row: u64) {
        if !self.unknown.is_empty() {
            self.unknown.remove(row);
        }
        if !self.calls.is_empty() {
            self.calls.remove(&row);
        }
        if !self.sends.is_empty() {
            self.sends.remove(&row);
        }
    }
}

impl Replay {
    /// Reads the log at `path`; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, LogError> {
        let Some(mut reader) = Reader::open(path)? else { return Ok(None) };
        let mut this = Self::default();
        while let Some(event) = reader.next_event()? {
            this.take(event);
        }
        this.left_open();
        this.length = reader.length();
        Ok(Some(this))
    }

    fn take(&mut self, event: Event) {
        // Nearly always its line follows; else the row waited for another attempt.
        if !matches!((&event, self.ended), (Event::Commit(commit), Some((row, ..))) if commit.row == row) {
            self.left_open();
        }
        self.ended = None;
        match event {
            Event::Send(send) => {
                self.latest = self.latest.max(send.at);
                self.dangling.sent(&send);
            }
            Event::End(send, end) => {
                self.latest = self.latest.max(end.ended);
                self.over = self.over.max(Some(end.ended));
                let unknown = matches!(end.outcome, Outcome::Unknown | Outcome::TimedOut);
                let sends = |number: u32| number - u32::from(end.outcome == Outcome::NotSent);
                for (row, number) in &send.mates {
                    self.dangling.left_open(*row, sends(*number), unknown);
                }
                if unknown {
                    self.dangling.lost_together(&send);
                }
                self.ended = Some((send.row, sends(send.number), unknown));
            }
            Event::Lost(send) => {
                self.in_flight = true;
                for (row, number) in send.rows().filter(|(row, _)| !self.done.contains(*row)) {
                    self.dangling.lost(row, number);
                }
                self.dangling.lost_together(&send);
            }
            Event::Commit(commit) => self.commit(commit),
            Event::Control(control) => self.control(control),
        }
    }

    /// The call that has just ended was not its row's last.
    fn left_open(&mut self) {
        if let Some((row, number, unknown)) = self.ended.take() {
            self.dangling.left_open(row, number, unknown);
        }
    }

    /// A row's line is in its file.
    pub(crate) fn commit(&mut self, commit: Commit) {
        self.ends[commit.file.index()] += commit.length;
        self.done.insert(commit.row, commit.file);
        self.dangling.over(commit.row);
    }

    /// Of the calls of earlier runs none is under way when another begins.
    fn begin(&mut self, run: &RunRecord) {
        let Some(last) = &self.last else { return };
        if self.in_flight && run.former_over.is_none() {
            self.unseen = Some(run.at);
        }
        if last.boot == run.boot {
            if self.in_flight {
                self.over = self.over.max(Some(run.at));
            }
            return;
        }
        self.unseen = None; // a store lets nothing be sent for long enough
        let over = self.over.take().map(|over| last.wall_ms + over.0.saturating_sub(last.at.0) / 1_000);
        let killed = self.in_flight.then_some(run.wall_ms);
        self.over_wall_ms = self.over_wall_ms.max(over).max(killed);
        self.latest = Micros::default();
    }

    /// These rows are to be sent again.
    pub(crate) fn reopen(&mut self, rows: &RoaringTreemap) {
        self.reopen_all(rows.iter());
    }

    fn reopen_all(&mut self, rows: impl Iterator<Item = u64>) {
        for row in rows {
            if let Some(file) = self.done.reopen(row) {
                self.stale[file.index()] = true;
            }
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Run(run) => {
                self.begin(&run);
                self.latest = self.latest.max(run.at);
                self.last = Some(*run);
                (self.stopped, self.in_flight) = (false, false);
            }
            Control::Stop { .. } => self.stopped = true,
            Control::Input(mark) => {
                self.marks.retain(|known| known.rows < mark.rows);
                self.marks.push(mark);
            }
            Control::Reopen { rows } => self.reopen_all(rows.iter()),
            Control::Cut { file, length, rows } => {
                for row in rows.iter() {
                    let _ = self.done.reopen(row);
                    self.dangling.lose(row);
                }
                self.ends[file.index()] = length;
            }
            Control::Rewrite { file, length, inode, sorted } => {
                self.rewriting = Some(Rewriting { file, length, inode, sorted });
            }
            Control::Rewritten { file, length, sorted } => {
                self.rewriting = None;
                self.stale[file.index()] = false;
                self.ends[file.index()] = length;
                self.sorted[file.index()] = if sorted { length } else { 0 };
            }
            Control::Member { id } => {
                if let Some(run) = &mut self.last {
                    run.member = Some(id);
                }
            }
            Control::Spent { units, at_most, unpriced } => {
                self.spent = Spent { money: Money(units), at_most: Money(at_most), unpriced };
            }
            Control::Partition { .. } => {}
        }
    }
}

/// Rows whose lines end behind `length` in `file`, in the log at `path`: what was lost with the end
/// of that file. Before them, where the last whole line ends, and when the call before was over.
pub(crate) fn rows_beyond(
    path: &Path,
    file: OutputFile,
    length: u64,
) -> Result<(u64, Micros, Rows), LogError> {
    let (mut whole, mut end) = (0, 0);
    let (mut now, mut since) = (Micros::default(), Micros::default());
    let mut rows = RoaringTreemap::new();
    let Some(mut reader) = Reader::open(path)? else { return Ok((0, since, Rows::default())) };
    while let Some(event) = reader.next_event()? {
        match event {
            Event::End(_, call) => now = now.max(call.ended),
            Event::Commit(commit) if commit.file == file => {
                end += commit.length;
                if end <= length && rows.is_empty() {
                    (whole, since) = (end, now);
                } else {
                    rows.insert(commit.row);
                }
            }
            Event::Control(
                Control::Rewritten { file: of, length: new, .. } | Control::Cut { file: of, length: new, .. },
            ) if of == file => {
                (end, whole, since) = (new, new.min(length), now);
                rows.clear();
            }
            _ => {}
        }
    }
    Ok((whole, since, Rows::from(&rows)))
}
