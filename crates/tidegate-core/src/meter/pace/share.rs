//! A `Pace` as one of several that share a bucket: `b` of its `B` units of capacity, and `b/B` of its
//! rate. A share takes as long to fill as the whole bucket, so levels in time mean the same in each.
//!
//! *Proof.* Think of the provider's bucket as smaller ones beside each other, one for each share, with
//! levels `Sᵢ ≤ bᵢ` that rise at `ρ·bᵢ/B` whenever and as much as the real one's clock says. Together
//! they have at most what the real one has, `Σ Sᵢ ≤ S`, for whenever the real one is full they are at
//! most that. So it is enough that each share keeps within its own bucket: the proof of [`Pace`] for
//! `bᵢ`, with `yᵢ = Sᵢ − vᵢ ≥ max(sure, level − ρᵢ·h) ≥ 0`. Here `h ≤ lag` is what the provider's
//! clock hides at this moment: the same for all.
//!
//! *Ceding* `c` of `b` divides `y` between two buckets. Any division of `sure` will do that leaves
//! neither below nothing nor above its capacity less what is in flight. Each claims a level above its
//! `sure` by the same time `δ` as before (at most the lag, for `level − lag` is sure as well): then
//! `max(sure, level − ρh)` of both add up to that of the whole for every `h`, and so the parts claim no
//! more than there is. The part gets as much of its capacity as level and flying together were of the
//! giver's, the giver keeps the rest: what was full is full on both sides, and in flight is never
//! more than the remaining capacity.
//!
//! *On its way* nobody uses it, and its level rises. Of (sure, level) only the time `T` goes along at which the
//! smooth bucket is full, and the lag: a receiver at `t` takes the level as `full − (T − lag − t)`. It
//! is sure of `level − lag`, and of nothing less than nothing. After `T` it is full.
//!
//! *Receiving* adds levels and capacities, and what is sure: a bucket of both has room for what both
//! have.
//!
//! With [`counted_within`](Pace::counted_within) all of this is about grants in place of counts: they
//! keep within a bucket that is smaller by what accrues in that time, and counts that are late by at
//! most that within the real one.

use super::{Pace, duration, grains, rescaled};
use crate::Time;
use crate::pool::Part;

impl Pace {
    /// What a step, a granule or a skew may hide: a part is full so much later than it seems.
    pub(crate) fn lag(&self) -> std::time::Duration {
        duration(self.lag)
    }

    pub(in crate::meter) fn forfeit(&mut self) {
        self.in_flight = 0;
        self.now_has(0);
        (self.level, self.sure) = (0, 0);
        self.full_at = self.updated;
    }

    pub(in crate::meter) fn receive(&mut self, part: &Part, now: Time) {
        self.advance(now);
        let before = self.capacity;
        let Some(all) = before.checked_add(part.units) else { return };
        let (level, sure) = self.in_whole();
        // An amount of the whole in time, times the capacity that it is an amount of, over that of all.
        let weighed = |time: i128, units: u64| portion(time, units, all);
        let (mut level, mut sure) = (weighed(level, before), weighed(sure, before));
        let mut rest = part.units;
        for &(at, units) in part.dated.iter().filter(|(at, _)| *at > now) {
            let units = units.min(rest);
            rest -= units;
            let missing = grains(at.since(now)) - self.lag;
            let its_level = (self.whole - missing).clamp(0, self.whole);
            level += weighed(its_level, units);
            sure += weighed((its_level - self.lag).max(0), units);
        }
        level += weighed(self.whole, rest);
        sure += weighed(self.whole, rest);
        self.now_has(all);
        self.set(level, sure);
    }

