//! What every rule is told, and what it answers.

use super::any::AnyWindow;
use super::bucket::Bucket;
use super::calendar::CalendarPeriods;
use super::concurrency::Concurrency;
use super::counter::Counter;
use super::stepped::SteppedBucket;

/// A call, as one limit sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// It was counted no earlier. Calls come in the order of this.
    pub(super) sent: i64,
    /// And no later; [`NEVER`](super::timeline::NEVER) if it is not over.
    pub(super) over: i64,
    /// The same by the wall clock of its run.
    pub(super) wall: (i64, i64),
    pub(super) units: u64,
    pub(super) edge: Edge,
}

/// An attempt by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Edge {
    pub(super) row: u64,
    pub(super) number: u32,
    pub(super) run: u32,
}

/// The fullest window that a rule has seen with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// What counted in it, in the rule's own fractions of a unit.
    pub(super) value: i128,
    pub(super) begin: i64,
    pub(super) end: i64,
    /// The first call that counted in it, if it has a name.
    pub(super) first: Option<Edge>,
    /// Nothing counted more than `value`; perhaps less did.
    pub(super) at_most: bool,
}

/// One limit of one partition.
#[derive(Debug)]
pub(super) enum Rule {
    Any(AnyWindow),
    Bucket(Bucket),
    SteppedBucket(SteppedBucket),
    Counter(Counter),
    Calendar(CalendarPeriods),
    Concurrency(Concurrency),
}

impl Rule {
    /// Takes a call in. `judged`: it was sent under this limit.
    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        match self {
            Self::Any(rule) => rule.call(call, judged),
            Self::Bucket(rule) => rule.call(call, judged),
            Self::SteppedBucket(rule) => rule.call(call, judged),
            Self::Counter(rule) => rule.call(call, judged),
            Self::Calendar(rule) => rule.call(call, judged),
            Self::Concurrency(rule) => rule.call(call, judged),
        }
    }

    /// The limit was not declared until `began`.
    pub(super) fn declared_at(&mut self, began: i64) {
        match self {
            Self::Bucket(rule) => rule.declared_at(began),
            Self::SteppedBucket(rule) => rule.declared_at(began),
            _ => {}
        }
    }
}
