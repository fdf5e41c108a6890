//! The judgement of one attempt: done, again, failed, or stop the job.
//!
//! Pure: it sees what was answered and how often the row was tried, and decides nothing else.

use std::fmt;
use std::time::Duration;

use http::header::{HeaderMap, LOCATION};
use http::{Method, StatusCode};

use crate::retry::{Human, RetryPolicy};
use crate::signs::Class;
use crate::sink::{Failure, FailureKind};

/// Statuses that count as a result, from `--accept 2xx,404`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept(Vec<(u16, u16)>);

impl Default for Accept {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl Accept {
    /// Reads a list such as `["2xx", "404"]`.
    ///
    /// # Errors
    /// A message that says what was expected.
    pub fn parse<S: AsRef<str>>(parts: &[S]) -> Result<Self, String> {
        let part = |text: &str| {
            let bad =
                || format!("`{text}` is not a status: expected one such as `404` or a class such as `2xx`");
            let text = text.trim();
            if let Some(class) = text.strip_suffix("xx") {
                let class: u16 = class.parse().map_err(|_| bad())?;
                return (1..=5).contains(&class).then(|| (class * 100, class * 100 + 99)).ok_or_else(bad);
            }
            let status: u16 = text.parse().map_err(|_| bad())?;
            (100..600).contains(&status).then_some((status, status)).ok_or_else(bad)
        };
        parts.iter().flat_map(|list| list.as_ref().split(',')).map(part).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn accepts(&self, status: StatusCode) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&status.as_u16()))
    }
}

/// What an attempt brought.
#[derive(Debug)]
pub enum Answer<'a> {
    /// A whole answer, and what it is about if it is no result.
    Status(StatusCode, &'a HeaderMap, Option<Class>),
    /// Nothing usable.
    Trouble(Trouble, String),
}

/// Ways in which a call brings no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It was never written to the network.
    NotSent,
    /// The connection failed after bytes had left.
    Network,
    /// The time for the whole call ran out.
    Timeout,
    /// The body was larger than allowed.
    BodyTooLarge,
    /// The body could not be decoded, or the answer broke the protocol.
    BadBody,
}

/// How often and since when a row has been tried, this attempt included.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// The method of the call.
    pub method: &'a Method,
    /// Whether it carries an `Idempotency-Key`.
    pub idempotency_key: bool,
    /// Attempts that count: all but those answered 429 and those never sent.
    pub attempts: u32,
    /// Since the row's first send.
    pub elapsed: Duration,
}

/// The judgement of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A result.
    Done,
    /// Another attempt, after `wait` (`None`: the back-off decides); `cause` counts in the summary.
    Retry {
        /// Counted in the summary under this name.
        cause: Cause,
    },
    /// The row has failed.
    Failed(Failure),
    /// The job must stop; the row stays undone.
    Stop(String),
}

/// Causes of retries, by the names they have in the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// A 429: it costs quota, but not an attempt.
    Throttled,
    /// Another status that is worth a retry.
    Status(u16),
    /// A 401, where a new key can be had.
    Unauthorized,
    /// A time-out.
    Timeout,
    /// A failed connection.
    Network,
    /// Never written; sent again at once.
    NotSent,
    /// Its outcome is unknown, and the provider is asked.
    Unknown,
    /// The provider was asked, and has not got it.
    Missing,
    /// A call of many rows has failed: each half goes by itself, until the bad row is alone.
    Halved,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled => f.write_str("429"),
            Self::Status(status) => write!(f, "{status}"),
            Self::Unauthorized => f.write_str("401"),
            Self::Timeout => f.write_str("timeout"),
            Self::Network => f.write_str("network"),
            Self::NotSent => f.write_str("not_sent"),
            Self::Unknown => f.write_str("unknown"),
            Self::Missing => f.write_str("missing"),
            Self::Halved => f.write_str("halved"),
        }
    }
}

/// Judges an attempt.
pub fn judge(policy: &RetryPolicy, accept: &Accept, tried: Tried<'_>, answer: &Answer<'_>) -> Verdict {
    match answer {
        Answer::Status(status, headers, class) => {
            judge_status(policy, accept, tried, (*status, headers), *class)
        }
        Answer::Trouble(trouble, message) => judge_trouble(policy, tried, *trouble, message),
    }
}

