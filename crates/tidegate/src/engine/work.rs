//! The rows that are under way: read ahead, ready to send, or waiting for their retry.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use tidegate_core::Time;

use super::feeder::{Feed, Feeder};
use crate::Row;
use crate::source::SourceError;
use crate::template::Call;

/// Rows that wait for a retry at most; at this many, no fresh row is begun.
const MAX_WAITING: usize = 4_096;

/// A row with the call made for it, on its way to a result.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) row: Row,
    pub(super) key: Option<String>,
    pub(super) call: Call,
    /// Attempts that count: all but those answered 429 and those never sent.
    pub(super) attempts: u32,
    /// All sends.
    pub(super) sends: u32,
    /// Times in a row that it could not be written.
    pub(super) unsent: u32,
    pub(super) hops: u8,
    pub(super) first_sent: Option<Time>,
}

impl Job {
    /// A row that has not been sent yet.
    pub(super) fn new(row: Row, key: Option<String>, call: Call) -> Self {
        Self { row, key, call, attempts: 0, sends: 0, unsent: 0, hops: 0, first_sent: None }
    }
}

/// All rows between source and outcome.
#[derive(Debug, Default)]
pub(super) struct Work {
    fresh: VecDeque<Row>,
    /// Sent before, or rendered and not granted: ahead of fresh rows.
    ready: VecDeque<Box<Job>>,
    waiting: BinaryHeap<Waiting>,
    waited: u64,
    input_ended: bool,
    /// Rows taken and not yet at an end or back in line.
    pub(super) active: usize,
}

/// The next thing to do, before asking for a permit.
pub(super) enum Next {
    /// This row was begun already.
    Again(Box<Job>),
    /// A row that has no call yet.
    Fresh(Row),
    /// Nothing now; a retry is due at that time, or a row may come.
    Nothing(Option<Time>),
    /// The input broke.
    Broken(SourceError),
}

impl Work {
    pub(super) fn next(&mut self, now: Time, feeder: &Feeder) -> Next {
        while self.waiting.peek().is_some_and(|waiting| waiting.due <= now) {
            self.ready.extend(self.waiting.pop().map(|waiting| waiting.job));
        }
        if let Some(job) = self.ready.pop_front() {
            self.active += 1;
            return Next::Again(job);
        }
        let due = self.waiting.peek().map(|waiting| waiting.due);
        if self.waiting.len() >= MAX_WAITING {
            return Next::Nothing(due);
        }
        if self.fresh.is_empty() && !self.input_ended {
            match feeder.take(&mut self.fresh) {
                Feed::Open => {}
                Feed::Ended => self.input_ended = true,
                Feed::Failed(error) => {
                    self.input_ended = true;
                    return Next::Broken(error);
                }
            }
        }
        match self.fresh.pop_front() {
            Some(row) => {
                self.active += 1;
                Next::Fresh(row)
            }
            None => Next::Nothing(due),
        }
    }

    /// Back to the head of the line: it was taken, but nothing was sent.
    pub(super) fn put_back(&mut self, job: Box<Job>) {
        self.active -= 1;
        self.ready.push_front(job);
    }

    /// To be sent again at `due`.
    pub(super) fn wait(&mut self, job: Box<Job>, due: Time) {
        self.active -= 1;
        self.waited += 1;
        self.waiting.push(Waiting { due, order: self.waited, job });
    }

    /// Whether there is, or will be, anything to send.
    pub(super) fn is_pending(&self) -> bool {
        !self.ready.is_empty() || !self.fresh.is_empty() || !self.waiting.is_empty()
    }

    /// Whether a call could be made now, permits aside.
    pub(super) fn has_ready(&self, now: Time) -> bool {
        !self.ready.is_empty()
            || !self.fresh.is_empty()
            || self.waiting.peek().is_some_and(|waiting| waiting.due <= now)
    }

    /// Whether all rows are at their end.
    pub(super) fn is_over(&self) -> bool {
        self.input_ended && self.active == 0 && !self.is_pending()
    }
}

#[derive(Debug)]
struct Waiting {
    due: Time,
    order: u64,
    job: Box<Job>,
}

// A max-heap of which the top is the earliest; equal times in the order in which they came.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}
