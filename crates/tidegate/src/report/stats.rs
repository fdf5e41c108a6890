//! Counters of a run, kept by the engine and read by whoever watches.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tidegate_core::{Contract, Heard, Incident, Limit, Mode, Others, Rule, Time};

use super::learning::Learning;
use super::sends::Sends;
use super::summary::{
    IgnoredHeader, IncidentReport, LatencyMs, LearntUse, LimitUse, OthersReport, Summary, TokenUse, ToldLimit,
};
use super::worst::WorstWindow;
use crate::llm::{Money, Usage};
use crate::verdict::Cause;

/// Incidents that are told of; more say the same.
const MOST_INCIDENTS: usize = 20;
/// Header fields that make no sense, of which that is said.
const MOST_IGNORED: usize = 10;

/// All that is counted in a run.
#[derive(Debug)]
pub struct Stats {
    started: Time,
    partitioned: bool,
    limits: Vec<(Limit, Option<WorstWindow>)>,
    latency_us: Histogram<u64>,
    sends: Sends,
    attempts: u64,
    ok: u64,
    failed: u64,
    unknown: u64,
    throttled: u64,
    retried: BTreeMap<Cause, u64>,
    incidents: Vec<IncidentReport>,
    capped: u64,
    refused: u64,
    refreshed: u64,
    others: BTreeMap<usize, OthersReport>,
    told: BTreeMap<usize, u64>,
    learning: Option<Learning>,
    ignored: BTreeMap<Box<str>, IgnoredHeader>,
    in_flight: u64,
    peak_in_flight: u64,
    tokens: TokenUse,
    before: Before,
}

/// What earlier runs of the job had written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    /// Results.
    pub ok: u64,
    /// Failures.
    pub failed: u64,
    /// Rows of unknown outcome.
    pub unknown: u64,
}

/// A look at a running job.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Time since the start.
    pub elapsed: Duration,
    /// Results and failures so far, earlier runs included.
    pub done: u64,
    /// Results of this run.
    pub ok: u64,
    /// Failures of this run.
    pub failed: u64,
    /// Rows of unknown outcome of this run.
    pub unknown: u64,
    /// Answers of 429.
    pub throttled: u64,
    /// Attempts of this run.
    pub attempts: u64,
    /// Calls sent and not yet answered.
    pub in_flight: u64,
    /// Calls per second over the last seconds.
    pub rate: f64,
    /// Tokens that answers say they took: of prompts, and of answers.
    pub tokens: (u64, u64),
    /// What the job has cost so far, all its runs together.
    pub cost: Option<Money>,
}

impl Stats {
    /// Counters at zero for a run that starts now. Where calls count against several quotas, no
    /// window says anything.
    pub fn new(contract: &Contract, partitioned: bool, started: Time, before: Before) -> Self {
        let assumed = match contract.terms().mode {
            Mode::Guaranteed => None,
            Mode::Estimated { counted_within } => Some(counted_within),
        };
        let watched = |limit: &Limit| match limit.rule() {
            // Where calls differ in cost, or count on after their head, their number says nothing.
            Rule::Window { per } if !partitioned && limit.cost().is_some() && limit.ends_with_head() => {
                Some(WorstWindow::new(*per, assumed))
            }
            _ => None,
        };
        let limits = contract.limits().map(|(limit, _)| (limit.clone(), watched(limit))).collect();
        Self {
            started,
            partitioned,
            limits,
            latency_us: latency_histogram(),
            sends: Sends::new(),
            attempts: 0,
            ok: 0,
            failed: 0,
            unknown: 0,
            throttled: 0,
            retried: BTreeMap::new(),
            incidents: Vec::new(),
            capped: 0,
            refused: 0,
            refreshed: 0,
            others: BTreeMap::new(),
            told: BTreeMap::new(),
            learning: contract.is_learning().then(|| Learning::new(partitioned)),
            ignored: BTreeMap::new(),
            in_flight: 0,
            peak_in_flight: 0,
            tokens: TokenUse::default(),
            before,
        }
    }

    /// A call is being sent.
    pub fn sent(&mut self, at: Time) {
        self.attempts += 1;
        self.sends.record(at);
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
        for window in self.limits.iter_mut().filter_map(|(_, window)| window.as_mut()) {
            window.sent(at);
        }
    }

