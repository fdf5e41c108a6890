//! Values of fields: counts and times, in all the forms that occur. Integers only.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};

/// A time that is further away is nonsense.
pub(super) const LONGEST: Duration = Duration::from_secs(400 * 86_400);
/// A value that is longer is nonsense; lists of policies may be longer.
const MAX_LEN: usize = 64;
/// A greater count says "without limit", or nothing.
const MAX_COUNT: u64 = 1_000_000_000_000_000;
/// From here on a number of seconds is a date; before, it would be 31 years.
const LEAST_EPOCH: u64 = 1_000_000_000;
const LEAST_EPOCH_MS: u64 = 1_000_000_000_000;
const NANOS: u128 = 1_000_000_000;

/// How a field writes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whichever of the others it looks like.
    Auto,
    /// Seconds from now; decimals occur.
    Delta,
    /// Milliseconds from now, or `00:00:00.033`.
    DeltaMs,
    /// Seconds since 1970.
    Epoch,
    /// Milliseconds since 1970.
    EpochMs,
    /// `2026-03-26T16:00:00Z`; seconds may be missing.
    Iso,
    /// A duration as Go writes it: `6m0s`, `17ms`.
    Go,
}

impl Form {
    const NAMES: [(&'static str, Self); 7] = [
        ("auto", Self::Auto),
        ("delta", Self::Delta),
        ("delta_ms", Self::DeltaMs),
        ("epoch", Self::Epoch),
        ("epoch_ms", Self::EpochMs),
        ("iso", Self::Iso),
        ("go", Self::Go),
    ];
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, form)| *form).ok_or_else(|| {
            format!("`{text}` is not a form: expected auto, delta, delta_ms, epoch, epoch_ms, iso or go")
        })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::NAMES.iter().find(|(_, form)| form == self);
        f.write_str(found.map_or("auto", |(name, _)| name))
    }
}

/// A time as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long after the answer.
    In(Duration),
    /// Milliseconds since 1970, at the end of what the stamp may mean: clocks cut, and do not round.
    At(i64),
}

/// A whole number; decimals are cut. The flag tells whether there were any.
pub(super) fn count(text: &str) -> Result<(u64, bool), &'static str> {
    let (whole, fraction) = decimal(text).ok_or("not a number")?;
    if whole > MAX_COUNT {
        return Err("too large to mean anything");
    }
    Ok((whole, fraction > 0))
}

pub(super) fn moment(text: &str, form: Form) -> Result<Moment, &'static str> {
    if text.len() > MAX_LEN {
        return Err("too long to be a time");
    }
    match form {
        Form::Auto => guess(text),
        Form::Delta => seconds(text).map(Moment::In),
        Form::DeltaMs if text.contains(':') => span(text).map(Moment::In),
        Form::DeltaMs => {
            let (whole, fraction) = decimal(text).ok_or("not a number of milliseconds")?;
            let nanos = (u128::from(whole) * NANOS + u128::from(fraction)).div_ceil(1_000);
            duration(nanos).map(Moment::In)
        }
        Form::Epoch => epoch(text, 1_000),
        Form::EpochMs => epoch(text, 1),
        Form::Iso => iso(text),
        Form::Go => go(text).map(Moment::In),
    }
}

/// A duration that is not too long.
pub(super) fn seconds(text: &str) -> Result<Duration, &'static str> {
    let (whole, fraction) = decimal(text).ok_or("not a number of seconds")?;
    duration(u128::from(whole) * NANOS + u128::from(fraction))
}

/// An HTTP-date, in milliseconds since 1970.
pub(super) fn http_date(text: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

fn guess(text: &str) -> Result<Moment, &'static str> {
    match text.as_bytes() {
        [] => Err("empty"),
        [b'P', ..] => span(text).map(Moment::In),
        [first, ..] if first.is_ascii_alphabetic() => {
            http_date(text).map(|ms| Moment::At(ms + 1_000)).ok_or("not a date")
        }
        [b'0'..=b'9', ..] => match decimal(text) {
            Some((LEAST_EPOCH_MS.., _)) => epoch(text, 1),
            Some((LEAST_EPOCH.., _)) => epoch(text, 1_000),
            Some(_) => seconds(text).map(Moment::In),
            None if text.as_bytes().get(4) == Some(&b'-') => iso(text),
            None => go(text).map(Moment::In),
        },
        _ => Err("not a time"),
    }
}

fn go(text: &str) -> Result<Duration, &'static str> {
    let known = |c: char| c.is_ascii_digit() || ".hmnsuµμ".contains(c);
    if !text.chars().all(known) {
        return Err("not a duration");
    }
    span(text)
}

/// ISO 8601 and Go durations, `00:00:00.033`.
fn span(text: &str) -> Result<Duration, &'static str> {
    let span: SignedDuration = text.parse().map_err(|_| "not a duration")?;
    let span = Duration::try_from(span).map_err(|_| "negative")?;
    if span > LONGEST { Err("further away than 400 days") } else { Ok(span) }
}

