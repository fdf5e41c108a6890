//! What members and pools say to each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Part, Priority};
use crate::time::Time;

/// One process that takes part in a quota, or one partition of it. A store never gives an id twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId(pub u64);

/// What a member would like to have of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Demand {
    /// Units that it could use; `u64::MAX` if its share has held it back.
    pub units: u64,
    /// What one call needs that waits, or was refused last: with less it sends nothing.
    pub need: u64,
}

/// What a member tells a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Counts this member's exchanges with this pool, from 1. A report whose answer did not come is
    /// sent again as it is, under the same number, however often: nothing may be ceded anew before.
    pub seq: u64,
    /// What it gives back of each limit, as [`Quota::cede`](crate::Quota::cede) made it.
    pub ceded: Vec<Part>,
    /// What it would like to have, by limit, as [`Quota::demand`](crate::Quota::demand) says.
    pub demand: Vec<Demand>,
    /// Whom it comes before.
    pub priority: Priority,
    /// Calls granted so far, in all: [`Quota::granted`](crate::Quota::granted).
    pub granted: u64,
    /// Each of its calls is given up this long after its grant, at the latest.
    pub timeout: Duration,
    /// A pause that the provider has asked for since the last report; `Time::ZERO` if none.
    pub paused_until: Time,
}

/// What a pool answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allotment {
    /// The end of the lease, on the store's clock: for [`Quota::lease_until`](crate::Quota::lease_until).
    pub until: Time,
    /// Units that are the member's from here on, by limit: for [`Quota::receive`](crate::Quota::receive).
    pub parts: Vec<Part>,
    /// What it should hold, by limit. What it holds above that it cedes with its next report.
    pub targets: Vec<u64>,
    /// The pause in force, for [`Quota::pause`](crate::Quota::pause); in the past if there is none.
    pub paused_until: Time,
    /// How often somebody has ended a pause by hand. When this has risen since the last answer, the
    /// member resumes first, and then takes over `paused_until`.
    pub resumes: u64,
}
