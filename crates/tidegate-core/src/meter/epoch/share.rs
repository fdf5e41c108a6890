//! An `Epoch` as one of several that share its units.
//!
//! *Proof.* A call is charged, by the member that sent it, to each period in which it may have been
//! counted. A unit that moves takes the charges along that it carries: its date is the end of the last
//! period that it is charged to, and the receiver charges it to all periods up to that. Calls in flight, which may
//! have to be charged to a further period still, keep their units. So the charges to a period, of all
//! members together, are at least the calls counted in it, and nobody charges more than it holds.
//!
//! Members may know the provider's clock to different degrees. A date is the giver's, and is surely past the end of
//! the period; the receiver finds the period whose end is nearest.

use std::time::Duration;

use super::Epoch;
use crate::Time;
use crate::meter::mixed;
use crate::pool::Part;

/// A calendar's shortest period is a day, and nobody looks years ahead.
const MOST_STEPS: usize = 100;

impl Epoch {
    pub(in crate::meter) fn forfeit(&mut self) {
        self.units = 0;
        (self.used, self.in_flight, self.next_charged) = (0, 0, 0);
        self.next_used = self.next_used.map(|_| 0);
    }

    /// The end of the last period in which a call can have been counted by then.
    pub(in crate::meter) fn free_after(&self, counted_by: Time) -> Time {
        self.surely_past(self.calendar.next_boundary(self.latest(counted_by)))
    }

    /// The times up to which calls are counted in one period, each with the end of that period.
    pub(in crate::meter) fn steps(&self, from: Time, until: Time) -> Vec<(Time, Time)> {
        const NANO: Duration = Duration::from_nanos(1);
        let (mut steps, mut first) = (Vec::new(), from);
        while first <= until && steps.len() < MOST_STEPS {
            let end = self.free_after(first);
            // By then a call may be counted in the next period.
            let (mut last, mut beyond) = (first, end);
            while last + NANO < beyond {
                let middle = last + beyond.since(last) / 2;
                if self.free_after(middle) > end { beyond = middle } else { last = middle }
            }
            steps.push((last, end));
            first = last + NANO;
        }
        steps
    }

    pub(in crate::meter) fn receive(&mut self, part: &Part, now: Time) {
        self.advance(now);
        self.units = self.units.saturating_add(part.units);
        for &(until, units) in part.dated.iter().filter(|(until, _)| *until > now) {
            let before = self.next_charged;
            self.charge(units, until, now);
            if self.next_charged > before {
                // Not to be used before the end of the next period: nor in this one.
                self.used = self.used.saturating_add(units);
            }
        }
    }

