//! What a provider is told before it starts.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

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
    /// Whether rejected requests use the limits up, too.
    pub reject_counts: bool,
    /// Time between a request's arrival and the limiter's check.
    pub jitter: Latency,
    /// Time between the check and the answer.
    pub service: Latency,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// How a 429 says when to come back.
    pub retry_after: RetryAfter,
    /// Whether every answer carries `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds, rounded up) of
    /// the limit with the fewest requests remaining.
    pub ratelimit_headers: bool,
    /// Decides latencies, faults and invented content.
    pub seed: u64,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            limits: Vec::new(),
            reject_counts: false,
            jitter: Latency::ZERO,
            service: Latency::ZERO,
            faults: Faults::default(),
            retry_after: RetryAfter::None,
            ratelimit_headers: false,
            seed: 0,
        }
    }
}

/// How a 429 says when to come back. Reads `none`, `seconds`, `date` and `ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Not at all.
    #[default]
    None,
    /// `Retry-After: 17`, rounded up.
    Seconds,
    /// `Retry-After: Fri, 13 Nov 2026 08:00:00 GMT`, rounded up.
    HttpDate,
    /// `retry-after-ms: 16250`, rounded up.
    Millis,
}

impl FromStr for RetryAfter {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        match input {
            "none" => Ok(Self::None),
            "seconds" => Ok(Self::Seconds),
            "date" => Ok(Self::HttpDate),
            "ms" => Ok(Self::Millis),
            _ => {
                let hint = "write `none`, `seconds`, `date` or `ms`";
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
            Self::HttpDate => "date",
            Self::Millis => "ms",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_reads_what_it_prints() {
        for form in [RetryAfter::None, RetryAfter::Seconds, RetryAfter::HttpDate, RetryAfter::Millis] {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
        assert!("minutes".parse::<RetryAfter>().unwrap_err().hint().contains("seconds"));
    }
}
