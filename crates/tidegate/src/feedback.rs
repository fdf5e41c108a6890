//! What answers say of the provider's limits: headers by way of [`tidegate_core::feedback`], and what
//! stands in bodies.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tidegate_core::Unit;
use tidegate_core::feedback::{Dialects, Feedback, Headers, Reading, Reset};

use crate::json;

/// The headers of an answer, for a reader of dialects.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHeaders<'a>(pub &'a HeaderMap);

impl Headers for AnswerHeaders<'_> {
    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in self.0 {
            visit(name.as_str(), value.as_bytes());
        }
    }
}

/// What an answer's headers say. `now` matters only if it has no `Date`.
pub fn read(dialects: &Dialects, headers: &HeaderMap, now: SystemTime) -> Feedback {
    dialects.read(&AnswerHeaders(headers), unix_ms(now))
}

/// Milliseconds since 1970.
pub fn unix_ms(at: SystemTime) -> Option<i64> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// What an answer of Shopify's GraphQL API says of its bucket of points, at
/// `extensions.cost.throttleStatus` (Shopify.dev: API limits, GraphQL Admin API, 2026).
///
/// Shopify reserves what a query may cost, and gives back what it did not.
pub fn throttle_status(body: &str) -> Option<Reading> {
    let tokens = ["extensions", "cost", "throttleStatus"].map(str::to_owned);
    let status = json::pointer(body, &tokens)?;
    let number = |name| whole(json::member(status, name)?.get());
    let (limit, remaining) = (number("maximumAvailable")?, number("currentlyAvailable")?);
    let rate = number("restoreRate").filter(|rate| *rate > 0);
    let refill = |points: u64| rate.map(|rate| Duration::from_secs(points.div_ceil(rate)));
    (limit > 0).then(|| Reading {
        resource: "points".into(),
        unit: Unit::Named("points".to_owned()),
        limit: Some(limit),
        remaining: Some(remaining),
        window: refill(limit),
        resets_in: refill(limit.saturating_sub(remaining)),
        reset: Reset::Full,
    })
}

/// The same of a body of which nobody knows yet whether it has anything to do with it: most have not, and
/// cost one search.
pub fn throttle_status_of(body: &[u8]) -> Option<Reading> {
    memchr::memmem::find(body, b"\"throttleStatus\"")?;
    throttle_status(std::str::from_utf8(body).ok()?)
}

/// A number whose decimals are cut: `1000.0`. They never have exponents or signs.
fn whole(text: &str) -> Option<u64> {
    const MOST_DIGITS: usize = 12;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let plain = whole.len() <= MOST_DIGITS && fraction.bytes().all(|b| b.is_ascii_digit());
    whole.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_of_points_is_read_from_the_body() {
        let body = r#"{"data":{"shop":{"name":"x"}},"extensions":{"cost":{"requestedQueryCost":101,
            "actualQueryCost":46,"throttleStatus":{"maximumAvailable":1000.0,"currentlyAvailable":954,
            "restoreRate":50.0}}}}"#;
        let reading = throttle_status(body).unwrap();
        assert_eq!((reading.limit, reading.remaining), (Some(1_000), Some(954)));
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!((reading.window, reading.resets_in), (seconds(20), seconds(1)));
        assert_eq!(throttle_status_of(body.as_bytes()), Some(reading));
        assert_eq!(throttle_status_of(&body.replace("throttleStatus", "status").into_bytes()), None);
        assert_eq!(throttle_status_of(&[body.as_bytes(), &[0xff]].concat()), None);
    }

    #[test]
    fn other_bodies_say_nothing() {
        let status = |max: &str| {
            format!(
                r#"{{"extensions":{{"cost":{{"throttleStatus":{{"maximumAvailable":{max},"currentlyAvailable":1}}}}}}}}"#
            )
        };
        assert!(throttle_status(&status("40")).is_some_and(|reading| reading.window.is_none()));
        for max in ["0", "-1", "1e9", "null", "\"40\"", "9999999999999999999999"] {
            assert_eq!(throttle_status(&status(max)), None, "{max}");
        }
        for body in ["", "{}", "[]", "{\"extensions\":{\"cost\":1}}", "{\"extensions\":"] {
            assert_eq!(throttle_status(body), None, "{body}");
        }
    }

    #[test]
    fn headers_are_read_whatever_their_case() {
        let mut headers = HeaderMap::new();
        headers.insert("X-RateLimit-Remaining", "7".parse().unwrap());
        headers.insert("Retry-After", "Thu, 01 Jan 1970 00:00:30 GMT".parse().unwrap());
        let feedback = read(&Dialects::builtin(), &headers, SystemTime::UNIX_EPOCH);
        assert_eq!(feedback.readings[0].remaining, Some(7));
        assert_eq!(feedback.retry_after, Some(Duration::from_secs(31)));
    }
}
