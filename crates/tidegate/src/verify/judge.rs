//! Holds attempts against all limits of all partitions.

use super::any::AnyWindow;
use super::book::{Book, Cost};
use super::bucket::Bucket;
use super::calendar::CalendarPeriods;
use super::concurrency::Concurrency;
use super::counter::Counter;
use super::findings::{Checked, Findings, LogFacts, Verdict};
use super::rule::{Counted, Edge, Rule, Sight};
use super::stepped::SteppedBucket;
use super::stream::Attempt;
use super::timeline::{NEVER, clip};
use crate::log::{LimitRecord, Window};

/// All limits, each held against in one way or two.
pub(super) struct Judge {
    checks: Option<Vec<Check>>,
    /// Runs of which attempts have come.
    seen: Vec<bool>,
}

/// One limit, held against in one way.
struct Check {
    /// Its place in the book.
    limit: usize,
    /// In which way, if the limit does not say.
    way: Option<&'static str>,
    ends_with_head: bool,
    make: Option<Make>,
    /// Why it is not checked.
    unchecked: Option<String>,
    /// By partition.
    rules: Vec<Option<Box<Rule>>>,
    above: Vec<bool>,
    /// Values are in so many parts of a unit.
    parts: i128,
    allows: u64,
    worst: Option<Worst>,
    /// Calls of some run could not be counted: it does not say what they cost.
    blind: bool,
}

/// A rule for a partition that had none.
type Make = Box<dyn Fn() -> Rule>;

/// The fullest window so far.
pub(super) struct Worst {
    pub(super) sight: Sight,
    pub(super) partition: u32,
    pub(super) last: Edge,
}

impl Judge {
    pub(super) fn new() -> Self {
        Self { checks: None, seen: Vec::new() }
    }

    /// Takes an attempt; they come in the order of their sends.
    pub(super) fn attempt(&mut self, attempt: &Attempt, book: &Book) {
        let checks = self.checks.get_or_insert_with(|| checks(book));
        let run = attempt.run as usize;
        if self.seen.get(run) != Some(&true) {
            self.seen.resize(self.seen.len().max(run + 1), false);
            self.seen[run] = true;
            let began = book.runs[run].began;
            for check in checks.iter_mut().filter(|check| book.column(attempt.run, check.limit).fresh) {
                check.rules.iter_mut().flatten().for_each(|rule| rule.declared_at(began));
            }
        }
        for check in checks {
            check.attempt(attempt, book);
        }
    }

    /// What has been found.
    pub(super) fn findings(self, book: &Book, logs: Vec<LogFacts>) -> Findings {
        let checks = self.checks.unwrap_or_else(|| checks(book));
        let checked = checks.into_iter().map(|check| check.report(book, &logs)).collect();
        Findings::new(book, logs, checked)
    }
}

fn checks(book: &Book) -> Vec<Check> {
    book.limits.iter().enumerate().flat_map(|(place, limit)| Check::of(place, limit)).collect()
}

impl Check {
    fn of(place: usize, limit: &LimitRecord) -> Vec<Self> {
        let amount = limit.amount;
        let any = |per: u64| -> (Make, i128) { (Box::new(move || Rule::Any(AnyWindow::new(clip(per)))), 1) };
        let counter = |per: u64| -> (Make, i128) {
            let per = clip(per).max(1);
            (Box::new(move || Rule::Counter(Counter::new(amount, per))), i128::from(per))
        };
        let new = |way, (make, parts): (Make, i128)| Self {
            limit: place,
            way,
            ends_with_head: limit.ends_with_head,
            make: Some(make),
            unchecked: None,
            rules: Vec::new(),
            above: Vec::new(),
            parts,
            allows: amount,
            worst: None,
            blind: false,
        };
        let unchecked = |why: String| {
            let nothing: (Make, i128) = any(0);
            vec![Self { make: None, unchecked: Some(why), ..new(None, nothing) }]
        };
        match &limit.window {
            Window::Any { per_us } => vec![new(None, any(*per_us))],
            Window::Counter { per_us } => vec![new(None, counter(*per_us))],
            Window::Unknown { per_us } => {
                vec![new(Some("any window"), any(*per_us)), new(Some("counter"), counter(*per_us))]
            }
            Window::Bucket { per_us, capacity, step_us } => {
                let (per, step) = (clip(*per_us).max(1), clip(*step_us));
                let capacity = *capacity;
                let make: Make = Box::new(move || match step {
                    0 => Rule::Bucket(Bucket::new(amount, per)),
                    step => Rule::SteppedBucket(SteppedBucket::new(amount, per, capacity, step)),
                });
                vec![Self { allows: capacity, ..new(None, (make, i128::from(per))) }]
            }
            Window::Concurrency { linger_us } => {
                let linger = clip(*linger_us);
                vec![new(None, (Box::new(move || Rule::Concurrency(Concurrency::new(linger))), 1))]
            }
            Window::Calendar { period, zone } => match CalendarPeriods::new(period, zone) {
                Ok(known) => {
                    let make: Make = Box::new(move || Rule::Calendar(known.clone()));
                    vec![new(None, (make, 1))]
                }
                Err(why) => unchecked(why),
            },
            Window::Other => unchecked("this version does not know how it is enforced".to_owned()),
        }
    }

