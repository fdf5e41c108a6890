//! `Epoch`: a counter for each calendar period in the provider's zone.

mod share;

use std::cmp::Ordering;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::{Readiness, Taken};
use crate::Time;
use crate::time::nanos;

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight: 23, 24 or 25 hours.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

/// Periods in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// What begins anew.
    pub period: Period,
    /// Where.
    pub zone: TimeZone,
}

/// What is known of the provider's wall clock: the Unix time that it shows at [`Time::ZERO`] lies
/// between `earliest` and `latest`, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    /// At least.
    pub earliest: i64,
    /// At most.
    pub latest: i64,
}

/// A counter per calendar period.
///
/// The provider's clock is known within an interval only, so around each boundary there is an *edge*
/// in which a call may be counted in the old period or in the new one: a call granted there is
/// charged to both, and so is every call in flight when the edge begins.
///
/// *Proof.* A call counted in a period was granted in it or at its edges, or was in flight when it
/// began. All of these are charged to it, and the charges never exceed the units.
#[derive(Debug, Clone)]
pub struct Epoch {
    units: u64,
    calendar: Calendar,
    wall: WallClock,
    /// When the wall clock was looked at; from there on it drifts apart from ours.
    looked_at: Time,
    /// Units charged to the present period; to the old one while at an edge.
    used: u64,
    /// At an edge: units charged to the new period.
    next_used: Option<u64>,
    /// Units that an earlier process has charged to the new period, whose clock was ahead of what is
    /// known now.
    next_charged: u64,
    /// Units charged to the present period because others have used them.
    others: u64,
    in_flight: u64,
    /// The Unix time in nanoseconds at which the present period ends.
    end: i64,
}

impl Calendar {
    /// The first moment after `unix` (nanoseconds) at which a period begins. The end of time if
    /// the calendar knows none.
    pub fn next_boundary(&self, unix: i64) -> i64 {
        self.boundary_after(unix).unwrap_or(i64::MAX)
    }

    fn boundary_after(&self, unix: i64) -> Option<i64> {
        let now = Timestamp::from_nanosecond(i128::from(unix)).ok()?.to_zoned(self.zone.clone());
        let next: Zoned = match self.period {
            Period::Day => now.tomorrow(),
            Period::Week => {
                let days_left = 7 - i64::from(now.weekday().to_monday_zero_offset());
                now.checked_add(days_left.days())
            }
            Period::Month => now.first_of_month().and_then(|first| first.checked_add(1.month())),
        }
        .ok()?;
        i64::try_from(next.start_of_day().ok()?.timestamp().as_nanosecond()).ok()
    }
}

impl WallClock {
    /// A clock that shows `unix` nanoseconds at [`Time::ZERO`], give or take `skew`.
    pub fn new(unix: i64, skew: Duration) -> Self {
        let skew = nanos(skew).cast_signed();
        Self { earliest: unix.saturating_sub(skew), latest: unix.saturating_add(skew) }
    }

    /// What a `Date` header tells: some time between send and response the clock showed `date`, a
    /// Unix time in seconds with what lies below cut off. `skew` is how far the clock that counts
    /// may be from the clock that says so.
    pub fn from_date(date: i64, sent: Time, received: Time, skew: Duration) -> Self {
        const SECOND: i64 = 1_000_000_000;
        let date = date.saturating_mul(SECOND);
        let skew = nanos(skew).cast_signed();
        Self {
            earliest: date.saturating_sub(since_zero(received)).saturating_sub(skew),
            latest: date.saturating_add(SECOND).saturating_sub(since_zero(sent)).saturating_add(skew),
        }
    }

    /// What both know; all that either says if they contradict each other.
    #[must_use]
    pub fn narrowed_by(self, news: Self) -> Self {
        if self.agrees_with(news) {
            let (earliest, latest) = (self.earliest.max(news.earliest), self.latest.min(news.latest));
            return Self { earliest, latest };
        }
        // One of the two is wrong (a cached answer shows the past): until a third says which, either
        // may be right.
        Self { earliest: self.earliest.min(news.earliest), latest: self.latest.max(news.latest) }
    }

    /// Whether both can be right.
    fn agrees_with(self, other: Self) -> bool {
        self.earliest.max(other.earliest) <= self.latest.min(other.latest)
    }
}

impl Epoch {
    /// A counter of `units` per period; `wall` is what is known of the provider's clock.
    pub fn new(units: u64, calendar: Calendar, wall: WallClock) -> Self {
        let end = calendar.next_boundary(wall.earliest);
        Self {
            units,
            calendar,
            wall,
            looked_at: Time::ZERO,
            used: 0,
            next_used: None,
            next_charged: 0,
            others: 0,
            in_flight: 0,
            end,
        }
    }

