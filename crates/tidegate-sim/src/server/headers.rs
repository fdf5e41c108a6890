//! What answers say of the limits, in the ways of several providers.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::model::Standing;
use crate::text::SpecError;

/// How rate-limit headers are written. Reads `x`, `ietf`, `ietf-old`, `github`, `openai` and
/// `anthropic`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderForm {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, in seconds from now.
    #[default]
    X,
    /// `RateLimit-Policy: "default";q=100;w=60` and `RateLimit: "default";r=50;t=30`.
    Ietf,
    /// `RateLimit-Limit`, `-Remaining` and `-Reset`.
    IetfOld,
    /// As `x`, with `-Used`, `-Resource`, and the reset in seconds since 1970.
    Github,
    /// `x-ratelimit-limit-requests` and so on, also of tokens, with times such as `6m0s`.
    Openai,
    /// `anthropic-ratelimit-requests-limit` and so on, also of tokens, with times cut to whole seconds.
    Anthropic,
}

const NAMES: [(&str, HeaderForm); 6] = [
    ("x", HeaderForm::X),
    ("ietf", HeaderForm::Ietf),
    ("ietf-old", HeaderForm::IetfOld),
    ("github", HeaderForm::Github),
    ("openai", HeaderForm::Openai),
    ("anthropic", HeaderForm::Anthropic),
];

impl FromStr for HeaderForm {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        NAMES.iter().find(|(name, _)| *name == input).map(|(_, form)| *form).ok_or_else(|| {
            let hint = "write `x`, `ietf`, `ietf-old`, `github`, `openai` or `anthropic`";
            SpecError::new("ratelimit-headers", input, "not a form of rate-limit headers", hint)
        })
    }
}

impl fmt::Display for HeaderForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, form)| form == self);
        f.write_str(name.map_or("x", |(name, _)| name))
    }
}

/// The state of the limits when a request was checked.
pub(super) struct Standings {
    /// Of the limit of requests with the fewest remaining, and its window.
    pub(super) requests: Option<(Standing, Option<Duration>)>,
    /// Of that of tokens.
    pub(super) tokens: Option<(Standing, Option<Duration>)>,
}

impl Standings {
    /// Adds what is told at `now`, when the wall clock shows `wall`.
    pub(super) fn add(&self, headers: &mut HeaderMap, form: HeaderForm, now: u64, wall: SystemTime) {
        let mut told = Told { headers, now, wall };
        if let Some((standing, window)) = self.requests {
            told.of_requests(form, standing, window);
        }
        if let Some((standing, _)) = self.tokens {
            told.of_tokens(form, standing);
        }
    }
}

struct Told<'a> {
    headers: &'a mut HeaderMap,
    now: u64,
    wall: SystemTime,
}

impl Told<'_> {
    fn of_requests(&mut self, form: HeaderForm, standing: Standing, window: Option<Duration>) {
        let Standing { limit, remaining, .. } = standing;
        let reset = self.until(standing);
        match form {
            HeaderForm::X => self.three("x-ratelimit-", "", [limit, remaining, ceil_seconds(reset)]),
            HeaderForm::IetfOld => self.three("ratelimit-", "", [limit, remaining, ceil_seconds(reset)]),
            HeaderForm::Ietf => {
                let mut policy = format!("\"default\";q={limit}");
                if let Some(seconds) = window.map(|window| window.as_secs()).filter(|seconds| *seconds > 0) {
                    let _ = write!(policy, ";w={seconds}");
                }
                self.put("ratelimit-policy", &policy);
                self.put("ratelimit", &format!("\"default\";r={remaining};t={}", ceil_seconds(reset)));
            }
            HeaderForm::Github => {
                let at = self.wall + reset + Duration::from_nanos(999_999_999);
                let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                self.three("x-ratelimit-", "", [limit, remaining, at]);
                self.put("x-ratelimit-used", &(limit - remaining.min(limit)).to_string());
                self.put("x-ratelimit-resource", "core");
            }
            HeaderForm::Openai => self.as_openai("requests", standing),
            HeaderForm::Anthropic => self.as_anthropic("requests", standing),
        }
    }

    fn of_tokens(&mut self, form: HeaderForm, standing: Standing) {
        match form {
            HeaderForm::Openai => self.as_openai("tokens", standing),
            HeaderForm::Anthropic => self.as_anthropic("tokens", standing),
            _ => {}
        }
    }

    fn as_openai(&mut self, what: &str, standing: Standing) {
        self.put(&format!("x-ratelimit-limit-{what}"), &standing.limit.to_string());
        self.put(&format!("x-ratelimit-remaining-{what}"), &standing.remaining.to_string());
        self.put(&format!("x-ratelimit-reset-{what}"), &go(self.until(standing)));
    }

    fn as_anthropic(&mut self, what: &str, standing: Standing) {
        let at = Timestamp::try_from(self.wall + self.until(standing)).unwrap_or_default();
        let at = Timestamp::from_second(at.as_second()).unwrap_or_default();
        self.put(&format!("anthropic-ratelimit-{what}-limit"), &standing.limit.to_string());
        self.put(&format!("anthropic-ratelimit-{what}-remaining"), &standing.remaining.to_string());
        self.put(&format!("anthropic-ratelimit-{what}-reset"), &at.to_string());
    }

    fn three(&mut self, before: &str, after: &str, values: [u64; 3]) {
        for (name, value) in ["limit", "remaining", "reset"].iter().zip(values) {
            self.put(&format!("{before}{name}{after}"), &value.to_string());
        }
    }

    fn put(&mut self, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
    }

    fn until(&self, standing: Standing) -> Duration {
        Duration::from_nanos(standing.reset_at.saturating_sub(self.now))
    }
}

/// A duration as Go prints it, in whole milliseconds: `1h2m3.5s`, `17ms`.
fn go(duration: Duration) -> String {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    let (s, rest) = (ms / 1_000, ms % 1_000);
    if s == 0 {
        return if rest == 0 { "0s".to_owned() } else { format!("{rest}ms") };
    }
    let mut text = String::new();
    if s >= 3_600 {
        let _ = write!(text, "{}h", s / 3_600);
    }
    if s >= 60 {
        let _ = write!(text, "{}m", s % 3_600 / 60);
    }
    let _ = write!(text, "{}", s % 60);
    if rest > 0 {
        let _ = write!(text, ".{}", format!("{rest:03}").trim_end_matches('0'));
    }
    text + "s"
}

fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (ms, text) in [
            (0, "0s"),
            (17, "17ms"),
            (1_500, "1.5s"),
            (360_000, "6m0s"),
            (3_723_004, "1h2m3.004s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn forms_read_what_they_print() {
        for (name, form) in NAMES {
            assert_eq!((name.parse(), form.to_string().as_str()), (Ok(form), name));
        }
        assert!("y".parse::<HeaderForm>().unwrap_err().hint().contains("ietf-old"));
    }
}