    fn attempt(&mut self, attempt: &Attempt, book: &Book) {
        let Some(make) = &self.make else { return };
        let column = book.column(attempt.run, self.limit);
        let units = match column.cost {
            Cost::Fixed(units) => units,
            Cost::At(place, usual) => {
                attempt.costs.as_deref().and_then(|costs| costs.get(place)).copied().unwrap_or(usual)
            }
            Cost::Unknown => {
                self.blind = true;
                return;
            }
        };
        if units == 0 {
            return;
        }
        let partition = attempt.partition as usize;
        if self.rules.len() <= partition {
            self.rules.resize_with(partition + 1, || None);
            self.above.resize(partition + 1, false);
        }
        let rule = self.rules[partition].get_or_insert_with(|| Box::new(make()));
        let call = counted(attempt, units, self.ends_with_head, rule, book);
        let Some(sight) = rule.call(&call, column.declared) else { return };
        if sight.value > i128::from(self.allows).saturating_mul(self.parts) {
            self.above[partition] = true;
        }
        if self.worst.as_ref().is_none_or(|worst| sight.value > worst.sight.value) {
            self.worst = Some(Worst { sight, partition: attempt.partition, last: call.edge });
        }
    }

    fn report(self, book: &Book, logs: &[LogFacts]) -> Checked {
        let limit = &book.limits[self.limit];
        let verdict = if self.unchecked.is_some() {
            Verdict::NotChecked
        } else if self.above.contains(&true) {
            Verdict::Above
        } else {
            Verdict::Within
        };
        let worst_units = self.worst.as_ref().map_or(0, |worst| ceil(worst.sight.value, self.parts));
        Checked {
            limit: limit.limit.clone(),
            unit: limit.unit.clone(),
            way: self.way.map(str::to_owned),
            allows: self.allows,
            worst: worst_units,
            at_most: self.worst.as_ref().is_some_and(|worst| worst.sight.at_most),
            verdict,
            why_not: self.unchecked,
            partial: self.blind,
            partitions: self.rules.iter().flatten().count() as u64,
            partitions_above: self.above.iter().filter(|above| **above).count() as u64,
            window: self.worst.map(|worst| worst.named(book, logs)),
        }
    }
}

/// A call as the limit sees it.
fn counted(attempt: &Attempt, units: u64, ends_with_head: bool, rule: &Rule, book: &Book) -> Counted {
    let run = &book.runs[attempt.run as usize];
    let mut over = if ends_with_head { attempt.head } else { attempt.last };
    // What is assumed is when a call is counted; how long it runs is another matter.
    if let Some(within) = run.within
        && !matches!(rule, Rule::Concurrency(_))
    {
        // From the send as it was noted: one less than it is taken as.
        over = over.min((attempt.sent - 1).saturating_add(within)).max(attempt.sent);
    }
    let wall_over = if over == NEVER {
        NEVER
    } else {
        // The wall clock was noted in whole milliseconds.
        const NOTED: i64 = 999;
        let to_wall = run.to_wall.max(book.runs[attempt.over_in as usize].to_wall);
        over.saturating_add(to_wall).saturating_add(NOTED)
    };
    let edge = Edge { row: attempt.row, number: attempt.number, run: attempt.run };
    Counted {
        sent: attempt.sent,
        over,
        wall: (attempt.sent.saturating_add(run.to_wall), wall_over),
        units,
        edge,
    }
}

/// Whole units, any part of one rounded up.
fn ceil(value: i128, parts: i128) -> u64 {
    let whole = value.div_euclid(parts) + i128::from(value.rem_euclid(parts) > 0);
    u64::try_from(whole.max(0)).unwrap_or(u64::MAX)
}
