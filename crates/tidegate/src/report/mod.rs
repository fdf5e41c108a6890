//! What a run did: counters while it goes, the summary at its end.

mod learning;
mod sends;
mod stats;
mod summary;
mod worst;

pub use stats::{Before, Snapshot, Stats};
pub use summary::{
    Cost, IgnoredHeader, IncidentReport, LatencyMs, LearntLimit, LearntUse, LimitUse, OthersReport, Summary,
    TokenUse, ToldLimit,
};