    /// Units per period.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Which periods.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// When the present period is sure to be over.
    pub fn ends_at(&self) -> Time {
        self.surely_past(self.end)
    }

    /// When the provider's clock has surely passed `unix`.
    fn surely_past(&self, unix: i64) -> Time {
        let end = unix.saturating_sub(self.wall.earliest).max(0).cast_unsigned();
        let drifting = end.saturating_sub(self.looked_at.as_nanos());
        // A little more than the drift over that time: the drift drifts, too.
        Time::from_nanos(end.saturating_add(drifting / (DRIFT - 1) + 1))
    }

    /// Looks at the provider's wall clock, as of `now`.
    pub fn observe(&mut self, news: WallClock, now: Time) {
        let known = WallClock {
            earliest: self.wall.earliest.saturating_sub(self.drift(now)),
            latest: self.wall.latest.saturating_add(self.drift(now)),
        };
        self.wall = known.narrowed_by(news);
        self.looked_at = self.looked_at.max(now);
        let end = self.calendar.next_boundary(self.earliest(now));
        match end.cmp(&self.end) {
            Ordering::Equal => {}
            // We may be in an earlier period than we thought: what was charged counts there.
            Ordering::Less => self.used = self.used.max(self.next_used.take().unwrap_or(0)),
            // We are in a later one, perhaps by more than one: what was charged at the edge counts there.
            Ordering::Greater => {
                if let Some(used) = self.next_used.take() {
                    self.used = used.saturating_add(std::mem::take(&mut self.next_charged));
                }
            }
        }
        self.end = end;
        if self.latest(now) < self.end {
            // The next period is not there yet after all: nothing so far was counted in it.
            self.next_used = None;
        } else if self.next_used.is_none() && !known.agrees_with(news) {
            // What was charged to the one period may all have been counted in the other.
            self.next_used = Some(self.used);
        }
        self.advance(now);
    }

    /// Until the period is over in which a call may have been counted that ended `quiet` ago.
    pub(super) fn silence(&self, quiet: Duration, now: Time) -> Duration {
        let counted = self.latest(now).saturating_sub(nanos(quiet).cast_signed());
        self.surely_past(self.calendar.next_boundary(counted)).since(now)
    }

    pub(super) fn readiness(&mut self, cost: u64, now: Time) -> Readiness {
        self.advance(now);
        let next = self.next_used.map_or(0, |used| used.saturating_add(self.next_charged));
        let charged = self.used.max(next);
        if charged.saturating_add(cost) <= self.units {
            Readiness::Ready
        } else {
            Readiness::At(self.ends_at())
        }
    }

    pub(super) fn take(&mut self, cost: u64, now: Time) {
        self.advance(now);
        self.in_flight += cost;
        self.used += cost;
        if let Some(used) = &mut self.next_used {
            *used += cost;
        }
    }

    pub(super) fn answered(&mut self, taken: Taken, actual: u64, now: Time) {
        self.advance(now);
        self.in_flight -= taken.cost;
        // A call in flight when a period began is charged to it, so it is corrected there, too.
        for used in [Some(&mut self.used), self.next_used.as_mut()].into_iter().flatten() {
            *used = used.saturating_sub(taken.cost).saturating_add(actual);
        }
    }

    /// What is charged to the present period and, at its edge, to the next.
    pub(super) fn used(&self, now: Time) -> Vec<(u64, Time)> {
        let mut later = self.clone();
        later.advance(now);
        let next = later.next_used.unwrap_or(0).saturating_add(later.next_charged);
        let mut used = vec![(later.used, later.ends_at()), (next, later.surely_past(later.next_end()))];
        used.retain(|(units, _)| *units > 0);
        used
    }

    /// Charges the period that `until` is the end of: the present one, the next, or one that is known
    /// to be over by now.
    pub(super) fn charge(&mut self, units: u64, until: Time, now: Time) {
        self.advance(now);
        let half = Duration::from_nanos((self.next_end().saturating_sub(self.end) / 2).cast_unsigned());
        let period = if until > self.ends_at() + half {
            &mut self.next_charged
        } else if until + half > self.ends_at() {
            &mut self.used
        } else {
            return;
        };
        *period = period.saturating_add(units);
    }

    /// Leaves so many units of the present period to others, or as many as it did before.
    pub(super) fn leave(&mut self, units: u64, now: Time) {
        self.advance(now);
        self.used = self.used.saturating_add(units.saturating_sub(self.others));
        self.others = self.others.max(units);
    }

    fn advance(&mut self, now: Time) {
        loop {
            if self.next_used.is_none() && self.latest(now) >= self.end {
                self.next_used = Some(self.in_flight);
            }
            if self.earliest(now) < self.end {
                return;
            }
            let used = self.next_used.take().unwrap_or(self.in_flight);
            self.used = used.saturating_add(std::mem::take(&mut self.next_charged));
            self.end = self.next_end();
            self.others = 0;
        }
    }

