//! `Pace`: what a bucket must still hold, whatever of the calls in flight it has counted.

mod share;

use std::time::Duration;

use super::{Readiness, Taken, kept_for_probes};
use crate::Time;
use crate::time::nanos;

/// The level that a bucket is sure to have left once it has counted every call that is under way.
///
/// The level `p` starts full, falls by the cost of each grant, and rises at the rate up to
/// `capacity − u`, where `u` is the cost in flight. A call is granted while `p − lag` covers its
/// cost. O(1) state.
///
/// *Proof*, for a server whose bucket holds `S ≤ capacity`, with `v ≤ u` the cost granted and not
/// counted yet. Without a lag, `p ≤ S − v` always:
/// - a grant lowers both sides by its cost; a count lowers `S` and `v` alike; an answer lowers only
///   `u`; a call that was never sent raises both sides;
/// - time raises both at the same rate while `S < capacity`; at the brim `S − v = capacity − v ≥
///   capacity − u`, where `p` ends, too.
///
/// A refill in steps, a clock of coarse grains, or nodes whose clocks differ hide some of the
/// refill, at most `lag` since the bucket was last full: so a real bucket has at least what the
/// smooth one has, less `lag`. Each call finds `S ≥ (p − lag) + v ≥ v`, which includes its own cost:
/// it is admitted.
///
/// After a silence (no grant, no answer) in which all that is missing and the lag accrue, the bucket
/// is full whatever its steps, less what it has counted meanwhile, which is in flight still: again
/// `S − v ≥ capacity − u`. What was not granted of that (`sure`) is there without any refill.
///
/// A bucket of capacity `X` that refills at ρ lets any interval `L` hold `ρL + X` at most; this is
/// what sliding counters and limits of unknown enforcement are kept with.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Time in which one unit accrues, in [`GRAIN`]s of a nanosecond; rounded up, never down.
    price: i128,
    /// The price while the contract is in doubt; at least `price`.
    current_price: i128,
    capacity: u64,
    lag: i128,
    /// `p`, as the time in which it accrues.
    level: i128,
    /// What is left of a full bucket, without any refill since.
    sure: i128,
    updated: Time,
    in_flight: u64,
    /// When it is full but for what is in flight, if nothing more is granted or answered.
    full_at: Time,
    /// The time in which the whole bucket accrues, of which this may be a share.
    whole: i128,
    /// How many tenths of the rate are used while the contract is in doubt.
    tenths: i128,
    /// How many tenths others leave.
    left: i128,
    /// Calls in flight do not matter: the server counts them within a time that was taken off the
    /// capacity.
    counts_soon: bool,
}

/// Parts of a nanosecond that levels are kept in: what is lost by rounding a price up is less than
/// one in a thousand even for a billion units a second.
const GRAIN: i128 = 1 << 16;

impl Pace {
    /// A bucket that gains `amount` units in the time `per`, holds `capacity` at most, and may
    /// hide up to `lag` of its refill.
    pub fn new(amount: u64, per: Duration, capacity: u64, lag: Duration) -> Self {
        let amount = i128::from(amount.max(1));
        let price = ((grains(per) + amount - 1) / amount).max(1);
        let full = i128::from(capacity) * price;
        Self {
            price,
            current_price: price,
            capacity,
            lag: grains(lag),
            level: full,
            sure: full,
            updated: Time::ZERO,
            in_flight: 0,
            full_at: Time::ZERO,
            whole: full,
            tenths: 10,
            left: 10,
            counts_soon: false,
        }
    }

    /// Takes it that the server counts each call within this time of its grant: as if that much of
    /// the refill were spent in advance. Needs a capacity that is larger than that. What a call took in
    /// excess does not come back but accrues.
    #[must_use]
    pub fn counted_within(mut self, within: Duration) -> Self {
        let ahead = u64::try_from((grains(within) + self.price - 1) / self.price).unwrap_or(u64::MAX);
        self.capacity = self.capacity.saturating_sub(ahead);
        self.level = self.full();
        self.sure = self.full();
        self.whole = self.full();
        self.counts_soon = true;
        self
    }

    /// The time in which one unit accrues.
    pub fn interval(&self) -> Duration {
        duration(self.price)
    }

    /// Units that can be under way or unused at once.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The silence after which the bucket is full whatever it held before.
    pub fn silence(&self) -> Duration {
        duration(i128::from(self.capacity) * self.price + self.lag)
    }

    /// Units that can be in flight or accruing at once while calls flow: the capacity without what
    /// the lag may hide.
    pub fn room(&self) -> u64 {
        u64::try_from((self.full() - self.lag).max(0) / self.current_price).unwrap_or(u64::MAX)
    }

    /// Units that may be in flight at once, calls of `cost` units: all but what is kept for probes.
    pub(crate) fn most_in_flight(&self, cost: u64) -> u64 {
        self.room().saturating_sub(kept_for_probes(self.capacity, cost))
    }

