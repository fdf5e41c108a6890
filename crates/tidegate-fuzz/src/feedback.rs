//! What answers say of limits: headers of any provider, `Retry-After`.

use std::sync::LazyLock;
use std::time::Duration;

use tidegate_core::feedback::{Dialects, Feedback};

pub(crate) const HEADER_WORDS: &[&str] = &[
    "\ndate: Sun, 01 Mar 2026 00:00:00 GMT\n",
    "\nage: 1\n",
    "\nretry-after: ",
    "\nretry-after-ms: ",
    "\nratelimit: ",
    "\nratelimit-policy: ",
    "\nratelimit-limit: ",
    "\nx-ratelimit-limit: ",
    "\nx-ratelimit-remaining: ",
    "\nx-ratelimit-used: ",
    "\nx-ratelimit-reset: ",
    "\nx-ratelimit-resource: core\n",
    "\nx-ratelimit-bucket: ",
    "\nx-ratelimit-reset-tokens: ",
    "\nx-shopify-shop-api-call-limit: ",
    "\nsforce-limit-info: api-usage=",
    "\nzendesk-ratelimit-tickets-index: ",
    "\nanthropic-ratelimit-tokens-reset: ",
    "\"a\";q=1;w=60",
    ";r=1;t=60",
    "limit=1, remaining=1, reset=1",
    "total=1; resets=1",
    "1/1",
    "0",
    "1",
    "-1",
    "0.5",
    "1772323200",
    "1772323200000",
    "999999999999999",
    "18446744073709551615",
    "2026-03-01T00:00Z",
    "9999-12-30T22:00:00Z",
    "-009999-01-01T00:00:00Z",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "6m0s",
    "17ms",
    "PT9223372036854775807S",
    "00:00:00.033",
    "NaN",
    "1e308",
    "\u{0}",
];
pub(crate) const RETRY_AFTER_WORDS: &[&str] = &[
    "Fri, 31 Dec 1999 23:59:59 GMT",
    "Friday, 31-Dec-99 23:59:59 GMT",
    "Fri Dec 31 23:59:59 1999",
    "1999-12-31T23:59:59Z",
    "\n",
    "0",
    "0.5",
    "9999",
    "18446744073709551615",
    "1e9",
    "Mon, 01 Jan 0000",
    "31 Dec 9999",
    ".",
];

const LONGEST: Duration = Duration::from_secs(400 * 86_400);
/// No reading has more: a limit may be what is left and what is used together.
const MAX_COUNT: u64 = 2_000_000_000_000_001;
/// Complaints about one answer: one for each field, and for each dialect that reads it.
const MAX_IGNORED: usize = 4 * 64;
const NOW_MS: i64 = 946_684_799_000;

static DIALECTS: LazyLock<Dialects> = LazyLock::new(Dialects::builtin);

/// A block of headers: no time is longer than 400 days, no number is huge, nothing grows without
/// bound; values that are hostile, and answers that a cache has kept, say nothing.
pub fn headers(data: &[u8]) {
    let mut fields = fields(data);
    for now in [None, Some(NOW_MS), Some(i64::MIN), Some(i64::MAX)] {
        bounded(&DIALECTS.read(&fields[..], now), fields.len());
    }
    let (feedback, names) = DIALECTS.read_named(&fields[..], None);
    assert_eq!(feedback.readings.len(), names.len());

    fields.push(("age".to_owned(), b"0".to_vec()));
    assert!(DIALECTS.read(&fields[..], None).readings.is_empty(), "read from a cache");
    fields.pop();

    let long = [b'9'; 2_000];
    let hostile: [&[u8]; 8] =
        [b"-1", b"NaN", b"1e9", b"\x001", b"9999999999999999999999999", b"\xff", b"", &long];
    let first = data.len();
    for (i, (name, value)) in fields.iter_mut().enumerate() {
        if name != "date" && name != "age" {
            value.clear();
            value.extend_from_slice(hostile[(first + i) % hostile.len()]);
        }
    }
    let feedback = DIALECTS.read(&fields[..], Some(NOW_MS));
    assert!(feedback.readings.is_empty() && feedback.retry_after.is_none(), "{feedback:?}");
}

/// Lines of names and values.
fn fields(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines = data.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec()))
    });
    lines.collect()
}

fn bounded(feedback: &Feedback, fields: usize) {
    assert!(feedback.retry_after.is_none_or(|silence| silence <= LONGEST), "{feedback:?}");
    assert!(
        feedback.readings.len() <= 16 * fields,
        "{} readings of {fields} fields",
        feedback.readings.len()
    );
    assert!(feedback.ignored.len() <= MAX_IGNORED, "{} complaints", feedback.ignored.len());
    for reading in &feedback.readings {
        assert!(reading.limit.is_some() || reading.remaining.is_some(), "{reading:?}");
        assert!(reading.limit != Some(0) && reading.limit.is_none_or(|n| n <= MAX_COUNT), "{reading:?}");
        assert!(reading.remaining.is_none_or(|n| n <= MAX_COUNT), "{reading:?}");
        assert!(reading.window.is_none_or(|time| !time.is_zero() && time <= LONGEST), "{reading:?}");
        assert!(reading.resets_in.is_none_or(|time| time <= LONGEST), "{reading:?}");
        assert!(!reading.resource.is_empty() && reading.resource.len() <= 64, "{reading:?}");
    }
}

/// `Retry-After` on the first line, `Date` on the second: whole seconds are never shortened, dates never
/// come too early.
pub fn retry_after(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let Some(asked) = lines.next() else { return };
    let mut fields = vec![("retry-after", asked)];
    fields.extend(lines.next().map(|date| ("date", date)));
    let silence = DIALECTS.read(&fields[..], Some(NOW_MS)).retry_after;
    // No number of seconds needs more than 64 digits; more are not read.
    let number = |text: &&str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = std::str::from_utf8(asked).ok().map(str::trim).filter(number);
    // From a thousand million on it is a date.
    let seconds = seconds.and_then(|text| text.parse::<u64>().ok()).filter(|s| *s < 1_000_000_000);
    if let Some(asked) = seconds.map(Duration::from_secs) {
        assert_eq!(silence, Some(asked).filter(|asked| *asked <= LONGEST));
    }
    assert!(silence.is_none_or(|silence| silence <= LONGEST));
}
