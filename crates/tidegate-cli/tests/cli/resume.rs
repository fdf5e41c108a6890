//! The same command again carries on where it stopped, whatever stopped it.

use serde_json::json;

use crate::support::{Background, Folder, Sim};

#[test]
fn ten_rows_first_and_then_the_rest() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.users(200);
    let full = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl"];
    let head = [&full[..], &["--head", "10"]].concat();
    folder.tidegate(&head).assert_code(0);
    folder.assert_each_once(10);
    assert_eq!(folder.summary()["ended"], "head");
    folder.tidegate(&head).assert_code(0).assert_says("Nothing was left to do");
    assert_eq!(sim.arrived(), 10);

    // Rates, headers and time-outs are no part of a job's identity.
    let changed = [&full[..], &["--rate", "5000/s", "-H", "X-A: b", "--timeout", "5s"]].concat();
    folder.tidegate(&changed).assert_code(0).assert_says("10 rows are done · 10 results · 0 failures");
    folder.assert_each_once(200);
    let stats = sim.stats();
    assert_eq!((&stats["arrived"], &stats["served_twice"]), (&json!(200), &json!(0)));
    assert_eq!((&folder.summary()["rows"], &folder.summary()["attempts"]), (&json!(200), &json!(190)));
}

#[test]
fn a_finished_job_repeats_its_code_and_sends_nothing() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("codes.txt", "200\n404\n201\n");
    let url = format!("{}/status/{{line}}", sim.url);
    let args = ["run", "codes.txt", "--url", &url, "-o", "out.jsonl"];
    folder.tidegate(args).assert_code(1);
    let ended = folder.tidegate(args);
    ended.assert_code(1);
    insta::assert_snapshot!(ended, @"
    exit code 1
    --- stderr
    note: no limit was declared (--rate): up to 64 calls at a time, as fast as they are answered
    resume  3 rows are done · 2 results · 1 failures
    Nothing was left to do; nothing was sent.
    ");
    assert_eq!(sim.arrived(), 3);
    let tolerant = [&args[..], &["--max-failed", "1"]].concat();
    folder.tidegate(tolerant).assert_code(0);
    assert_eq!(sim.arrived(), 3);
    folder.assert_each_once(3);
}

