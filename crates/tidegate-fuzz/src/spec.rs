//! Short texts: limits, what the sim is told.

use std::fmt::{Debug, Display};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use tidegate_core::{Contract, Limit, LimitError, Pacing, Quota, Terms, Time, WallClock};
use tidegate_sim::{FaultSpec, Latency, LimitSpec, RetryAfter, SpecError};

use crate::assert_bounded;

pub(crate) const LIMIT_WORDS: &[&str] = &[
    "/s",
    "/min",
    "/day",
    "/month",
    "/250ms",
    " per ",
    " bucket ",
    " burst ",
    "concurrency ",
    " concurrent",
    "k",
    "M",
    "G",
    "1",
    "0",
    "999999999999",
    "1_000",
    "1,000",
    "0.5",
    " tokens",
    " requests",
    "400",
    "18446744073709551615",
];
pub(crate) const SIM_WORDS: &[&str] = &[
    "fixed ",
    "rolling ",
    "bucket ",
    "counter ",
    "concurrency ",
    " capacity ",
    " phase ",
    "100/min",
    "1/s",
    "0",
    "..",
    "-",
    "uniform ",
    "lognormal ",
    "60ms",
    "0.5",
    "ns",
    "d",
    "reset ",
    "hang ",
    "truncate ",
    "html ",
    "status 503 ",
    "unauthorized after ",
    "pause after ",
    " for ",
    "10%",
    "1e-9",
    "none",
    "seconds",
    "date",
    "ms",
    "9999999999999999",
];
/// A limit: what is printed parses to itself; meters compile, or say why not.
pub fn limit(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limit: Limit = match text.parse() {
        Ok(limit) => limit,
        Err(error) => return limit_error(&error, text.len()),
    };
    assert_eq!(limit.to_string().parse::<Limit>().as_ref(), Ok(&limit), "{text:?} prints as {limit}");
    assert!(limit.amount() > 0, "{text:?}");

    let wall = Some(WallClock::new(1_800_000_000_000_000_000, Duration::from_secs(60)));
    let terms = Terms { wall, ..Terms::default() };
    let mut compiled = 0;
    for cost in [None, Some(1), Some(7), Some(1_000_000_000_000), Some(u64::MAX)] {
        let cost = cost.and_then(NonZeroU64::new);
        let limit = cost.map_or_else(|| limit.clone(), |cost| limit.clone().with_cost(cost));
        for linger in [Duration::ZERO, Limit::DEFAULT_LINGER, Duration::from_secs(400 * 86_400)] {
            let limit = limit.clone().with_linger(linger);
            match limit.compile(&terms) {
                Ok(meter) => {
                    compiled += 1;
                    assert!(meter.greatest_cost() >= limit.cost().unwrap_or(1), "{text:?} can grant no call");
                    let rate = limit.provable_rate(&meter, Duration::from_millis(100));
                    assert!(rate.is_finite() && rate > 0.0, "{text:?}: {rate} a second");
                }
                Err(error) => limit_error(&error, text.len()),
            }
            for pacing in [Pacing::Even, Pacing::Burst] {
                if let Ok(contract) = Contract::new(std::slice::from_ref(&limit), pacing, terms) {
                    let _ = Quota::new(&contract).take(contract.costs(), Time::from_millis(1));
                }
            }
        }
    }
    assert!(compiled > 0, "{text:?}: a call that costs 1 is always possible");
}

fn limit_error(error: &LimitError, given: usize) {
    assert_bounded(&error.to_string(), given);
    assert_bounded(&error.hint(), given);
}

/// What the sim is told: what is printed parses to itself.
pub fn sim_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    prints_as_it_reads::<LimitSpec>(text);
    prints_as_it_reads::<Latency>(text);
    prints_as_it_reads::<FaultSpec>(text);
    prints_as_it_reads::<RetryAfter>(text);
    if let Ok(latency) = text.parse::<Latency>() {
        let mut dice = fastrand::Rng::with_seed(1);
        let most = Duration::from_secs(400 * 86_400);
        assert!((0..8).all(|_| latency.sample(&mut dice) <= most), "{text:?}");
    }
}

fn prints_as_it_reads<T>(text: &str)
where
    T: FromStr<Err = SpecError> + Display + Debug + PartialEq,
{
    match text.parse::<T>() {
        Ok(spec) => {
            assert_eq!(spec.to_string().parse::<T>().as_ref(), Ok(&spec), "{text:?} prints as {spec}");
        }
        Err(error) => {
            assert_bounded(&error.to_string(), text.len());
            assert!(!error.hint().is_empty());
        }
    }
}
