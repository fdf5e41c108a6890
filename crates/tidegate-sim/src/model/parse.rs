//! Limits as a person writes them.

use std::num::NonZeroU64;
use std::time::Duration;

use super::spec::{CalendarPeriod, LimitSpec, MAX_AMOUNT, MAX_NODES, Nodes, Rate, Rule, Unit, WindowStart};
use crate::text::{self, SpecError};

/// Most requests, or tokens, of a limit that keeps a log.
const MAX_LOGGED: u64 = 100_000_000;

const HINT: &str = "write `rolling 100/min`, `fixed 100/6s phase 2s`, `bucket 50/s capacity 10`, \
    `gcra 50/s capacity 10`, `counter 1000/s`, `concurrency 20` or `calendar 10k/day zone Europe/Berlin`; \
    tokens as in `rolling 2M tokens/min`";

const KINDS: [&str; 7] = ["fixed", "rolling", "bucket", "gcra", "counter", "concurrency", "calendar"];
const FLAGS: [&str; 4] = ["aligned", "closed", "empty", "refund"];
const VALUED: [&str; 9] =
    ["phase", "granular", "capacity", "bucket", "step", "nodes", "skew", "late", "zone"];

pub(super) fn limit(input: &str) -> Result<LimitSpec, SpecError> {
    parse(input).map_err(|problem| SpecError::new("limit", input, problem, HINT))
}

fn parse(input: &str) -> Result<LimitSpec, String> {
    let mut words: Vec<&str> = input.split_whitespace().collect();
    // `50/s bucket 10` says what it is in the middle.
    if words.first().is_some_and(|first| !KINDS.contains(first)) && words.contains(&"bucket") {
        words.insert(0, "bucket");
    }
    let (kind, rest) = match words.split_first() {
        Some((kind, rest)) if KINDS.contains(kind) => (*kind, rest),
        Some((rate, [])) if rate.contains('/') => return Err("does not say how it is enforced".to_owned()),
        _ => return Err("not a limit".to_owned()),
    };
    let (quantity, rest) = Quantity::split(rest)?;
    let mut options = Options::read(rest)?;
    let rule = rule(kind, &quantity, &mut options)?;
    let spec = LimitSpec {
        nodes: nodes(&rule, &mut options)?,
        refund: options.flag("refund"),
        unit: quantity.unit,
        rule,
    };
    options.end(kind)?;

    if spec.refund && (spec.unit == Unit::Requests || spec.nodes.is_some()) {
        return Err("`refund` is for limits of tokens on one node".to_owned());
    }
    if matches!(spec.rule, Rule::Rolling { rate, .. } if rate.amount() > MAX_LOGGED) {
        return Err("a log holds at most 100M".to_owned());
    }
    Ok(spec)
}

fn rule(kind: &str, quantity: &Quantity<'_>, options: &mut Options<'_>) -> Result<Rule, String> {
    Ok(match kind {
        "fixed" => {
            let start = if options.flag("aligned") {
                WindowStart::Aligned
            } else {
                WindowStart::Phase(options.duration("phase")?.unwrap_or_default())
            };
            Rule::Fixed { rate: quantity.rate()?, start }
        }
        "rolling" => Rule::Rolling {
            rate: quantity.rate()?,
            closed: options.flag("closed"),
            granule: options.duration("granular")?,
        },
        "bucket" => Rule::Bucket {
            rate: quantity.rate()?,
            capacity: options.capacity()?,
            empty: options.flag("empty"),
            step: options.duration("step")?,
        },
        "gcra" => Rule::Gcra { rate: quantity.rate()?, capacity: options.capacity()? },
        "counter" => {
            Rule::Counter { rate: quantity.rate()?, phase: options.duration("phase")?.unwrap_or_default() }
        }
        "concurrency" => {
            if quantity.period.is_some() {
                return Err("concurrency has no period".to_owned());
            }
            Rule::Concurrency { amount: quantity.amount, late: options.duration("late")?.unwrap_or_default() }
        }
        _ => {
            let zone = options.take("zone").ok_or("a calendar needs a `zone`")?;
            Rule::Calendar {
                amount: quantity.amount,
                per: quantity.calendar_period()?,
                zone: zone
                    .parse()
                    .map_err(|_| format!("`{zone}` is not a time zone of the IANA database"))?,
            }
        }
    })
}

