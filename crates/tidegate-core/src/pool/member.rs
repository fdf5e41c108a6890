//! `Member`: what a pool knows of a process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Allotment, Demand, MemberId, Part, Priority};
use crate::time::Time;

/// A member as its pool knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub(super) id: MemberId,
    pub(super) until: Time,
    pub(super) timeout: Duration,
    /// Units that it holds, by limit; those among them that it may not have been told of yet.
    pub(super) held: Vec<u64>,
    /// The latest date of what it was given, by limit.
    pub(super) latest: Vec<Time>,
    /// What it was given that cannot have been used yet, by limit: dates in order, with units.
    pub(super) resting: Vec<Vec<(Time, u64)>>,
    pub(super) demand: Vec<Demand>,
    #[serde(default)]
    pub(super) priority: Priority,
    pub(super) granted: u64,
    pub(super) seq: u64,
    /// Given again if the report comes again.
    pub(super) answer: Allotment,
    /// It has not been told yet that the pool was resized.
    pub(super) resized: bool,
}

impl Member {
    pub(super) fn new(id: MemberId, limits: usize) -> Self {
        Self {
            id,
            until: Time::ZERO,
            timeout: Duration::ZERO,
            held: vec![0; limits],
            latest: vec![Time::ZERO; limits],
            resting: vec![Vec::new(); limits],
            demand: vec![Demand::default(); limits],
            priority: Priority::default(),
            granted: 0,
            seq: 0,
            answer: Allotment::default(),
            resized: false,
        }
    }

    /// It holds units more.
    pub(super) fn gets(&mut self, limit: usize, part: &Part, rests: bool) {
        self.held[limit] += part.units;
        self.latest[limit] = self.latest[limit].max(part.last_date());
        if rests {
            self.resting[limit].extend_from_slice(&part.dated);
            self.resting[limit].sort_unstable();
        }
    }

    /// It has given units away: perhaps some of those that rest. Its dates are the given ones, if not a
    /// little later; they may be those of other units, but then it only seems to have fewer at rest.
    pub(super) fn gives(&mut self, limit: usize, part: &Part) {
        self.held[limit] -= part.units;
        for &(at, mut dated) in &part.dated {
            let until = self.resting[limit].partition_point(|(until, _)| *until <= at);
            for (_, units) in self.resting[limit][..until].iter_mut().rev() {
                let gone = dated.min(*units);
                *units -= gone;
                dated -= gone;
            }
        }
        self.resting[limit].retain(|(_, units)| *units > 0);
    }

    /// What it holds when nothing of it is counted after `counted_by`: what was not to be used before
    /// rests on, and all else from then on until `at`.
    pub(super) fn estate(&self, limit: usize, counted_by: Time, at: Time) -> Part {
        let mut part = Part::default();
        for &(until, units) in self.resting[limit].iter().filter(|(until, _)| *until > counted_by) {
            part.add(units.min(self.held[limit] - part.units), until);
        }
        // What it was given was perhaps to rest for longer than a hold.
        part.add(self.held[limit] - part.units, at.max(self.latest[limit]));
        part
    }

    /// When its last call is over, if it is not heard of again.
    pub(super) fn over_by(&self) -> Time {
        self.until + self.timeout
    }

    /// Who it is.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The end of its lease.
    pub fn until(&self) -> Time {
        self.until
    }

    /// What it said of its time-out.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whom it comes before.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Units that it holds, by limit.
    pub fn held(&self) -> &[u64] {
        &self.held
    }
}
