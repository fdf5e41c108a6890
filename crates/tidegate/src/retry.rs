//! When a call is sent again, and after how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::{Method, StatusCode};

/// What is sent again, how often, and how far apart.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts per row at most; answers of 429 are not counted.
    pub attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// Statuses that are worth another attempt.
    pub statuses: Vec<StatusCode>,
    /// Whether network errors and time-outs are.
    pub network: bool,
    /// What to do with a call of which nobody knows whether it took effect.
    pub unknown: UnknownPolicy,
    /// From a row's first send, the longest time in which it may be sent again.
    pub max_elapsed: Duration,
    /// The longest pause that is waited for; beyond it the job stops, resumable.
    pub max_pause: Duration,
    /// Retries for each hundred rows, while there are new ones.
    pub budget_percent: u64,
}

impl RetryPolicy {
    /// Statuses that say "later": 408, 425, 429, 500, 502, 503, 504.
    pub const DEFAULT_STATUSES: [StatusCode; 7] = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Backoff::default(),
            statuses: Self::DEFAULT_STATUSES.to_vec(),
            network: true,
            unknown: UnknownPolicy::ByMethod,
            max_elapsed: Duration::from_secs(3_600),
            max_pause: Duration::from_secs(3_600),
            budget_percent: 20,
        }
    }
}

/// What to do with a call whose outcome is unknown: bytes had left, no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Resend what may be sent twice (GET, HEAD, PUT, DELETE, OPTIONS, calls with an
    /// `Idempotency-Key`), hold the rest.
    ByMethod,
    /// Send again, at the risk that the provider does it twice.
    Resend,
    /// Do not send again: the row ends as a failure of kind `unknown`.
    Hold,
    /// Ask the provider whether it was done.
    Probe,
}

impl UnknownPolicy {
    /// Whether a call with this method may be sent again after an unknown outcome.
    pub fn resends(self, method: &Method, has_idempotency_key: bool) -> bool {
        match self {
            Self::Resend => true,
            Self::Hold | Self::Probe => false,
            Self::ByMethod => has_idempotency_key || method.is_idempotent(),
        }
    }
}

impl FromStr for UnknownPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "resend" => Ok(Self::Resend),
            "hold" => Ok(Self::Hold),
            "method" => Ok(Self::ByMethod),
            "probe" => Ok(Self::Probe),
            _ => Err(format!(
                "`{text}` is not a policy for unknown outcomes: expected resend, hold, probe or method"
            )),
        }
    }
}

/// Exponential waits with full jitter: uniform between nothing and `least × 2ⁿ`, capped.
///
/// Full jitter spreads retries best; see the "Exponential Backoff And Jitter" article of the AWS
/// Architecture Blog (2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper end of the first wait.
    pub least: Duration,
    /// Upper end of any wait.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { least: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait before the attempt after `attempts` failed ones.
    pub fn wait(self, attempts: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = attempts.saturating_sub(1).min(30);
        let ceiling = self.least.saturating_mul(1 << doublings).min(self.most);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.u64(0..=nanos))
    }
}

impl FromStr for Backoff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text
            .split_once("..")
            .ok_or_else(|| format!("`{text}` is not a back-off: expected a range such as `1s..60s`"))?;
        let (least, most) = (parse_duration(least)?, parse_duration(most)?);
        if least.is_zero() || least > most {
            return Err(format!("`{text}`: the shorter wait comes first and is not 0, as in `1s..60s`"));
        }
        Ok(Self { least, most })
    }
}

/// A duration as people write it: `30s`, `250ms`, `5m`, `1.5h`, or a bare number of seconds.
///
/// # Errors
/// A message that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => {
            return Err(format!(
                "`{text}` is not a duration: expected one such as `30s`, `250ms`, `5m` or `1h`"
            ));
        }
    };
    number
        .parse::<f64>()
        .ok()
        .map(|n| n * seconds)
        .filter(|s| s.is_finite() && *s >= 0.0 && *s <= 400.0 * 86_400.0)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            format!("`{text}` is not a duration: expected one such as `30s`, `250ms`, `5m` or `1h`")
        })
}

/// A duration as people read it: `250ms`, `30s`, `5m 30s`, `2h 5m`.
#[derive(Debug, Clone, Copy)]
pub struct Human(pub Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let s = ms / 1_000;
        match s {
            0 => write!(f, "{ms}ms"),
            1..=9 if !ms.is_multiple_of(1_000) => write!(f, "{}.{}s", s, ms % 1_000 / 100),
            1..=59 => write!(f, "{s}s"),
            60..=3_599 if s.is_multiple_of(60) => write!(f, "{}m", s / 60),
            60..=3_599 => write!(f, "{}m {}s", s / 60, s % 60),
            3_600..=172_799 => write!(f, "{}h {}m", s / 3_600, s % 3_600 / 60),
            _ => write!(f, "{}d {}h", s / 86_400, s % 86_400 / 3_600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_fully_jittered() {
        let backoff: Backoff = "1s..60s".parse().unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for (attempts, ceiling) in [(1, 1), (2, 2), (5, 16), (7, 60), (400, 60)] {
            let waits: Vec<_> = (0..500).map(|_| backoff.wait(attempts, &mut rng)).collect();
            let ceiling = Duration::from_secs(ceiling);
            assert!(waits.iter().all(|w| *w <= ceiling));
            assert!(waits.iter().any(|w| *w > ceiling * 9 / 10), "attempt {attempts}");
            assert!(waits.iter().any(|w| *w < ceiling / 10), "attempt {attempts}");
        }
        assert!("60s..1s".parse::<Backoff>().is_err());
        assert!("1s".parse::<Backoff>().is_err());
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in
            [("30s", 30_000), ("250ms", 250), ("5m", 300_000), ("1.5h", 5_400_000), ("7", 7_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "1 fortnight", "-1s", "1e400s", "99999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        let human = |ms| Human(Duration::from_millis(ms)).to_string();
        assert_eq!(
            [human(250), human(2_500), human(90_000), human(7_500_000)],
            ["250ms", "2.5s", "1m 30s", "2h 5m"]
        );
    }

    #[test]
    fn only_what_may_happen_twice_is_sent_again_by_default() {
        let policy = UnknownPolicy::ByMethod;
        assert!(policy.resends(&Method::GET, false) && policy.resends(&Method::DELETE, false));
        assert!(!policy.resends(&Method::POST, false) && !policy.resends(&Method::PATCH, false));
        assert!(policy.resends(&Method::POST, true));
    }
}