    /// Whether calls in flight are taken as counted soon after their grant.
    pub fn counts_soon(&self) -> bool {
        self.counts_soon
    }

    pub(super) fn readiness(&mut self, cost: u64, now: Time, probe: bool) -> Readiness {
        self.advance(now);
        // As with a Hold: if the provider stalls, probes must find room beside all that is in flight.
        let kept = if probe { 0 } else { kept_for_probes(self.capacity, cost) };
        if self.in_flight > 0 && self.in_flight.saturating_add(cost).saturating_add(kept) > self.capacity {
            return Readiness::OnAnswer;
        }
        let needed = i128::from(cost) * self.current_price;
        if needed <= self.sure.max(self.level - self.lag) {
            return Readiness::Ready;
        }
        if needed <= self.full() - self.flying() - self.lag {
            return Readiness::At(now + duration(needed - (self.level - self.lag)));
        }
        // Only a silence shows what the lag hides; answers may do as well.
        if needed <= self.full() - self.flying() { Readiness::At(self.full_at) } else { Readiness::OnAnswer }
    }

    pub(super) fn take(&mut self, cost: u64, now: Time) {
        self.advance(now);
        let spent = i128::from(cost) * self.current_price;
        self.level -= spent;
        self.sure -= spent;
        if !self.counts_soon {
            self.in_flight += cost;
        }
        self.fall_silent();
    }

    /// The call is over at `now` and has cost `actual`; what it had taken in excess is there again.
    pub(super) fn answered(&mut self, taken: Taken, actual: u64, now: Time) {
        self.advance(now);
        if !self.counts_soon {
            self.in_flight -= taken.cost;
        }
        let mut excess = (i128::from(taken.cost) - i128::from(actual)) * self.current_price;
        if self.counts_soon {
            // It may have been full again since the grant: what is missing accrues, and not twice.
            excess = excess.min(0);
        }
        let most = self.full() - self.flying();
        self.level = (self.level + excess).min(most);
        self.sure = (self.sure + excess).min(most);
        self.fall_silent();
    }

    /// What has not accrued yet, and when it has; calls in flight as if they were answered now.
    pub(super) fn used(&self, now: Time) -> Vec<(u64, Time)> {
        let mut later = self.clone();
        later.advance(now);
        let missing = later.full() - later.sure.max(later.level - later.lag);
        if missing <= 0 && later.in_flight == 0 {
            return Vec::new();
        }
        let units = u64::try_from((missing + self.price - 1) / self.price).unwrap_or(u64::MAX);
        vec![(units, now + duration(later.full() - later.level + later.lag))]
    }

    /// What was granted before this meter was made accrues until `until`.
    pub(super) fn charge(&mut self, units: u64, until: Time, now: Time) {
        self.advance(now);
        let spent = i128::from(units.min(self.capacity)) * self.current_price;
        self.level -= spent;
        self.sure -= spent;
        self.full_at = self.full_at.max(until);
    }

    /// Leaves only so many tenths of the rate.
    pub(super) fn restrict(&mut self, tenths: u64) {
        self.tenths = i128::from(tenths.clamp(1, 10));
        self.reprice();
    }

    /// Leaves `units` of `whole` to others.
    pub(super) fn leave(&mut self, units: u64, whole: u64) {
        let left = i128::from(whole.saturating_sub(units)) * 10 / i128::from(whole.max(1));
        self.left = left.clamp(1, 10);
        self.reprice();
    }

    fn restricted_price(&self) -> i128 {
        restricted(self.price, self.tenths.min(self.left))
    }

    fn reprice(&mut self) {
        let price = self.restricted_price();
        // The levels stand for units; each of them takes longer now, or shorter.
        self.level = rescaled(self.level, self.current_price, price);
        self.sure = rescaled(self.sure, self.current_price, price);
        self.current_price = price;
        self.fall_silent();
    }

    fn advance(&mut self, now: Time) {
        if now <= self.updated {
            return;
        }
        let passed = grains(now.since(self.updated));
        self.updated = now;
        if now >= self.full_at {
            self.level = self.full() - self.flying();
            self.sure = self.level;
        } else {
            self.level = self.level.max((self.level + passed).min(self.full() - self.flying()));
        }
    }

    /// If from here on nothing is granted or answered, all that is missing accrues, and the lag.
    fn fall_silent(&mut self) {
        self.full_at = self.updated + duration(self.full() - self.level + self.lag);
    }

    fn flying(&self) -> i128 {
        i128::from(self.in_flight) * self.current_price
    }

    fn full(&self) -> i128 {
        i128::from(self.capacity) * self.current_price
    }
}