fn nodes(rule: &Rule, options: &mut Options<'_>) -> Result<Option<Nodes>, String> {
    // What stays among the options is refused at their end.
    let Some(rate) = rule.rate().filter(|_| !matches!(rule, Rule::Gcra { .. })) else { return Ok(None) };
    let Some(count) = options.take("nodes") else { return Ok(None) };
    let skew = options.duration("skew")?.ok_or("nodes need a `skew`")?;
    if skew > rate.period() {
        return Err("the skew is longer than the period".to_owned());
    }
    let count = text::amount(count)?;
    if !(1..=MAX_NODES).contains(&count) {
        return Err(format!("`{count}` nodes are not between 1 and {MAX_NODES}"));
    }
    Ok(Some(Nodes { count, skew }))
}

/// `100/min`, `2M tokens/min` or, for concurrency, `20`.
struct Quantity<'a> {
    text: &'a str,
    amount: NonZeroU64,
    unit: Unit,
    period: Option<&'a str>,
}

impl<'a> Quantity<'a> {
    /// Takes it off the front of the words.
    fn split(words: &'a [&'a str]) -> Result<(Self, &'a [&'a str]), String> {
        let (first, rest) = words.split_first().ok_or("needs an amount")?;
        let (digits, unit, period, rest) = match (first.split_once('/'), rest) {
            (Some((digits, period)), _) => (digits, Unit::Requests, Some(period), rest),
            (None, [second, rest @ ..]) if second.contains('/') => {
                let (unit, period) = second.split_once('/').unwrap_or_default();
                (*first, parse_unit(unit)?, Some(period), rest)
            }
            (None, _) => (*first, Unit::Requests, None, rest),
        };
        let amount = NonZeroU64::new(text::amount(digits)?)
            .filter(|amount| amount.get() <= MAX_AMOUNT)
            .ok_or_else(|| format!("`{digits}` is not between 1 and 1000000M"))?;
        Ok((Self { text: first, amount, unit, period }, rest))
    }

    fn rate(&self) -> Result<Rate, String> {
        let period = self.period()?;
        Rate::new(self.amount.get(), text::period(period)?)
            .ok_or_else(|| format!("`{period}` is not a period between 1 ns and 400 days"))
    }

    fn calendar_period(&self) -> Result<CalendarPeriod, String> {
        match self.period()? {
            "day" => Ok(CalendarPeriod::Day),
            "week" => Ok(CalendarPeriod::Week),
            "month" => Ok(CalendarPeriod::Month),
            other => Err(format!("`{other}` is not `day`, `week` or `month`")),
        }
    }

    fn period(&self) -> Result<&'a str, String> {
        self.period.ok_or_else(|| format!("`{}` is not a rate (like 100/min or 2M tokens/min)", self.text))
    }
}

/// What follows the quantity: flags, and names with a value.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn read(words: &[&'a str]) -> Result<Self, String> {
        let mut given = Vec::new();
        let mut words = words.iter();
        while let Some(name) = words.next() {
            let value = if FLAGS.contains(name) {
                ""
            } else if VALUED.contains(name) {
                words.next().ok_or_else(|| format!("`{name}` needs a value"))?
            } else {
                return Err(format!("`{name}` is not an option of a limit"));
            };
            given.push((*name, value));
        }
        Ok(Self(given))
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().position(|(given, _)| *given == name)?;
        Some(self.0.remove(found).1)
    }

    fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }

    /// Zero is as good as not given.
    fn duration(&mut self, name: &str) -> Result<Option<Duration>, String> {
        let duration = self.take(name).map(text::duration).transpose()?;
        // A skew of zero is a sensible one.
        Ok(duration.filter(|duration| name == "skew" || !duration.is_zero()))
    }

    fn capacity(&mut self) -> Result<NonZeroU64, String> {
        let capacity = self.take("capacity").or_else(|| self.take("bucket"));
        let capacity = capacity.ok_or("needs a refill rate and a capacity")?;
        NonZeroU64::new(text::amount(capacity)?)
            .filter(|amount| amount.get() <= MAX_AMOUNT)
            .ok_or_else(|| format!("`{capacity}` is not between 1 and 1000000M"))
    }

    fn end(&self, kind: &str) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!("`{name}` does not go with `{kind}` here")),
            None => Ok(()),
        }
    }
}

