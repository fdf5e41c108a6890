//! `Hold`: a call takes units before it is sent; they come back `hold` after the answer.

mod share;

use std::collections::VecDeque;
use std::time::Duration;

use super::{Readiness, Taken, kept_for_probes};
use crate::Time;
use crate::time::nanos;

/// How many different return times are remembered at most. Beyond as many units, return times
/// are rounded up to a multiple of `hold / SLOTS`, so that memory does not grow with the units:
/// at most 0.4% of the rate is given up, and nothing is ever returned early.
const SLOTS: u64 = 250;

/// Units that are taken before a call is sent and come back a fixed time after its answer.
///
/// *Proof.* Take one unit and two calls in a row that used it: the first was counted by the
/// server at `c₁ ≤ r₁` (no later than its answer), the second at `c₂ ≥ s₂` (no earlier than its
/// grant), and the unit came back at `r₁ + hold ≤ s₂`. So counts on one unit are at least `hold`
/// apart, and any window shorter than `hold` holds at most one per unit: at most `units`.
/// `hold` is the window plus margins, hence strictly longer than the window.
///
/// With [`counted_within`](Self::counted_within), `c₁ ≤ s₁ + d` is assumed in place of `c₁ ≤ r₁`,
/// and units come back `hold` after that; the rest of the proof is the same.
#[derive(Debug, Clone)]
pub struct Hold {
    units: u64,
    /// From the answer to the return of the units.
    length: Duration,
    /// Return times are rounded up to multiples of this; 1 ns when each can be kept exactly.
    slot: u64,
    /// As much as is kept for probes, of calls that cost less.
    ample: i64,
    /// Less than nothing after an answer that cost more than was reserved, or while units are
    /// withheld.
    free: i64,
    in_flight: u64,
    /// Units that are kept back while the contract is in doubt, and how many tenths are not.
    withheld: u64,
    tenths: u64,
    /// Units that others use.
    others: u64,
    /// Return times in order, with the units that come back then.
    returns: VecDeque<(Time, u64)>,
    counted_within: Option<Duration>,
    /// Whether some units stay free while nothing else can come back by itself.
    keeps_probes: bool,
}

impl Hold {
    /// A meter of `units` units (of 2⁶² at most) that come back `hold` after the answer.
    pub fn new(units: u64, hold: Duration) -> Self {
        let units = units.min(1 << 62);
        let slot = if units <= SLOTS { 1 } else { (nanos(hold) / SLOTS).max(1) };
        Self {
            units,
            length: hold,
            slot,
            ample: signed(units / 10),
            free: units.cast_signed(),
            in_flight: 0,
            withheld: 0,
            tenths: 10,
            others: 0,
            returns: VecDeque::new(),
            counted_within: None,
            keeps_probes: false,
        }
    }

    /// Assumes that the server counts a call within this time of its grant.
    #[must_use]
    pub fn counted_within(self, within: Option<Duration>) -> Self {
        Self { counted_within: within, ..self }
    }

    /// Keeps a tenth of the units, or what one call takes, free for probes when all the others
    /// are in flight: if the provider has stalled, these must find room in its window beside all
    /// that it may count at once.
    #[must_use]
    pub fn keeping_probes(self) -> Self {
        Self { keeps_probes: true, ..self }
    }

    /// All units of this meter.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Units that may be in flight at once, calls of `cost` units: all but what is kept for probes.
    pub(crate) fn most_in_flight(&self, cost: u64) -> u64 {
        let kept = if self.keeps_probes { kept_for_probes(self.units, cost) } else { 0 };
        self.units - kept.min(self.units)
    }

    /// The time from the answer to the return of the units.
    pub fn hold(&self) -> Duration {
        self.length
    }

    /// The time after the grant within which the server is assumed to have counted.
    pub fn assumed(&self) -> Option<Duration> {
        self.counted_within
    }