    pub(in crate::meter) fn cede(&mut self, units: u64, now: Time) -> Part {
        self.advance(now);
        let before = self.capacity;
        let units = units.min(before.saturating_sub(self.in_flight));
        let kept = before - units;
        let known = self.sure.max(self.level - self.lag);
        if units == 0 || known <= -self.current_price {
            // A debt is paid before anything moves.
            return Part::default();
        }
        let (level, sure) = self.in_whole();
        let (sure, flying) = (sure.max(0), portion(self.whole, self.in_flight, before));
        let above = (level - sure).clamp(0, self.lag);
        // As much as level and flying are of the giver's; unless that is more than it is sure of.
        let most = (self.whole - above).max(0);
        let mut given = (sure + flying).min(most);
        let mut left = 0;
        if kept > 0 {
            // Rounded up, for it is taken off.
            left = sure + portion(-(given - sure), units, kept);
            if left < 0 {
                (left, given) = (0, portion(sure, before, units).min(most));
            }
        }
        self.now_has(kept);
        self.set(left + above, left);
        if given >= self.whole {
            return Part::free(units);
        }
        Part { units, dated: vec![(now + duration(self.whole - given - above + self.lag), units)] }
    }

    pub(in crate::meter) fn resize(&mut self, whole: &Self, now: Time) {
        self.advance(now);
        // As many units as before, and the same share of them there; what is hidden may be more units.
        let (level, sure) = (self.level, self.sure);
        let price = self.current_price;
        self.whole = whole.whole;
        self.lag = whole.lag;
        self.now_has(self.capacity);
        self.level = rescaled(level, price, self.current_price);
        self.sure = rescaled(sure, price, self.current_price);
        self.fall_silent();
    }

    /// The level and what is sure of it, as if of the whole bucket at its own rate: in time.
    fn in_whole(&self) -> (i128, i128) {
        let full = self.full();
        if full == 0 {
            return (0, 0);
        }
        let known = self.sure.max(self.level - self.lag);
        let of_whole = |level: i128| scaled(level, self.whole, full);
        (of_whole(self.level), of_whole(known))
    }

    fn set(&mut self, level: i128, sure: i128) {
        let (full, most) = (self.full(), self.full() - self.flying());
        let here = |level: i128| scaled(level, full, self.whole);
        (self.level, self.sure) = (here(level).min(most), here(sure).min(most));
        self.fall_silent();
    }

    /// Levels are to be set anew after this.
    fn now_has(&mut self, capacity: u64) {
        self.capacity = capacity;
        let units = i128::from(capacity.max(1));
        self.price = ((self.whole + units - 1) / units).max(1);
        self.current_price = self.restricted_price();
    }
}

/// `amount · part / all`, rounded down; also of less than nothing.
fn portion(amount: i128, part: u64, all: u64) -> i128 {
    let (part, all) = (i128::from(part), i128::from(all.max(1)));
    amount.div_euclid(all) * part + (amount.rem_euclid(all) * part).div_euclid(all)
}

