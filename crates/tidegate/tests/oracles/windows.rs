//! Everything that is enforced per time: windows, counters, buckets, concurrency.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{Limit, Rule};

use crate::case::{Case, units};
use crate::client::Cost;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn windows() -> Vec<Case> {
    let everyone = |rate: &'static str, calls| {
        let rolling =
            [format!("rolling {rate}"), format!("rolling {rate} closed"), format!("fixed {rate} aligned")];
        let rolling: Vec<&str> = rolling.iter().map(String::as_str).collect();
        Case::new(&[rate], calls).judged(&rolling).at_phases("fixed", rate, 7)
    };
    let limit = |text: &str| text.parse::<Limit>().unwrap();
    vec![
        everyone("1000/s", 1_000_000),
        everyone("100/6s", 200_000),
        everyone("100000/min", 1_200_000),
        everyone("10/min", 20_000),
        everyone("1/s", 20_000),
        everyone("3/250ms", 50_000),
        Case::of(vec![limit("100/6s").with_granularity(ms(1_000))], 200_000)
            .judged(&["rolling 100/6s granular 1s", "rolling 100/6s granular 250ms"]),
        Case::of(vec![limit("600/s").with_granularity(ms(10))], 200_000)
            .judged(&["rolling 600/s granular 10ms"]),
        Case::of(vec![limit("100/6s").with_skew(ms(500))], 200_000).judged(&[
            "rolling 100/6s nodes 5 skew 500ms",
            "fixed 100/6s nodes 3 skew 500ms",
            "fixed 100/6s phase 2s nodes 2 skew 500ms",
        ]),
        Case::of(vec![limit("1000/s").amplified(units(2))], 400_000)
            .arriving(2)
            .judged(&["rolling 1000/s closed", "fixed 1000/s phase 300ms"]),
        // What lies between the processes of a job is not forgotten.
        everyone("200/2s", 200_000).restarting(ms(13_700)),
    ]
}

pub(crate) fn stacked() -> Vec<Case> {
    vec![
        Case::new(&["100/s", "1500/30s", "concurrency 40"], 200_000)
            .judged_together(&["rolling 100/s", "fixed 1500/30s phase 7s", "concurrency 40 late 5ms"])
            .judged_together(&["fixed 100/s", "rolling 1500/30s closed", "concurrency 40"]),
        Case::new(&["600/min also per second"], 100_000)
            .judged_together(&["fixed 600/min", "rolling 10/s"])
            .judged_together(&["rolling 600/min closed", "fixed 10/s phase 500ms"]),
        Case::new(&["30/min also per second"], 20_000)
            .judged_together(&["fixed 30/min", "rolling 1/2s closed"]),
        Case::new(&["50/s bucket 10", "2000/min", "200/6s counter"], 200_000).judged_together(&[
            "bucket 50/s capacity 10",
            "rolling 2000/min",
            "counter 200/6s phase 1s",
        ]),
    ]
}

pub(crate) fn counters() -> Vec<Case> {
    let everyone =
        |rate: &str, calls| Case::new(&[&format!("{rate} counter")], calls).at_phases("counter", rate, 7);
    let skewed = |text: &str, skew| text.parse::<Limit>().unwrap().with_skew(skew);
    vec![
        everyone("10/min", 20_000),
        everyone("100/min", 100_000),
        everyone("1000/s", 1_000_000),
        everyone("100000/min", 800_000),
        everyone("1/s", 20_000),
        everyone("2/s", 20_000),
        everyone("300/min", 100_000).restarting(ms(200_300)),
        Case::of(vec![skewed("100/6s counter", ms(300))], 100_000)
            .judged(&["counter 100/6s nodes 4 skew 300ms", "counter 100/6s phase 3s nodes 2 skew 300ms"]),
        Case::of(vec![skewed("2000/s counter", Duration::ZERO).amplified(units(2))], 200_000)
            .arriving(2)
            .judged(&["counter 2000/s", "counter 2000/s phase 700ms"]),
    ]
}

