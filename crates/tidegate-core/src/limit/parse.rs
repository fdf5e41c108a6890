//! The text form of limits.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Limit, LimitError, Rule, Unit};
use crate::meter::{Calendar, Period};

const FORMS: &str = "an amount and a period such as `1000/s`, `10k/min`, `100/6s`, `50/s bucket 10`, \
                     `1000/s counter`, `10k/day UTC`, or `concurrency 20`";
/// A day can have 25 hours where clocks change; a window that holds for those holds for all.
const CLOCK_CHANGE: Duration = Duration::from_secs(3_600);
const MAX_AMOUNT: u64 = 1_000_000_000_000;
const MAX_PERIOD: Duration = Duration::from_secs(400 * 86_400);

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        Parser { text }.limit()
    }
}

struct Parser<'a> {
    text: &'a str,
}

impl Parser<'_> {
    fn limit(&self) -> Result<Limit, LimitError> {
        let text = self.text.trim();
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        match words.as_slice() {
            ["concurrency" | "concurrent", n] | [n, "concurrent"] => {
                return Ok(Limit::concurrency(self.amount(n)?));
            }
            _ => {}
        }
        let Some((amount, rest)) = lower.split_once('/').or_else(|| lower.split_once(" per ")) else {
            let bare = text.chars().all(|c| c.is_ascii_digit() || ",_kKmMgG.".contains(c));
            return Err(self.syntax(if bare && !text.is_empty() {
                format!("say per what: `{text}/s` or `{text}/min`; to try a few rows only: `--head {text}`")
            } else {
                "write it as AMOUNT/PERIOD".to_owned()
            }));
        };
        let (amount, unit) = match amount.trim().split_once(char::is_whitespace) {
            Some((amount, unit)) => (amount, unit.trim()),
            None => (amount.trim(), "requests"),
        };
        let amount = self.amount(amount)?;
        let unit = match unit {
            "" | "request" | "requests" | "req" | "reqs" | "call" | "calls" => Unit::Requests,
            name if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
                Unit::Named(name.to_owned())
            }
            _ => return Err(self.syntax("the unit is one word, as in `2M tokens/min`".to_owned())),
        };
        let mut rest: Vec<&str> = rest.split_whitespace().collect();
        let also_per_second =
            rest.ends_with(&["also", "per", "second"]) || rest.ends_with(&["also", "per", "s"]);
        if also_per_second {
            rest.truncate(rest.len() - 3);
        }
        // A count and its unit may stand apart: `100/6 s`.
        let joined;
        if let [count, unit, ..] = rest[..]
            && count.bytes().all(|b| b.is_ascii_digit())
        {
            joined = format!("{count}{unit}");
            rest.splice(..2, [joined.as_str()]);
        }
        let Some((per, how)) = rest.split_first() else {
            return Err(self.syntax("write it as AMOUNT/PERIOD".to_owned()));
        };
        let rule = match *how {
            [] | ["window"] => Rule::Window { per: self.period(per)? },
            ["counter"] => Rule::Counter { per: self.period(per)? },
            ["unknown"] => Rule::Unknown { per: self.period(per)? },
            ["bucket" | "burst" | "capacity", capacity] => Rule::Bucket {
                per: self.period(per)?,
                capacity: self.amount(capacity)?,
                step: Duration::ZERO,
            },
            ["bucket" | "burst" | "capacity", capacity, "step", step] => Rule::Bucket {
                per: self.period(per)?,
                capacity: self.amount(capacity)?,
                step: self.period(step)?,
            },
            [zone] if zone == "utc" || zone.contains('/') => Rule::Calendar(self.calendar(per, zone)?),
            _ => {
                return Err(self.syntax(
                    "after the period may stand `bucket N`, `counter`, `unknown` or a time zone".to_owned(),
                ));
            }
        };
        let limit = Limit::new(amount, rule).counting(unit);
        Ok(if also_per_second { limit.also_per_second() } else { limit })
    }

    fn calendar(&self, period: &str, zone: &str) -> Result<Calendar, LimitError> {
        let period = match period {
            "d" | "day" => Period::Day,
            "w" | "week" => Period::Week,
            "month" => Period::Month,
            _ => {
                let hint = format!("`{period}` has no calendar: a time zone goes with day, week or month");
                return Err(self.syntax(hint));
            }
        };
        let zone = TimeZone::get(zone).map_err(|_| {
            self.syntax(format!("`{zone}` is not a time zone; write `UTC` or one such as `Europe/Berlin`"))
        })?;
        Ok(Calendar { period, zone })
    }

    fn amount(&self, text: &str) -> Result<NonZeroU64, LimitError> {
        let plain = text.replace(['_', ','], "");
        let (digits, factor) = match plain.as_bytes().last() {
            Some(b'k') => (&plain[..plain.len() - 1], 1_000),
            Some(b'm') => (&plain[..plain.len() - 1], 1_000_000),
            Some(b'g') => (&plain[..plain.len() - 1], 1_000_000_000),
            _ => (plain.as_str(), 1),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 15
            || fraction.len() > 9
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return Err(self.syntax(format!("`{text}` is not an amount; write `1000`, `10k` or `2M`")));
        }
        let mut amount: u64 = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor);
        let mut digit_worth = factor;
        for digit in fraction.bytes() {
            if digit_worth % 10 != 0 && digit != b'0' {
                return Err(self.out_of_range(
                    "the amount is not a whole number",
                    "half a call a second is one call in two: `1/2s`",
                ));
            }
            digit_worth /= 10;
            amount = amount.saturating_add(u64::from(digit - b'0') * digit_worth);
        }
        if amount > MAX_AMOUNT {
            return Err(self.out_of_range("the amount is more than a trillion", "leave the limit away"));
        }
        NonZeroU64::new(amount).ok_or_else(|| {
            self.out_of_range("an amount of 0 would never send anything", "the smallest is 1, as in `1/min`")
        })
    }

    fn period(&self, text: &str) -> Result<Duration, LimitError> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(unit_at);
        let count: u64 = match count {
            "" => 1,
            digits => digits
                .parse()
                .map_err(|_| self.out_of_range("the period is too long", "the longest is 400 days"))?,
        };
        let (unit, margin) = match unit {
            "ms" | "msec" | "millisecond" | "milliseconds" => (Duration::from_millis(1), Duration::ZERO),
            "s" | "sec" | "second" | "seconds" => (Duration::from_secs(1), Duration::ZERO),
            "m" | "min" | "minute" | "minutes" => (Duration::from_secs(60), Duration::ZERO),
            "h" | "hr" | "hour" | "hours" => (Duration::from_secs(3_600), Duration::ZERO),
            "d" | "day" | "days" => (Duration::from_secs(86_400), CLOCK_CHANGE),
            "w" | "week" | "weeks" => (Duration::from_secs(7 * 86_400), CLOCK_CHANGE),
            "month" | "months" => (Duration::from_secs(31 * 86_400), CLOCK_CHANGE),
            _ => {
                return Err(self.syntax(format!(
                    "`{text}` is not a period; use ms, s, min, h, day, week or month, as in `100/6s`"
                )));
            }
        };
        if count == 0 {
            return Err(
                self.out_of_range("a period of 0 has no length", "write the window's length, as in `100/6s`")
            );
        }
        let per = u32::try_from(count).ok().and_then(|count| unit.checked_mul(count)).map(|per| per + margin);
        per.filter(|per| *per <= MAX_PERIOD)
            .ok_or_else(|| self.out_of_range("the period is too long", "the longest is 400 days"))
    }

    fn syntax(&self, hint: String) -> LimitError {
        LimitError::Syntax { text: self.text.to_owned(), expected: FORMS, hint }
    }

    fn out_of_range(&self, what: &'static str, hint: &'static str) -> LimitError {
        LimitError::OutOfRange { text: self.text.to_owned(), what, hint }
    }
}