fn parse_unit(word: &str) -> Result<Unit, String> {
    match word {
        "request" | "requests" => Ok(Unit::Requests),
        "token" | "tokens" => Ok(Unit::Tokens),
        _ => Err(format!("`{word}` is not `requests` or `tokens`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(amount: u64, ms: u64) -> Rate {
        Rate::new(amount, Duration::from_millis(ms)).unwrap()
    }

    fn read(text: &str) -> LimitSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_the_same_in_other_words() {
        let fixed = Rule::Fixed { rate: rate(100, 6_000), start: WindowStart::Phase(Duration::from_secs(2)) };
        assert_eq!(read("fixed 100/6s phase 2s"), LimitSpec::from(fixed));
        let ten = NonZeroU64::new(10).unwrap();
        let bucket = Rule::Bucket { rate: rate(50, 1_000), capacity: ten, empty: false, step: None };
        assert_eq!(read("bucket 50/s capacity 10"), LimitSpec::from(bucket));
        assert_eq!(read("bucket 50/s bucket 10"), read("bucket 50/s capacity 10"));
        assert_eq!(read("50/s bucket 10"), read("bucket 50/s capacity 10"));
        assert_eq!(read("50 tokens/s bucket 10"), read("bucket 50 tokens/s capacity 10"));
        assert_eq!(read("rolling 1/m"), read("rolling 1/minute"));
        assert_eq!(read("rolling 1/h"), read("rolling 1 request/60min"));
        assert_eq!(read(" concurrency  10 "), read("concurrency 10 late 0"));
        let tokens = read("rolling 2M tokens/min refund");
        assert_eq!((tokens.unit, tokens.refund), (Unit::Tokens, true));
        let nodes = Nodes { count: 3, skew: Duration::from_millis(50) };
        assert_eq!(read("rolling 100/s nodes 3 skew 50ms").nodes, Some(nodes));
    }

    #[test]
    fn prints_what_it_reads() {
        for text in [
            "rolling 100/min",
            "rolling 100/15min closed",
            "rolling 100/min closed granular 1s nodes 3 skew 0ns",
            "rolling 2M tokens/min refund",
            "fixed 100/6s phase 2s",
            "fixed 7/s nodes 2 skew 1s",
            "fixed 7 tokens/s aligned refund",
            "bucket 50/s capacity 10",
            "bucket 50/s capacity 10 empty step 100ms",
            "bucket 50/s capacity 10 nodes 2 skew 20ms",
            "gcra 50k tokens/s capacity 10M",
            "counter 2M/d",
            "counter 1000/s phase 250ms nodes 4 skew 20ms",
            "counter 1500500/s",
            "concurrency 20",
            "concurrency 20 late 5ms",
            "calendar 10k/day zone Europe/Berlin",
            "calendar 1000000M tokens/month zone UTC refund",
            "calendar 1/week zone America/Argentina/Buenos_Aires",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        for (bad, reason) in [
            ("", "not a limit"),
            ("100/min", "how it is enforced"),
            ("rolling", "needs an amount"),
            ("rolling 100", "not a rate"),
            ("rolling 0/s", "not between 1 and"),
            ("rolling 100/month", "not a duration"),
            ("rolling 100/0s", "not a period"),
            ("rolling 200M/day", "at most 100M"),
            ("fixed 2000000M/day", "not between 1 and"),
            ("rolling 1.5/s", "not a whole amount"),
            ("rolling 5 points/s", "not `requests` or `tokens`"),
            ("rolling 5/s open", "`open` is not an option"),
            ("rolling 5/s phase 1s", "`phase` does not go with `rolling`"),
            ("rolling 5/s closed closed", "`closed` does not go"),
            ("rolling 5/s nodes 3", "need a `skew`"),
            ("rolling 5/s skew 3ms", "`skew` does not go"),
            ("rolling 5/s nodes 0 skew 3ms", "not between 1 and 1000"),
            ("rolling 5/s nodes 3 skew 2s", "longer than the period"),
            ("rolling 5/s refund", "limits of tokens"),
            ("rolling 5 tokens/s nodes 3 skew 2ms refund", "on one node"),
            ("fixed 5/s aligned phase 1s", "`phase` does not go"),
            ("bucket 50/s", "needs a refill rate and a capacity"),
            ("bucket 10", "not a rate"),
            ("concurrency 0", "not between 1 and"),
            ("concurrency 5/s", "has no period"),
            ("concurrency 5 nodes 2 skew 1ms", "`nodes` does not go"),
            ("gcra 5/s capacity 5 nodes 2 skew 1ms", "`nodes` does not go"),
            ("fixed 100/s phase 2", "not a duration"),
            ("fixed 100/s phase", "needs a value"),
            ("calendar 5/day", "needs a `zone`"),
            ("calendar 5/year zone UTC", "not `day`, `week` or `month`"),
            ("calendar 5/day zone Europe/Bonn", "not a time zone"),
        ] {
            let error = bad.parse::<LimitSpec>().expect_err(bad);
            assert!(error.to_string().contains(reason), "{bad}: {error}");
            assert!(error.hint().contains("rolling 100/min"));
        }
    }
}
