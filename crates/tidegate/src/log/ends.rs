//! The stream of ends and of lines written.
//!
//! ```text
//! record = tag · [id · answered · ended · [status] · [costs]] · [row] · [length · [kind · status]]
//! tag  bits 0-1  1: a call is over   2: a row is at its end   3: both, of the same row   0: control
//!      bits 2-4  0: answered 200   1: answered otherwise   2: never sent   3: unknown   4: timed out
//!      bits 5-6  where the row's line went: 0 results   1 failed   2 unknown
//!      bit 7     costs follow: other than what was reserved
//! id             the send's number in the run, as a difference to what followed on the end before
//! answered       microseconds, as a difference to the end before
//! ended          microseconds from `answered`
//! row            only if the call is not over in the same record
//! length         bytes of the line
//! kind, status   of a line of a failure
//! ```

use super::block::{self, Stream};
use super::control::{self, Control};
use super::{Commit, End, Micros, Outcome, OutputFile, varint};
use crate::sink::FailureKind;

const END: u8 = 1;
const COMMIT: u8 = 1 << 1;
const COSTS: u8 = 1 << 7;
const OK: u16 = 200;

/// What differences are taken from; anew with each run.
#[derive(Debug, Default)]
pub(super) struct State {
    next_id: u64,
    answered: Micros,
}

/// Encodes ends; the records of a batch are a block of their own.
#[derive(Debug, Default)]
pub(crate) struct EndsEncoder {
    state: State,
}

impl EndsEncoder {
    /// Appends the end of a call, of a row, or of both at once (of the same row).
    pub(crate) fn put(&mut self, end: Option<&End>, commit: Option<&Commit>, out: &mut Vec<u8>) {
        let mut tag = 0;
        if let Some(end) = end {
            let outcome = match end.outcome {
                Outcome::Answered(OK) => 0,
                Outcome::Answered(_) => 1,
                Outcome::NotSent => 2,
                Outcome::Unknown => 3,
                Outcome::TimedOut => 4,
            };
            tag |= END | outcome << 2 | if end.costs.is_some() { COSTS } else { 0 };
        }
        if let Some(commit) = commit {
            tag |= COMMIT | (commit.file as u8) << 5;
        }
        out.push(tag);
        let state = &mut self.state;
        if let Some(end) = end {
            varint::put_difference(end.id, state.next_id, out);
            varint::put_difference(end.answered.0, state.answered.0, out);
            varint::put(end.ended.0.saturating_sub(end.answered.0), out);
            if let Outcome::Answered(status) = end.outcome
                && status != OK
            {
                varint::put(u64::from(status), out);
            }
            if let Some(costs) = &end.costs {
                varint::put_costs(costs, out);
            }
            state.next_id = end.id.wrapping_add(1);
            state.answered = end.answered;
        }
        if let Some(commit) = commit {
            if end.is_none() {
                varint::put(commit.row, out);
            }
            varint::put(commit.length, out);
            if let Some(kind) = commit.kind {
                out.push(kind as u8);
                varint::put(u64::from(commit.status), out);
            }
        }
    }

    /// Appends a control record.
    pub(crate) fn control(control: &Control, out: &mut Vec<u8>) {
        out.push(0);
        control::put(control, out);
    }

    /// Appends `records` as a block.
    pub(crate) fn block(records: &[u8], out: &mut Vec<u8>) {
        block::put(Stream::Ends, records, out);
    }
}

/// A record of this stream.
pub(super) enum Record {
    Control(Control),
    Commit(Commit),
    End(End, Option<Line>),
}

/// A line that was written.
pub(super) struct Line {
    file: OutputFile,
    length: u64,
    kind: Option<FailureKind>,
    status: u16,
}

impl Line {
    pub(super) fn of(self, row: u64) -> Commit {
        let Self { file, length, kind, status } = self;
        Commit { row, file, length, kind, status }
    }

    fn decode(tag: u8, bytes: &mut &[u8]) -> Option<Self> {
        let file = *OutputFile::ALL.get(usize::from(tag >> 5 & 3))?;
        let length = varint::take(bytes)?;
        let (mut kind, mut status) = (None, 0);
        if file != OutputFile::Results {
            kind = Some(FailureKind::from_code(varint::take_byte(bytes)?)?);
            status = u16::try_from(varint::take(bytes)?).ok()?;
        }
        Some(Self { file, length, kind, status })
    }
}

impl State {
    /// Takes one record off the front.
    pub(super) fn decode(&mut self, bytes: &mut &[u8]) -> Option<Record> {
        let tag = varint::take_byte(bytes)?;
        if tag == 0 {
            return control::take(bytes).map(Record::Control);
        }
        if tag & END == 0 {
            let row = varint::take(bytes)?;
            return Line::decode(tag, bytes).map(|line| Record::Commit(line.of(row)));
        }
        let id = varint::take_difference(bytes, self.next_id)?;
        let answered = Micros(varint::take_difference(bytes, self.answered.0)?);
        let ended = Micros(answered.0.checked_add(varint::take(bytes)?)?);
        let outcome = match tag >> 2 & 7 {
            0 => Outcome::Answered(OK),
            1 => Outcome::Answered(u16::try_from(varint::take(bytes)?).ok()?),
            2 => Outcome::NotSent,
            3 => Outcome::Unknown,
            4 => Outcome::TimedOut,
            _ => return None,
        };
        let costs = if tag & COSTS != 0 { Some(varint::take_costs(bytes)?) } else { None };
        self.next_id = id.wrapping_add(1);
        self.answered = answered;
        let line = if tag & COMMIT != 0 { Some(Line::decode(tag, bytes)?) } else { None };
        Some(Record::End(End { id, answered, ended, outcome, costs }, line))
    }
}
