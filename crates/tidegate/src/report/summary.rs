//! The summary of a run, for people and as `summary.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Answers of 429 in this run.
    pub throttled: u64,
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
    /// Rejections that the declared limits say cannot be, the first twenty: either a limit is
    /// declared wrong, or somebody else uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentReport>,
    /// The run before was killed.
    pub resumed_after_kill: bool,
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
