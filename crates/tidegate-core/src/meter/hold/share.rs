//! A `Hold` as one of several that share its units.
//!
//! *Proof.* The proof of a `Hold` is about one unit, and does not ask who uses it: a unit is used
//! again no earlier than a hold after the last answer. A unit that moves takes that time with it as its
//! date, and the receiver waits for it as the giver would have. A unit in flight has no date yet, and
//! does not move. So any number of processes together keep what one keeps that has all their units.

use super::{Hold, signed};
use crate::Time;
use crate::meter::mixed;
use crate::pool::Part;

impl Hold {
    pub(in crate::meter) fn forfeit(&mut self) {
        (self.free, self.in_flight, self.withheld) = (0, 0, 0);
        self.returns.clear();
        self.now_has(0);
    }

    pub(in crate::meter) fn receive(&mut self, part: &Part, now: Time) {
        self.collect(now);
        let mut rest = part.units.min((1 << 62) - self.units);
        let units = rest;
        for &(at, dated) in part.dated.iter().filter(|(at, _)| *at > now) {
            let dated = dated.min(rest);
            rest -= dated;
            self.give_back(self.rounded(at), dated);
        }
        // Whatever was kept back for debts or in doubt is kept back of more.
        self.free += signed(rest);
        self.now_has(self.units + units);
    }

    /// A fair mix of what is free and of each return time: whoever got only the late ones would have
    /// to pause, and so would, a hold later, whoever kept only these.
    pub(in crate::meter) fn cede(&mut self, units: u64, now: Time) -> Part {
        self.collect(now);
        // After answers that cost more than was reserved more units are due than there are: the debt
        // stays.
        let units = units.min(self.units.saturating_sub(self.in_flight));
        let free = (self.free + signed(self.withheld)).max(0).cast_unsigned();
        let heaps = std::iter::once(free).chain(self.returns.iter().map(|&(_, heap)| heap));
        let mut ceded = mixed(units, heaps).collect::<Vec<_>>().into_iter();
        let free = ceded.next().unwrap_or(0);
        self.free -= signed(free);
        let mut part = Part::free(units);
        for (slot, units) in self.returns.iter_mut().zip(ceded).filter(|(_, units)| *units > 0) {
            slot.1 -= units;
            part.dated.push((slot.0, units));
        }
        self.returns.retain(|&(_, units)| units > 0);
        self.now_has(self.units - units);
        part
    }

    fn now_has(&mut self, units: u64) {
        self.units = units;
        self.ample = signed(units / 10);
        self.withhold();
    }

    fn rounded(&self, at: Time) -> Time {
        Time::from_nanos(at.as_nanos().div_ceil(self.slot).saturating_mul(self.slot))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::{Readiness, Taken};

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn take(hold: &mut Hold, units: u64, now: Time) {
        assert_eq!(hold.readiness(units, now, true), Readiness::Ready);
        hold.take(units, now);
    }

    fn answer(hold: &mut Hold, cost: u64, now: Time) {
        hold.answered(Taken { cost, at: Time::ZERO }, cost, now);
    }

    #[test]
    fn both_sides_get_a_fair_mix_and_dates_go_along() {
        let mut giver = Hold::new(20, SECOND);
        for at in [100, 200] {
            take(&mut giver, 4, ms(0));
            answer(&mut giver, 4, ms(at));
        }
        take(&mut giver, 4, ms(250));
        // 8 are free, 4 and 4 come back, 4 are in flight.
        let part = giver.cede(8, ms(300));
        assert_eq!(part, Part { units: 8, dated: vec![(ms(1_100), 2), (ms(1_200), 2)] });
        let mut receiver = Hold::new(20, SECOND);
        receiver.forfeit();
        assert_eq!(receiver.readiness(1, ms(300), false), Readiness::OnAnswer);
        receiver.receive(&part, ms(300));
        for hold in [&mut giver, &mut receiver] {
            take(hold, 4, ms(300));
            assert_eq!(hold.readiness(1, ms(300), false), Readiness::At(ms(1_100)));
            take(hold, 2, ms(1_100));
            assert_eq!(hold.readiness(1, ms(1_100), false), Readiness::At(ms(1_200)));
        }
        assert_eq!((giver.units(), receiver.units()), (12, 8));
    }

    #[test]
    fn what_is_in_flight_stays_and_can_go_once_it_is_answered() {
        let mut giver = Hold::new(3, SECOND);
        take(&mut giver, 2, ms(0));
        assert_eq!(giver.cede(3, ms(0)), Part::free(1));
        assert!(giver.cede(2, ms(50)).is_empty());
        answer(&mut giver, 2, ms(50));
        assert_eq!(giver.cede(2, ms(60)), Part { units: 2, dated: vec![(ms(1_050), 2)] });
        assert_eq!((giver.units(), giver.readiness(1, ms(9_000), true)), (0, Readiness::OnAnswer));
    }

    #[test]
    fn a_doubt_and_a_debt_survive() {
        let mut hold = Hold::new(20, SECOND);
        hold.restrict(5);
        assert_eq!(hold.cede(10, ms(0)).units, 10);
        take(&mut hold, 5, ms(0));
        assert!(hold.readiness(1, ms(0), true) != Readiness::Ready);
        hold.receive(&Part::free(10), ms(0));
        take(&mut hold, 5, ms(0));
        assert!(hold.readiness(1, ms(0), true) != Readiness::Ready);
        hold.restrict(10);
        take(&mut hold, 10, ms(0));
        // All 20 are in flight; half of them turn out to have cost 18: eight short.
        answer(&mut hold, 10, ms(100));
        hold.answered(Taken { cost: 10, at: ms(0) }, 18, ms(200));
        let part = hold.cede(10, ms(300));
        assert_eq!((part.units, part.in_use(ms(300))), (10, 10));
        assert_eq!(hold.readiness(10, ms(1_199), true), Readiness::At(ms(1_200)));
        assert_eq!(hold.readiness(10, ms(1_200), true), Readiness::Ready);
        assert_eq!(hold.readiness(11, ms(1_200), true), Readiness::OnAnswer);
    }
}
