//! What a provider tells about itself.

use serde::Serialize;

/// What a provider saw since its start or last reset.
///
/// `arrived` = `accepted` + `rejected` + `faults.unauthorized` + `faults.pause`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that reached the limiter.
    pub arrived: u64,
    /// Requests that all limits accepted.
    pub accepted: u64,
    /// Their cost when they arrived, all together.
    pub cost_accepted: u64,
    /// The cost of those whose answers were written, as it turned out.
    pub cost_settled: u64,
    /// Requests answered 429 because of a limit.
    pub rejected: u64,
    /// The same by limit, in the order of configuration.
    pub rejected_by: Vec<LimitRejections>,
    /// The fullest window of the first limit that has one.
    pub worst_window: Option<WorstWindowStats>,
    /// The costliest window of the first limit of tokens that has one: sums of cost in place of numbers of requests.
    pub worst_cost_window: Option<WorstWindowStats>,
    /// Good answers with status 200 under `/v1/`; injected faults are none.
    pub served_200: u64,
    /// How many different calls (method, target, body) are among those more than once.
    pub served_twice: u64,
    /// Whether all calls could be remembered to tell; false after 20 million different ones.
    pub served_twice_exact: bool,
    /// Accepted requests whose answer is not written yet.
    pub in_service: u64,
    /// Greatest number of those at any time.
    pub greatest_concurrency: u64,
    /// What went wrong on purpose.
    pub faults: FaultCounts,
    /// Milliseconds since the start or the last reset.
    pub uptime_ms: u64,
}

/// Requests that one limit rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitRejections {
    /// The limit, as it would be configured.
    pub limit: String,
    /// How many requests it rejected.
    pub rejected: u64,
}

/// The fullest rolling window (t − W, t], by the time of the limiter's check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorstWindowStats {
    /// The limit whose window it is.
    pub limit: String,
    /// Length of the window in milliseconds, rounded down.
    pub window_ms: u64,
    /// Greatest number of accepted requests in one window, or their greatest cost as they arrived.
    pub accepted: u64,
    /// The same of all requests, accepted or not.
    pub arrived: u64,
    /// Whether both are exact; otherwise (beyond eight million in a window) they are lower bounds.
    pub exact: bool,
}

/// Injected faults by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Accepted requests answered with an error status.
    pub status: u64,
    /// Accepted requests whose connection was reset.
    pub reset: u64,
    /// Accepted requests that were never answered.
    pub hang: u64,
    /// Accepted requests whose answer was cut.
    pub truncate: u64,
    /// Accepted requests answered with an HTML page.
    pub html: u64,
    /// Requests answered 401.
    pub unauthorized: u64,
    /// Requests answered 429 during a pause.
    pub pause: u64,
    /// Requests that were held until a stall ended.
    pub stall: u64,
}
