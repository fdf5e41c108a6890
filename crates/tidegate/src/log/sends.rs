//! The stream of sends.
//!
//! ```text
//! send = tag · [row] · [number] · [partition] · [costs] · [mates] · time
//! tag  bit 0     0 (a control record has 1)
//!      bit 1     the row follows on the one before; else its difference to that
//!      bit 2     the row's first send; else its number
//!      bit 3     the partition of the send before; else its number
//!      bit 4     what every call costs; else the costs
//!      bit 5     the call carries more rows: how many, and each as a difference to what follows on the one before
//!      bit 6     of these, too, it is the first send; else each is followed by its number
//! time           microseconds from the send before, as a difference
//! ```

use super::block::{self, Stream};
use super::control::{self, Control};
use super::{Event, Micros, Send, varint};

const CONTROL: u8 = 1;
const NEXT_ROW: u8 = 1 << 1;
const FIRST: u8 = 1 << 2;
const SAME_PARTITION: u8 = 1 << 3;
const USUAL_COSTS: u8 = 1 << 4;
const MATES: u8 = 1 << 5;
const MATES_FIRST: u8 = 1 << 6;

/// Rows that one call carries at most.
pub(crate) const MOST_ROWS: usize = 10_000;

/// What differences are taken from; anew with each run.
#[derive(Debug, Default)]
pub(super) struct State {
    next_row: u64,
    next_id: u64,
    partition: u32,
    at: Micros,
}

/// Encodes sends, block by block.
#[derive(Debug, Default)]
pub(crate) struct SendsEncoder {
    state: State,
    records: Vec<u8>,
}

impl SendsEncoder {
    /// Adds a send of a call for these rows, each with the number of its send; the call's number in the run is
    /// given here.
    pub(crate) fn send(
        &mut self,
        rows: impl IntoIterator<Item = (u64, u32)>,
        at: Micros,
        costs: Option<&[u64]>,
        partition: u32,
    ) -> u64 {
        let mut rows = rows.into_iter();
        let Some((row, number)) = rows.next() else { return self.state.next_id };
        let mates: Vec<(u64, u32)> = rows.collect();
        let state = &mut self.state;
        let flag = |flag: u8, is: bool| if is { flag } else { 0 };
        let tag = flag(NEXT_ROW, row == state.next_row)
            | flag(FIRST, number == 1)
            | flag(SAME_PARTITION, partition == state.partition)
            | flag(USUAL_COSTS, costs.is_none())
            | flag(MATES, !mates.is_empty())
            | flag(MATES_FIRST, !mates.is_empty() && mates.iter().all(|(_, number)| *number == 1));
        let out = &mut self.records;
        out.push(tag);
        if tag & NEXT_ROW == 0 {
            varint::put_difference(row, state.next_row, out);
        }
        if tag & FIRST == 0 {
            varint::put(u64::from(number), out);
        }
        if tag & SAME_PARTITION == 0 {
            varint::put(u64::from(partition), out);
        }
        if let Some(costs) = costs {
            varint::put_costs(costs, out);
        }
        let mut next_row = row.wrapping_add(1);
        if tag & MATES != 0 {
            varint::put(mates.len() as u64, out);
            for (row, number) in mates {
                varint::put_difference(row, next_row, out);
                if tag & MATES_FIRST == 0 {
                    varint::put(u64::from(number), out);
                }
                next_row = row.wrapping_add(1);
            }
        }
        varint::put_difference(at.0, state.at.0, out);
        let id = state.next_id;
        *state = State { next_row, next_id: id + 1, partition, at };
        id
    }

    /// Adds a control record.
    pub(crate) fn control(&mut self, control: &Control) {
        if matches!(control, Control::Run(_)) {
            self.state = State::default();
        }
        self.records.push(CONTROL);
        control::put(control, &mut self.records);
    }

    /// Moves what there is into `out`, as a block.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        block::put(Stream::Sends, &self.records, out);
        self.records.clear();
    }

    /// Sends that were added so far.
    pub(crate) fn count(&self) -> u64 {
        self.state.next_id
    }
}

impl State {
    /// Takes one record off the front.
    pub(super) fn decode(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        let tag = varint::take_byte(bytes)?;
        if tag == CONTROL {
            return control::take(bytes).map(Event::Control);
        }
        if tag & CONTROL != 0 {
            return None;
        }
        let row =
            if tag & NEXT_ROW != 0 { self.next_row } else { varint::take_difference(bytes, self.next_row)? };
        let number = if tag & FIRST != 0 { 1 } else { u32::try_from(varint::take(bytes)?).ok()? };
        let partition = if tag & SAME_PARTITION != 0 {
            self.partition
        } else {
            u32::try_from(varint::take(bytes)?).ok()?
        };
        let costs = if tag & USUAL_COSTS != 0 { None } else { Some(varint::take_costs(bytes)?) };
        let mut next_row = row.wrapping_add(1);
        let mut mates = Vec::new();
        if tag & MATES != 0 {
            let count = usize::try_from(varint::take(bytes)?).ok().filter(|count| *count < MOST_ROWS)?;
            for _ in 0..count {
                let row = varint::take_difference(bytes, next_row)?;
                let number =
                    if tag & MATES_FIRST != 0 { 1 } else { u32::try_from(varint::take(bytes)?).ok()? };
                mates.push((row, number));
                next_row = row.wrapping_add(1);
            }
        }
        let at = Micros(varint::take_difference(bytes, self.at.0)?);
        let id = self.next_id;
        *self = Self { next_row, next_id: id + 1, partition, at };
        Some(Event::Send(Send { id, row, number, mates: mates.into(), at, costs, partition }))
    }
}