pub(crate) fn buckets() -> Vec<Case> {
    let everyone = |rate: &str, capacity: u64, calls| {
        let providers =
            [format!("bucket {rate} capacity {capacity}"), format!("gcra {rate} capacity {capacity}")];
        Case::new(&[&format!("{rate} bucket {capacity}")], calls)
            .judged(&providers.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let stepped = |rate: &str, capacity: u64, step: &str, calls| {
        Case::new(&[&format!("{rate} bucket {capacity} step {step}")], calls)
            .judged(&[&format!("bucket {rate} capacity {capacity} step {step}")])
    };
    let limit = |text: &str| text.parse::<Limit>().unwrap();
    vec![
        everyone("50/s", 10, 200_000),
        everyone("1000/s", 1000, 800_000),
        everyone("1000/s", 150, 800_000),
        everyone("5000/s", 20_000, 800_000),
        everyone("10/s", 1, 20_000),
        everyone("100/min", 20, 50_000),
        everyone("20/s", 3, 20_000),
        everyone("50/s", 40, 100_000).restarting(ms(9_100)),
        Case::new(&["50/s bucket 30"], 100_000).judged(&["bucket 50/s capacity 30 empty"]).used_up(),
        // Two units, spread evenly: they get into each other's way.
        Case::new(&["10/s bucket 2"], 20_000)
            .judged(&["bucket 10/s capacity 2 empty"])
            .used_up()
            .losing(0.03),
        stepped("100/s", 50, "100ms", 100_000),
        stepped("10/s", 10, "1s", 20_000),
        stepped("60/min", 90, "1min", 20_000),
        Case::of(vec![limit("100/s bucket 80").with_skew(ms(200))], 100_000)
            .judged(&["bucket 100/s capacity 80 nodes 3 skew 200ms"]),
        Case::of(vec![limit("400/s bucket 200").amplified(units(2))], 100_000)
            .arriving(2)
            .judged(&["bucket 400/s capacity 200", "gcra 400/s capacity 200"]),
    ]
}

pub(crate) fn unknown() -> Vec<Case> {
    // At 100 in 6 s there is room for two calls in flight, and answer times differ.
    [("1000/s", 0.015), ("100/6s", 0.025), ("20/s", 0.015)]
        .into_iter()
        .map(|(rate, loss)| {
            let case = Case::new(&[&format!("{rate} unknown")], 300_000).losing(loss);
            // A bucket that has room for what the meter lets go at once.
            let contract = case.contract(tidegate_core::Pacing::Burst);
            let room = contract.limits().next().map_or(0, |(_, meter)| meter.greatest_cost());
            let (gcra, bucket) =
                (format!("gcra {rate} capacity {room}"), format!("bucket {rate} capacity {room}"));
            case.judged(&[
                &format!("rolling {rate} closed"),
                &format!("fixed {rate} aligned"),
                &gcra,
                &bucket,
            ])
            .at_phases("fixed", rate, 4)
            .at_phases("counter", rate, 4)
        })
        .collect()
}

pub(crate) fn concurrency() -> Vec<Case> {
    let lingering = |n: u64, linger| Limit::new(units(n), Rule::Concurrency { linger });
    vec![
        Case::new(&["concurrency 20"], 300_000).judged(&["concurrency 20 late 5ms", "concurrency 20"]),
        Case::new(&["concurrency 20"], 300_000)
            .with_body("uniform 10ms..400ms")
            .judged(&["concurrency 20 late 5ms"]),
        Case::of(vec![lingering(3, ms(50))], 20_000).with_body("100ms").judged(&["concurrency 3 late 50ms"]),
        Case::of(vec![lingering(40, ms(5)).amplified(units(2))], 50_000)
            .arriving(2)
            .judged(&["concurrency 40 late 5ms"]),
    ]
}

pub(crate) fn costs() -> Vec<Case> {
    let limit = |text: &str| text.parse::<Limit>().unwrap();
    let exact: fn(&mut Rng) -> Cost = |rng| {
        let cost = rng.u64(5..=40);
        Cost { reserved: cost, actual: cost }
    };
    let less: fn(&mut Rng) -> Cost = |rng| {
        let reserved = rng.u64(5..=40);
        Cost { reserved, actual: rng.u64(1..=reserved) }
    };
    let seven: fn(&mut Rng) -> Cost = |_| Cost { reserved: 7, actual: 7 };
    vec![
        Case::new(&["20k tokens/s"], 200_000)
            .costing(less)
            .with_body("uniform 0..50ms")
            .judged(&["rolling 20k tokens/s", "fixed 20k tokens/s phase 250ms"]),
        Case::of(vec![limit("20k tokens/s").refunding()], 200_000)
            .costing(less)
            .with_body("uniform 0..50ms")
            .judged(&["rolling 20k tokens/s refund", "fixed 20k tokens/s refund"]),
        Case::new(&["2000 tokens/6s counter"], 100_000)
            .costing(exact)
            .judged(&["counter 2000 tokens/6s", "counter 2000 tokens/6s phase 2s"]),
        Case::of(vec![limit("2000 tokens/6s counter").refunding()], 100_000)
            .costing(less)
            .judged(&["counter 2000 tokens/6s refund", "counter 2000 tokens/6s phase 2s refund"]),
        Case::new(&["3000 tokens/s bucket 2000"], 100_000)
            .costing(less)
            .judged(&["bucket 3000 tokens/s capacity 2000", "gcra 3000 tokens/s capacity 2000"]),
        Case::of(vec![limit("3000 tokens/s bucket 2000").refunding()], 100_000).costing(less).judged(&[
            "bucket 3000 tokens/s capacity 2000 refund",
            "gcra 3000 tokens/s capacity 2000 refund",
        ]),
        Case::new(&["1000 tokens/s unknown"], 100_000).costing(exact).judged(&[
            "rolling 1000 tokens/s",
            "fixed 1000 tokens/s",
            "counter 1000 tokens/s phase 100ms",
        ]),
        Case::of(vec![limit("1000 points/2s").with_cost(units(7))], 100_000)
            .costing(seven)
            .judged(&["rolling 1000 tokens/2s closed", "fixed 1000 tokens/2s phase 1s"]),
        Case::of(vec![limit("1000 points/2s counter").with_cost(units(7))], 100_000)
            .costing(seven)
            .judged(&["counter 1000 tokens/2s", "counter 1000 tokens/2s phase 1s"]),
        Case::of(vec![limit("500 points/s bucket 100").with_cost(units(7))], 100_000)
            .costing(seven)
            .judged(&["bucket 500 tokens/s capacity 100", "gcra 500 tokens/s capacity 100"]),
    ]
}

pub(crate) fn estimated() -> Vec<Case> {
    let soon = ms(30);
    vec![
        Case::new(&["1000/s"], 500_000)
            .counted_within(soon)
            .judged(&["rolling 1000/s", "fixed 1000/s phase 500ms"]),
        Case::new(&["1000/s counter"], 200_000)
            .counted_within(soon)
            .judged(&["counter 1000/s", "counter 1000/s phase 300ms"]),
        Case::new(&["50/s bucket 10"], 100_000)
            .counted_within(soon)
            .judged(&["bucket 50/s capacity 10", "gcra 50/s capacity 10"]),
        Case::new(&["100/6s"], 100_000)
            .with_latency(ms(5_000))
            .counted_within(soon)
            .judged(&["rolling 100/6s"]),
    ]
}
