//! Limits of a thousand calls a second and more. They need a core, so they run one after another.

use super::{FLOOR, Formula, RESPONSE, Scenario, check};
use crate::job::Job;

#[test]
fn a_thousand_a_second() {
    check(&Scenario {
        name: "rolling 1000/s",
        enforced: &["rolling 1000/s"],
        declared: &["1000/s"],
        rows: 15_000,
        ..Scenario::default()
    });
    let counter = check(&Scenario {
        name: "counter 1000/s",
        enforced: &["counter 1000/s"],
        declared: &["1000/s counter"],
        rows: 15_000,
        ..Scenario::default()
    });
    assert!(counter["steady_rate_per_s"].as_f64().unwrap() >= 850.0, "{counter}");
    check(&Scenario {
        name: "rolling 1000/s, estimated",
        enforced: &["rolling 1000/s"],
        job: Some(estimated),
        rows: 15_000,
        // What is assumed must hold on a machine that stalls for a moment, too.
        formula: Formula::Rate(1_000.0 / 1.1),
        floor: 0.96,
        ..Scenario::default()
    });
}

fn estimated() -> Job {
    let job = r#"
        [input]
        path = "rows.csv"

        [quota]
        mode = "estimated"
        counted_within = "100ms"
        limits = ["1000/s"]
    "#;
    let ids: Vec<String> = (0..15_000).map(|i| format!("u{i}\n")).collect();
    Job::of(&[("job.toml", job), ("rows.csv", &format!("id\n{}", ids.concat()))], "/v1/users/{id}")
}

#[test]
#[ignore = "half a minute at full speed; ./test --long"]
fn a_hundred_thousand_a_minute() {
    check(&Scenario {
        name: "rolling 1667/s",
        enforced: &["rolling 1667/s"],
        declared: &["1667/s"],
        rows: 50_000,
        formula: Formula::Rate(1_667.0 / (1.0 + RESPONSE)),
        floor: FLOOR,
        ..Scenario::default()
    });
}
