//! What a provider is told before it starts.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use jiff::Timestamp;

use super::headers::HeaderForm;
use crate::fault::Faults;
use crate::latency::Latency;
use crate::model::LimitSpec;
use crate::text::SpecError;

/// Everything that can be configured. The default accepts all and answers at once.
#[derive(Debug, Clone, PartialEq)]
pub struct SimConfig {
    /// Where to listen; the default is loopback with a port of the system's choice.
    pub addr: SocketAddr,
    /// A request is accepted if all of these accept it.
    pub limits: Vec<LimitSpec>,
    /// The header that names whose limits a request counts against: each value has all limits for itself.
    pub per: Option<HeaderName>,
    /// Whether rejected requests use the limits up, too.
    pub reject_counts: bool,
    /// Time between a request's arrival and the limiter's check.
    pub jitter: Latency,
    /// Time between the check and the answer's head.
    pub service: Latency,
    /// Time between the head and the last byte of the answer's body, which comes in a few pieces.
    pub body: Latency,
    /// Whether all limits of tokens on one node put the actual cost in the place of the reserved one.
    pub refund: bool,
    /// What the provider's wall clock shows at its start or last reset, for calendars and the `Date` header; the
    /// system's time if not given.
    pub clock: Option<WallTime>,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// How a 429 says when to come back.
    pub retry_after: RetryAfter,
    /// Whether every answer tells the state of the limit with the fewest requests remaining, and in some forms
    /// of that with the fewest tokens.
    pub ratelimit_headers: bool,
    /// In which form.
    pub header_form: HeaderForm,
    /// Decides latencies, faults and invented content.
    pub seed: u64,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            limits: Vec::new(),
            per: None,
            reject_counts: false,
            jitter: Latency::ZERO,
            service: Latency::ZERO,
            body: Latency::ZERO,
            refund: false,
            clock: None,
            faults: Faults::default(),
            retry_after: RetryAfter::None,
            ratelimit_headers: false,
            header_form: HeaderForm::X,
            seed: 0,
        }
    }
}

/// A moment in civil time, with its offset: `2026-10-25T02:59:50+02:00`. From 1970 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallTime {
    unix_ns: i64,
}

impl WallTime {
    pub(super) fn system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.unix_ns.unsigned_abs())
    }
}

impl FromStr for WallTime {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        let time = input.parse::<Timestamp>().ok();
        let unix_ns = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).filter(|ns| *ns >= 0);
        unix_ns.map(|unix_ns| Self { unix_ns }).ok_or_else(|| {
            let hint = "write `2026-10-25T02:59:50+02:00`, or `Z` for UTC; from 1970 to 2262";
            SpecError::new("clock", input, "not a date and time with an offset", hint)
        })
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from_nanosecond(self.unix_ns.into()).map_err(|_| fmt::Error)?.fmt(f)
    }
}

/// How a 429 says when to come back. Reads `none`, `seconds`, `decimal`, `date`, `iso` and `ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Not at all.
    #[default]
    None,
    /// `Retry-After: 17`, rounded up.
    Seconds,
    /// `Retry-After: 16.250`, rounded up.
    Decimal,
    /// `Retry-After: Fri, 13 Nov 2026 08:00:00 GMT`, rounded up.
    HttpDate,
    /// `Retry-After: 2026-11-13T08:00:00Z`, rounded up.
    Iso,
    /// `retry-after-ms: 16250`, rounded up.
    Millis,
}

impl FromStr for RetryAfter {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        match input {
            "none" => Ok(Self::None),
            "seconds" => Ok(Self::Seconds),
            "decimal" => Ok(Self::Decimal),
            "date" => Ok(Self::HttpDate),
            "iso" => Ok(Self::Iso),
            "ms" => Ok(Self::Millis),
            _ => {
                let hint = "write `none`, `seconds`, `decimal`, `date`, `iso` or `ms`";
                Err(SpecError::new("retry-after", input, "not a form of Retry-After", hint))
            }
        }
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Seconds => "seconds",
            Self::Decimal => "decimal",
            Self::HttpDate => "date",
            Self::Iso => "iso",
            Self::Millis => "ms",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times_need_an_offset() {
        let time: WallTime = "2026-10-25T02:59:50+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-10-25T00:59:50Z");
        assert_eq!(time.to_string().parse(), Ok(time));
        for bad in ["", "2026-10-25T02:59:50", "2026-10-25", "1969-12-31T23:59:59Z", "2300-01-01T00:00:00Z"] {
            assert!(bad.parse::<WallTime>().unwrap_err().hint().contains("+02:00"), "{bad}");
        }
    }

    #[test]
    fn retry_after_reads_what_it_prints() {
        for name in ["none", "seconds", "decimal", "date", "iso", "ms"] {
            assert_eq!(name.parse().map(|form: RetryAfter| form.to_string()), Ok(name.to_owned()));
        }
        assert!("minutes".parse::<RetryAfter>().unwrap_err().hint().contains("seconds"));
    }
}
