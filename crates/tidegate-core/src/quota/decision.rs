//! What a quota answers, and what becomes of what it grants.

use super::follow::Followed;
use crate::contract::Costs;
use crate::time::Time;

/// The answer to a request to send.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Send now. The grant must come back through [`Quota::settle`](crate::Quota::settle).
    Grant(Grant),
    /// Not now.
    Wait(Wait),
}

/// The right to send one call now; returned by [`Quota::settle`](crate::Quota::settle).
#[derive(Debug)]
#[must_use = "a grant that is not settled keeps its units for ever"]
pub struct Grant {
    pub(super) at: Time,
    pub(super) answered: bool,
    pub(super) probe: bool,
    pub(super) generation: u32,
    pub(super) costs: Costs,
    /// What was known of limits that are learnt.
    pub(super) followed: Followed,
}

/// Until when there is nothing to send, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again; `None` if that depends on an answer that has not come.
    pub until: Option<Time>,
    /// What binds.
    pub why: Why,
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The provider asked for silence.
    Paused,
    /// The limit with this index has no unit free.
    Limit(usize),
    /// Sends are being spread evenly at the rate of the limit with this index.
    Pacing(usize),
    /// Little is left of the limit with this index, which others use as well.
    Others(usize),
    /// What the provider says is left, of limits that are learnt from it; or nothing is known yet.
    Told,
    /// The provider answers nothing: one call at a time probes whether it does again.
    Stalled,
    /// Others wait in line already.
    Line,
    /// This process's share of the limit with this index has less than the call costs: others hold
    /// the rest, and the next exchanges with the store bring it.
    Share(usize),
    /// The lease of this process has ended, or has not begun: nothing is granted until the store has
    /// answered.
    Lease,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was written to the network: the units are free at once.
    NotSent,
    /// The whole answer arrived, whatever its status.
    Answered,
    /// It may have been counted: a reset after bytes had left, or nobody knows. Treated as if it had
    /// been answered now; the connection must be aborted before this is said.
    Unknown,
    /// No answer came in the time that it was given. As `Unknown`, if it was the only one: but if the
    /// provider has stalled, as if it were answered when the provider answers again.
    TimedOut,
}

/// A place in the line of a [`Quota`](crate::Quota).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub(super) u64);

impl Grant {
    /// When it was granted: no call made with it was counted earlier.
    pub fn at(&self) -> Time {
        self.at
    }

    /// What was reserved for it.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }
}