/// A length of time, as people write it.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let day = 86_400_000;
        let hour = 3_600_000;
        let (count, unit) = match ms {
            _ if ms > hour && (ms - hour).is_multiple_of(day) => ((ms - hour) / day, "day"),
            _ if ms.is_multiple_of(hour) => (ms / hour, "h"),
            _ if ms.is_multiple_of(60_000) => (ms / 60_000, "min"),
            _ if ms.is_multiple_of(1_000) => (ms / 1_000, "s"),
            _ => (ms, "ms"),
        };
        if count == 1 { f.write_str(unit) } else { write!(f, "{count}{unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn what_people_write() {
        for (text, amount, per_ms) in [
            ("1000/s", 1_000, 1_000),
            ("1,000/s", 1_000, 1_000),
            ("10k/min", 10_000, 60_000),
            ("1.5k/min", 1_500, 60_000),
            ("100/6s", 100, 6_000),
            ("5/250ms", 5, 250),
            ("100 requests/minute", 100, 60_000),
            ("100 per hour", 100, 3_600_000),
            (" 7 / s ", 7, 1_000),
            ("2M/day", 2_000_000, 25 * 3_600_000),
        ] {
            let parsed = limit(text);
            assert_eq!(parsed.amount(), amount, "{text}");
            assert_eq!(parsed.rule(), &Rule::Window { per: Duration::from_millis(per_ms) }, "{text}");
            assert_eq!(parsed.unit(), &Unit::Requests, "{text}");
        }
        assert_eq!(limit("concurrency 20"), Limit::concurrency(NonZeroU64::new(20).unwrap()));
        assert_eq!(limit("2M tokens/min").unit(), &Unit::Named("tokens".into()));
        let Rule::Bucket { per, capacity, step } = limit("50/s bucket 10").rule().clone() else { panic!() };
        assert_eq!((per, capacity.get(), step), (Duration::from_secs(1), 10, Duration::ZERO));
        assert_eq!(limit("100/6 s counter").rule(), &Rule::Counter { per: Duration::from_secs(6) });
        let Rule::Calendar(calendar) = limit("2M tokens/month america/los_angeles").rule().clone() else {
            panic!()
        };
        assert_eq!(calendar.period, Period::Month);
        assert_eq!(calendar.zone.iana_name(), Some("America/Los_Angeles"));
    }

    #[test]
    fn printed_limits_parse_to_themselves() {
        for text in [
            "1000/s",
            "10000/min",
            "100/6s",
            "5/250ms",
            "50/s bucket 10",
            "50/s bucket 10 step 250ms",
            "1000/s counter",
            "1000 points/min unknown",
            "10/day UTC",
            "10/week Europe/Berlin",
            "6000/min also per second",
            "concurrency 20",
            "3/2day",
        ] {
            assert_eq!(limit(text).to_string(), text);
            assert_eq!(limit(&limit(text).to_string()), limit(text));
        }
    }

    #[test]
    fn what_cannot_be_a_limit_says_what_to_write() {
        for (text, hint) in [
            ("", "AMOUNT/PERIOD"),
            ("10", "--head 10"),
            ("0/s", "the smallest is 1"),
            ("100/0s", "window's length"),
            ("0.5/s", "1/2s"),
            ("100/fortnight", "use ms, s, min"),
            ("many/s", "not an amount"),
            ("1000/s burst", "bucket N"),
            ("10/day Europe/Nowhere", "such as `Europe/Berlin`"),
            ("10/min UTC", "goes with day, week or month"),
            ("9999999999999999/s", "not an amount"),
            ("5000G/s", "leave the limit away"),
            ("1/99999999999day", "400 days"),
        ] {
            let error = text.parse::<Limit>().expect_err(text);
            let said = format!("{error}\n{}", error.hint());
            assert!(said.contains(hint), "{text}: {said}");
        }
    }
}