    #[inline]
    pub(super) fn readiness(&mut self, cost: u64, now: Time, probe: bool) -> Readiness {
        // More than is ever kept: nearly always, and without a look at the rest.
        if self.free >= self.ample.saturating_add(signed(cost).saturating_mul(2)) {
            return Readiness::Ready;
        }
        // A probe may have the units that are kept for it.
        let kept = if self.keeps_probes && !probe { kept_for_probes(self.units, cost) } else { 0 };
        // Return times are looked at only when they matter.
        let plenty = cost.saturating_add(kept);
        if self.free >= signed(plenty) {
            return Readiness::Ready;
        }
        self.collect(now);
        // What comes back by itself will do for probes, if it is as much as is kept. Of a few units
        // any will do: one in two would be too much to keep.
        let coming =
            if kept > cost { self.in_flight + plenty <= self.units } else { !self.returns.is_empty() };
        if self.free >= signed(cost) && (self.free >= signed(plenty) || self.in_flight == 0 || coming) {
            return Readiness::Ready;
        }
        if self.free >= signed(cost) {
            // Kept for probes: what is free and what comes back are less than that, however long it takes.
            return Readiness::OnAnswer;
        }
        let mut free = self.free;
        for &(at, units) in &self.returns {
            free += units.cast_signed();
            if free >= signed(cost) {
                return Readiness::At(at);
            }
        }
        Readiness::OnAnswer
    }

    #[inline]
    pub(super) fn take(&mut self, cost: u64, now: Time) {
        self.free -= signed(cost);
        match self.counted_within {
            None => self.in_flight += cost,
            Some(within) => self.give_back_after(now + within, cost, now),
        }
    }

    /// The call is over at `now` and has cost `actual`; what it had taken in excess is free at once.
    #[inline]
    pub(super) fn answered(&mut self, taken: Taken, actual: u64, now: Time) {
        if actual == taken.cost && self.counted_within.is_none() {
            self.in_flight -= actual;
            self.give_back_after(now, actual, now);
            return;
        }
        let excess = taken.cost.saturating_sub(actual);
        let debt = actual.saturating_sub(taken.cost);
        self.free -= signed(debt);
        if let Some(within) = self.counted_within {
            self.take_back(self.back_at(taken.at + within), excess);
            self.give_back_after(now, debt, now);
        } else {
            self.in_flight -= taken.cost;
            self.free += signed(excess);
            self.give_back_after(now, actual, now);
        }
    }

    /// What is not free: units, and when they come back if all answers came now.
    pub(super) fn used(&self, now: Time) -> Vec<(u64, Time)> {
        let mut used: Vec<(u64, Time)> = self.returns.iter().map(|&(at, units)| (units, at)).collect();
        if self.in_flight > 0 {
            used.push((self.in_flight, now + self.length));
        }
        used.retain(|&(_, at)| at > now);
        used
    }

    /// Takes units that were used before this meter was made; more than there are is all of them.
    pub(super) fn charge(&mut self, units: u64, until: Time) {
        let units = units.min(self.units);
        self.free -= signed(units);
        self.give_back(until, units);
    }

    /// Leaves only so many tenths of the units in use; one at least.
    pub(super) fn restrict(&mut self, tenths: u64) {
        self.tenths = tenths;
        self.withhold();
    }

    /// Leaves so many units to others.
    pub(super) fn leave(&mut self, units: u64) {
        self.others = units;
        self.withhold();
    }

    fn withhold(&mut self) {
        let tenths = self.units / 10 * self.tenths + (self.units % 10 * self.tenths).div_ceil(10);
        let in_doubt = (self.units - self.units.min(tenths)).min(self.units.saturating_sub(1));
        let withheld = in_doubt.max(self.others.min(self.units));
        self.free += signed(self.withheld) - signed(withheld);
        self.withheld = withheld;
    }

    fn back_at(&self, counted: Time) -> Time {
        let exact = (counted + self.length).as_nanos();
        let at = if self.slot == 1 { exact } else { exact.div_ceil(self.slot).saturating_mul(self.slot) };
        Time::from_nanos(at)
    }

    /// Takes in what has come back.
    fn collect(&mut self, now: Time) {
        while let Some(&(at, units)) = self.returns.front() {
            if at > now {
                break;
            }
            self.free += units.cast_signed();
            self.returns.pop_front();
        }
    }

    /// Gives units back a hold after `counted`.
    #[inline]
    fn give_back_after(&mut self, counted: Time, units: u64, now: Time) {
        let exact = counted + self.length;
        // Nearly always it is the slot of the answer before.
        if let Some(last) = self.returns.back_mut()
            && last.0 >= exact
            && last.0.as_nanos() - exact.as_nanos() < self.slot
        {
            last.1 += units;
            return;
        }
        if self.returns.len() == self.returns.capacity() {
            // A limit that never binds is never asked for what has come back.
            self.collect(now);
            if self.returns.len() >= 2 * SLOTS as usize {
                // After calls that reserved nothing there may be more return times than units.
                self.slot = self.slot.max((nanos(self.length) / SLOTS).max(1));
            }
        }
        self.give_back(self.back_at(counted), units);
    }

