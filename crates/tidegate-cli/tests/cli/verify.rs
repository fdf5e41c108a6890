//! `tidegate verify`: real runs, whose logs are then judged.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};

use serde_json::Value;

use crate::support::{Folder, Sim};

/// Rows through 20 a second, as early as that allows.
fn run(folder: &Folder, sim: &Sim, quota: &str, limits: &[&str]) {
    let out = format!("{quota}.jsonl");
    let url = sim.users();
    let mut args = vec!["run", "users.csv", "--url", &url, "-o", &out, "--quota", quota, "--pace", "burst"];
    args.extend(limits.iter().flat_map(|limit| ["--rate", limit]));
    folder.tidegate(args).assert_code(0);
}

#[test]
fn a_run_that_kept_its_limits() {
    let (sim, folder) = (Sim::start(&["--limit", "rolling 20/s", "--service", "30ms"]), Folder::new());
    run(folder.users(50), &sim, "one", &["20/s", "1000/s bucket 500", "5k/day UTC", "600/s counter"]);
    let ended = folder.tidegate(["verify", "one.jsonl"]);
    ended.assert_code(0);
    for said in [
        "20/s",
        "1000/s bucket 500",
        "5000/day UTC",
        "50 attempts in 1 run",
        "no limit can have been exceeded",
    ] {
        assert!(ended.stdout.contains(said), "nothing of `{said}` in\n{ended}");
    }
    let found = folder.tidegate(["verify", "one.tidegate", "--json"]);
    let found: Value = serde_json::from_str(&found.assert_code(0).stdout).unwrap();
    assert_eq!(found["ok"], true);
    assert_eq!(found["logs"][0]["attempts"], 50);
    // The rate was used, and the day's limit counts all.
    assert!(found["checks"][0]["worst"].as_u64() >= Some(17), "{found:#}");
    assert_eq!(found["checks"][2]["worst"], 50);
}

#[test]
fn jobs_that_did_not_know_of_each_other() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.users(15);
    for quota in ["one", "two"] {
        run(&folder, &sim, quota, &["20/10s"]);
        folder.tidegate(["verify", &format!("{quota}.jsonl")]).assert_code(0);
    }
    let together = folder.tidegate(["verify", "one.jsonl", "two.jsonl"]);
    together.assert_code(1);
    assert!(together.stdout.contains("30  ABOVE") && together.stdout.contains("1 of 1"), "{together}");
}

#[test]
fn what_cannot_be_read() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.tidegate(["verify", "out.jsonl"]).assert_code(2).assert_says("hint: name the output of a run");
    folder.tidegate(["verify"]).assert_code(2);
    run(folder.users(50), &sim, "one", &["1000/s"]);
    let mut log = OpenOptions::new().write(true).open(folder.path("one.tidegate/log")).unwrap();
    log.seek(SeekFrom::Start(40)).unwrap();
    log.write_all(b"!").unwrap();
    folder.tidegate(["verify", "one.jsonl"]).assert_code(2).assert_says("is damaged at byte");
}
