//! `Limit`: one rule of the provider, parsed, never invalid.

mod compile;
mod error;
mod parse;

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use self::compile::{Margins, Mode, Terms};
pub use self::error::LimitError;
use crate::meter::Calendar;

/// One rule of the provider: an amount, its unit, and how it is enforced.
///
/// Parsed from what people write ([`Limit::from_str`](std::str::FromStr)):
///
/// | text | meaning |
/// | --- | --- |
/// | `1000/s`, `10k/min`, `100/6s`, `5/250ms` | that many requests in any window of that length |
/// | `1000/s counter` | a sliding counter: the last window's count fades while this one's grows |
/// | `50/s bucket 10` | a bucket of 10 that refills at 50 a second |
/// | `1000/s unknown` | nobody knows how it is enforced |
/// | `concurrency 20` | at most 20 requests at a time |
/// | `10k/day UTC`, `1M/month Europe/Berlin` | by the calendar of that zone |
/// | `2M/day` | in any window of a day, which has up to 25 hours |
/// | `6000/min also per second` | per minute, and perhaps a sixtieth of it per second |
/// | `2M tokens/min` | in a unit other than requests; see [`Limit::with_cost`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    amount: NonZeroU64,
    unit: Unit,
    rule: Rule,
    cost: Option<NonZeroU64>,
    also_per_second: bool,
    refunds: bool,
    amplification: NonZeroU64,
    granularity: Option<Duration>,
    skew: Duration,
}

/// How the provider enforces a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// No more than the amount in a fixed window at any phase, or in any rolling window.
    Window {
        /// Length of the window.
        per: Duration,
    },
    /// A sliding counter: the last window's count, weighed by how much of it a rolling window would
    /// still cover, and this window's, are no more than the amount together.
    Counter {
        /// Length of the window.
        per: Duration,
    },
    /// A token bucket, leaky bucket or GCRA.
    Bucket {
        /// Time in which the amount refills.
        per: Duration,
        /// What the full bucket holds.
        capacity: NonZeroU64,
        /// It refills in steps of this time; zero if all the time.
        step: Duration,
    },
    /// So much per time, and nobody knows how it is enforced.
    Unknown {
        /// The time.
        per: Duration,
    },
    /// No more than the amount in each period of a calendar.
    Calendar(Calendar),
    /// No more than the amount at the same time.
    Concurrency {
        /// How long after its answer a server may still count a request as running.
        linger: Duration,
    },
}

/// What a limit counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Calls; each costs one.
    Requests,
    /// Something else, by its name: tokens, points, bytes.
    Named(String),
}

impl Limit {
    /// How long servers are taken to count a request after its answer, unless said otherwise.
    pub const DEFAULT_LINGER: Duration = Duration::from_millis(5);

    /// So many requests, enforced by `rule`.
    ///
    /// # Panics
    /// If a period of the rule is zero.
    pub fn new(amount: NonZeroU64, rule: Rule) -> Self {
        assert!(rule.per().is_none_or(|per| !per.is_zero()), "a period has a length");
        Self {
            amount,
            unit: Unit::Requests,
            rule,
            cost: None,
            also_per_second: false,
            refunds: false,
            amplification: NonZeroU64::MIN,
            granularity: None,
            skew: Duration::ZERO,
        }
    }

    /// No more than `amount` requests in any window of length `per`.
    ///
    /// # Panics
    /// If `per` is zero.
    pub fn window(amount: NonZeroU64, per: Duration) -> Self {
        Self::new(amount, Rule::Window { per })
    }

    /// A bucket of `capacity` requests that refills by `amount` in the time `per`.
    ///
    /// # Panics
    /// If `per` is zero.
    pub fn bucket(amount: NonZeroU64, per: Duration, capacity: NonZeroU64) -> Self {
        Self::new(amount, Rule::Bucket { per, capacity, step: Duration::ZERO })
    }

    /// No more than `amount` requests at the same time.
    pub fn concurrency(amount: NonZeroU64) -> Self {
        Self::new(amount, Rule::Concurrency { linger: Self::DEFAULT_LINGER })
    }

