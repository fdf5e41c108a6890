//! `Part`: units on their way.

use serde::{Deserialize, Serialize};

use crate::meter::Meter;
use crate::time::Time;

/// So many parts of a bucket are kept apart.
const FEW: usize = 8;

/// Units of one limit that move between a pool and a member.
///
/// What a date means depends on the meter. Units of a `Hold` and of an `Epoch` cannot be used before
/// it. Units of a `Pace` are a smaller bucket that is surely full by then, and on its way there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Part {
    /// All of them.
    pub units: u64,
    /// Those that are not free (full) yet: dates in order, with the units that they are for. No more
    /// than there are units.
    pub dated: Vec<(Time, u64)>,
}

impl Part {
    /// Units that are free, all of them.
    pub fn free(units: u64) -> Self {
        Self { units, dated: Vec::new() }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// Units that are not free at `now`.
    pub fn in_use(&self, now: Time) -> u64 {
        self.dated.iter().filter(|(at, _)| *at > now).map(|(_, units)| units).sum()
    }

    /// The latest of its dates.
    pub(super) fn last_date(&self) -> Time {
        self.dated.iter().map(|(at, _)| *at).max().unwrap_or(Time::ZERO)
    }

    /// Adds units that all have the same date.
    pub(super) fn add(&mut self, units: u64, at: Time) {
        if units == 0 {
            return;
        }
        self.units = self.units.saturating_add(units);
        let place = self.dated.partition_point(|(t, _)| *t < at);
        match self.dated.get_mut(place).filter(|(t, _)| *t == at) {
            Some((_, there)) => *there += units,
            None => self.dated.insert(place, (at, units)),
        }
    }

    /// Adds all of `other`.
    pub(super) fn merge(&mut self, other: Self) {
        let mut free = other.units;
        for (at, units) in other.dated {
            let units = units.min(free);
            free -= units;
            self.add(units, at);
        }
        self.units = self.units.saturating_add(free);
    }

    /// Takes so many units off, the free ones first and then in the order of their dates; no unit that
    /// cannot be given yet.
    pub(super) fn take(&mut self, units: u64, given_until: Time) -> Self {
        let units = units.min(self.units);
        let dated = self.dated.iter().fold(0u64, |sum, (_, units)| sum.saturating_add(*units));
        let mut taken = Self::free(units.min(self.units.saturating_sub(dated)));
        for (at, there) in self.dated.iter_mut().take_while(|(at, _)| *at <= given_until) {
            let units = (units - taken.units).min(*there);
            *there -= units;
            taken.add(units, *at);
        }
        self.dated.retain(|(_, units)| *units > 0);
        self.units -= taken.units;
        taken
    }

    /// No unit is free before `at`.
    pub(super) fn hold(&mut self, at: Time) {
        let units = self.units;
        let later: Vec<(Time, u64)> = self.dated.drain(..).filter(|(t, _)| *t > at).collect();
        let held = later.iter().map(|(_, units)| units).sum::<u64>().min(units);
        *self = Self { units: held, dated: later };
        self.add(units - held, at);
    }

    /// Forgets dates that have passed, and keeps few of them.
    pub(super) fn tidy(&mut self, meter: &Meter, now: Time) {
        self.dated.retain(|(at, _)| *at > now);
        let Meter::Pace(pace) = meter else { return };
        let most = given_until(meter, now);
        if self.dated.partition_point(|(at, _)| *at <= most) <= FEW {
            return;
        }
        // Smaller buckets beside each other may be taken as one with what they hold together. Those that
        // are full but for what is hidden have no more than that.
        let least = now + pace.lag();
        let filling = self.dated.iter().take_while(|(at, _)| *at <= most);
        let (mut units, mut waits) = (0u64, 0u128);
        for (at, there) in filling {
            units = units.saturating_add(*there);
            waits = waits.saturating_add(u128::from(*there) * at.since(now).max(least.since(now)).as_nanos());
        }
        if units > 0 {
            self.dated.retain(|(at, _)| *at > most);
            let wait = waits.div_ceil(u128::from(units));
            let at = Time::from_nanos(now.as_nanos().saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)));
            self.dated.insert(0, (at, units));
        }
    }
}

/// Units with a later date stay in the pool. A part of a bucket whose last calls may still be counted is
/// no bucket that fills: it is given away when it is one, empty.
pub(super) fn given_until(meter: &Meter, now: Time) -> Time {
    match meter {
        Meter::Pace(pace) => now + pace.silence(),
        _ => Time::MAX,
    }
}
