//! Ways to get back what a limit gives up, if they are true.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use tidegate::retry::Human;
use tidegate_core::{Contract, Limit, Meter, Mode, Rule, Terms, Unit};

use super::words::{is_of_days, rate_of};
use crate::printer::count;

/// Below this share it is not worth a word.
const WORTH_SAYING: f64 = 0.02;
/// A way has to be so much faster.
const WORTH_TAKING: f64 = 1.005;
const MINUTE: Duration = Duration::from_secs(60);
/// On their way to the provider few calls take longer.
const ARRIVAL: Duration = Duration::from_millis(30);

/// A question to the provider, and what to write if they say yes.
pub(super) struct Way {
    question: String,
    write: String,
    rate: String,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { question, write, rate } = self;
        write!(f, "{question}? `{write}` gives {rate}")
    }
}

impl Way {
    /// As it is said to somebody who starts a run.
    pub(super) fn for_a_run(&self) -> String {
        let Self { question, write, rate } = self;
        let flag = match write {
            flag if flag.starts_with("--") => flag.clone(),
            limit if limit.contains(' ') => format!("--rate '{limit}'"),
            limit => format!("--rate {limit}"),
        };
        format!("{question}? `{flag}` gives {rate}")
    }
}

/// The ways, best first as far as that can be told.
pub(super) fn ways_back(limit: &Limit, meter: &Meter, contract: &Contract) -> Vec<Way> {
    let terms = contract.terms();
    let provable = limit.provable_rate(meter, terms.latency);
    let Some(nominal) = limit.nominal_rate() else { return Vec::new() };
    let search = Search { limit, terms, provable };
    let of_days = search.calendar();
    if provable > nominal * (1.0 - WORTH_SAYING) {
        return of_days.into_iter().collect();
    }
    let ways = [
        of_days,
        search.per_minute(nominal),
        search.larger_bucket(nominal),
        search.window(),
        search.counted_within(),
        search.faster_answers(),
    ];
    // What is declared beside it is no news.
    let declared = |way: &Way| contract.limits().any(|(other, _)| other.to_string() == way.write);
    ways.into_iter().flatten().filter(|way| !declared(way)).collect()
}

struct Search<'a> {
    limit: &'a Limit,
    terms: &'a Terms,
    provable: f64,
}

impl Search<'_> {
    fn per_minute(&self, nominal: f64) -> Option<Way> {
        let Rule::Window { per } = self.limit.rule() else { return None };
        let per_minute = (nominal * self.limit.cost().unwrap_or(1) as f64 * 60.0).round() as u64;
        let question = format!("do they mean {} a minute", count(per_minute));
        (*per < MINUTE).then(|| self.declared(question, &format!("{per_minute}{}/min", self.unit())))?
    }

    fn calendar(&self) -> Option<Way> {
        if !is_of_days(self.limit) {
            return None;
        }
        let period = match self.limit.rule().per()?.as_secs() / 86_400 {
            1 => "day",
            7 => "week",
            31 => "month",
            _ => return None,
        };
        let text = format!("{}{}/{period} UTC", self.limit.amount(), self.unit());
        self.declared(format!("does their {period} begin at a known midnight"), &text)
    }

    /// The smallest capacity that gives the full rate.
    fn larger_bucket(&self, nominal: f64) -> Option<Way> {
        let Rule::Bucket { capacity, .. } = self.limit.rule() else { return None };
        let (old, text) = (format!(" bucket {capacity}"), self.limit.to_string());
        let with = |capacity: u64| text.replacen(&old, &format!(" bucket {capacity}"), 1);
        let enough = |capacity: u64| {
            self.rate_of(&with(capacity)).is_some_and(|(_, rate)| rate > nominal * (2.0 - WORTH_TAKING))
        };
        let (mut short, mut long) = (capacity.get(), capacity.get().checked_mul(2)?);
        while !enough(long) {
            (short, long) = (long, long.checked_mul(2).filter(|long| *long < 1 << 36)?);
        }
        while long - short > 1 {
            let middle = short + (long - short) / 2;
            if enough(middle) { long = middle } else { short = middle }
        }
        self.declared("may the bucket be larger".to_owned(), &with(long))
    }

    fn window(&self) -> Option<Way> {
        let text = self.limit.to_string();
        self.declared("is it a window".to_owned(), text.strip_suffix(" unknown")?)
    }

    fn counted_within(&self) -> Option<Way> {
        if self.terms.mode != Mode::Guaranteed {
            return None;
        }
        let terms = Terms { mode: Mode::Estimated { counted_within: ARRIVAL }, ..*self.terms };
        self.on("do they count on arrival", format!("--counted-within {}", Human(ARRIVAL)), &terms)
    }

    /// Counters share out what there is by what is expected to be in flight.
    fn faster_answers(&self) -> Option<Way> {
        if !matches!(self.limit.rule(), Rule::Counter { .. } | Rule::Unknown { .. }) {
            return None;
        }
        let half = self.terms.latency / 2;
        let terms = Terms { latency: half, ..*self.terms };
        self.on("are answers faster than that", format!("--latency {}", Human(half)), &terms)
    }

    /// The same limit on other terms.
    fn on(&self, question: &str, write: String, terms: &Terms) -> Option<Way> {
        let meter = self.limit.compile(terms).ok()?;
        let rate = self.limit.provable_rate(&meter, terms.latency);
        (rate > self.provable * WORTH_TAKING).then(|| Way {
            question: question.to_owned(),
            write,
            rate: rate_of(self.limit, rate),
        })
    }

    /// The limit declared otherwise.
    fn declared(&self, question: String, text: &str) -> Option<Way> {
        let (limit, rate) = self.rate_of(text)?;
        (rate > self.provable * WORTH_TAKING).then(|| Way {
            question,
            write: text.to_owned(),
            rate: rate_of(&limit, rate),
        })
    }

    /// What `text` would give, with all else as this limit has it.
    fn rate_of(&self, text: &str) -> Option<(Limit, f64)> {
        let mut limit: Limit = text.parse().ok()?;
        if let Some(cost) = self.limit.cost() {
            limit = limit.with_cost(NonZeroU64::new(cost)?);
        }
        if let Some(granularity) = self.limit.granularity() {
            limit = limit.with_granularity(granularity);
        }
        limit = limit.with_skew(self.limit.skew()).amplified(NonZeroU64::new(self.limit.amplification())?);
        let meter = limit.compile(self.terms).ok()?;
        let rate = limit.provable_rate(&meter, self.terms.latency);
        Some((limit, rate))
    }

    fn unit(&self) -> String {
        match self.limit.unit() {
            Unit::Requests => String::new(),
            unit => format!(" {unit}"),
        }
    }
}
