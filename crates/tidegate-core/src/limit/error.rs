//! What is wrong with a limit.

use std::borrow::Cow;

use super::Unit;

/// A limit that cannot be understood or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The text does not have the form of a limit.
    #[error("`{text}` is not a limit: expected {expected}")]
    Syntax {
        /// The text as it was given.
        text: String,
        /// What should have stood there.
        expected: &'static str,
        /// What to write instead.
        hint: String,
    },
    /// An amount, period or capacity of zero, or one too large to count.
    #[error("`{text}`: {what}")]
    OutOfRange {
        /// The text as it was given.
        text: String,
        /// Which number, and what is wrong with it.
        what: &'static str,
        /// What to write instead.
        hint: &'static str,
    },
    /// A single call costs more than the limit can ever grant.
    #[error("a call costs {cost} {unit}, but the limit `{limit}` never allows more than {greatest} at once")]
    CostTooLarge {
        /// The limit.
        limit: String,
        /// Its unit.
        unit: Unit,
        /// What one call costs.
        cost: u64,
        /// What can be granted at once.
        greatest: u64,
    },
    /// The limit counts something of which a call's cost is not known.
    #[error("the limit `{limit}` counts {unit}, but not how many a call costs")]
    CostUnknown {
        /// The limit.
        limit: String,
        /// Its unit.
        unit: Unit,
    },
    /// A calendar limit, without anybody who could say what day it is.
    #[error("the limit `{limit}` follows the calendar, but the wall clock is not known")]
    NoWallClock {
        /// The limit.
        limit: String,
    },
    /// More limits than one quota can have.
    #[error("{count} limits are more than the {most} that one quota can have")]
    TooMany {
        /// How many there are, those that may be enforced per second counted twice.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// An amplification that leaves nothing of the limit.
    #[error("with each call sent {times} times, the limit `{limit}` allows none")]
    AmplifiedAway {
        /// The limit.
        limit: String,
        /// How often each call may be sent.
        times: u64,
    },
}

impl LimitError {
    /// What to write instead, for a `hint:` line.
    pub fn hint(&self) -> Cow<'_, str> {
        match self {
            Self::Syntax { hint, .. } => Cow::Borrowed(hint),
            Self::OutOfRange { hint, .. } => Cow::Borrowed(hint),
            Self::CostTooLarge { .. } => Cow::Borrowed("raise the limit, lower `cost`, or split the call"),
            Self::CostUnknown { unit, .. } => Cow::Owned(format!(
                "in a job file, give [[quota.limit]] a `cost`, the most {unit} that one call can take: a number, or a column such as `{{{unit}}}`"
            )),
            Self::NoWallClock { .. } => Cow::Borrowed("give the contract a wall clock"),
            Self::TooMany { .. } => Cow::Borrowed("leave those away that never bind"),
            Self::AmplifiedAway { .. } => Cow::Borrowed("lower `amplification`, or raise the limit"),
        }
    }
}
