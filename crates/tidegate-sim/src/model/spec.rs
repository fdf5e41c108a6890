//! Limits as a person writes them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use crate::text::{self, SpecError};

/// Largest amount of a limit. A rolling window remembers eight bytes per request that it counts.
const MAX_AMOUNT: u64 = 100_000_000;

const HINT: &str = "write `rolling 100/min`, `fixed 100/6s phase 2s`, `bucket 50/s capacity 10`, \
    `counter 1000/s` or `concurrency 20`";

/// An amount per period, neither of them zero: `100/min`, `10k/6s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    amount: NonZeroU64,
    period: NonZeroU64,
}

impl Rate {
    /// At most `amount` (1 to 100 million) per `period` (1 ns to 400 days); `None` outside of that.
    pub fn new(amount: u64, period: Duration) -> Option<Self> {
        let period = (period <= text::MAX_DURATION).then_some(period.as_nanos() as u64)?;
        Some(Self {
            amount: NonZeroU64::new(amount).filter(|amount| amount.get() <= MAX_AMOUNT)?,
            period: NonZeroU64::new(period)?,
        })
    }

    /// Requests per period.
    pub fn amount(self) -> u64 {
        self.amount.get()
    }

    /// Length of the period.
    pub fn period(self) -> Duration {
        Duration::from_nanos(self.period.get())
    }

    pub(super) fn period_ns(self) -> u64 {
        self.period.get()
    }
}

/// One rule of the provider, and how it is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitSpec {
    /// `fixed N/W [phase P]`: a counter that starts anew at P, P + W, P + 2W … on the provider's clock.
    Fixed(Rate, Duration),
    /// `rolling N/W`: at most N in any half-open window (t − W, t], from an exact log.
    Rolling(Rate),
    /// `bucket N/W capacity B`: a token bucket, full at the start, refilled continuously.
    Bucket(Rate, NonZeroU64),
    /// `counter N/W`: a sliding counter, the last window's count fading out linearly while this one's grows.
    Counter(Rate),
    /// `concurrency M`: at most M in service; one ends only after its answer was written.
    Concurrency(NonZeroU64),
}

impl LimitSpec {
    /// The length of time over which this limit counts; none for concurrency.
    pub fn window(&self) -> Option<Duration> {
        match self {
            Self::Fixed(rate, _) | Self::Rolling(rate) | Self::Bucket(rate, _) | Self::Counter(rate) => {
                Some(rate.period())
            }
            Self::Concurrency(_) => None,
        }
    }
}

impl FromStr for LimitSpec {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        parse(input).map_err(|problem| SpecError::new("limit", input, problem, HINT))
    }
}

impl fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(rate, Duration::ZERO) => write!(f, "fixed {rate}"),
            Self::Fixed(rate, phase) => write!(f, "fixed {rate} phase {}", text::show(*phase)),
            Self::Rolling(rate) => write!(f, "rolling {rate}"),
            Self::Bucket(rate, capacity) => {
                write!(f, "bucket {rate} capacity {}", text::show_amount(capacity.get()))
            }
            Self::Counter(rate) => write!(f, "counter {rate}"),
            Self::Concurrency(amount) => write!(f, "concurrency {}", text::show_amount(amount.get())),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = text::show(self.period());
        // `100/min` rather than `100/1min`; but `100/15min` keeps its number.
        let unit = period.strip_prefix('1').filter(|unit| unit.starts_with(|c: char| c.is_alphabetic()));
        write!(f, "{}/{}", text::show_amount(self.amount()), unit.unwrap_or(&period))
    }
}

