//! What a run did: counters while it goes, the summary at its end.

mod sends;
mod stats;
mod summary;
mod worst;

pub use stats::{Before, Snapshot, Stats};
pub use summary::{
    Cost, IgnoredHeader, IncidentReport, LatencyMs, LimitUse, OthersReport, Summary, TokenUse, ToldLimit,
};
