//! Many rows in one call.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::support::{Folder, Sim};

#[test]
fn of_a_hundred_thousand_rows_three_spoil_their_calls_and_fail_alone() {
    const ROWS: u64 = 100_000;
    const POISONED: [u64; 3] = [5_017, 5_099, 77_700];
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let mut csv = "user_id\n".to_owned();
    for row in 0..ROWS {
        let name = if POISONED.contains(&row) { "poison" } else { "u" };
        let _ = writeln!(csv, "{name}{row}");
    }
    folder.write("users.csv", csv);
    let url = format!("{}/v1/batch", sim.url);
    let body = r#"{"items": ["{{ row.user_id }}"]}"#;
    let args = ["run", "users.csv", "--url", &url, "--json", body, "--batch", "100", "--split", "/results"];
    let ended = folder.tidegate(args.into_iter().chain(["-o", "out.jsonl", "--max-failed", "3"]));
    ended.assert_code(0);
    folder.assert_each_once(ROWS);
    let mut failed: Vec<u64> =
        folder.lines("out.failed.jsonl").iter().map(|line| line["index"].as_u64().unwrap()).collect();
    failed.sort_unstable();
    assert_eq!(failed, POISONED);
    for line in folder.lines("out.jsonl") {
        assert_eq!(line["body"]["id"], line["input"]["user_id"], "{line}");
    }
    let summary = folder.summary();
    let halved = summary["retried_by_cause"]["halved"].as_u64().unwrap();
    assert!((2 * 6..=2 * 7 * 3).contains(&halved), "{summary}");
    assert_eq!(summary["attempts"], 1_000 + halved);
    assert_eq!(sim.stats()["served_twice"], 0);
    folder.tidegate(["verify", "out.jsonl"]).assert_code(0);
}

#[test]
fn ids_go_into_the_query_and_parts_into_columns() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("ids.txt", "a b\nbad1\nc\n");
    let url = format!("{}/v1/batch?ids={{{{ lines | join(',') }}}}", sim.url);
    let args = ["run", "ids.txt", "--url", &url, "--batch", "2", "--split", "/results", "--split-key", "/id"];
    let more = [
        "--key",
        "line",
        "--success",
        "{{ body.ok }}",
        "--select",
        "id=/id",
        "-o",
        "out.csv",
        "--order",
        "input",
    ];
    folder.tidegate(args.into_iter().chain(more).chain(["-q"])).assert_code(1);
    assert_eq!(folder.read("out.csv"), "line,id\na b,a b\nc,c\n");
    assert!(
        folder.read("out.failed.csv").starts_with("line,error_kind,"),
        "{}",
        folder.read("out.failed.csv")
    );
    assert_eq!(sim.stats()["arrived"], 2);
}

#[test]
fn what_would_be_sent_is_shown() {
    let folder = Folder::new();
    folder.write("rows.jsonl", "{\"q\":\"a\"}\n{\"q\":\"b\"}\n{\"n\":1}\n{\"q\":\"c\"}\n{\"q\":\"d\"}\n");
    let body = r#"{"queries": [{"text": "{{ row.q }}"}]}"#;
    let args =
        ["run", "rows.jsonl", "--url", "http://127.0.0.1:9/", "--json", body, "--batch", "3", "--split", ""];
    let said = folder.tidegate(args.into_iter().chain(["--rate", "1/s", "--dry-run"]));
    said.assert_code(0);
    assert_snapshot!(said.stdout, @r#"
    POST http://127.0.0.1:9/
    user-agent: tidegate/0.1.0
    content-type: application/json

    {"queries":[{"text":"a"},{"text":"b"}]}

    row 2 (line 3) would fail: the row has no `q`

    POST http://127.0.0.1:9/
    user-agent: tidegate/0.1.0
    content-type: application/json

    {"queries":[{"text":"c"},{"text":"d"}]}
    "#);
    assert!(said.stderr.contains("2 of 3 rows each"), "{}", said.stderr);
}

#[test]
fn a_pointer_without_a_batch_gets_a_hint() {
    let folder = Folder::new();
    folder.users(1);
    let said = folder.tidegate(["run", "users.csv", "--url", "http://127.0.0.1:9/", "--split", "/results"]);
    said.assert_code(2);
    assert!(said.stderr.contains("hint:") && said.stderr.contains("--batch 100"), "{}", said.stderr);
}
