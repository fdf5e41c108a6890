//! Rows that cannot be sent or answered: each ends as one explained failure, and the job goes on.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::json;

use crate::support::{Folder, Sim};

#[test]
fn a_template_that_fails_on_row_3117() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let mut rows = String::new();
    for i in 0..3_200 {
        let name = if i == 3_117 { "usr" } else { "user_id" };
        let _ = writeln!(rows, "{{\"{name}\": {i}}}");
    }
    folder.write("users.jsonl", rows);
    let ended = folder.tidegate(["run", "users.jsonl", "--url", &sim.users(), "-o", "out.jsonl"]);
    ended.assert_code(1);
    folder.assert_each_once(3_200);
    let failures = folder.lines("out.failed.jsonl");
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["index"], 3_117);
    assert_eq!(failures[0]["input"], json!({ "usr": 3_117 }));
    assert_eq!(
        failures[0]["error"],
        json!({ "kind": "template", "message": "row 3117 (line 3118): the row has no `user_id`" })
    );
    assert_eq!(failures[0]["attempts"], 0);
    assert_eq!(sim.arrived(), 3_199);
}

#[test]
fn rows_that_cannot_be_read_keep_their_places() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write(
        "users.csv",
        b"user_id,plan\nu0,free\nu\xff1,free\n\nu2,free,extra\nu3\nu4,free\n..,free\n,free\n",
    );
    let ended = folder.tidegate(["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl"]);
    ended.assert_code(1);
    let mut said: Vec<String> = folder
        .lines("out.failed.jsonl")
        .iter()
        .map(|line| {
            format!(
                "{}: {}",
                line["error"]["kind"].as_str().unwrap(),
                line["error"]["message"].as_str().unwrap()
            )
        })
        .collect();
    said.sort();
    insta::assert_snapshot!(said.join("\n"), @"
    input: row 1 (line 3): not valid UTF-8 at byte 1 of the record
    input: row 2 (line 5): 3 fields where the header has 2
    input: row 3 (line 6): 1 field where the header has 2
    template: row 5 (line 8): a path segment of the URL would be empty, or lead to another path by `.` or `..`
    template: row 6 (line 9): a path segment of the URL would be empty, or lead to another path by `.` or `..`
    ");
    let mut ok: Vec<u64> =
        folder.lines("out.jsonl").iter().map(|line| line["index"].as_u64().unwrap()).collect();
    ok.sort_unstable();
    assert_eq!(ok, [0, 4]);
    folder.assert_each_once(7);
    assert_eq!(sim.arrived(), 2, "a row that fails here costs no call");
}

#[test]
fn blank_lines_are_no_rows() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("ids.txt", "\nu0\n\n   \r\nu1\r\n\n");
    let url = format!("{}/v1/users/{{line}}", sim.url);
    folder.tidegate(["run", "ids.txt", "--url", &url, "-o", "out.jsonl"]).assert_code(0);
    let mut lines: Vec<_> =
        folder.lines("out.jsonl").iter().map(|line| line["input"]["line"].clone()).collect();
    lines.sort_by_key(ToString::to_string);
    assert_eq!(lines, ["u0", "u1"]);
}

#[test]
fn rows_with_the_same_key_are_all_sent() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("users.csv", "user_id,plan\n7,free\n7,pro\n7,free\n");
    let ended =
        folder.tidegate(["run", "users.csv", "--key", "user_id", "--url", &sim.users(), "-o", "out.jsonl"]);
    ended.assert_code(0);
    folder.assert_each_once(3);
    assert!(folder.lines("out.jsonl").iter().all(|line| line["key"] == "7"));
    assert_eq!(sim.arrived(), 3);
}

#[test]
fn a_line_of_50_mb_fails_in_bounded_memory() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let mut lines = b"u0\n".to_vec();
    lines.resize(50 << 20, b'x');
    lines.extend_from_slice(b"\nu2\n");
    folder.write("ids.txt", lines);
    let url = format!("{}/v1/users/{{line}}", sim.url);
    let program = folder.command(["run", "ids.txt", "--url", &url, "-o", "out.jsonl"]);
    // All writable memory, in KiB: if it does not suffice, the program is aborted.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d 51200 && exec \"$0\" \"$@\""]).arg(program.get_program());
    command.args(program.get_args()).current_dir(folder.path(""));
    folder.end(command).assert_code(1);
    folder.assert_each_once(3);
    let failure = &folder.lines("out.failed.jsonl")[0];
    assert_eq!(failure["index"], 1);
    assert_eq!(
        failure["error"]["message"],
        "row 1 (line 2): longer than the limit of 16777216 bytes for one record"
    );
}

#[test]
fn answers_that_are_no_results() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("rows.csv", "kind,query\nusers,7\ncakes,7\nbig,2000\nfaults,503\n");
    let mut said = Vec::new();
    for (path, args) in [
        ("v1/{kind}/{query}", &[][..]),
        ("big?bytes=2000&{kind}={query}", &["--max-body", "1000"]),
        ("status/503?{kind}={query}", &["--attempts", "2", "--backoff", "1ms..2ms"]),
    ] {
        let url = format!("{}/{path}", sim.url);
        let run = ["run", "rows.csv", "--url", &url, "-o", "out.jsonl"];
        folder.tidegate([&run, args].concat()).assert_code(1);
        folder.assert_each_once(4);
        let line = &folder.lines("out.failed.jsonl")[0];
        said.push(format!("{}, attempts: {}, {}", line["status"], line["attempts"], line["error"]));
        for name in ["out.jsonl", "out.failed.jsonl"] {
            std::fs::remove_file(folder.path(name)).unwrap();
        }
        std::fs::remove_dir_all(folder.path("out.tidegate")).unwrap();
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    404, attempts: 1, {"kind":"status","message":"answered 404 Not Found"}
    200, attempts: 1, {"kind":"body_too_large","message":"the body of the answer is longer than 1000 bytes"}
    503, attempts: 2, {"kind":"status","message":"answered 503 Service Unavailable, at the last of 2 attempts"}
    "#);
}

#[test]
fn accepted_statuses_are_results() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("codes.txt", "200\n404\n410\n");
    let url = format!("{}/status/{{line}}", sim.url);
    let accept = ["run", "codes.txt", "--url", &url, "-o", "out.jsonl", "--accept", "2xx,404"];
    folder.tidegate(accept).assert_code(1);
    assert_eq!(folder.lines("out.jsonl").len(), 2);
    assert_eq!(folder.lines("out.failed.jsonl")[0]["status"], 410);
}
