//! Whose clock a date is by.
//!
//! A member knows its own machine's clock only, the server its own. What they say to each other are *lengths*: so
//! much is left. The proof that no date is early by that, and no lease late, is core's ([`tidegate_core::apart`]); there the one who
//! speaks makes lengths longer, or a lease shorter, and here always the member, since the script reckons in whole
//! microseconds of its server only. If an answer is lost and the report comes again, the script says what is left of
//! the same lease then, and it counts from when that request was written.
//!
//! Servers show whole microseconds, cut off: what is left is taken as one longer, and of a lease as one shorter.
//!
//! A server's clock that goes back, or ahead by more than a member's own clock allows, is seen
//! ([`Reference`]), and taken as a loss of memory.

use std::time::Duration;

use tidegate_core::Time;
use tidegate_core::apart::{longer, shorter};

/// What a server cannot count beyond: 2^53 − 1 microseconds is in the year 2255.
pub(super) const NEVER: u64 = (1 << 53) - 1;
const HOUR: u64 = 3_600_000_000;

/// How a transaction's [`Time`]s come from the server's microseconds: since an hour that is over by one to two
/// hours. What is older counts as just that old. It is the same for all that comes in an hour, so that the end of a
/// calendar's period is one date, not many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    origin: u64,
}

impl Frame {
    pub(super) fn around(now: u64) -> Self {
        Self { origin: (now / HOUR).saturating_sub(1) * HOUR }
    }

    pub(super) fn time(self, micros: u64) -> Time {
        if micros >= NEVER {
            return Time::MAX;
        }
        Time::from_nanos(micros.saturating_sub(self.origin).saturating_mul(1_000))
    }

    pub(super) fn micros(self, time: Time) -> u64 {
        match time {
            Time::MAX => NEVER,
            Time::ZERO => 0,
            _ => self.origin.saturating_add(time.as_nanos().div_ceil(1_000)).min(NEVER),
        }
    }

    /// Nanoseconds since 1970 at its origin.
    pub(super) fn unix(self) -> i64 {
        i64::try_from(self.origin.saturating_mul(1_000)).unwrap_or(i64::MAX)
    }
}

/// Whole microseconds, rounded up.
pub(super) fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX).min(NEVER)
}

/// What is left of it when the request is written, as the server is to wait.
pub(super) fn left(until: Time, written: Time) -> u64 {
    micros(longer(until.since(written)))
}

/// The member's date for what a server says is left.
pub(super) fn date(left: u64, heard: Time) -> Time {
    match left {
        0 => heard,
        _ if left >= NEVER / 2 => Time::MAX,
        _ => heard + longer(Duration::from_micros(left)),
    }
}

/// The member's end of a lease of which so much is left.
pub(super) fn lease_end(left: u64, written: Time) -> Time {
    written + shorter(Duration::from_micros(left))
}

/// What the server's clock showed once, and when that was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    server: u64,
    written: Time,
}

impl Reference {
    /// It is kept so long: clocks that differ in rate show in the long run only.
    const LASTS: Duration = Duration::from_secs(60);
    /// Clocks are read, and set right, in steps.
    const SLACK: u64 = 20_000;

    pub(super) fn new(server: u64, written: Time) -> Self {
        Self { server, written }
    }

    /// What it showed then.
    pub(super) fn server(self) -> u64 {
        self.server
    }

    /// The most that can have passed on the server's clock, if a request is written at `written`.
    pub(super) fn passed(self, written: Time) -> u64 {
        micros(longer(written.since(self.written)))
    }

    /// Whether a server that now shows `server`, in an answer that came at `heard`, has gone ahead of what can have
    /// passed since.
    pub(super) fn is_overtaken(self, server: u64, heard: Time) -> bool {
        server.saturating_sub(self.server) > self.passed(heard) + Self::SLACK
    }

    /// The one to compare with next.
    pub(super) fn renewed(self, server: u64, written: Time) -> Self {
        if written.since(self.written) > Self::LASTS { Self::new(server, written) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any two clocks, any delays: a date is never early, a lease never late.
    #[test]
    fn dates_are_never_early_and_leases_never_late() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            // Real time in nanoseconds; the member's clock is right, the server's is up to 499 ppm off.
            let rate = 1_000_000 + dice.i64(-499..=499);
            let server = |real: u64| {
                let passed = i128::from(real) * i128::from(rate) / 1_000_000;
                1_700_000_000_000_000 + u64::try_from(passed).unwrap() / 1_000
            };
            let written = dice.u64(0..1_000_000_000_000);
            let ran = written + dice.u64(0..2_000_000_000);
            let heard = ran + dice.u64(0..2_000_000_000);
            let length = dice.u64(0..200_000_000_000);
            let at = |nanos: u64| Time::from_nanos(nanos);
            // A member's date, by the server's clock.
            let ours = written + length;
            let theirs = server(ran) + left(at(ours), at(written));
            assert!(theirs >= server(ours), "{rate} {written} {ran} {length}");
            // A server's date, by the member's clock: by then the server's has passed it.
            let until = server(ran) + length / 1_000;
            let here = date(until - server(ran), at(heard));
            assert!(server(here.as_nanos()) >= until, "{rate} {ran} {heard} {length}");
            let end = lease_end(until - server(ran), at(written));
            assert!(server(end.as_nanos()) <= until.max(server(ran)), "{rate} {written} {ran} {length}");
        }
    }

    #[test]
    fn a_clock_that_goes_ahead_is_seen() {
        let ms = Time::from_millis;
        let reference = Reference::new(1_000_000_000, ms(5_000));
        assert!(!reference.is_overtaken(1_000_500_000, ms(5_500)));
        assert!(!reference.is_overtaken(1_000_900_000, ms(6_000)), "the answer was late");
        assert!(reference.is_overtaken(1_000_600_000, ms(5_500)));
        assert!(!reference.is_overtaken(900_000_000, ms(5_500)), "that is another story");
    }

    #[test]
    fn frames_keep_what_is_not_long_ago() {
        let frame = Frame::around(1_700_000_000_000_000);
        for micros in [0, 1_699_999_000_000_001, 1_700_000_000_000_000, NEVER] {
            assert_eq!(frame.micros(frame.time(micros)), micros);
        }
        let odd = frame.time(1_700_000_000_000_000) + Duration::from_nanos(1);
        assert_eq!(frame.micros(odd), 1_700_000_000_000_001, "rounded up");
    }
}
