//! `Limit`: one rule of the provider, parsed, never invalid.

mod parse;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::meter::{Hold, Meter, Pace, Spread};
use crate::time::nanos;

/// One rule of the provider: an amount, its unit, and how it is enforced.
///
/// Parsed from what people write ([`Limit::from_str`](std::str::FromStr)):
///
/// | text | meaning |
/// | --- | --- |
/// | `1000/s`, `10k/min`, `100/6s`, `5/250ms` | that many requests in any window of that length |
/// | `2M/day` | as many in any window of a day, which has up to 25 hours |
/// | `50/s bucket 10` | a bucket of 10 that refills at 50 a second |
/// | `concurrency 20` | at most 20 requests at a time |
/// | `2M tokens/min` | in a unit other than requests; see [`Limit::with_cost`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    amount: NonZeroU64,
    unit: Unit,
    rule: Rule,
    cost: Option<NonZeroU64>,
}

/// How late timers are taken to fire: what a bucket's burst makes up for.
const TIMER_LATENESS: Duration = Duration::from_millis(4);

/// How the provider enforces a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// No more than the amount in a fixed window at any phase, or in any rolling window.
    Window {
        /// Length of the window.
        per: Duration,
    },
    /// A token bucket, leaky bucket or GCRA.
    Bucket {
        /// Time in which the amount refills.
        per: Duration,
        /// What the full bucket holds.
        capacity: NonZeroU64,
    },
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

/// What could differ between the provider's clock and ours, and is added to every hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// Greatest difference in rate between two clocks, in parts per million.
    pub clock_ppm: u32,
    /// Granularity of the provider's timestamps.
    pub granularity: Duration,
}

impl Default for Margins {
    /// 200 ppm, twice what ordinary quartz drifts; timestamps in whole milliseconds.
    fn default() -> Self {
        Self { clock_ppm: 200, granularity: Duration::from_millis(1) }
    }
}

/// A limit that cannot be understood or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The text does not have the form of a limit.
    #[error("`{text}` is not a limit: expected {expected}")]
    Syntax {
        /// The text as it was given.
        text: String,
        /// What should have stood there.
        expected: &'static str,
        /// What to write instead.
        hint: String,
    },
    /// An amount, period or capacity of zero, or one too large to count.
    #[error("`{text}`: {what}")]
    OutOfRange {
        /// The text as it was given.
        text: String,
        /// Which number, and what is wrong with it.
        what: &'static str,
        /// What to write instead.
        hint: &'static str,
    },
    /// A single call costs more than the limit can ever grant.
    #[error("a call costs {cost} {unit}, but the limit `{limit}` never allows more than {greatest} at once")]
    CostTooLarge {
        /// The limit.
        limit: String,
        /// Its unit.
        unit: Unit,
        /// What one call costs.
        cost: u64,
        /// What can be granted at once.
        greatest: u64,
    },
    /// The limit counts something of which a call's cost is not known.
    #[error("the limit `{limit}` counts {unit}, but not how many a call costs")]
    CostUnknown {
        /// The limit.
        limit: String,
        /// Its unit.
        unit: Unit,
    },
}

impl LimitError {
    /// What to write instead, for a `hint:` line.
    pub fn hint(&self) -> Cow<'_, str> {
        match self {
            Self::Syntax { hint, .. } => Cow::Borrowed(hint),
            Self::OutOfRange { hint, .. } => Cow::Borrowed(hint),
            Self::CostTooLarge { .. } => Cow::Borrowed("raise the limit, lower `cost`, or split the call"),
            Self::CostUnknown { unit, .. } => Cow::Owned(format!(
                "in a job file, give [[quota.limit]] a `cost`, the most {unit} that one call can take"
            )),
        }
    }
}

impl Limit {
    /// How long servers are taken to count a request after its answer, unless said otherwise.
    pub const DEFAULT_LINGER: Duration = Duration::from_millis(5);

    /// No more than `amount` requests in any window of length `per`.
    ///
    /// # Panics
    /// If `per` is zero.
    pub fn window(amount: NonZeroU64, per: Duration) -> Self {
        assert!(!per.is_zero(), "a window has a length");
        Self { amount, unit: Unit::Requests, rule: Rule::Window { per }, cost: None }
    }

