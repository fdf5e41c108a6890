//! Members whose clock is another one than their pool's.
//!
//! Clocks of two machines show anything; but they run alike, up to [`PPM`] parts in a million. So what is said
//! between them are *lengths*, "so much is left", in the place of dates.
//!
//! *Dates that a member gives* ("not to be used before d"). The report is written at `w` by its clock, and says `d − w`,
//! longer by [`PPM`]. It is heard at `a`, which is not before `w`, and means `a + (d − w)(1 + ε)` there. From then until
//! the real moment of d less than `d − w` passes by the member's clock, so at most `(d − w)(1 + ε)` by the pool's: its date
//! is not earlier. A report that comes late, or again, gives a later one.
//!
//! *Dates that a pool gives.* The answer of `a` says `D − a`. It comes at `m` by the member's clock, after that, and means
//! `m + (D − a)(1 + ε)`: by then the pool's clock has passed `D`. The same for pauses.
//!
//! *Leases.* The answer says `U − a`. The report was written at `w`, before that: the lease ends at
//! `w + (U − a)(1 − ε)`, and by the pool's clock not after `U`. If an answer is lost and the report is written again, what is
//! left of the same lease then is said, and `w` is that later time.

use std::time::Duration;

use super::{Allotment, Part, Report};
use crate::time::Time;

/// How much two clocks may differ in rate: what time servers may do to one at most.
pub const PPM: u32 = 500;

/// What of a length may be error, rounded up; and what clocks that show whole microseconds cut off.
fn error(length: Duration) -> Duration {
    const CUT: Duration = Duration::from_micros(1);
    let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    Duration::from_micros(u64::from(PPM) * seconds) + CUT
}

/// A length by one clock that is over by another by then; nothing stays nothing.
pub fn longer(length: Duration) -> Duration {
    if length.is_zero() { length } else { length.saturating_add(error(length)) }
}

/// A length by one clock that is not over by another before.
pub fn shorter(length: Duration) -> Duration {
    length.saturating_sub(error(length))
}

/// What is left of a date at `now`, as a clock elsewhere is to wait.
fn left(date: Time, now: Time) -> Duration {
    longer(date.since(now))
}

impl Report {
    /// As it is said when it is written at `written` by the member's clock: dates are lengths, from [`Time::ZERO`].
    #[must_use]
    pub fn in_lengths(mut self, written: Time) -> Self {
        let left = |date: &mut Time| *date = Time::ZERO + left(*date, written);
        self.ceded.iter_mut().flat_map(|part| &mut part.dated).for_each(|(date, _)| left(date));
        left(&mut self.paused_until);
        self
    }

    /// As it is meant when it is heard at `now` by the pool's clock.
    #[must_use]
    pub fn in_dates(mut self, now: Time) -> Self {
        let date = |length: &mut Time| *length = now + length.since(Time::ZERO);
        self.ceded.iter_mut().for_each(|part| dates(part, date));
        if self.paused_until > Time::ZERO {
            date(&mut self.paused_until);
        }
        self
    }
}

impl Allotment {
    /// As it is said at `now` by the pool's clock: dates are lengths, from [`Time::ZERO`].
    #[must_use]
    pub fn in_lengths(mut self, now: Time) -> Self {
        let left = |date: &mut Time| *date = Time::ZERO + left(*date, now);
        self.until = Time::ZERO + shorter(self.until.since(now));
        self.parts.iter_mut().flat_map(|part| &mut part.dated).for_each(|(date, _)| left(date));
        left(&mut self.paused_until);
        self
    }

    /// As it is meant, by the clock of a member whose report was written at `written` and that hears it at `heard`.
    #[must_use]
    pub fn in_dates(mut self, written: Time, heard: Time) -> Self {
        self.until = written + self.until.since(Time::ZERO);
        let date = |length: &mut Time| *length = heard + length.since(Time::ZERO);
        self.parts.iter_mut().for_each(|part| dates(part, date));
        date(&mut self.paused_until);
        self
    }
}

fn dates(part: &mut Part, date: impl Fn(&mut Time)) {
    part.dated.iter_mut().for_each(|(length, _)| date(length));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any two clocks, any delays: a date is never early, a lease never late.
    #[test]
    fn dates_are_never_early_and_leases_never_late() {
        let mut dice = fastrand::Rng::with_seed(1);
        for round in 0..20_000 {
            // Of the two, one runs right, the other up to 499 ppm off.
            let rate = 1_000_000 + dice.i64(-499..=499);
            let pools = |real: Time| {
                let passed = i128::from(real.as_nanos()) * i128::from(rate) / 1_000_000;
                // It shows whole microseconds.
                Time::from_nanos(u64::try_from(passed).unwrap() / 1_000 * 1_000) + Duration::from_secs(77)
            };
            let nanos = |dice: &mut fastrand::Rng, most: u64| Duration::from_nanos(dice.u64(0..most));
            let written = Time::ZERO + nanos(&mut dice, 1_000_000_000_000);
            let ran = written + nanos(&mut dice, 2_000_000_000);
            let heard = ran + nanos(&mut dice, 2_000_000_000);
            let length = nanos(&mut dice, 200_000_000_000);
            let part = |at: Time| Part { units: 1, dated: vec![(at, 1)] };

            let ours = written + length;
            let report = Report { ceded: vec![part(ours)], paused_until: ours, ..Report::default() };
            let meant = report.in_lengths(written).in_dates(pools(ran));
            assert!(meant.ceded[0].dated[0].0 >= pools(ours), "{round}: {rate}");
            assert!(meant.paused_until >= pools(ours) || length.is_zero(), "{round}: {rate}");

            let theirs = pools(ran) + length;
            let allotment = Allotment {
                until: theirs,
                parts: vec![part(theirs)],
                paused_until: theirs,
                ..Allotment::default()
            };
            let meant = allotment.in_lengths(pools(ran)).in_dates(written, heard);
            for date in [meant.parts[0].dated[0].0, meant.paused_until] {
                assert!(pools(date) >= theirs, "{round}: {rate}");
            }
            assert!(pools(meant.until) <= theirs.max(pools(ran)), "{round}: {rate}");
        }
    }

    #[test]
    fn what_has_passed_is_nothing_and_stays_so() {
        let report = Report { paused_until: Time::from_millis(5), ..Report::default() };
        let meant = report.in_lengths(Time::from_millis(9)).in_dates(Time::from_millis(70_000));
        assert_eq!(meant.paused_until, Time::ZERO, "no pause");
    }
}
