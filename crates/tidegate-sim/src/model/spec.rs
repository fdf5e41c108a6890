//! Limits as types. Their text form is read in `parse.rs` and written here.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::text::{self, SpecError};

/// Largest amount of a limit.
pub(super) const MAX_AMOUNT: u64 = 1_000_000_000_000;

/// Most nodes that share a store.
pub(super) const MAX_NODES: u64 = 1_000;

/// An amount per period, neither of them zero: `100/min`, `10k/6s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    amount: NonZeroU64,
    period: NonZeroU64,
}

impl Rate {
    /// At most `amount` (1 to 10¹²) per `period` (1 ns to 400 days); `None` outside of that.
    pub fn new(amount: u64, period: Duration) -> Option<Self> {
        let period = (period <= text::MAX_DURATION).then_some(period.as_nanos() as u64)?;
        Some(Self {
            amount: NonZeroU64::new(amount).filter(|amount| amount.get() <= MAX_AMOUNT)?,
            period: NonZeroU64::new(period)?,
        })
    }

    /// Units per period.
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

/// One limit of the provider: what it counts, how it is enforced, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSpec {
    /// How it is enforced.
    pub rule: Rule,
    /// What is counted.
    pub unit: Unit,
    /// `refund`: when an answer was written, its actual cost takes the place of the reserved one.
    pub refund: bool,
    /// `nodes K skew D`: several nodes enforce it together. For `fixed`, `rolling`, `bucket` and `counter`.
    pub nodes: Option<Nodes>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Each request counts 1.
    Requests,
    /// Each request counts its cost.
    Tokens,
}

/// How a limit is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// `fixed N/W [phase P | aligned]`: a counter that starts anew with each window.
    Fixed {
        /// N and W.
        rate: Rate,
        /// When windows begin.
        start: WindowStart,
    },
    /// `rolling N/W [closed] [granular G]`: at most N in any window (t − W, t], from an exact log of 16 bytes a request.
    Rolling {
        /// N and W.
        rate: Rate,
        /// What is exactly W old counts too: the window is [t − W, t].
        closed: bool,
        /// Times are cut to multiples of this before they are logged and compared, and the window is closed.
        granule: Option<Duration>,
    },
    /// `bucket N/W capacity B [empty] [step T]`: a token bucket, refilled continuously.
    Bucket {
        /// The refill.
        rate: Rate,
        /// Most that it can hold.
        capacity: NonZeroU64,
        /// It holds nothing at the provider's time 0, rather than all it can.
        empty: bool,
        /// It is refilled at multiples of this only, by N·T/W each time.
        step: Option<Duration>,
    },
    /// `gcra N/W capacity B`: a bucket written as a theoretical arrival time.
    Gcra {
        /// The refill.
        rate: Rate,
        /// Most that may come at once.
        capacity: NonZeroU64,
    },
    /// `counter N/W [phase P]`: a sliding counter, the last window's count fading out linearly while this one's grows.
    Counter {
        /// N and W.
        rate: Rate,
        /// Windows begin at P, P + W, P + 2W …
        phase: Duration,
    },
    /// `concurrency M [late D]`: at most M in service.
    Concurrency {
        /// M.
        amount: NonZeroU64,
        /// How long after its answer was written a request is still in service.
        late: Duration,
    },
    /// `calendar N/day|week|month zone ZONE`: a counter that starts anew with each period of a calendar.
    Calendar {
        /// N, at most 10¹².
        amount: NonZeroU64,
        /// What N is for.
        per: CalendarPeriod,
        /// Whose calendar.
        zone: Zone,
    },
}

/// When the windows of a fixed window limit begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowStart {
    /// At P, P + W, P + 2W … on the provider's clock.
    Phase(Duration),
    /// With the first counted request after the last window's end.
    Aligned,
}

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarPeriod {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first to the last.
    Month,
}

/// Nodes whose clocks differ and that share one store. Each request comes to one of them at random, which
/// stamps and compares by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// How many, 1 to 1,000.
    pub count: u64,
    /// How far the fastest is ahead of the slowest, which shows the provider's time; at most the limit's period.
    pub skew: Duration,
}

