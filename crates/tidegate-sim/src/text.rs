//! Reading amounts, durations and probabilities as people write them.

use std::time::Duration;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Longest duration that can be written. Keeps every sum of times far inside 64-bit nanoseconds.
pub(crate) const MAX_DURATION: Duration = Duration::from_nanos(400 * DAY);

/// A piece of configuration text that cannot be understood.
///
/// The message says what was found; [`hint`](Self::hint) says what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{input}`: {problem}")]
#[non_exhaustive]
pub struct SpecError {
    /// What was being read: `limit`, `latency`, `fault`, `retry-after`.
    pub what: &'static str,
    /// The whole text, as given.
    pub input: String,
    /// What is wrong with it.
    pub problem: String,
    hint: &'static str,
}

impl SpecError {
    pub(crate) fn new(
        what: &'static str,
        input: &str,
        problem: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        Self { what, input: input.to_owned(), problem: problem.into(), hint }
    }

    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

/// `100`, `10k`, `2M`.
pub(crate) fn amount(text: &str) -> Result<u64, String> {
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    whole(digits)
        .and_then(|n| n.checked_mul(scale))
        .ok_or_else(|| format!("`{text}` is not a whole amount (like 100, 10k or 2M)"))
}

/// `250ms`, `1.5s`, `2min`, `1h`, `1d`. A number without a unit is refused, except plain `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = unit_ns(unit)
        .ok_or_else(|| format!("`{text}` is not a duration (a number and ms, s, min, h or d)"))?;
    scaled(number, unit)
        .map(Duration::from_nanos)
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| format!("`{text}` is not a duration of at most 400 days"))
}

/// The period of a rate: a duration (`6s`, `250ms`), or a unit alone (`s`, `min`, `day`).
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    match unit_ns(text) {
        Some(ns) => Ok(Duration::from_nanos(ns)),
        None => duration(text),
    }
}

/// `10%`, `0.1`, `1`; between 0 and 1.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .map(|p| p / scale)
        .filter(|p| (0.0..=1.0).contains(p))
        .ok_or_else(|| format!("`{text}` is not a share between 0% and 100%"))
}

/// Writes an amount as people do: `1000`, `10k`, `2M`.
pub(crate) fn show_amount(amount: u64) -> String {
    match amount {
        1_000_000.. if amount.is_multiple_of(1_000_000) => format!("{}M", amount / 1_000_000),
        10_000.. if amount.is_multiple_of(1_000) => format!("{}k", amount / 1_000),
        _ => amount.to_string(),
    }
}

/// Writes a duration the shortest exact way, so that printed specs can be read back.
pub(crate) fn show(duration: Duration) -> String {
    let ns = duration.as_nanos();
    for (unit, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"), (MS, "ms"), (1_000, "us")] {
        let unit = u128::from(unit);
        if ns != 0 && ns.is_multiple_of(unit) {
            return format!("{}{name}", ns / unit);
        }
    }
    format!("{ns}ns")
}

fn unit_ns(text: &str) -> Option<u64> {
    Some(match text {
        "ns" => 1,
        "us" => 1_000,
        "ms" => MS,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => MINUTE,
        "h" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        _ => return None,
    })
}

/// `12.5` of a unit, exactly; `None` where a nanosecond would have to be split.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (integer, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let mut ns = whole(integer)?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        let digit = u64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        if !place.is_multiple_of(10) && digit != 0 {
            return None;
        }
        place /= 10;
        ns = ns.checked_add(digit * place)?;
    }
    Some(ns)
}

fn whole(digits: &str) -> Option<u64> {
    // `u64::from_str` would also take a leading plus.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        assert_eq!(amount("100"), Ok(100));
        assert_eq!(amount("10k"), Ok(10_000));
        assert_eq!(amount("2M"), Ok(2_000_000));
        for bad in ["", "k", "-1", "+1", "1.5", "1m", "99999999999999999999", "18446744073709551615k"] {
            assert!(amount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        let read = |text| duration(text).map(|d| d.as_nanos());
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("250ms"), Ok(250_000_000));
        assert_eq!(read("1.5s"), Ok(1_500_000_000));
        assert_eq!(read("1.5min"), Ok(90_000_000_000));
        assert_eq!(read("0.25h"), Ok(900_000_000_000));
        assert_eq!(read("400d"), Ok(MAX_DURATION.as_nanos()));
        for bad in ["", "5", "ms", ".", "s", "1.2.3s", "1x", "401d", "0.1ns", "-1s", "1 s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_durations_read_back() {
        for text in ["6s", "250ms", "1min", "90s", "36h", "1d", "15us", "7ns"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
        assert_eq!(show(duration("60s").unwrap()), "1min");
    }

    #[test]
    fn probabilities() {
        assert_eq!(probability("10%"), Ok(0.1));
        assert_eq!(probability("0.05"), Ok(0.05));
        for bad in ["101%", "-0.1", "nan", "", "%", "inf"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
    }
}