    /// The head of its answer came, or it was given up.
    pub fn answered(&mut self, at: Time, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.latency_us.saturating_record(latency.as_micros() as u64);
        }
        for window in self.limits.iter_mut().filter_map(|(_, window)| window.as_mut()) {
            window.answered(at);
        }
    }

    /// It is over.
    pub fn ended(&mut self) {
        self.in_flight -= 1;
    }

    /// It was never written to the network after all.
    pub fn not_sent(&mut self) {
        self.in_flight -= 1;
        self.attempts -= 1;
        for window in self.limits.iter_mut().filter_map(|(_, window)| window.as_mut()) {
            window.not_sent();
        }
    }

    /// An answer of 429.
    pub fn throttled(&mut self) {
        self.throttled += 1;
    }

    /// A rejection that the contract says cannot be.
    pub fn incident(&mut self, sent: Time, incident: Incident, retry_after: Option<Duration>) {
        if self.incidents.len() < MOST_INCIDENTS {
            self.incidents.push(IncidentReport {
                at_s: round3(sent.since(self.started).as_secs_f64()),
                limit: self.limit_name(incident.limit),
                left_percent: incident.tenths * 10,
                paused_s: round3(incident.paused_until.since(sent).as_secs_f64()),
                retry_after_s: retry_after.map(|asked| round3(asked.as_secs_f64())),
            });
        }
    }

    /// The quota of a day or a month is used up.
    pub fn capped(&mut self) {
        self.capped += 1;
    }

    /// The provider says that nothing more is to be had.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    /// A key was fetched.
    pub fn refreshed(&mut self) {
        self.refreshed += 1;
    }

    /// More of a limit is used than can be ours.
    pub fn others(&mut self, others: Others) {
        if !self.others.contains_key(&others.limit) {
            let (limit, of) = (self.limit_name(others.limit), others.amount);
            self.others.insert(others.limit, OthersReport { limit, most: 0, of, answers: 0 });
        }
        let Some(report) = self.others.get_mut(&others.limit) else { return };
        report.answers += 1;
        if others.units > report.most {
            (report.most, report.of) = (others.units, others.amount);
        }
    }

    /// An answer has told of limits that nobody has declared, or has not.
    pub fn heard(&mut self, heard: Heard) {
        heard.others.iter().for_each(|others| self.others(*others));
        if let Some(learning) = &mut self.learning {
            learning.heard(heard);
        }
    }

    /// What is learnt so far; `None` where all limits are declared.
    pub fn learnt(&self) -> Option<LearntUse> {
        self.learning.as_ref().map(Learning::report)
    }

    /// A limit in words; behind those that were declared come those that were learnt.
    pub fn limit_name(&self, index: usize) -> String {
        match (self.limits.get(index), &self.learning) {
            (Some((limit, _)), _) => limit.to_string(),
            (None, Some(learning)) => learning.name(index),
            _ => String::new(),
        }
    }

    /// The provider says another amount than was declared.
    pub fn told(&mut self, limit: usize, amount: u64) {
        self.told.insert(limit, amount);
    }

    /// A header field made no sense.
    pub fn ignored(&mut self, field: &str, why: &'static str) {
        if let Some(ignored) = self.ignored.get_mut(field) {
            ignored.times += 1;
        } else if self.ignored.len() < MOST_IGNORED {
            let ignored = IgnoredHeader { field: field.to_owned(), why: why.to_owned(), times: 1 };
            self.ignored.insert(field.into(), ignored);
        }
    }

    /// An answer says what it took; of the limit of tokens so much was reserved for it, and so much was used.
    pub(crate) fn took(&mut self, usage: &Usage, reserved: u64, used: u64) {
        let tokens = &mut self.tokens;
        tokens.answers += 1;
        tokens.input += usage.input;
        tokens.cached_input += usage.cached;
        tokens.output += usage.output;
        tokens.reserved += reserved;
        tokens.used += used;
    }

    /// A row goes back to be sent again.
    pub fn retried(&mut self, cause: Cause) {
        *self.retried.entry(cause).or_default() += 1;
    }

    /// A row has its result.
    pub fn ok(&mut self) {
        self.ok += 1;
    }

    /// A row has failed.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// Nobody knows whether a row was done.
    pub fn unknown(&mut self) {
        self.unknown += 1;
    }

    /// Results of this run, and rows without.
    pub fn finished(&self) -> (u64, u64) {
        (self.ok, self.failed + self.unknown)
    }

    /// A look at the run as it is now.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        Snapshot {
            elapsed: now.since(self.started),
            done: self.done(),
            ok: self.ok,
            failed: self.failed,
            unknown: self.unknown,
            throttled: self.throttled,
            attempts: self.attempts,
            in_flight: self.in_flight,
            rate: self.sends.recent_rate(now, Duration::from_secs(3)),
            tokens: (self.tokens.input, self.tokens.output),
            cost: None,
        }
    }

    /// Rows at their end.
    fn done(&self) -> u64 {
        let Before { ok, failed, unknown } = self.before;
        self.ok + self.failed + self.unknown + ok + failed + unknown
    }

    /// The summary at the end.
    pub fn summary(&self, now: Time, ended: &str) -> Summary {
        let wall = now.since(self.started);
        let steady = self.sends.steady_rate();
        // With a quota for each partition, a limit says nothing about all calls together.
        let limits = if self.partitioned { &[] } else { self.limits.as_slice() };
        let ideal = limits.iter().filter_map(|(limit, _)| ideal_time(limit, self.attempts)).max();
        let nominal = limits.iter().filter_map(|(limit, _)| calls_per_second(limit)).reduce(f64::min);
        let ms = |us: f64| (us / 100.0).round() / 10.0;
        Summary {
            ended: ended.to_owned(),
            rows: self.done(),
            ok: self.ok + self.before.ok,
            failed: self.failed + self.before.failed,
            unknown: self.unknown + self.before.unknown,
            attempts: self.attempts,
            throttled: self.throttled,
            retried: self.retried.values().sum(),
            retried_by_cause: self.retried.iter().map(|(cause, n)| (cause.to_string(), *n)).collect(),
            wall_s: round3(wall.as_secs_f64()),
            ideal_s: ideal.map(|ideal| round3(ideal.as_secs_f64())),
            steady_rate_per_s: steady.map(round3),
            utilisation: nominal.and_then(|nominal| Some(round3(steady? / nominal))),
            latency_ms: LatencyMs {
                mean: ms(self.latency_us.mean()),
                p50: ms(self.latency_us.value_at_quantile(0.5) as f64),
                p95: ms(self.latency_us.value_at_quantile(0.95) as f64),
                p99: ms(self.latency_us.value_at_quantile(0.99) as f64),
            },
            peak_in_flight: self.peak_in_flight,
            limits: self
                .limits
                .iter()
                .map(|(limit, window)| LimitUse {
                    limit: limit.to_string(),
                    allows: limit.amount(),
                    worst_window: window
                        .as_ref()
                        .map(|window| window.worst().saturating_mul(limit.cost().unwrap_or(1))),
                })
                .collect(),
            tokens: (self.tokens.answers > 0).then_some(self.tokens),
            cost: None,
            incidents: self.incidents.clone(),
            capped: self.capped,
            refused: self.refused,
            keys_fetched: self.refreshed,
            others: self.others.values().cloned().collect(),
            told: self
                .told
                .iter()
                .map(|(limit, amount)| ToldLimit { limit: self.limits[*limit].0.to_string(), told: *amount })
                .collect(),
            learnt: self.learnt(),
            ignored_headers: self.ignored.values().cloned().collect(),
            resumed_after_kill: false,
        }
    }
}

/// Latencies in microseconds up to an hour, to two digits.
fn latency_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 3_600_000_000, 2) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("the bounds are constants that are in order"),
    }
}

/// Calls per second that a limit allows on paper. Not of a calendar, which says nothing about
/// seconds, nor where calls differ in cost.
fn calls_per_second(limit: &Limit) -> Option<f64> {
    limit.cost()?;
    if matches!(limit.rule(), Rule::Calendar(_)) { None } else { limit.nominal_rate() }
}

/// The time that the limit alone would have needed for so many calls, with answers in no time.
fn ideal_time(limit: &Limit, calls: u64) -> Option<Duration> {
    let units = calls.saturating_mul(limit.cost()?);
    match limit.rule() {
        Rule::Window { per } => {
            let windows = units.div_ceil(limit.amount()).saturating_sub(1);
            Some(per.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX)))
        }
        Rule::Bucket { per, capacity, .. } => {
            Some(per.mul_f64(units.saturating_sub(capacity.get()) as f64 / limit.amount() as f64))
        }
        _ => None,
    }
}

fn round3(x: f64) -> f64 {
    (x * 1_000.0).round() / 1_000.0
}