/// `level · to / from`, rounded down, of lengths of time that are nearly the same or a few times as
/// long.
fn scaled(level: i128, to: i128, from: i128) -> i128 {
    if to == from {
        return level;
    }
    // Both as large as 2⁸⁰, in theory: enough of their digits.
    let shift = (128 - from.max(to).leading_zeros()).saturating_sub(60);
    let (to, from) = (to >> shift, (from >> shift) + i128::from(shift > 0));
    level.div_euclid(from) * to + (level.rem_euclid(from) * to).div_euclid(from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::{Readiness, Taken};

    const TICK: Duration = Duration::from_millis(20);

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn bucket(capacity: u64, lag_ms: u64) -> Pace {
        Pace::new(1, TICK, capacity, Duration::from_millis(lag_ms))
    }

    fn sends(pace: &mut Pace, now: Time) -> u64 {
        let mut sent = 0;
        while pace.readiness(1, now, true) == Readiness::Ready {
            pace.take(1, now);
            sent += 1;
        }
        sent
    }

    fn answers(pace: &mut Pace, calls: u64, now: Time) {
        for _ in 0..calls {
            pace.answered(Taken { cost: 1, at: now }, 1, now);
        }
    }

    /// Another member, with what the first one gives.
    fn shared(giver: &mut Pace, units: u64, now: Time) -> Pace {
        let mut receiver = giver.clone();
        receiver.forfeit();
        assert_eq!(sends(&mut receiver, now), 0);
        receiver.receive(&giver.cede(units, now), now);
        receiver
    }

    #[test]
    fn a_share_has_its_part_of_capacity_and_rate() {
        let mut one = bucket(40, 0);
        let mut other = shared(&mut one, 10, ms(0));
        for (pace, capacity, interval) in [(&mut one, 30, 26), (&mut other, 10, 80)] {
            assert_eq!((pace.capacity(), pace.interval().as_millis()), (capacity, interval));
            assert_eq!(sends(pace, ms(0)), capacity);
            answers(pace, capacity, ms(0));
            // All of it accrues in the same time.
            let last = sends(pace, ms(799));
            assert_eq!(last, capacity - 1);
            answers(pace, last, ms(799));
        }
    }

    #[test]
    fn together_they_never_have_more_than_one_had() {
        let mut rng = fastrand::Rng::with_seed(7);
        for case in 0..2_000 {
            let lag = [0, 1, 70][case % 3];
            let (mut one, mut alone) = (bucket(30, lag), bucket(30, lag));
            let mut now = 0;
            for _ in 0..rng.u64(..20) {
                now += rng.u64(..200);
                if one.in_flight > 0 && rng.bool() {
                    answers(&mut one, 1, ms(now));
                    answers(&mut alone, 1, ms(now));
                } else if one.readiness(1, ms(now), true) == Readiness::Ready {
                    one.take(1, ms(now));
                    alone.take(1, ms(now));
                }
            }
            let mut other = shared(&mut one, rng.u64(..=30), ms(now));
            assert!(one.in_flight <= one.capacity, "case {case}");
            let together = sends(&mut one, ms(now)) + sends(&mut other, ms(now));
            let had = sends(&mut alone, ms(now));
            assert!(together <= had, "case {case}: {together} of {had}");
        }
    }

    #[test]
    fn nothing_is_lost_by_moving_back_and_forth() {
        let mut one = bucket(100, 1);
        let mut sent = 0;
        for step in 0..2_000u64 {
            let now = ms(step * 10);
            let calls = sends(&mut one, now);
            sent += calls;
            answers(&mut one, calls, now);
            let part = one.cede(step % 90, now);
            // Half of the time it is on its way for a while.
            one.receive(&part, now);
        }
        // A full bucket, and 20 s at 50 a second.
        assert!((1_090..=1_100).contains(&sent), "{sent}");
    }

    #[test]
    fn a_part_fills_on_its_way() {
        let mut one = bucket(10, 0);
        assert_eq!(sends(&mut one, ms(0)), 10);
        answers(&mut one, 10, ms(0));
        let part = one.cede(5, ms(100));
        assert_eq!(part.dated, [(ms(200), 5)]);
        let mut late = one.clone();
        late.forfeit();
        late.receive(&part, ms(160));
        assert_eq!((sends(&mut late, ms(160)), sends(&mut one, ms(160))), (4, 4));
        let mut full = one.clone();
        full.forfeit();
        full.receive(&part, ms(200));
        assert_eq!(sends(&mut full, ms(200)), 5);
    }

    #[test]
    fn what_is_in_flight_keeps_its_capacity() {
        let mut one = bucket(10, 0);
        assert_eq!(sends(&mut one, ms(0)), 10);
        answers(&mut one, 4, ms(0));
        assert_eq!(one.cede(10, ms(1_000)), Part::free(4));
        assert_eq!((one.capacity, one.in_flight), (6, 6));
        assert_eq!(one.readiness(1, ms(5_000), true), Readiness::OnAnswer);
    }

    #[test]
    fn a_doubt_survives() {
        let mut one = bucket(10, 0);
        one.restrict(5);
        let mut other = shared(&mut one, 5, ms(0));
        for pace in [&mut one, &mut other] {
            assert_eq!(sends(pace, ms(0)), 5);
            answers(pace, 5, ms(0));
            assert_eq!(sends(pace, ms(200)), 2);
        }
    }
}
