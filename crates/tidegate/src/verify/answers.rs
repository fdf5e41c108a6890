//! When calls were over, in the order of time.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::rule::{Counted, Edge};
use super::timeline::NEVER;

/// So many are remembered one by one; beyond, in steps of as small a part of the time that they are
/// remembered for, rounded to later: too much may count then, never too little.
const EXACT: usize = 1 << 20;

/// A call that is over, or several that are taken to have been so together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) over: i64,
    pub(super) units: u64,
    pub(super) edge: Edge,
}

/// The answers of calls, as time comes to them, for `span` after that.
#[derive(Debug)]
pub(super) struct Answers {
    under_way: BinaryHeap<Next>,
    /// What calls that are under way are, at the places that `under_way` has of them.
    calls: Vec<(u64, Edge)>,
    unused: Vec<u32>,
    past: VecDeque<Answer>,
    step: i64,
    exact: usize,
    pub(super) rounded: bool,
}

/// When a call will be over; the soonest is the greatest. Small, as nearly all the time goes into these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Next {
    over: i64,
    place: u32,
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.over, other.place).cmp(&(self.over, self.place))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Answers {
    pub(super) fn new(span: i64) -> Self {
        Self::exact_up_to(EXACT, span)
    }

    pub(super) fn exact_up_to(exact: usize, span: i64) -> Self {
        Self {
            under_way: BinaryHeap::new(),
            calls: Vec::new(),
            unused: Vec::new(),
            past: VecDeque::new(),
            step: span / i64::try_from(exact).unwrap_or(i64::MAX) + 1,
            exact,
            rounded: false,
        }
    }

    /// A call has been sent.
    pub(super) fn expect(&mut self, call: &Counted) {
        if call.over == NEVER {
            return;
        }
        let what = (call.units, call.edge);
        let place = if let Some(place) = self.unused.pop() {
            self.calls[place as usize] = what;
            place
        } else {
            self.calls.push(what);
            self.calls.len() as u32 - 1
        };
        self.under_way.push(Next { over: call.over, place });
    }

    /// The next answer, if it is no later than `now`.
    pub(super) fn come(&mut self, now: i64) -> Option<Answer> {
        if self.under_way.peek()?.over > now {
            return None;
        }
        let Next { over, place } = self.under_way.pop()?;
        self.unused.push(place);
        let (units, edge) = self.calls[place as usize];
        Some(Answer { over, units, edge })
    }

    /// Remembers an answer that came.
    pub(super) fn remember(&mut self, mut answer: Answer) {
        let full = self.past.len() >= self.exact;
        match self.past.back_mut() {
            // The step's end was set when it began: it is no earlier than any of its answers.
            Some(last) if answer.over <= last.over => {
                last.units = last.units.saturating_add(answer.units);
                return;
            }
            _ if full => {
                self.rounded = true;
                answer.over += self.step;
            }
            _ => {}
        }
        self.past.push_back(answer);
    }

    /// The oldest answer that is remembered, if it came before `begin`: it is forgotten.
    pub(super) fn forget(&mut self, begin: i64) -> Option<Answer> {
        if self.past.front()?.over >= begin {
            return None;
        }
        self.past.pop_front()
    }

    /// Those that are remembered, from the oldest on.
    pub(super) fn past(&self) -> &VecDeque<Answer> {
        &self.past
    }
}