#[test]
fn a_revoked_key_stops_the_job_and_fails_no_row() {
    let (sim, folder) = (Sim::start(&["--fault", "unauthorized after 50"]), Folder::new());
    folder.users(100);
    let args = |sim: &Sim| {
        ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--connections", "4", "--quiet"]
            .map(str::to_owned)
    };
    let ended = folder.tidegate(args(&sim));
    ended.assert_code(3);
    insta::assert_snapshot!(ended, @"
    exit code 3
    --- stderr
    error: stopped: the provider answered 401 Unauthorized: the credentials are missing, wrong or revoked
    hint: nothing is lost: the same command carries on where this one stopped
    ");
    assert_eq!(folder.lines("out.jsonl").len(), 50);
    assert!(!folder.exists("out.failed.jsonl"));
    assert!(sim.arrived() <= 54, "only what was in flight went out: {}", sim.arrived());
    assert!(folder.summary()["ended"].as_str().unwrap().starts_with("stopped: "));
}

#[test]
fn too_many_failures_stop_the_job() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let codes: String = (0..200).map(|i| if i % 4 == 0 { "200\n" } else { "404\n" }).collect();
    folder.write("codes.txt", codes);
    let url = format!("{}/status/{{line}}", sim.url);
    let args = [
        "run",
        "codes.txt",
        "--url",
        &url,
        "-o",
        "out.jsonl",
        "--connections",
        "1",
        "--max-failed",
        "10",
        "-q",
    ];
    let ended = folder.tidegate(args);
    ended.assert_code(3);
    insta::assert_snapshot!(ended, @"
    exit code 3
    --- stderr
    error: stopped: 11 rows have failed, more than --max-failed allows
    hint: nothing is lost: the same command carries on where this one stopped
    ");
    assert_eq!(folder.lines("out.failed.jsonl").len(), 11);
    // More patience with the same job: it goes on behind what is done.
    let more = [&args[..8], &["--max-failed", "80%", "-q"]].concat();
    folder.tidegate(more).assert_code(0);
    folder.assert_each_once(200);
    assert_eq!(sim.arrived(), 200);
}

#[test]
fn a_job_whose_first_answers_all_fail_buries_no_rows() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.users(500);
    let url = format!("{}/v2/users/{{user_id}}", sim.url);
    let ended =
        folder.tidegate(["run", "users.csv", "--url", &url, "-o", "out.jsonl", "--connections", "2", "-q"]);
    ended.assert_code(3);
    insta::assert_snapshot!(ended, @"
    exit code 3
    --- stderr
    error: stopped: the first 20 rows all failed; the last: answered 404 Not Found
    hint: nothing is lost: the same command carries on where this one stopped
    ");
    assert!(folder.endings().is_empty(), "their rows stay undone");
    assert!(sim.arrived() <= 22, "{}", sim.arrived());
}

#[test]
fn a_provider_that_is_not_there_stops_the_job() {
    let folder = Folder::new();
    folder.users(5);
    let url = format!("{}/{{user_id}}", crate::support::closed_port());
    let ended = folder.tidegate(["run", "users.csv", "--url", &url, "-o", "out.jsonl", "-q"]);
    ended.assert_code(3).assert_says("refused the connection").assert_says("hint: ");
    assert!(folder.endings().is_empty());
}

#[test]
fn a_silence_beyond_max_pause_stops_the_job() {
    let (sim, folder) = (Sim::start(&["--fault", "pause after 20 for 90s"]), Folder::new());
    folder.users(50);
    let args = [
        "run",
        "users.csv",
        "--url",
        &sim.users(),
        "-o",
        "out.jsonl",
        "--connections",
        "2",
        "--max-pause",
        "10s",
        "-q",
    ];
    let ended = folder.tidegate(args);
    ended.assert_code(3).assert_says("max_pause");
    assert_eq!(folder.endings().len(), 20);
    assert!(!folder.exists("out.failed.jsonl"));
}

#[test]
fn after_a_kill_every_row_ends_once() {
    let (sim, folder) = (Sim::start(&["--service", "20ms"]), Folder::new());
    folder.users(400);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--connections", "8"];
    let run = Background::start(&folder, &args);
    sim.wait_for(100);
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
    let before = folder.endings().len();
    assert!(before < 400, "it was killed in the middle");

    let ended = folder.tidegate(args);
    ended.assert_code(0).assert_says("the run before was killed");
    folder.assert_each_once(400);
    let summary = folder.summary();
    assert_eq!(summary["resumed_after_kill"], true);
    // What was bought is kept, save for what no line could be written of: calls in flight, and the
    // answers that had just come.
    let again = sim.arrived() - 400;
    assert!(again <= 16, "{again} calls were sent again");

    // Once more there is nothing to do, nothing to say of a kill, and the summary stays.
    let again = folder.tidegate(args);
    again.assert_code(0);
    assert!(!again.stderr.contains("killed"), "{}", again.stderr);
    assert_eq!(folder.summary(), summary);
}

#[test]
fn a_torn_last_line_is_mended() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.users(20);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl"];
    folder.tidegate(args).assert_code(0);
    let whole = folder.read("out.jsonl");
    folder.write("out.jsonl", &whole[..whole.len() - 30]);
    folder.tidegate(args).assert_code(0);
    folder.assert_each_once(20);
    assert_eq!(sim.arrived(), 21);
}

#[test]
fn two_runs_cannot_share_an_output() {
    let (sim, folder) = (Sim::start(&["--service", "30s"]), Folder::new());
    folder.users(5);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl"];
    let first = Background::start(&folder, &args);
    sim.wait_for(1);
    let refused = folder.tidegate([&args[..], &["-q"]].concat()).to_string();
    let holder = first.id().to_string();
    insta::assert_snapshot!(refused.replace(&holder, "1234"), @"
    exit code 2
    --- stderr
    error: out.jsonl is in use by another tidegate (process 1234)
    hint: wait for the other run, or stop it; nothing is lost by stopping it
    ");
    first.signal("KILL");
    first.wait();
}