fn iso(text: &str) -> Result<Moment, &'static str> {
    const BAD: &str = "not a time such as 2026-03-26T16:00:00Z";
    let stamp: Timestamp = text.parse().map_err(|_| BAD)?;
    let time = text.split(['T', 't', ' ']).nth(1).unwrap_or_default();
    let time = time.split(['Z', 'z', '+', '-', '[']).next().unwrap_or_default();
    // What the stamp does not say may be anything.
    let grain = match time.matches(':').count() {
        0 => 3_600_000,
        1 => 60_000,
        _ if time.contains(['.', ',']) => 1,
        _ => 1_000,
    };
    Ok(Moment::At(stamp.as_millisecond() + grain))
}

/// A number since 1970, in units of so many milliseconds.
fn epoch(text: &str, unit_ms: u64) -> Result<Moment, &'static str> {
    const FAR: &str = "further away than 400 days";
    let (whole, fraction) = decimal(text).ok_or("not a number")?;
    let parts = u128::from(fraction) * u128::from(unit_ms) / NANOS;
    let grain = if fraction > 0 { 1 } else { unit_ms };
    let ms = u128::from(whole) * u128::from(unit_ms) + parts + u128::from(grain);
    i64::try_from(ms).map(Moment::At).map_err(|_| FAR)
}

fn duration(nanos: u128) -> Result<Duration, &'static str> {
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    let duration = Duration::from_nanos(nanos);
    if duration > LONGEST { Err("further away than 400 days") } else { Ok(duration) }
}

/// A number without a sign: what stands before the point, and billionths, rounded up.
fn decimal(text: &str) -> Option<(u64, u64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if text.len() > MAX_LEN || !digits(whole) || !digits(fraction) {
        return None;
    }
    // Too many digits are a number that is too large, not none.
    let mut whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let (near, rest) = fraction.split_at(fraction.len().min(9));
    let scale = 10_u64.pow(9 - near.len() as u32);
    let mut billionths = near.parse::<u64>().ok()? * scale;
    billionths += u64::from(rest.bytes().any(|b| b != b'0'));
    if billionths == 1_000_000_000 {
        (whole, billionths) = (whole.saturating_add(1), 0);
    }
    Some((whole, billionths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Moment, &'static str> {
        moment(text, Form::Auto)
    }

    #[test]
    fn the_form_of_a_time_is_guessed() {
        let ms = |ms| Ok(Moment::In(Duration::from_millis(ms)));
        let at = |ms| Ok(Moment::At(ms));
        for (text, expected) in [
            ("60", ms(60_000)),
            ("0.5", ms(500)),
            ("0", ms(0)),
            ("6m0s", ms(360_000)),
            ("17ms", ms(17)),
            ("1h2m3.5s", ms(3_723_500)),
            ("PT30S", ms(30_000)),
            ("1772323200", at(1_772_323_201_000)),
            ("1772323200.25", at(1_772_323_200_251)),
            ("1772323200000", at(1_772_323_200_001)),
            ("2026-03-01T00:00:00Z", at(1_772_323_201_000)),
            ("2026-03-01T01:00:00+01:00", at(1_772_323_201_000)),
            ("2026-03-01T00:00Z", at(1_772_323_260_000)),
            ("2026-03-01T00:00:00.5Z", at(1_772_323_200_501)),
            ("Sun, 01 Mar 2026 00:00:00 GMT", at(1_772_323_201_000)),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn milliseconds_may_look_like_a_clock() {
        let read = |text| moment(text, Form::DeltaMs);
        assert_eq!(read("250"), Ok(Moment::In(Duration::from_millis(250))));
        assert_eq!(read("33.5"), Ok(Moment::In(Duration::from_micros(33_500))));
        assert_eq!(read("00:00:00.033"), Ok(Moment::In(Duration::from_millis(33))));
    }

    #[test]
    fn nonsense_is_no_time() {
        let long = "9".repeat(10_000);
        for text in [
            "",
            "-5",
            "NaN",
            "inf",
            "1e9",
            "soon",
            "0x10",
            "1.2.3",
            ".5",
            "5.",
            "+5",
            "99999999",
            "-6m",
            &long,
            "9h9h9h",
            "2026-13-01T00:00:00Z",
            "2026-03-01",
            "1 day ago",
            "5 minutes",
            "٣",
        ] {
            assert!(told(text).is_err(), "{text}: {:?}", told(text));
        }
    }

    #[test]
    fn counts_are_cut_and_never_huge() {
        assert_eq!(count("995.7"), Ok((995, true)));
        assert_eq!(count("007"), Ok((7, false)));
        for text in ["-1", "1e3", "", "9223372036854775807", "99999999999999999999999999", "1,000"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn forms_read_what_they_print() {
        for (name, form) in Form::NAMES {
            assert_eq!((name.parse(), form.to_string().as_str()), (Ok(form), name));
        }
        assert!("unix".parse::<Form>().unwrap_err().contains("epoch_ms"));
    }
}