    /// A bucket of `capacity` requests that refills by `amount` in the time `per`.
    ///
    /// # Panics
    /// If `per` is zero.
    pub fn bucket(amount: NonZeroU64, per: Duration, capacity: NonZeroU64) -> Self {
        assert!(!per.is_zero(), "a bucket refills in some time");
        Self { amount, unit: Unit::Requests, rule: Rule::Bucket { per, capacity }, cost: None }
    }

    /// No more than `amount` requests at the same time.
    pub fn concurrency(amount: NonZeroU64) -> Self {
        let rule = Rule::Concurrency { linger: Self::DEFAULT_LINGER };
        Self { amount, unit: Unit::Requests, rule, cost: None }
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

    /// The amount.
    pub fn amount(&self) -> u64 {
        self.amount.get()
    }

    /// What is counted.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// How it is enforced.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// What one call costs.
    pub fn cost(&self) -> u64 {
        self.cost.map_or(1, NonZeroU64::get)
    }

    /// Whether a request stops counting with the response head (else with its last byte).
    ///
    /// A request is admitted before its status is known, so the head proves that it was counted.
    /// Concurrency, tokens and bytes go on counting while the body flows.
    pub fn ends_with_head(&self) -> bool {
        self.unit == Unit::Requests && !matches!(self.rule, Rule::Concurrency { .. })
    }

    /// The meter that keeps this limit.
    ///
    /// # Errors
    /// If one call's cost is unknown or more than the meter can ever grant.
    pub fn compile(&self, margins: Margins) -> Result<Meter, LimitError> {
        if self.cost.is_none() && self.unit != Unit::Requests {
            return Err(LimitError::CostUnknown { limit: self.to_string(), unit: self.unit.clone() });
        }
        let cost = self.cost();
        let meter = match self.rule {
            Rule::Window { per } => Meter::Hold(Hold::new(self.amount(), margins.widen(per))),
            Rule::Concurrency { linger } => Meter::Hold(Hold::new(self.amount(), linger)),
            Rule::Bucket { per, capacity } => self.compile_bucket(per, capacity.get(), margins),
        };
        let greatest = match self.rule {
            Rule::Bucket { capacity, .. } => meter.greatest_cost().min(capacity.get()),
            _ => meter.greatest_cost(),
        };
        if cost > greatest {
            let (limit, unit) = (self.to_string(), self.unit.clone());
            return Err(LimitError::CostTooLarge { limit, unit, cost, greatest });
        }
        Ok(meter)
    }

    /// A bucket of capacity B admits whatever any interval L holds at most ρL + B of.
    ///
    /// * `Hold(B, B/ρ)` holds at most ⌈L·ρ/B⌉·B ≤ ρL + B; it is all that a bucket of less than
    ///   four calls leaves room for, and B = 1 is its plainest case.
    /// * `Pace(ρ, b, M)` holds at most ρL + b + M, and keeps the full rate while M covers what
    ///   is in flight. So b is only what late timers need, and M gets the rest of B.
    fn compile_bucket(&self, per: Duration, capacity: u64, margins: Margins) -> Meter {
        let cost = self.cost();
        let calls = capacity / cost;
        if calls < 4 {
            let units = calls * cost;
            let refill = u128::from(nanos(per)) * u128::from(units);
            let refill = u64::try_from(refill.div_ceil(u128::from(self.amount()))).unwrap_or(u64::MAX);
            return Meter::Hold(Hold::new(units, margins.widen(Duration::from_nanos(refill))));
        }
        let per = nanos(per) + nanos(per) / 1_000_000 * u64::from(margins.clock_ppm);
        let interval = per.div_ceil(self.amount());
        let lateness = nanos(TIMER_LATENESS) + nanos(margins.granularity);
        let late_timers = 1 + lateness.div_ceil(interval.saturating_mul(cost).max(1));
        let burst = late_timers.clamp(2, calls / 2) * cost;
        // Truncated timestamps can hide up to one granule of refill, once: taken off the burst.
        let tolerance = ((burst - 1) * interval).saturating_sub(nanos(margins.granularity));
        Meter::Pace(Pace::new(
            Duration::from_nanos(interval),
            Duration::from_nanos(tolerance.max((cost - 1) * interval)),
            capacity - burst,
        ))
    }

    /// The even spacing above this limit's meter, where that is not in the meter already.
    pub(crate) fn spread(&self, meter: &Meter) -> Option<Spread> {
        match (self.rule, meter) {
            (Rule::Concurrency { .. }, _) | (_, Meter::Pace(_)) => None,
            (_, Meter::Hold(hold)) => Some(Spread::new(hold.units(), hold.hold())),
        }
    }

    /// Calls per second that the limit can be proved to allow if answers take `response` on
    /// average: N / (hold + R) for windows and concurrency, min(ρ, M / R) for buckets.
    ///
    /// For reports only; no decision rests on it.
    pub fn provable_rate(&self, meter: &Meter, response: Duration) -> f64 {
        let response = response.as_secs_f64();
        let units = match meter {
            Meter::Hold(hold) => hold.units() as f64 / (hold.hold().as_secs_f64() + response),
            Meter::Pace(pace) => {
                let rate = 1.0 / pace.interval().as_secs_f64();
                rate.min(pace.in_flight_cap() as f64 / response.max(1e-9))
            }
        };
        units / self.cost() as f64
    }

    /// Calls per second that the limit allows on paper; `None` for concurrency.
    pub fn nominal_rate(&self) -> Option<f64> {
        match self.rule {
            Rule::Window { per } | Rule::Bucket { per, .. } => {
                Some(self.amount() as f64 / per.as_secs_f64() / self.cost() as f64)
            }
            Rule::Concurrency { .. } => None,
        }
    }
}

impl Margins {
    /// A length of the provider's time, as the longest it can be on our clock.
    fn widen(self, per: Duration) -> Duration {
        let drift = u128::from(nanos(per)) * u128::from(self.clock_ppm) / 1_000_000;
        per + Duration::from_nanos(u64::try_from(drift).unwrap_or(u64::MAX)) + self.granularity
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match &self.unit {
            Unit::Requests => String::new(),
            Unit::Named(name) => format!(" {name}"),
        };
        match self.rule {
            Rule::Window { per } => write!(f, "{}{unit}/{}", self.amount, parse::Period(per)),
            Rule::Bucket { per, capacity } => {
                write!(f, "{}{unit}/{} bucket {capacity}", self.amount, parse::Period(per))
            }
            Rule::Concurrency { .. } => write!(f, "concurrency {}", self.amount),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(text: &str) -> Meter {
        text.parse::<Limit>().unwrap().compile(Margins::default()).unwrap()
    }

    #[test]
    fn a_window_is_held_strictly_longer_than_it_is() {
        let Meter::Hold(hold) = meter("100/6s") else { panic!() };
        assert_eq!(hold.units(), 100);
        assert_eq!(hold.hold(), Duration::from_micros(6_002_200));
    }

    #[test]
    fn a_bucket_never_gets_more_than_its_capacity() {
        for capacity in 1..200u64 {
            for rate in [1u64, 7, 50, 1_000, 30_000] {
                let text = format!("{rate}/s bucket {capacity}");
                match meter(&text) {
                    Meter::Hold(hold) => {
                        assert!(capacity < 4);
                        assert_eq!(hold.units(), capacity);
                        let refill = Duration::from_secs(1).mul_f64(capacity as f64 / rate as f64);
                        assert!(hold.hold() > refill, "{text}");
                    }
                    Meter::Pace(pace) => {
                        let burst =
                            1 + pace.tolerance().as_nanos().div_ceil(pace.interval().as_nanos()) as u64;
                        assert!(burst + pace.in_flight_cap() <= capacity, "{text}");
                        assert!(pace.in_flight_cap() >= capacity / 2, "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_cost_that_can_never_be_granted_is_refused() {
        let heavy = |text: &str, cost| {
            text.parse::<Limit>()
                .unwrap()
                .with_cost(NonZeroU64::new(cost).unwrap())
                .compile(Margins::default())
        };
        assert!(matches!(heavy("10/s", 11), Err(LimitError::CostTooLarge { greatest: 10, .. })));
        assert!(matches!(heavy("50/s bucket 10", 11), Err(LimitError::CostTooLarge { .. })));
        assert!(heavy("50/s bucket 10", 10).is_ok());
        assert!(heavy("50/s bucket 10", 2).is_ok());
        let tokens = "2M tokens/min".parse::<Limit>().unwrap();
        assert!(matches!(tokens.compile(Margins::default()), Err(LimitError::CostUnknown { .. })));
    }
}