    /// The same limit counting something else than requests.
    #[must_use]
    pub fn counting(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// The same limit with each call costing `cost` units.
    #[must_use]
    pub fn with_cost(self, cost: NonZeroU64) -> Self {
        Self { cost: Some(cost), ..self }
    }

    /// The same limit, with another linger if it is one of concurrency.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        if let Rule::Concurrency { linger: old } = &mut self.rule {
            *old = linger;
        }
        self
    }

    /// The same limit, which the provider may enforce per second as well: a sixtieth of a limit
    /// per minute, and so on.
    #[must_use]
    pub fn also_per_second(self) -> Self {
        Self { also_per_second: true, ..self }
    }

    /// The same limit; the provider gives back what a call was charged above its actual cost, no
    /// later than with the last byte of the answer.
    #[must_use]
    pub fn refunding(self) -> Self {
        Self { refunds: true, ..self }
    }

    /// The same limit; what lies between may send each call so often (gateways that retry).
    #[must_use]
    pub fn amplified(self, times: NonZeroU64) -> Self {
        Self { amplification: times, ..self }
    }

    /// The same limit; the provider's time stamps have this granularity.
    #[must_use]
    pub fn with_granularity(self, granularity: Duration) -> Self {
        Self { granularity: Some(granularity), ..self }
    }

    /// The same limit; the clocks of the nodes that count together differ by up to `skew`.
    #[must_use]
    pub fn with_skew(self, skew: Duration) -> Self {
        Self { skew, ..self }
    }

    /// The amount.
    pub fn amount(&self) -> u64 {
        self.amount.get()
    }

    /// What is counted.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// How it is enforced.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// What each call costs: one request, or as declared; `None` if that differs from call to call.
    pub fn cost(&self) -> Option<u64> {
        match (self.cost, &self.unit) {
            (Some(cost), _) => Some(cost.get()),
            (None, Unit::Requests) => Some(1),
            (None, Unit::Named(_)) => None,
        }
    }

    /// Whether the provider gives back what a call was charged above its actual cost.
    pub fn refunds(&self) -> bool {
        self.refunds
    }

    /// How often each call may be sent by what lies between.
    pub fn amplification(&self) -> u64 {
        self.amplification.get()
    }

    /// The granularity of the provider's time stamps; `None` if it is that of the [`Margins`].
    pub fn granularity(&self) -> Option<Duration> {
        self.granularity
    }

    /// How far the clocks of the nodes that count together differ.
    pub fn skew(&self) -> Duration {
        self.skew
    }

    /// Whether a request stops counting with the response head (else with its last byte).
    ///
    /// A request is admitted before its status is known, so the head proves that it was counted.
    /// Concurrency, tokens and bytes go on counting while the body flows.
    pub fn ends_with_head(&self) -> bool {
        self.unit == Unit::Requests && !matches!(self.rule, Rule::Concurrency { .. })
    }

    /// Calls per second that the limit allows on paper, at its declared cost (else at 1); `None` for
    /// concurrency.
    pub fn nominal_rate(&self) -> Option<f64> {
        let per = self.rule.per()?.as_secs_f64();
        Some(self.amount() as f64 / per / self.cost().unwrap_or(1) as f64)
    }

    /// The limits that together say the same: itself, and what may be enforced per second.
    pub(crate) fn parts(&self) -> Vec<Self> {
        const SECOND: Duration = Duration::from_secs(1);
        let whole = Self { also_per_second: false, ..self.clone() };
        let Some(per) = self.rule.per().filter(|per| self.also_per_second && *per > SECOND) else {
            return vec![whole];
        };
        let share = u128::from(self.amount()) * SECOND.as_nanos() / per.as_nanos();
        let (amount, per) = if let Some(share) = u64::try_from(share).ok().and_then(NonZeroU64::new) {
            (share, SECOND)
        } else {
            // Less than one a second: one in as many seconds.
            let nanos = per.as_nanos().div_ceil(u128::from(self.amount()));
            (NonZeroU64::MIN, Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
        };
        let part = Self { amount, rule: Rule::Window { per }, ..whole.clone() };
        vec![whole, part]
    }
}

impl Rule {
    /// The time over which the amount counts; a day of the calendar as one of 24 hours. `None` for
    /// concurrency.
    pub fn per(&self) -> Option<Duration> {
        use crate::meter::Period::{Day, Month, Week};
        const DAY: u64 = 86_400;
        match self {
            Self::Window { per }
            | Self::Counter { per }
            | Self::Bucket { per, .. }
            | Self::Unknown { per } => Some(*per),
            Self::Calendar(Calendar { period: Day, .. }) => Some(Duration::from_secs(DAY)),
            Self::Calendar(Calendar { period: Week, .. }) => Some(Duration::from_secs(7 * DAY)),
            Self::Calendar(Calendar { period: Month, .. }) => Some(Duration::from_secs(30 * DAY)),
            Self::Concurrency { .. } => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::meter::Period::{Day, Month, Week};
        let amount = self.amount;
        let unit = match &self.unit {
            Unit::Requests => String::new(),
            Unit::Named(name) => format!(" {name}"),
        };
        match &self.rule {
            Rule::Window { per } => write!(f, "{amount}{unit}/{}", parse::Span(*per))?,
            Rule::Counter { per } => write!(f, "{amount}{unit}/{} counter", parse::Span(*per))?,
            Rule::Unknown { per } => write!(f, "{amount}{unit}/{} unknown", parse::Span(*per))?,
            Rule::Bucket { per, capacity, step } => {
                write!(f, "{amount}{unit}/{} bucket {capacity}", parse::Span(*per))?;
                if !step.is_zero() {
                    write!(f, " step {}", parse::Span(*step))?;
                }
            }
            Rule::Calendar(Calendar { period, zone }) => {
                let period = match period {
                    Day => "day",
                    Week => "week",
                    Month => "month",
                };
                write!(f, "{amount}{unit}/{period} {}", zone_name(zone))?;
            }
            Rule::Concurrency { .. } => write!(f, "concurrency {amount}")?,
        }
        if self.also_per_second { f.write_str(" also per second") } else { Ok(()) }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Named(name) => name,
        })
    }
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}
