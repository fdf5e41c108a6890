//! Contract incidents: a rejection that the contract says cannot be.
//!
//! Either the declared limit is wrong, or somebody else uses the key. Whichever it is, asking as
//! before would be rejected again. So the limit allows a tenth less, and a tenth more again after
//! each of its holds without another incident, never above the contract.

use std::time::Duration;

use super::{Grant, Quota};
use crate::time::Time;

/// Limits are divided so.
pub(super) const TENTHS: u64 = 10;

/// An unexpected rejection, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// Index of the limit that is taken to be meant: the shortest.
    pub limit: usize,
    /// Tenths of it that are used from here on.
    pub tenths: u64,
    /// Nothing is sent until then.
    pub paused_until: Time,
}

/// A provider that names no time is not taken to mean hours, however long the limit's hold is.
const LONGEST_GUESS: Duration = Duration::from_secs(60);

/// What is kept back of one limit.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    incident: Option<Restricted>,
    /// Calls sent before do not tell anything new.
    since: Time,
}

#[derive(Debug)]
struct Restricted {
    tenths: u64,
    eases_at: Time,
}

impl Quota {
    /// The granted call was rejected (429) at `now`; `retry_after` is the silence that the provider
    /// asks for.
    ///
    /// Pauses for that or for the hold of the shortest limit (a minute at most), whichever is longer. The first
    /// rejection is an incident: those of calls that were sent before it are not.
    pub fn rejected(&mut self, grant: &Grant, retry_after: Option<Duration>, now: Time) -> Option<Incident> {
        let now = self.advance(now);
        self.narrow(grant, now);
        let asked = retry_after.unwrap_or(Duration::ZERO);
        if grant.at < self.doubt.since {
            if !asked.is_zero() {
                self.pause(now + asked);
            }
            return None;
        }
        self.doubt.since = now;
        let Some((limit, hold)) = self.contract.shortest_hold() else {
            self.pause(now + asked);
            return None;
        };
        self.pause(now + asked.max(hold.min(LONGEST_GUESS)));
        let before = self.doubt.incident.as_ref().map_or(TENTHS, |incident| incident.tenths);
        let tenths = (before - 1).max(1);
        self.limits[limit].meter.restrict(tenths);
        let eases_at = self.paused_until + hold;
        self.doubt.incident = Some(Restricted { tenths, eases_at });
        Some(Incident { limit, tenths, paused_until: self.paused_until })
    }

    /// Gives back a tenth for each hold without an incident.
    pub(super) fn ease(&mut self, now: Time) {
        // It is always the shortest that is restricted.
        let Some((limit, hold)) = self.contract.shortest_hold() else { return };
        while let Some(incident) = &mut self.doubt.incident {
            if incident.eases_at > now {
                return;
            }
            incident.tenths += 1;
            incident.eases_at = incident.eases_at + hold;
            self.limits[limit].meter.restrict(incident.tenths);
            if incident.tenths >= TENTHS {
                self.doubt.incident = None;
            }
        }
    }
}

impl Doubt {
    /// The limits are others from here on.
    pub(super) fn forget(&mut self) {
        self.incident = None;
    }

    pub(super) fn exists(&self) -> bool {
        self.incident.is_some()
    }

    pub(super) fn eases_at(&self) -> Option<Time> {
        self.incident.as_ref().map(|incident| incident.eases_at)
    }
}
