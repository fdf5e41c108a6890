//! `Hold`: a call takes units before it is sent; they come back `hold` after the answer.

use std::collections::VecDeque;
use std::time::Duration;

use super::Readiness;
use crate::Time;
use crate::time::nanos;

/// How many different return times are remembered at most. Beyond as many units, return times
/// are rounded up to a multiple of `hold / SLOTS`, so that memory does not grow with the units:
/// at most 0.4% of the rate is given up, and nothing is ever returned early.
const SLOTS: u64 = 256;

/// Units that are taken before a call is sent and come back a fixed time after its answer.
///
/// *Proof.* Take one unit and two calls in a row that used it: the first was counted by the
/// server at `c₁ ≤ r₁` (no later than its answer), the second at `c₂ ≥ s₂` (no earlier than its
/// grant), and the unit came back at `r₁ + hold ≤ s₂`. So counts on one unit are at least `hold`
/// apart, and any window shorter than `hold` holds at most one per unit: at most `units`.
/// `hold` is the window plus margins, hence strictly longer than the window.
#[derive(Debug, Clone)]
pub struct Hold {
    units: u64,
    /// From the answer to the return of the units.
    length: Duration,
    /// Return times are rounded up to multiples of this; 1 ns when each can be kept exactly.
    slot: u64,
    free: u64,
    /// Return times in order, with the units that come back then.
    returns: VecDeque<(Time, u64)>,
}

impl Hold {
    /// A meter of `units` units that come back `hold` after the answer.
    pub fn new(units: u64, hold: Duration) -> Self {
        let slot = if units <= SLOTS { 1 } else { (nanos(hold) / SLOTS).max(1) };
        Self { units, length: hold, slot, free: units, returns: VecDeque::new() }
    }

    /// All units of this meter.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The time from the answer to the return of the units.
    pub fn hold(&self) -> Duration {
        self.length
    }

    pub(super) fn readiness(&mut self, cost: u64, now: Time) -> Readiness {
        if self.free >= cost {
            return Readiness::Ready;
        }
        while let Some(&(at, units)) = self.returns.front() {
            if at > now {
                break;
            }
            self.free += units;
            self.returns.pop_front();
        }
        if self.free >= cost {
            return Readiness::Ready;
        }
        let mut free = self.free;
        for &(at, units) in &self.returns {
            free += units;
            if free >= cost {
                return Readiness::At(at);
            }
        }
        Readiness::OnAnswer
    }

    pub(super) fn take(&mut self, cost: u64) {
        self.free -= cost;
    }

    pub(super) fn answered(&mut self, cost: u64, now: Time) {
        let exact = (now + self.length).as_nanos();
        let at = if self.slot == 1 { exact } else { exact.div_ceil(self.slot).saturating_mul(self.slot) };
        self.give_back(Time::from_nanos(at), cost);
    }

    pub(super) fn not_sent(&mut self, cost: u64) {
        self.free += cost;
    }

    /// What is not free: units, and when they come back if all answers came now.
    pub(super) fn used(&self, now: Time) -> Vec<(u64, Time)> {
        let mut used: Vec<(u64, Time)> = self.returns.iter().map(|&(at, units)| (units, at)).collect();
        let in_flight = self.units - self.free - used.iter().map(|(units, _)| units).sum::<u64>();
        if in_flight > 0 {
            used.push((in_flight, now + self.length));
        }
        used.retain(|&(_, at)| at > now);
        used
    }

    /// Takes units that were used before this meter was made; more than there are is all of them.
    pub(super) fn charge(&mut self, units: u64, until: Time) {
        let units = units.min(self.free);
        if units > 0 {
            self.free -= units;
            self.give_back(until, units);
        }
    }

    fn give_back(&mut self, at: Time, units: u64) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_come_back_a_hold_after_the_answer_and_not_before() {
        let mut hold = Hold::new(1, Duration::from_millis(100));
        assert_eq!(hold.readiness(1, Time::ZERO), Readiness::Ready);
        hold.take(1);
        assert_eq!(hold.readiness(1, Time::from_millis(500)), Readiness::OnAnswer);
        hold.answered(1, Time::from_millis(500));
        let back = Time::from_millis(600);
        assert_eq!(hold.readiness(1, back - Duration::from_nanos(1)), Readiness::At(back));
        assert_eq!(hold.readiness(1, back), Readiness::Ready);
    }

    #[test]
    fn many_units_keep_few_return_times_and_never_an_early_one() {
        let second = Duration::from_secs(1);
        let mut hold = Hold::new(100_000, second);
        for i in 0..100_000u64 {
            let now = Time::from_nanos(i * 10_000);
            assert_eq!(hold.readiness(1, now), Readiness::Ready);
            hold.take(1);
            hold.answered(1, now);
            let &(last, _) = hold.returns.back().unwrap();
            assert!(last >= now + second && last < now + second + second / 250);
        }
        assert!(hold.returns.len() <= SLOTS as usize + 2, "{}", hold.returns.len());
    }

    #[test]
    fn what_was_never_sent_is_free_at_once() {
        let mut hold = Hold::new(2, Duration::from_secs(60));
        hold.take(2);
        hold.not_sent(2);
        assert_eq!(hold.readiness(2, Time::ZERO), Readiness::Ready);
    }

    #[test]
    fn a_heavy_cost_is_promised_the_time_when_enough_is_back() {
        let mut hold = Hold::new(3, Duration::from_secs(1));
        hold.take(3);
        for ms in [100, 200, 300] {
            hold.answered(1, Time::from_millis(ms));
        }
        assert_eq!(hold.readiness(2, Time::from_millis(400)), Readiness::At(Time::from_millis(1200)));
        assert_eq!(hold.readiness(3, Time::from_millis(400)), Readiness::At(Time::from_millis(1300)));
    }
}