/// The price while only so many tenths of the rate are used.
fn restricted(price: i128, tenths: i128) -> i128 {
    (price * 10 + tenths - 1) / tenths
}

/// `level` at another price: the same units, or a trace less.
fn rescaled(level: i128, from: i128, to: i128) -> i128 {
    let shift = (128 - from.leading_zeros()).saturating_sub(50);
    let part = (level.rem_euclid(from) >> shift) * to / ((from >> shift) + 1);
    level.div_euclid(from) * to + part.min(to - 1)
}

fn grains(time: Duration) -> i128 {
    i128::from(nanos(time)) * GRAIN
}

/// The time in which so much accrues; rounded up.
fn duration(grains: i128) -> Duration {
    let nanos = (grains.max(0) + GRAIN - 1) / GRAIN;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);
    const NO_LAG: Duration = Duration::ZERO;

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn bucket(capacity: u64, lag: Duration) -> Pace {
        Pace::new(1, TICK, capacity, lag)
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

    #[test]
    fn nothing_accrues_above_what_is_in_flight() {
        let mut pace = bucket(3, NO_LAG);
        assert_eq!(sends(&mut pace, ms(0)), 3);
        // All three may be counted in the next moment, when the bucket has just refilled to three.
        assert_eq!(pace.readiness(1, ms(5_000), true), Readiness::OnAnswer);
        answers(&mut pace, 2, ms(5_000));
        assert_eq!(pace.readiness(1, ms(5_000), true), Readiness::At(ms(5_020)));
        assert_eq!(sends(&mut pace, ms(5_100)), 2);
    }

    #[test]
    fn the_rate_is_kept_while_answers_come() {
        let mut pace = bucket(10, NO_LAG);
        let mut sent = 0;
        for tick in 0..1_000 {
            let calls = sends(&mut pace, ms(tick * 20));
            sent += calls;
            answers(&mut pace, calls, ms(tick * 20 + 15));
        }
        // A full bucket, and what accrued since the first answers: all but 15 ms.
        assert_eq!(sent, 10 + 998);
    }

    #[test]
    fn a_refill_in_steps_is_not_counted_on_until_it_must_have_come() {
        let mut pace = bucket(10, Duration::from_millis(100));
        assert_eq!(sends(&mut pace, ms(0)), 10);
        answers(&mut pace, 10, ms(1));
        assert_eq!(pace.readiness(1, ms(1), true), Readiness::At(ms(121)));
        // Five of ten may be hidden as long as it is not known to be full: after 200 ms and the lag.
        assert_eq!(sends(&mut pace, ms(300)), 5);
        answers(&mut pace, 5, ms(300));
        assert_eq!(sends(&mut pace, ms(500)), 10);
    }

    #[test]
    fn a_call_as_heavy_as_the_bucket_waits_until_it_is_full() {
        let mut pace = bucket(4, Duration::from_millis(1));
        assert_eq!(pace.readiness(4, ms(0), false), Readiness::Ready);
        pace.take(4, ms(0));
        pace.answered(Taken { cost: 4, at: ms(0) }, 1, ms(50));
        assert_eq!(pace.readiness(4, ms(50), false), Readiness::At(ms(71)));
        assert_eq!(pace.readiness(4, ms(71), false), Readiness::Ready);
    }

    #[test]
    fn a_call_that_was_never_sent_leaves_no_trace() {
        let mut pace = bucket(2, NO_LAG);
        assert_eq!(sends(&mut pace, ms(0)), 2);
        pace.answered(Taken { cost: 1, at: ms(0) }, 0, ms(0));
        assert_eq!(pace.readiness(1, ms(0), true), Readiness::Ready);
    }

    #[test]
    fn what_is_counted_soon_is_not_waited_for() {
        let mut pace = bucket(10, NO_LAG).counted_within(Duration::from_millis(30));
        assert_eq!((pace.capacity(), sends(&mut pace, ms(0))), (8, 8));
        assert_eq!(pace.readiness(1, ms(0), false), Readiness::At(ms(20)));
        // By the time that it turns out not to have been sent, its unit has accrued.
        assert_eq!(sends(&mut pace, ms(200)), 8);
        answers(&mut pace, 7, ms(200));
        pace.answered(Taken { cost: 1, at: ms(0) }, 0, ms(200));
        assert_eq!(pace.readiness(1, ms(200), false), Readiness::At(ms(220)));
    }

    #[test]
    fn in_doubt_it_is_slower() {
        let mut pace = bucket(1, NO_LAG);
        pace.restrict(5);
        assert_eq!(sends(&mut pace, ms(0)), 1);
        answers(&mut pace, 1, ms(0));
        assert_eq!(pace.readiness(1, ms(0), false), Readiness::At(ms(40)));
        pace.restrict(10);
        assert_eq!(pace.readiness(1, ms(0), false), Readiness::At(ms(20)));
    }
}