/// A time zone of the IANA database, as compiled into this crate: `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(pub(super) TimeZone);

impl LimitSpec {
    /// The length of time over which this limit counts; none for concurrency and calendars.
    pub fn window(&self) -> Option<Duration> {
        self.rule.rate().map(Rate::period)
    }
}

impl From<Rule> for LimitSpec {
    /// A limit of requests.
    fn from(rule: Rule) -> Self {
        Self { rule, unit: Unit::Requests, refund: false, nodes: None }
    }
}

impl Rule {
    /// Amount and period, where the rule has them.
    pub fn rate(&self) -> Option<Rate> {
        match *self {
            Self::Fixed { rate, .. }
            | Self::Rolling { rate, .. }
            | Self::Bucket { rate, .. }
            | Self::Gcra { rate, .. }
            | Self::Counter { rate, .. } => Some(rate),
            Self::Concurrency { .. } | Self::Calendar { .. } => None,
        }
    }
}

impl FromStr for LimitSpec {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        super::parse::limit(input)
    }
}

impl FromStr for Zone {
    type Err = SpecError;

    fn from_str(name: &str) -> Result<Self, SpecError> {
        // The bundle only: a provider must not depend on the files of the machine that plays it.
        TimeZoneDatabase::bundled().get(name).map(Self).map_err(|_| {
            let hint = "write a name of the IANA database, like `UTC` or `Europe/Berlin`";
            SpecError::new("zone", name, "not a time zone", hint)
        })
    }
}

impl fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |rate: &Rate| {
            let amount = text::show_amount(rate.amount());
            let period = text::show(rate.period());
            // `100/min` rather than `100/1min`; but `100/15min` keeps its number.
            let unit = period.strip_prefix('1').filter(|unit| unit.starts_with(|c: char| c.is_alphabetic()));
            format!("{amount}{}/{}", self.unit.infix(), unit.unwrap_or(&period))
        };
        match &self.rule {
            Rule::Fixed { rate: r, start: WindowStart::Phase(phase) } => {
                write!(f, "fixed {}{}", rate(r), option("phase", *phase))
            }
            Rule::Fixed { rate: r, start: WindowStart::Aligned } => write!(f, "fixed {} aligned", rate(r)),
            Rule::Rolling { rate: r, closed, granule } => {
                let granule = option("granular", granule.unwrap_or_default());
                write!(f, "rolling {}{}{granule}", rate(r), flag("closed", *closed))
            }
            Rule::Bucket { rate: r, capacity, empty, step } => {
                let capacity = text::show_amount(capacity.get());
                let step = option("step", step.unwrap_or_default());
                write!(f, "bucket {} capacity {capacity}{}{step}", rate(r), flag("empty", *empty))
            }
            Rule::Gcra { rate: r, capacity } => {
                write!(f, "gcra {} capacity {}", rate(r), text::show_amount(capacity.get()))
            }
            Rule::Counter { rate: r, phase } => write!(f, "counter {}{}", rate(r), option("phase", *phase)),
            Rule::Concurrency { amount, late } => {
                write!(f, "concurrency {}{}", text::show_amount(amount.get()), option("late", *late))
            }
            Rule::Calendar { amount, per, zone } => {
                let (amount, unit) = (text::show_amount(amount.get()), self.unit.infix());
                write!(f, "calendar {amount}{unit}/{per} zone {zone}")
            }
        }?;
        if let Some(Nodes { count, skew }) = self.nodes {
            write!(f, " nodes {count} skew {}", text::show(skew))?;
        }
        f.write_str(flag("refund", self.refund).as_str())
    }
}

impl fmt::Display for CalendarPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl Unit {
    /// What stands between an amount and its slash.
    fn infix(self) -> &'static str {
        match self {
            Self::Requests => "",
            Self::Tokens => " tokens",
        }
    }
}

fn flag(word: &str, given: bool) -> String {
    if given { format!(" {word}") } else { String::new() }
}

fn option(word: &str, value: Duration) -> String {
    if value.is_zero() { String::new() } else { format!(" {word} {}", text::show(value)) }
}