fn parse(input: &str) -> Result<LimitSpec, String> {
    let words: Vec<&str> = input.split_whitespace().collect();
    match words[..] {
        ["rolling", rate] => Ok(LimitSpec::Rolling(parse_rate(rate)?)),
        ["counter", rate] => Ok(LimitSpec::Counter(parse_rate(rate)?)),
        ["fixed", rate] => Ok(LimitSpec::Fixed(parse_rate(rate)?, Duration::ZERO)),
        ["fixed", rate, "phase", phase] => Ok(LimitSpec::Fixed(parse_rate(rate)?, text::duration(phase)?)),
        ["bucket", rate, "capacity" | "bucket", capacity] | [rate, "bucket", capacity] => {
            Ok(LimitSpec::Bucket(parse_rate(rate)?, parse_amount(capacity)?))
        }
        ["concurrency", amount] => Ok(LimitSpec::Concurrency(parse_amount(amount)?)),
        ["bucket", ..] => Err("a bucket needs a refill rate and a capacity".to_owned()),
        [rate] if rate.contains('/') => Err("does not say how it is enforced".to_owned()),
        _ => Err("not a limit".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let (amount, period) =
        text.split_once('/').ok_or_else(|| format!("`{text}` is not a rate (like 100/min or 100/6s)"))?;
    Rate::new(parse_amount(amount)?.get(), text::period(period)?)
        .ok_or_else(|| format!("`{period}` is not a period between 1 ns and 400 days"))
}

fn parse_amount(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(text::amount(text)?)
        .filter(|amount| amount.get() <= MAX_AMOUNT)
        .ok_or_else(|| format!("`{text}` is not between 1 and 100M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(amount: u64, ms: u64) -> Rate {
        Rate::new(amount, Duration::from_millis(ms)).unwrap()
    }

    #[test]
    fn reads_every_kind() {
        let read = |text: &str| text.parse::<LimitSpec>().unwrap();
        let ten = NonZeroU64::new(10).unwrap();
        assert_eq!(read("rolling 100/min"), LimitSpec::Rolling(rate(100, 60_000)));
        assert_eq!(read("fixed 100/6s phase 2s"), LimitSpec::Fixed(rate(100, 6_000), Duration::from_secs(2)));
        assert_eq!(read("fixed 10k/250ms"), LimitSpec::Fixed(rate(10_000, 250), Duration::ZERO));
        assert_eq!(read("bucket 50/s capacity 10"), LimitSpec::Bucket(rate(50, 1_000), ten));
        assert_eq!(read("bucket 50/s bucket 10"), read("bucket 50/s capacity 10"));
        assert_eq!(read("50/s bucket 10"), read("bucket 50/s capacity 10"));
        assert_eq!(read("counter 2M/day"), LimitSpec::Counter(rate(2_000_000, 86_400_000)));
        assert_eq!(read(" concurrency  10 "), LimitSpec::Concurrency(ten));
        assert_eq!(read("rolling 1/m"), read("rolling 1/minute"));
        assert_eq!(read("rolling 1/h"), read("rolling 1/60min"));
    }

    #[test]
    fn prints_what_it_reads() {
        for text in [
            "rolling 100/min",
            "rolling 100/15min",
            "fixed 100/6s phase 2s",
            "fixed 7/s",
            "bucket 50/s capacity 10",
            "counter 2M/d",
            "counter 10k/h",
            "counter 1000/s",
            "counter 1500500/s",
            "concurrency 20",
        ] {
            assert_eq!(text.parse::<LimitSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        for (bad, reason) in [
            ("", "not a limit"),
            ("100/min", "how it is enforced"),
            ("rolling 100", "not a rate"),
            ("rolling 0/s", "not between 1 and"),
            ("rolling 100/month", "not a duration"),
            ("rolling 100/0s", "not a period"),
            ("rolling 200M/day", "not between 1 and"),
            ("rolling 1.5/s", "not a whole amount"),
            ("bucket 50/s", "needs a refill rate and a capacity"),
            ("bucket 10", "needs a refill rate and a capacity"),
            ("concurrency 0", "not between 1 and"),
            ("fixed 100/s phase 2", "not a duration"),
        ] {
            let error = bad.parse::<LimitSpec>().unwrap_err();
            assert!(error.to_string().contains(reason), "{bad}: {error}");
            assert!(error.hint().contains("rolling 100/min"));
        }
    }
}