    pub(in crate::meter) fn cede(&mut self, units: u64, now: Time) -> Part {
        self.advance(now);
        let settled = self.units.saturating_sub(self.in_flight);
        let units = units.min(settled);
        // What calls that are over are charged to: this period only, or up to the next.
        let at_edge = self.next_used.map_or(0, |used| used.saturating_sub(self.in_flight));
        let next = at_edge.saturating_add(self.next_charged);
        let used = self.used.saturating_sub(self.in_flight);
        let this = used.saturating_sub(next);
        let free = settled.saturating_sub(this.saturating_add(next));
        let mut ceded = mixed(units, [free, this, next].into_iter()).skip(1);
        let (this, next) = (ceded.next().unwrap_or(0), ceded.next().unwrap_or(0));
        self.units -= units;
        self.used = self.in_flight + used.saturating_sub(this.saturating_add(next));
        let from_charged = next.min(self.next_charged);
        self.next_charged -= from_charged;
        self.next_used = self.next_used.map(|used| used - (next - from_charged));
        let mut dated = vec![(self.ends_at(), this), (self.surely_past(self.next_end()), next)];
        dated.retain(|(_, units)| *units > 0);
        Part { units, dated }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::meter::{Calendar, Period, Readiness, Taken, WallClock};

    const HOUR: u64 = 3_600_000;
    /// By then a clock that was looked at an hour before has surely passed midnight.
    const MIDNIGHT: u64 = HOUR + 3_000;

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// One hour before midnight.
    fn day(units: u64, skew_ms: u64) -> Epoch {
        let unix = 1_700_000_000_000_000_000 / 86_400_000_000_000 * 86_400_000_000_000;
        let wall = WallClock::new(unix - ms(HOUR).as_nanos().cast_signed(), Duration::from_millis(skew_ms));
        Epoch::new(units, Calendar { period: Period::Day, zone: TimeZone::UTC }, wall)
    }

    fn member(skew_ms: u64) -> Epoch {
        let mut day = day(9, skew_ms);
        day.forfeit();
        day
    }

    fn call(day: &mut Epoch, cost: u64, at: u64) {
        assert_eq!(day.readiness(cost, ms(at)), Readiness::Ready);
        day.take(cost, ms(at));
        day.answered(Taken { cost, at: ms(at) }, cost, ms(at));
    }

    fn is_full(day: &mut Epoch, at: u64) -> bool {
        matches!(day.readiness(1, ms(at)), Readiness::At(_))
    }

    #[test]
    fn steps_say_what_the_calendar_says() {
        let day = day(9, 500);
        let steps = day.steps(ms(0), ms(60 * HOUR));
        assert_eq!(steps.len(), 4);
        for at in (0..60 * 3_600).map(|second| ms(second * 1_000)).chain(steps.iter().map(|step| step.0)) {
            let step = steps.iter().find(|(counted_by, _)| at <= *counted_by).unwrap();
            assert_eq!(step.1, day.free_after(at), "{at}");
        }
        let after = steps[0].0 + Duration::from_nanos(1);
        assert!(day.free_after(after) > steps[0].1);
    }

    #[test]
    fn used_units_move_and_come_back_at_midnight() {
        for skew in [0, 500, 2_000] {
            let (mut giver, mut receiver) = (day(9, 0), member(skew));
            call(&mut giver, 3, 0);
            receiver.receive(&giver.cede(3, ms(100)), ms(100));
            call(&mut receiver, 2, 200);
            call(&mut giver, 4, 200);
            assert!(is_full(&mut giver, 300) && is_full(&mut receiver, 300));
            call(&mut receiver, 3, MIDNIGHT);
            call(&mut giver, 6, MIDNIGHT);
            assert!(is_full(&mut giver, MIDNIGHT) && is_full(&mut receiver, MIDNIGHT));
        }
    }

    #[test]
    fn what_was_used_at_the_edge_is_away_until_the_next_midnight() {
        for skew in [0, 1_000, 2_000] {
            let (mut giver, mut receiver) = (day(9, 1_000), member(skew));
            call(&mut giver, 3, HOUR - 500);
            // Two in flight stay.
            giver.take(2, ms(HOUR - 500));
            let part = giver.cede(9, ms(HOUR - 400));
            assert_eq!((part.units, part.dated.len(), part.in_use(ms(MIDNIGHT + HOUR))), (7, 1, 3));
            receiver.receive(&part, ms(HOUR - 300));
            call(&mut receiver, 4, HOUR - 200);
            assert!(is_full(&mut receiver, HOUR - 200));
            // On the next day, three are away; the four too unless it was sure that they were not of it.
            assert_ne!(receiver.readiness(5, ms(MIDNIGHT)), Readiness::Ready);
            assert!(is_full(&mut giver, MIDNIGHT));
            assert_eq!(receiver.readiness(7, ms(25 * HOUR + 30_000)), Readiness::Ready);
        }
    }

    #[test]
    fn the_date_of_what_a_dead_one_held() {
        let dead = day(9, 1_000);
        let in_ms = |at: u64| dead.free_after(ms(at)).as_nanos() / 1_000_000;
        assert!((HOUR..MIDNIGHT).contains(&in_ms(0)));
        assert!(in_ms(HOUR - 900) >= 25 * HOUR);
    }
}
