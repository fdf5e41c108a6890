//! Limits of low rate: their runs mostly wait, and go side by side.

use std::fmt::Write as _;

use super::costs::{completions, costed};
use super::{FLOOR_OF_CONCURRENCY, Formula, RESPONSE, Scenario, costs, side_by_side};
use crate::job::Job;

const SHOPS: u64 = 40;

#[test]
fn every_limit_of_low_rate_is_kept_and_used() {
    let scenarios = [special(), plain(), costly()].into_iter().flatten().collect::<Vec<_>>();
    let summaries = side_by_side(&scenarios);
    // Five windows and six answers, of which the slowest counts; nothing else.
    let burst = summaries[0]["wall_s"].as_f64().unwrap();
    assert!(burst < 1.04 * 30.0, "{burst} s in bursts");
}

#[test]
#[ignore = "five minutes of waiting; ./test --long"]
fn limits_by_the_minute_are_kept_and_used() {
    side_by_side(&one_to_one([
        (&["counter 10/min"], &["10/min counter"], 40),
        (&["counter 100/min phase 20s"], &["100/min counter"], 450),
        (&["rolling 100/min"], &["100/min"], 450),
        (&["fixed 10/min phase 20s"], &["10/min unknown"], 40),
    ]));
}

/// One limit is enforced, one declared, and the calls of some windows are made.
fn plain() -> Vec<Scenario> {
    one_to_one([
        (&["rolling 100/6s"], &["100/6s"], 600),
        (&["fixed 100/6s"], &["100/6s"], 600),
        (&["fixed 100/6s phase 1200ms"], &["100/6s"], 600),
        (&["fixed 100/6s phase 2400ms"], &["100/6s"], 600),
        (&["fixed 100/6s phase 3600ms"], &["100/6s"], 600),
        (&["fixed 100/6s phase 4800ms"], &["100/6s"], 600),
        (&["counter 100/6s phase 2s"], &["100/6s counter"], 600),
        (&["counter 10/6s"], &["10/6s counter"], 50),
        (&["bucket 50/s capacity 10"], &["50/s bucket 10"], 1_500),
        (&["gcra 50/s capacity 10"], &["50/s bucket 10"], 1_500),
        (&["bucket 50/s capacity 30 step 100ms"], &["50/s bucket 30 step 100ms"], 1_500),
        (&["fixed 1000/6s phase 3s"], &["1000/6s unknown"], 3_000),
        (&["rolling 1000/6s"], &["1000/6s unknown"], 3_000),
        (&["counter 1000/6s"], &["1000/6s unknown"], 3_000),
    ])
}

fn one_to_one<const N: usize>(
    limits: [(&'static [&'static str; 1], &'static [&'static str; 1], u64); N],
) -> Vec<Scenario> {
    let scenario =
        |(enforced, declared, rows): (&'static [&'static str; 1], &'static [&'static str; 1], _)| Scenario {
            name: enforced[0],
            enforced,
            declared,
            rows,
            ..Scenario::default()
        };
    limits.map(scenario).into()
}

/// Other paces, stacked limits, and where an answer ends.
fn special() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "rolling, burst",
            enforced: &["rolling 100/6s"],
            declared: &["100/6s"],
            run: &["--pace", "burst"],
            rows: 600,
            formula: Formula::None,
            ..Scenario::default()
        },
        Scenario {
            name: "rolling, rejections count",
            enforced: &["rolling 100/6s"],
            declared: &["100/6s"],
            provider: &["--reject-counts"],
            rows: 600,
            ..Scenario::default()
        },
        Scenario {
            name: "bucket, rejections count",
            enforced: &["bucket 50/s capacity 10"],
            declared: &["50/s bucket 10"],
            provider: &["--reject-counts"],
            rows: 1_500,
            ..Scenario::default()
        },
        Scenario {
            name: "concurrency",
            enforced: &["concurrency 20"],
            declared: &["concurrency 20"],
            rows: 5_000,
            floor: FLOOR_OF_CONCURRENCY,
            ..Scenario::default()
        },
        Scenario {
            name: "stacked",
            enforced: &["rolling 100/6s", "fixed 30/s", "concurrency 5"],
            declared: &["100/6s", "30/s", "concurrency 5"],
            rows: 600,
            ..Scenario::default()
        },
        Scenario {
            name: "also per second",
            enforced: &["rolling 600/6s", "rolling 100/s"],
            declared: &["600/6s also per second"],
            rows: 2_400,
            ..Scenario::default()
        },
        Scenario {
            name: "request units do not wait for bodies",
            enforced: &["rolling 100/6s"],
            declared: &["100/6s"],
            provider: &["--body", "uniform 0..5s"],
            rows: 600,
            ..Scenario::default()
        },
        Scenario {
            name: "places do wait for bodies",
            enforced: &["concurrency 20"],
            declared: &["concurrency 20"],
            provider: &["--body", "uniform 0..500ms"],
            rows: 1_500,
            formula: Formula::Rate(20.0 / (RESPONSE + 0.250 + 0.005)),
            floor: FLOOR_OF_CONCURRENCY,
            ..Scenario::default()
        },
    ]
}

/// Calls that differ in what they cost, or in whom they are charged to.
fn costly() -> Vec<Scenario> {
    // 20,000 tokens are 100 calls of 200.
    let calls_of_200 = || Formula::Rate(100.0 / (6.0 + RESPONSE));
    vec![
        Scenario {
            name: "tokens",
            enforced: &["rolling 20k tokens/6s"],
            job: Some(|| costed(&[])),
            rows: costs::ROWS,
            formula: calls_of_200(),
            ..Scenario::default()
        },
        Scenario {
            name: "tokens and requests",
            enforced: &["fixed 20k tokens/6s phase 2s", "rolling 100/6s", "rolling 30/s"],
            job: Some(|| costed(&["100/6s", "30/s"])),
            rows: costs::ROWS,
            formula: calls_of_200(),
            ..Scenario::default()
        },
        Scenario {
            name: "completions",
            enforced: &["rolling 20k tokens/6s", "rolling 200/6s"],
            job: Some(|| completions(false)),
            rows: costs::ROWS,
            formula: calls_of_200(),
            ..Scenario::default()
        },
        Scenario {
            name: "completions with refunds",
            enforced: &["rolling 20k tokens/6s refund", "rolling 200/6s"],
            job: Some(|| completions(true)),
            rows: costs::ROWS,
            // 200 while the answer is awaited; then 157, since 16 to 256 words, but 160 at most, are 117.
            formula: Formula::Rate(20_000.0 / (156.7 * 6.0 + 200.0 * RESPONSE)),
            ..Scenario::default()
        },
        Scenario {
            name: "partitions",
            enforced: &["rolling 10/2s"],
            provider: &["--per", "x-shop"],
            job: Some(shops),
            rows: SHOPS * 50,
            formula: Formula::Rate(10.0 * SHOPS as f64 / (2.0 + RESPONSE)),
            ..Scenario::default()
        },
    ]
}

/// Users of many shops, each with a limit of its own.
fn shops() -> Job {
    let job = r#"
        [input]
        path = "rows.csv"

        [request]
        headers = { X-Shop = "{{ row.shop }}" }

        [quota]
        limits = ["10/2s"]
        partition = "{shop}"
    "#;
    let mut rows = "id,shop\n".to_owned();
    for i in 0..SHOPS * 50 {
        writeln!(rows, "u{i},shop-{}", i * 7 % SHOPS).unwrap();
    }
    Job::of(&[("job.toml", job), ("rows.csv", &rows)], "/v1/users/{id}")
}
