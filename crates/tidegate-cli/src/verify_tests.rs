use super::*;

fn check(limit: &str, allows: u64, worst: u64, verdict: Verdict) -> Checked {
    let last = Call { row: 812, attempt: 2 };
    let window = Worst {
        start: "2026-01-05T00:00:09.5Z".to_owned(),
        start_us: 0,
        length_us: 1_000_000,
        since_run_us: 9_500_000,
        run: 1,
        log: "out.tidegate/log".into(),
        partition: String::new(),
        first: Some(Call { row: 17, attempt: 1 }),
        last,
    };
    Checked {
        limit: limit.to_owned(),
        unit: "requests".to_owned(),
        way: None,
        allows,
        worst,
        at_most: false,
        verdict,
        why_not: None,
        partial: false,
        partitions: 1,
        partitions_above: 0,
        window: Some(window),
    }
}

fn findings(checks: Vec<Checked>) -> Findings {
    let ok = checks.iter().all(|check| check.verdict != Verdict::Above);
    let log = LogFacts { runs: 1, attempts: 12_000, not_sent: 3, killed: 2, ..LogFacts::default() };
    Findings { ok, checks, logs: vec![log], notes: Vec::new() }
}

#[test]
fn a_table_and_what_follows_from_it() {
    let mut counter = check("60000/min counter", 60_000, 59_400, Verdict::Within);
    counter.at_most = true;
    let mut running = check("concurrency 20", 20, 21, Verdict::Above);
    running.partitions = 3;
    running.partitions_above = 1;
    if let Some(window) = &mut running.window {
        (window.first, window.length_us, window.since_run_us) = (None, 0, -250_000);
        window.partition = "north".to_owned();
    }
    let mut other = check("x", 1, 0, Verdict::NotChecked);
    (other.window, other.why_not) = (None, Some("this version does not know it".to_owned()));
    let text = report(&findings(vec![check("1000/s", 1_000, 909, Verdict::Within), counter, running, other]));
    insta::assert_snapshot!(text.join("\n"), @"
    limit              allows     worst         window
    1000/s              1,000       909  ok     1 s from 2026-01-05T00:00:09.5Z, 9.5 s into run 1: row 17 to row 812, attempt 2
    60000/min counter  60,000  ≤ 59,400  ok     1 s from 2026-01-05T00:00:09.5Z, 9.5 s into run 1: row 17 to row 812, attempt 2
    concurrency 20         20        21  ABOVE  at 2026-01-05T00:00:09.5Z, 0.25 s before run 1: row 812, attempt 2; partition north, 1 of 3 are above
    x                       1         ?  ?      this version does not know it

    12,000 attempts in 1 run; 3 never left and do not count; 2 were under way when a run was killed
    1 of 4 can have been exceeded (1 not checked)
    ");
}

#[test]
fn what_is_said_without_an_excess() {
    let all = |checks| report(&findings(checks)).pop().unwrap_or_default();
    assert_eq!(all(vec![check("1/s", 1, 1, Verdict::Within)]), "no limit can have been exceeded");
    assert_eq!(all(vec![]), "no limit was declared: there is nothing to exceed");
}

#[test]
fn an_incomplete_log() {
    let mut found = findings(vec![check("1/s", 1, 1, Verdict::Within)]);
    found.ok = false;
    found.logs[0].missing = 1;
    let missing = Some(tidegate::verify::Missing { row: 7, number: 2 });
    found.logs[0].first_missing = missing;
    let text = report(&found).join("\n");
    assert!(text.contains("INCOMPLETE: attempt 2 of row 7 is missing"), "{text}");
    assert!(text.ends_with("but it is not complete"), "{text}");
}