    fn next_end(&self) -> i64 {
        self.calendar.next_boundary(self.end)
    }

    /// What the provider's clock shows at least.
    fn earliest(&self, now: Time) -> i64 {
        self.wall.earliest.saturating_add(since_zero(now)).saturating_sub(self.drift(now))
    }

    /// What the provider's clock shows at most.
    fn latest(&self, now: Time) -> i64 {
        self.wall.latest.saturating_add(since_zero(now)).saturating_add(self.drift(now))
    }

    fn drift(&self, now: Time) -> i64 {
        (nanos(now.since(self.looked_at)) / DRIFT).cast_signed()
    }
}

/// Two clocks drift apart by less than one part in so many: 200 ppm.
const DRIFT: u64 = 5_000;

fn since_zero(time: Time) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn calendar(period: Period, zone: &str) -> Calendar {
        Calendar { period, zone: TimeZone::get(zone).unwrap() }
    }

    fn unix(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_nanosecond() as i64
    }

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn periods_follow_the_calendar_of_their_zone() {
        for (period, zone, from, to) in [
            (Period::Day, "UTC", "2026-11-22T08:00:00Z", "2026-11-23T00:00:00Z"),
            (Period::Day, "UTC", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            // The long day and the short one in Berlin.
            (Period::Day, "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            (Period::Day, "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            // Midnight does not exist in Cairo on the day that clocks go forward.
            (Period::Day, "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-23T22:00:00Z"),
            (Period::Week, "UTC", "2026-11-22T08:00:00Z", "2026-11-23T00:00:00Z"),
            (Period::Week, "UTC", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Month, "America/Los_Angeles", "2026-12-31T23:00:00Z", "2027-01-01T08:00:00Z"),
            (Period::Month, "UTC", "2028-02-29T23:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            let next = calendar(period, zone).next_boundary(unix(from));
            assert_eq!(next, unix(to), "{period:?} {zone} {from}: {}", next / SECOND);
        }
    }

    fn epoch(units: u64, skew_ms: u64) -> Epoch {
        // One hour before midnight in Berlin.
        let wall = WallClock::new(unix("2026-10-24T21:00:00Z"), Duration::from_millis(skew_ms));
        Epoch::new(units, calendar(Period::Day, "Europe/Berlin"), wall)
    }

    /// Midnight, by a clock that may have drifted for an hour since it was looked at.
    const MIDNIGHT: u64 = HOUR + 721;

    /// Whether it waits until then, give or take the drift of a day.
    fn waits_until(readiness: Readiness, hour: u64) -> bool {
        matches!(readiness, Readiness::At(at) if at >= ms(hour * HOUR) && at < ms(hour * HOUR + 30_000))
    }

    fn call(day: &mut Epoch, cost: u64, from: u64, to: u64) {
        assert_eq!(day.readiness(cost, ms(from)), Readiness::Ready);
        day.take(cost, ms(from));
        day.answered(Taken { cost, at: ms(from) }, cost, ms(to));
    }

    #[test]
    fn a_new_day_brings_new_units_and_the_long_day_is_long() {
        let mut day = epoch(2, 0);
        call(&mut day, 2, 0, 1_000);
        assert_eq!(day.readiness(1, ms(2_000)), Readiness::At(day.ends_at()));
        assert!(day.ends_at() > ms(HOUR) && day.ends_at() < ms(MIDNIGHT));
        call(&mut day, 2, MIDNIGHT, MIDNIGHT);
        assert!(waits_until(day.readiness(1, ms(MIDNIGHT)), 26));
    }

    #[test]
    fn calls_in_flight_at_midnight_charge_both_days() {
        let mut day = epoch(3, 0);
        day.take(2, ms(HOUR - 1_000));
        assert!(waits_until(day.readiness(2, ms(MIDNIGHT)), 26));
        assert_eq!(day.readiness(1, ms(MIDNIGHT)), Readiness::Ready);
        day.answered(Taken { cost: 2, at: ms(HOUR - 1_000) }, 2, ms(MIDNIGHT + 50));
        assert!(waits_until(day.readiness(2, ms(MIDNIGHT + 51)), 26));
    }

    #[test]
    fn a_call_at_the_edge_charges_both_days() {
        let mut day = epoch(3, 1_000);
        call(&mut day, 1, 0, 100);
        // Midnight may be a second ahead or a second past.
        call(&mut day, 1, HOUR - 500, HOUR - 400);
        call(&mut day, 1, HOUR - 500, HOUR - 400);
        assert_eq!(day.readiness(1, ms(HOUR)), Readiness::At(day.ends_at()));
        assert_eq!(day.readiness(1, ms(MIDNIGHT + 1_000)), Readiness::Ready);
        assert!(waits_until(day.readiness(2, ms(MIDNIGHT + 1_000)), 26));
    }

    #[test]
    fn the_date_of_an_answer_narrows_the_edge_or_overrules_our_clock() {
        let ours = WallClock::new(1_000 * SECOND, Duration::from_secs(60));
        let date = WallClock::from_date(1_002, ms(500), ms(700), Duration::ZERO);
        let both = ours.narrowed_by(date);
        assert_eq!(
            (both.earliest, both.latest),
            (1_002 * SECOND - SECOND / 10 * 7, 1_003 * SECOND - SECOND / 2)
        );
        let far = WallClock::from_date(90_000, ms(500), ms(700), Duration::ZERO);
        let either = ours.narrowed_by(far);
        assert_eq!((either.earliest, either.latest), (ours.earliest, far.latest));
    }

    #[test]
    fn a_clock_that_was_a_day_ahead_is_put_back_and_nothing_is_given_twice() {
        let mut day = epoch(2, 0);
        call(&mut day, 2, 0, 100);
        call(&mut day, 1, MIDNIGHT, MIDNIGHT);
        day.observe(WallClock::new(unix("2026-10-23T21:00:00Z"), Duration::ZERO), ms(MIDNIGHT));
        assert_eq!(day.readiness(1, ms(MIDNIGHT)), Readiness::Ready);
        assert!(matches!(day.readiness(2, ms(MIDNIGHT)), Readiness::At(_)));
    }

    #[test]
    fn once_it_is_known_that_our_clock_was_wrong_a_call_is_charged_to_one_day_only() {
        // Two answers say that it is an hour to midnight, a year ago or in a year.
        for date in ["2025-10-25T21:00:00Z", "2027-10-30T21:00:00Z"] {
            let mut day = epoch(2, 60_000);
            call(&mut day, 1, 0, 100);
            for _ in 0..2 {
                day.observe(WallClock::new(unix(date), Duration::from_secs(1)), ms(100));
            }
            call(&mut day, 1, 200, 300);
            assert!(waits_until(day.readiness(1, ms(300)), 1), "{date}");
            call(&mut day, 2, MIDNIGHT + 1_000, MIDNIGHT + 1_100);
        }
    }

    #[test]
    fn of_somebody_who_left_no_record_the_day_of_the_last_call_is_taken_as_used() {
        let day = epoch(5, 1_000);
        let hours = |hours: u64| Duration::from_secs(3_600 * hours);
        let rest = |quiet, now| day.silence(quiet, ms(now)).as_millis() as u64;
        // The last call this day, long ago or not: until midnight.
        for quiet in [hours(0), hours(1), hours(20)] {
            assert!((HOUR..MIDNIGHT + 1_001).contains(&rest(quiet, 0)), "{}", rest(quiet, 0));
        }
        assert_eq!(rest(hours(24), 0), 0);
        assert_eq!(rest(hours(3), 2 * HOUR), 0);
        // Perhaps it is the next day already.
        assert!(rest(hours(0), HOUR - 500) > 25 * HOUR);
    }

    /// What another process, an hour later, finds charged.
    fn carried_over(day: &Epoch, now: u64, skew_ms: u64) -> Epoch {
        let unix = unix("2026-10-24T21:00:00Z") + ms(now).as_nanos().cast_signed();
        let wall = WallClock::new(unix, Duration::from_millis(skew_ms));
        let mut next = Epoch::new(day.units, day.calendar.clone(), wall);
        for (units, until) in day.used(ms(now)) {
            next.charge(units, Time::ZERO + until.since(ms(now)), Time::ZERO);
        }
        next
    }

    #[test]
    fn what_was_used_at_the_edge_is_carried_over_to_both_days() {
        let mut day = epoch(5, 1_000);
        call(&mut day, 2, 0, 100);
        call(&mut day, 1, HOUR - 500, HOUR - 400);
        let mut next = carried_over(&day, HOUR - 300, 1_000);
        assert_eq!(next.readiness(2, ms(0)), Readiness::Ready);
        assert!(matches!(next.readiness(3, ms(0)), Readiness::At(_)));
        assert_eq!(next.readiness(4, ms(5_000)), Readiness::Ready);
        assert!(waits_until(next.readiness(5, ms(5_000)), 25));
        // One that knows the clock better knows that the day is not over yet.
        let mut next = carried_over(&day, HOUR - 300, 10);
        assert!(matches!(next.readiness(3, ms(0)), Readiness::At(_)));
        assert_eq!(next.readiness(4, ms(5_000)), Readiness::Ready);
        // And a day later nothing is left of it.
        assert!(day.used(ms(27 * HOUR)).is_empty());
    }
}