    fn give_back(&mut self, at: Time, units: u64) {
        if units == 0 {
            return;
        }
        // Answers are reported in the order of time, so this is nearly always the back.
        let place = match self.returns.back() {
            Some(&(last, _)) if last > at => self.returns.partition_point(|&(t, _)| t < at),
            Some(&(last, _)) if last == at => self.returns.len() - 1,
            _ => self.returns.len(),
        };
        match self.returns.get_mut(place) {
            Some(slot) if slot.0 == at => slot.1 += units,
            _ => self.returns.insert(place, (at, units)),
        }
    }

    /// Frees units at once that were to come back at `at`; if that has passed, they are free.
    fn take_back(&mut self, at: Time, units: u64) {
        if units == 0 {
            return;
        }
        if let Ok(place) = self.returns.binary_search_by_key(&at, |&(t, _)| t) {
            let slot = &mut self.returns[place].1;
            let units = units.min(*slot);
            *slot -= units;
            self.free += signed(units);
        }
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(hold: &mut Hold, cost: u64, now: Time) {
        hold.answered(Taken { cost, at: Time::ZERO }, cost, now);
    }

    #[test]
    fn units_come_back_a_hold_after_the_answer_and_not_before() {
        let mut hold = Hold::new(1, Duration::from_millis(100));
        assert_eq!(hold.readiness(1, Time::ZERO, false), Readiness::Ready);
        hold.take(1, Time::ZERO);
        assert_eq!(hold.readiness(1, Time::from_millis(500), false), Readiness::OnAnswer);
        answer(&mut hold, 1, Time::from_millis(500));
        let back = Time::from_millis(600);
        assert_eq!(hold.readiness(1, back - Duration::from_nanos(1), false), Readiness::At(back));
        assert_eq!(hold.readiness(1, back, false), Readiness::Ready);
    }

    #[test]
    fn many_units_keep_few_return_times_and_never_an_early_one() {
        let mut hold = Hold::new(100_000, SECOND);
        for i in 0..100_000u64 {
            let now = Time::from_nanos(i * 10_000);
            assert_eq!(hold.readiness(1, now, false), Readiness::Ready);
            hold.take(1, now);
            answer(&mut hold, 1, now);
            let &(last, _) = hold.returns.back().unwrap();
            assert!(last >= now + SECOND && last < now + SECOND + SECOND / 250);
        }
        assert!(hold.returns.len() <= SLOTS as usize + 2, "{}", hold.returns.len());
    }

    #[test]
    fn what_was_never_used_is_free_at_once() {
        for within in [None, Some(Duration::from_millis(30))] {
            let mut hold = Hold::new(5, Duration::from_secs(60)).counted_within(within);
            hold.take(5, Time::ZERO);
            hold.answered(Taken { cost: 5, at: Time::ZERO }, 2, Time::from_millis(80));
            assert_eq!(hold.readiness(3, Time::from_millis(80), false), Readiness::Ready);
            assert!(matches!(hold.readiness(4, Time::from_millis(80), false), Readiness::At(_)));
        }
    }

    #[test]
    fn a_debt_is_paid_before_anything_else_is_granted() {
        let mut hold = Hold::new(10, SECOND);
        hold.take(4, Time::ZERO);
        hold.take(5, Time::ZERO);
        answer(&mut hold, 5, Time::from_millis(100));
        hold.answered(Taken { cost: 4, at: Time::ZERO }, 14, Time::from_millis(200));
        // 10 − 5 − 14: nine short, until the first five and then the fourteen come back.
        assert_eq!(
            hold.readiness(1, Time::from_millis(1_100), false),
            Readiness::At(Time::from_millis(1_200))
        );
        assert_eq!(hold.readiness(10, Time::from_millis(1_200), false), Readiness::Ready);
    }

    #[test]
    fn a_heavy_cost_is_promised_the_time_when_enough_is_back() {
        let mut hold = Hold::new(3, SECOND);
        hold.take(3, Time::ZERO);
        for ms in [100, 200, 300] {
            answer(&mut hold, 1, Time::from_millis(ms));
        }
        let now = Time::from_millis(400);
        assert_eq!(hold.readiness(2, now, false), Readiness::At(Time::from_millis(1_200)));
        assert_eq!(hold.readiness(3, now, false), Readiness::At(Time::from_millis(1_300)));
    }

    #[test]
    fn with_an_assumption_units_come_back_without_an_answer() {
        let mut hold = Hold::new(1, SECOND).counted_within(Some(Duration::from_millis(30)));
        hold.take(1, Time::ZERO);
        assert_eq!(hold.readiness(1, Time::ZERO, false), Readiness::At(Time::from_millis(1_030)));
        answer(&mut hold, 1, Time::from_millis(5_000));
        assert_eq!(hold.readiness(1, Time::from_millis(1_030), false), Readiness::Ready);
    }

    #[test]
    fn the_last_units_are_kept_for_probes_while_all_others_are_in_flight() {
        let mut hold = Hold::new(20, SECOND).keeping_probes();
        let mut sent = 0;
        while hold.readiness(1, Time::ZERO, false) == Readiness::Ready {
            hold.take(1, Time::ZERO);
            sent += 1;
        }
        assert_eq!((sent, hold.readiness(1, Time::ZERO, false)), (18, Readiness::OnAnswer));
        assert_eq!(hold.readiness(1, Time::ZERO, true), Readiness::Ready);
        // One answer shows that calls come through: then the rest may go as well.
        answer(&mut hold, 1, Time::from_millis(50));
        assert_eq!(hold.readiness(1, Time::from_millis(50), false), Readiness::Ready);
        let mut one = Hold::new(1, SECOND).keeping_probes();
        assert_eq!(one.readiness(1, Time::ZERO, false), Readiness::Ready);
    }

    #[test]
    fn what_is_kept_for_probes_stays_when_nothing_is_answered_any_more() {
        let mut hold = Hold::new(100, SECOND).keeping_probes();
        // One call each 10 ms; those of the first half second are answered, the others never.
        let mut sent = 0;
        for now in (0..5_000).step_by(10).map(Time::from_millis) {
            if hold.readiness(1, now, false) == Readiness::Ready {
                hold.take(1, now);
                sent += 1;
                if now < Time::from_millis(500) {
                    answer(&mut hold, 1, now);
                }
            }
        }
        assert_eq!((sent, hold.in_flight, hold.free), (50 + 90, 90, 10));
    }

    #[test]
    fn return_times_do_not_gather_where_nothing_binds() {
        let mut hold = Hold::new(1_000_000, SECOND);
        for i in 0..100_000u64 {
            let now = Time::from_millis(4 * i);
            assert_eq!(hold.readiness(1, now, false), Readiness::Ready);
            hold.take(1, now);
            answer(&mut hold, 1, now);
        }
        assert!(hold.returns.len() <= 2 * SLOTS as usize, "{}", hold.returns.len());
        // Calls that reserve nothing and turn out to cost something.
        let mut owed = Hold::new(10, SECOND);
        for i in 0..100_000u64 {
            owed.answered(Taken { cost: 0, at: Time::ZERO }, 1, Time::from_nanos(i * 1_000));
        }
        assert!(owed.returns.len() <= 3 * SLOTS as usize, "{}", owed.returns.len());
    }

    #[test]
    fn what_is_kept_for_probes_waits_for_an_answer_and_for_no_time() {
        let mut hold = Hold::new(100, SECOND).keeping_probes();
        let now = Time::from_millis(60);
        for _ in 0..90 {
            assert_eq!(hold.readiness(1, Time::ZERO, false), Readiness::Ready);
            hold.take(1, Time::ZERO);
        }
        // The answers to the first ones let the last ones go, long before any unit comes back.
        for _ in 90..100 {
            assert_eq!(hold.readiness(1, now, false), Readiness::OnAnswer);
            answer(&mut hold, 1, now);
            assert_eq!(hold.readiness(1, now, false), Readiness::Ready);
            hold.take(1, now);
        }
        assert_eq!(hold.readiness(1, now, false), Readiness::At(now + SECOND));
    }

    #[test]
    fn what_is_withheld_comes_back() {
        let mut hold = Hold::new(10, SECOND);
        hold.take(10, Time::ZERO);
        hold.restrict(9);
        answer(&mut hold, 10, Time::ZERO);
        let back = Time::from_millis(1_000);
        assert_eq!(hold.readiness(9, back, false), Readiness::Ready);
        assert_eq!(hold.readiness(10, back, false), Readiness::OnAnswer);
        hold.restrict(10);
        assert_eq!(hold.readiness(10, back, false), Readiness::Ready);
        let mut one = Hold::new(1, SECOND);
        one.restrict(5);
        assert_eq!(one.readiness(1, Time::ZERO, false), Readiness::Ready);
    }
}
