//! What a run is, for its log.

use tidegate_core::{Contract, Limit, Mode, Period, Rule};

use super::{LimitRecord, Micros, RunRecord, Window};

impl RunRecord {
    /// A run under `contract`.
    pub(crate) fn new(contract: &Contract, boot: String, at: Micros, wall_ms: u64) -> Self {
        let limits: Vec<LimitRecord> = contract.limits().map(|(limit, _)| LimitRecord::of(limit)).collect();
        let costs = (0..limits.len()).map(|limit| contract.costs().of(limit)).collect();
        let counted_within_us = match contract.terms().mode {
            Mode::Guaranteed => None,
            Mode::Estimated { counted_within } => Some(us(counted_within)),
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, boot, at, wall_ms, limits, costs, counted_within_us, ..Self::default() }
    }
}

impl LimitRecord {
    pub(crate) fn of(limit: &Limit) -> Self {
        let window = match limit.rule() {
            Rule::Window { per } => Window::Any { per_us: us(*per) },
            Rule::Counter { per } => Window::Counter { per_us: us(*per) },
            Rule::Unknown { per } => Window::Unknown { per_us: us(*per) },
            Rule::Bucket { per, capacity, step } => {
                Window::Bucket { per_us: us(*per), capacity: capacity.get(), step_us: us(*step) }
            }
            Rule::Calendar(calendar) => Window::Calendar {
                period: match calendar.period {
                    Period::Day => "day",
                    Period::Week => "week",
                    Period::Month => "month",
                }
                .to_owned(),
                zone: calendar.zone.iana_name().unwrap_or("UTC").to_owned(),
            },
            Rule::Concurrency { linger } => Window::Concurrency { linger_us: us(*linger) },
            _ => Window::Other,
        };
        Self {
            limit: limit.to_string(),
            unit: limit.unit().to_string(),
            amount: limit.amount(),
            window,
            ends_with_head: limit.ends_with_head(),
        }
    }
}

fn us(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
