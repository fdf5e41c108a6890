//! The summary of a run, for people and as `summary.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::llm::Money;

/// What a run did, as `summary.json` in the job's folder says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// How it ended: `finished`, `head`, `stopped: …`, `interrupted`.
    pub ended: String,
    /// Rows at their end, earlier runs of the job included: `ok`, `failed` and `unknown` together.
    pub rows: u64,
    /// Rows with a result.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows of which nobody knows whether they were done, and that were not sent again.
    #[serde(default)]
    pub unknown: u64,
    /// Calls sent in this run.
    pub attempts: u64,
    /// Answers in this run that asked to wait: 429, and what says the same.
    pub throttled: u64,
    /// Answers in this run that said that the quota of a day or a month is used up.
    #[serde(default)]
    pub capped: u64,
    /// Answers in this run that said that nothing more is to be had: unpaid, or a key that is no longer good.
    #[serde(default)]
    pub refused: u64,
    /// Keys fetched in this run, by `[auth]`.
    #[serde(default)]
    pub keys_fetched: u64,
    /// Rows that were sent again in this run.
    pub retried: u64,
    /// The same by cause: `429`, `503`, `timeout`, `network`, `not_sent`.
    pub retried_by_cause: BTreeMap<String, u64>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds that the limit alone would have needed for as many calls; `null` without one.
    pub ideal_s: Option<f64>,
    /// Calls per second between the 10th and the 90th per cent of the calls.
    pub steady_rate_per_s: Option<f64>,
    /// That rate as a share of what the tightest limit says on paper.
    pub utilisation: Option<f64>,
    /// From send to the head of the answer.
    pub latency_ms: LatencyMs,
    /// Most calls in flight at once.
    pub peak_in_flight: u64,
    /// Each limit, and the most that any of its windows can have held.
    pub limits: Vec<LimitUse>,
    /// What answers say that they took, in this run; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenUse>,
    /// What the job has cost, all its runs together; absent without prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Rejections that the declared limits say cannot be, the first twenty: either a limit is
    /// declared wrong, or somebody else uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentReport>,
    /// Limits of which more is used than can be this job's, by the provider's headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OthersReport>,
    /// Limits that are not what was declared, by the provider's headers. A greater one is never taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<ToldLimit>,
    /// What was learnt of limits that nobody has declared (`auto`); absent where all are declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt: Option<LearntUse>,
    /// Header fields about limits that made no sense and were not obeyed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_headers: Vec<IgnoredHeader>,
    /// The run before was killed.
    pub resumed_after_kill: bool,
}

/// Tokens, by what answers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUse {
    /// Answers that say it.
    pub answers: u64,
    /// Of prompts, those from a cache included.
    pub input: u64,
    /// Of these, from a cache.
    pub cached_input: u64,
    /// Of answers.
    pub output: u64,
    /// What was reserved for these calls of the first limit of tokens; 0 without one.
    pub reserved: u64,
    /// What they took of it.
    pub used: u64,
}

/// What a job has cost; amounts in the currency of its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// All together.
    pub spent: Money,
    /// Of that, the most that calls can have cost whose answers never came, or did not say.
    pub at_most: Money,
    /// Calls that are in none of these: their model has no price, or their answer says nothing.
    pub unpriced: u64,
}

/// An unexpected rejection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentReport {
    /// Seconds from the start of the run to the send of the rejected call.
    pub at_s: f64,
    /// The limit that is taken to be meant: the shortest.
    pub limit: String,
    /// So much of it is used from there on, until clean holds have passed.
    pub left_percent: u64,
    /// Seconds from the send to the end of the pause.
    pub paused_s: f64,
    /// What the provider asked for, in seconds.
    pub retry_after_s: Option<f64>,
}

/// Somebody else uses the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OthersReport {
    /// The limit.
    pub limit: String,
    /// The most of it, at any time, that cannot have been ours.
    pub most: u64,
    /// Of so many.
    pub of: u64,
    /// Answers that showed it.
    pub answers: u64,
}

/// What the provider says a limit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldLimit {
    /// The limit as it was declared.
    pub limit: String,
    /// The amount that the provider told last.
    pub told: u64,
}

/// What was learnt of limits that nobody has declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LearntUse {
    /// What is believed in the end.
    pub limits: Vec<LearntLimit>,
    /// Whether any answer has told of a limit.
    pub is_told: bool,
    /// Whether so many have not that the run says so.
    #[serde(skip)]
    pub is_untold: bool,
}

/// A limit that is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearntLimit {
    /// What the provider calls it.
    pub resource: String,
    /// As it would be declared.
    pub limit: String,
    /// Whether the headers name its window. Else that is the longest time to a reset that was seen.
    pub window_told: bool,
}

/// A header field that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredHeader {
    /// Its name.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
    /// How often.
    pub times: u64,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th per cent.
    pub p95: f64,
    /// 99th per cent.
    pub p99: f64,
}

/// A limit and how far it was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    /// The limit as it was given.
    pub limit: String,
    /// Units that it allows.
    pub allows: u64,
    /// The most units that can have been counted in any one window, wherever between send and
    /// answer the provider counted; `null` where the limit has no window.
    pub worst_window: Option<u64>,
}
