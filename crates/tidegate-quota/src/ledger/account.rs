//! `Account`: one gate's dealings with its pool.

use std::time::Duration;

use tidegate_core::{Allotment, Time};

use super::Membership;
use crate::Gate;
use crate::store::Visit;

/// Between two exchanges, if the gate lacks units that it should have: no more than four a second.
const SHORT: Duration = Duration::from_millis(250);
/// If it is in use.
const BUSY: Duration = Duration::from_millis(500);
/// If it is not, and one of many.
const QUIET: Duration = Duration::from_millis(1_400);
/// So few are looked after all the time: then nobody who comes waits long for what they do not need.
const FEW: usize = 32;
/// Before the first, if there was one just now: those that come together are done together.
const TOGETHER: Duration = Duration::from_millis(200);
/// A share that does not come soon is not asked for as often.
const IMPATIENT: u32 = 8;
/// A gate that nobody has, and that nobody has used for so long, is given up.
const FORGET: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Account {
    pub(super) gate: Gate,
    seq: u64,
    targets: Option<Vec<u64>>,
    resumes: u64,
    /// The pause that the others know of.
    told: Time,
    /// Grants when they were last looked at, and when there was a new one.
    granted: u64,
    used_at: Time,
    /// Exchanges in a row that brought nothing, though something was lacking.
    in_vain: u32,
    pub(super) due: Time,
}

impl Account {
    /// Of a new gate; `tried` is when the last exchange was.
    pub(super) fn new(gate: Gate, tried: Time, now: Time) -> Self {
        Self {
            gate,
            seq: 0,
            targets: None,
            resumes: 0,
            told: Time::ZERO,
            granted: 0,
            used_at: now,
            in_vain: 0,
            due: if tried == Time::ZERO { tried } else { tried + TOGETHER },
        }
    }

    /// Begins with a new pool, or as a new member of the old one.
    pub(super) fn restart(&mut self, now: Time) {
        *self = Self { used_at: self.used_at, ..Self::new(self.gate.clone(), Time::ZERO, now) };
    }

    /// Whether nothing was exchanged yet.
    pub(super) fn is_new(&self) -> bool {
        self.seq == 0
    }

    /// The next report. Nothing may be reported again before it is answered.
    pub(super) fn report(&mut self, partition: &str, membership: &Membership, leaves: bool) -> Visit {
        self.seq += 1;
        let none: Vec<u64>;
        let targets = match (&self.targets, leaves) {
            (Some(targets), true) => {
                none = vec![0; targets.len()];
                Some(&none)
            }
            (targets, _) => targets.as_ref(),
        };
        let report = self.gate.draw_up(self.seq, targets.map(Vec::as_slice), self.told, membership);
        Visit { partition: partition.into(), report, leaves }
    }

    /// Takes in the answer, as one of `among` accounts. Whether the gate may grant more than before.
    pub(super) fn settle(&mut self, allotment: Allotment, among: usize, now: Time) -> bool {
        let resumed = allotment.resumes > self.resumes && self.seq > 1;
        self.resumes = allotment.resumes;
        self.told = if resumed { allotment.paused_until } else { self.told.max(allotment.paused_until) };
        self.gate.take_up(&allotment, resumed);
        let granted = self.gate.granted();
        let in_use = granted != self.granted || self.gate.is_held_back();
        if in_use || self.gate.in_flight() > 0 {
            self.used_at = now;
        }
        self.granted = granted;
        let received = allotment.parts.iter().any(|part| part.units > 0);
        let is_short = self.gate.is_short_of(&allotment.targets);
        self.in_vain = if is_short && !received { self.in_vain.saturating_add(1) } else { 0 };
        self.due = now
            + match (is_short, in_use) {
                (true, _) if self.in_vain < IMPATIENT => SHORT,
                (false, false) if among > FEW => QUIET,
                _ => BUSY,
            };
        self.targets = Some(allotment.targets);
        received || resumed
    }

    /// Somebody needs units.
    pub(super) fn hurry(&mut self, last: Time) {
        self.due = self.due.min(last + SHORT);
    }

    pub(super) fn may_be_forgotten(&self, now: Time) -> bool {
        self.used_at + FORGET <= now
    }
}