fn judge_status(
    policy: &RetryPolicy,
    accept: &Accept,
    tried: Tried<'_>,
    (status, headers): (StatusCode, &HeaderMap),
    class: Option<Class>,
) -> Verdict {
    if class.is_none() && accept.accepts(status) {
        return Verdict::Done;
    }
    if class == Some(Class::Stop) {
        return Verdict::Stop(format!(
            "the provider answered {status}, and that nothing more is to be had: unpaid, or the key is no longer good"
        ));
    }
    if status == StatusCode::UNAUTHORIZED {
        return Verdict::Stop(
            "the provider answered 401 Unauthorized: the credentials are missing, wrong or revoked"
                .to_owned(),
        );
    }
    let failed = |message: String| Verdict::Failed(Failure { kind: FailureKind::Status, message });
    let reason = status.canonical_reason().unwrap_or("unknown status");
    let is_throttled = matches!(class, Some(Class::Wait | Class::Cap));
    let again = match class {
        Some(Class::Fail) => false,
        Some(_) => true,
        None => policy.statuses.contains(&status),
    };
    if !again {
        if accept.accepts(status) {
            return failed(format!(
                "answered {} {reason}, which is no success by the job's own rule",
                status.as_u16()
            ));
        }
        if status.is_redirection()
            && let Some(to) = headers.get(LOCATION).and_then(|to| to.to_str().ok())
        {
            return failed(format!("redirected to {to} ({status}); redirects are followed with --location"));
        }
        return failed(format!("answered {} {reason}", status.as_u16()));
    }
    if tried.elapsed > policy.max_elapsed {
        let elapsed = Human(tried.elapsed);
        return failed(format!(
            "still {} {reason} after {elapsed} and {}",
            status.as_u16(),
            attempts(tried.attempts)
        ));
    }
    if is_throttled {
        return Verdict::Retry { cause: Cause::Throttled };
    }
    if tried.attempts >= policy.attempts {
        return failed(format!(
            "answered {} {reason}, at the last of {}",
            status.as_u16(),
            attempts(tried.attempts)
        ));
    }
    Verdict::Retry { cause: Cause::Status(status.as_u16()) }
}

fn judge_trouble(policy: &RetryPolicy, tried: Tried<'_>, trouble: Trouble, message: &str) -> Verdict {
    let failed = |kind, message| Verdict::Failed(Failure { kind, message });
    let (kind, cause) = match trouble {
        // Nothing was bought: it costs no attempt, but it does not go on for ever either.
        Trouble::NotSent if tried.elapsed <= policy.max_elapsed => {
            return Verdict::Retry { cause: Cause::NotSent };
        }
        Trouble::NotSent => return failed(FailureKind::Network, message.to_owned()),
        Trouble::BodyTooLarge => return failed(FailureKind::BodyTooLarge, message.to_owned()),
        Trouble::BadBody => return failed(FailureKind::BadBody, message.to_owned()),
        Trouble::Network => (FailureKind::Network, Cause::Network),
        Trouble::Timeout => (FailureKind::Timeout, Cause::Timeout),
    };
    if !policy.unknown.resends(tried.method, tried.idempotency_key) {
        return failed(
            FailureKind::Unknown,
            format!("{message}; whether it took effect is unknown, and a {} is not sent twice", tried.method),
        );
    }
    if !policy.network {
        return failed(kind, message.to_owned());
    }
    if tried.attempts >= policy.attempts || tried.elapsed > policy.max_elapsed {
        return failed(kind, format!("{message}, at the last of {}", attempts(tried.attempts)));
    }
    Verdict::Retry { cause }
}

fn attempts(n: u32) -> String {
    if n == 1 { "1 attempt".to_owned() } else { format!("{n} attempts") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(method: &Method, attempts: u32) -> Tried<'_> {
        Tried { method, idempotency_key: false, attempts, elapsed: Duration::ZERO }
    }

    fn status(code: u16, attempts: u32) -> Verdict {
        let code = StatusCode::from_u16(code).unwrap();
        let headers = HeaderMap::new();
        // What heeds the head says of this one.
        let class = (code == StatusCode::TOO_MANY_REQUESTS).then_some(Class::Wait);
        let answer = Answer::Status(code, &headers, class);
        judge(&RetryPolicy::default(), &Accept::default(), tried(&Method::GET, attempts), &answer)
    }

    fn trouble(trouble: Trouble, method: &Method, attempts: u32) -> Verdict {
        let answer = Answer::Trouble(trouble, "it broke".to_owned());
        judge(&RetryPolicy::default(), &Accept::default(), tried(method, attempts), &answer)
    }

    #[test]
    fn statuses() {
        assert_eq!(status(204, 1), Verdict::Done);
        assert_eq!(status(503, 4), Verdict::Retry { cause: Cause::Status(503) });
        assert!(matches!(status(503, 5), Verdict::Failed(_)));
        assert_eq!(status(429, 500), Verdict::Retry { cause: Cause::Throttled });
        assert!(matches!(status(404, 1), Verdict::Failed(_)));
        assert!(matches!(status(302, 1), Verdict::Failed(_)));
        assert!(matches!(status(401, 1), Verdict::Stop(_)));
    }

    #[test]
    fn troubles() {
        assert_eq!(trouble(Trouble::Timeout, &Method::GET, 1), Verdict::Retry { cause: Cause::Timeout });
        assert!(matches!(trouble(Trouble::Timeout, &Method::GET, 5), Verdict::Failed(_)));
        let Verdict::Failed(failure) = trouble(Trouble::Network, &Method::POST, 1) else { panic!() };
        assert_eq!(failure.kind, FailureKind::Unknown);
        assert_eq!(trouble(Trouble::NotSent, &Method::POST, 5), Verdict::Retry { cause: Cause::NotSent });
        assert!(matches!(trouble(Trouble::BodyTooLarge, &Method::GET, 1), Verdict::Failed(_)));
    }

    #[test]
    fn accept_reads_statuses_and_classes() {
        let accept = Accept::parse(&["2xx,404", "409"]).unwrap();
        let takes = |code| accept.accepts(StatusCode::from_u16(code).unwrap());
        assert!(takes(200) && takes(299) && takes(404) && takes(409) && !takes(403) && !takes(300));
        for bad in ["", "ok", "6xx", "99", "20x", "4042xx"] {
            assert!(Accept::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
