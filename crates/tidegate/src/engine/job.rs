//! `Job`: a call on its way, with the rows that it carries.

use tidegate_core::{Costs, Time};
use tidegate_quota::Gate;

use super::feeder::size;
use super::work::LaneId;
use crate::Row;
use crate::llm::{Price, Stake, Tokens};
use crate::template::Call;

/// A row, and what its line will say besides.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) row: Row,
    pub(super) key: Option<String>,
    /// All its sends, those of earlier runs too.
    pub(super) sends: u32,
}

/// A call for one row, or for many together, on its way to their results.
#[derive(Debug)]
pub(super) struct Job {
    /// Never empty.
    pub(super) rows: Vec<Carried>,
    pub(super) call: Call,
    /// While the provider is asked whether a call was done: that call.
    pub(super) original: Option<Box<Call>>,
    /// The quota that it counts against, and what it costs there at most.
    pub(super) lane: LaneId,
    pub(super) gate: Gate,
    pub(super) costs: Costs,
    /// The most tokens that it takes, and what they cost, where that matters.
    pub(super) most: Tokens,
    pub(super) price: Option<Price>,
    /// Money set aside for it.
    pub(super) stake: Option<Stake>,
    /// Attempts that count: all but those answered 429 and those never sent.
    pub(super) attempts: u32,
    /// The number of its quota's partition in the log.
    pub(super) partition: u32,
    /// Times in a row that it could not be written.
    pub(super) unsent: u32,
    pub(super) hops: u8,
    pub(super) first_sent: Option<Time>,
    /// No redirect has led it to another origin.
    pub(super) is_home: bool,
    /// The key that it carries, and how often one was refused.
    pub(super) token: u64,
    pub(super) refusals: u8,
    /// It shows whether the provider is back.
    pub(super) is_probe: bool,
    /// One of its attempts had an unknown outcome: it may have been done.
    pub(super) may_be_done: bool,
    /// Its retry costs nothing of the budget.
    pub(super) is_exempt: bool,
}

impl Job {
    /// A call that has not been sent yet.
    pub(super) fn new(rows: Vec<Carried>, call: Call, (lane, gate): (LaneId, Gate), costs: Costs) -> Self {
        Self {
            rows,
            call,
            original: None,
            lane,
            gate,
            costs,
            most: Tokens::default(),
            price: None,
            stake: None,
            attempts: 0,
            partition: 0,
            unsent: 0,
            hops: 0,
            first_sent: None,
            is_home: true,
            token: 0,
            refusals: 0,
            is_probe: false,
            may_be_done: false,
            is_exempt: false,
        }
    }

    /// An attempt begins.
    pub(super) fn begin_attempt(&mut self) {
        self.attempts += 1;
        self.rows.iter_mut().for_each(|carried| carried.sends += 1);
    }

    /// Nothing of the attempt was sent: it was none.
    pub(super) fn undo_attempt(&mut self) {
        self.attempts -= 1;
        self.rows.iter_mut().for_each(|carried| carried.sends -= 1);
    }

    /// Bytes of the records of its rows.
    pub(super) fn size(&self) -> usize {
        self.rows.iter().map(|carried| size(&carried.row)).sum()
    }
}
