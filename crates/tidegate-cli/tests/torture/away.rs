//! The provider, the time or the process itself is away for a while.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::provider::Provider;
use crate::support::{Background, Folder, Sim};
use crate::world::{Endings, Out, pause, wait_until};

const ROWS: u64 = 700;

fn args(sim: &Sim) -> Vec<String> {
    let url = sim.users();
    let args =
        ["run", "users.csv", "-o", "out.jsonl", "--url", &url, "--rate", "50/500ms", "--pace", "burst"];
    args.map(str::to_owned).into()
}

fn begin(sim: &Sim) -> (Folder, Vec<String>) {
    let folder = Folder::new();
    folder.users(ROWS as usize);
    (folder, args(sim))
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn strict() -> Sim {
    Sim::start(&["--limit", "rolling 50/500ms", "--service", "uniform 2ms..30ms"])
}

#[track_caller]
fn check(folder: &Folder, sim: &Sim, twice: u64) {
    let endings = Out::jsonl(folder).check_whole(ROWS);
    assert_eq!(endings, Endings { results: ROWS, failed: 0, unknown: 0 });
    let stats = sim.stats();
    assert_eq!(stats["rejected"], 0, "{stats}");
    assert_eq!(stats["served_twice"], twice, "{stats}");
    assert_eq!(stats["worst_window"]["accepted"], 50, "the limit was never met: {stats}");
}

#[test]
fn stopped_for_longer_than_its_lease_and_continued() {
    let sim = strict();
    let (folder, args) = begin(&sim);
    let run = Background::start(&folder, &words(&args));
    sim.wait_for(120);
    run.signal("STOP");
    pause(Duration::from_millis(4_500));
    run.signal("CONT");
    run.wait().assert_code(0);
    check(&folder, &sim, 0);
}

#[test]
fn a_brother_uses_the_quota_while_one_is_stopped() {
    let sim = strict();
    let (folder, args) = begin(&sim);
    let (brothers, others) = begin(&sim);
    let start = |folder: &Folder, args: &[String]| {
        // One store for both.
        let mut command = folder.command(args);
        command.env("TIDEGATE_STATE_DIR", brothers.path(".state")).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let run = Background::of(start(&folder, &args), &folder);
    sim.wait_for(120);
    run.signal("STOP");
    let brother = Background::of(start(&brothers, &others), &brothers);
    pause(Duration::from_millis(4_500));
    run.signal("CONT");
    run.wait().assert_code(0);
    brother.wait().assert_code(0);
    assert_eq!(sim.stats()["rejected"], 0, "{}", sim.stats());
    Out::jsonl(&folder).check_whole(ROWS);
    Out::jsonl(&brothers).check_whole(ROWS);
}

/// By `libfaketime`, which reads how far it is off from a file, again and again.
#[test]
fn the_wall_clock_is_set_in_mid_run() {
    let library = faketime();
    for steps in [["+5h", "+0"], ["-7h", "+3h"]] {
        let sim = strict();
        let (folder, args) = begin(&sim);
        let file = folder.path("faketime");
        folder.write("faketime", "+0\n");
        let mut command = folder.command(&args);
        command.stdout(Stdio::null()).env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &file);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
        let run = Background::of(command.spawn().unwrap(), &folder);
        sim.wait_for(120);
        folder.write("faketime", format!("{}\n", steps[0]));
        sim.wait_for(300);
        folder.write("faketime", format!("{}\n", steps[1]));
        run.wait().assert_code(0);
        check(&folder, &sim, 0);
        // It was seen: what the lines say of the time goes along.
        let hours = |line: &serde_json::Value| line["sent_at"].as_str().unwrap()[..13].to_owned();
        let lines = folder.lines("out.jsonl");
        println!("{steps:?}: from {} to {}", hours(&lines[0]), hours(lines.last().unwrap()));
        // It cannot stall for hours and end within the patience of this test; nor between two runs.
        folder.users(ROWS as usize + 100);
        folder.write("faketime", format!("{}\n", steps[0]));
        let mut command = folder.command(&args);
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &file);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
        folder.end(command).assert_code(0);
        Out::jsonl(&folder).check_whole(ROWS + 100);
        assert_eq!(sim.stats()["rejected"], 0, "{}", sim.stats());
    }
}

/// Not to be skipped: without it nobody knows.
fn faketime() -> String {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let paths = folders.map(|folder| format!("/usr/lib/{folder}/faketime/libfaketimeMT.so.1"));
    let there = paths.into_iter().find(|path| std::path::Path::new(path).exists());
    there.unwrap_or_else(|| {
        panic!("libfaketime is needed and not here: apt-get install faketime (./test does)")
    })
}

/// A provider that goes away, and comes back where it was.
#[test]
fn a_provider_that_is_down_for_a_while() {
    let first = strict();
    let (folder, args) = begin(&first);
    let args = [&args[..], &["--backoff", "50ms..200ms"].map(str::to_owned)].concat();
    let run = Background::start(&folder, &words(&args));
    first.wait_for(120);
    let (url, before) = (first.url.clone(), first.stats());
    assert_eq!(before["rejected"], 0);
    drop(first);
    pause(Duration::from_millis(2_500));
    let address = url.strip_prefix("http://").unwrap();
    let second = Provider::spawn(
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["sim", "--listen", address, "--limit", "rolling 50/500ms", "--service", "10ms"])
            .stderr(Stdio::null()),
    );
    assert_eq!(second.url, url);
    run.wait().assert_code(0);
    let endings = Out::jsonl(&folder).check_whole(ROWS);
    assert_eq!(endings, Endings { results: ROWS, failed: 0, unknown: 0 });
    assert_eq!(second.stats()["rejected"], 0, "{}", second.stats());
}

#[test]
fn a_name_that_nobody_knows() {
    let folder = Folder::new();
    folder.users(5);
    let url = "http://no-such-host.invalid/{user_id}";
    let ended = folder.tidegate(["run", "users.csv", "-q", "-o", "out.jsonl", "--url", url]);
    ended.assert_code(3).assert_says("no-such-host.invalid").assert_says("carries on where this one stopped");
    assert_eq!(Out::jsonl(&folder).counts().len(), 0, "no row pays for it");
    assert!(!folder.exists("out.failed.jsonl"));
}

#[test]
fn tls_against_a_port_that_speaks_none() {
    let (sim, folder) = (strict(), Folder::new());
    folder.users(5);
    let url = sim.users().replace("http://", "https://");
    let ended = folder.tidegate(["run", "users.csv", "-q", "-o", "out.jsonl", "--url", &url]);
    ended
        .assert_code(3)
        .assert_says("no secure connection to 127.0.0.1")
        .assert_says("carries on where this one stopped");
    assert_eq!(Out::jsonl(&folder).counts().len(), 0, "no row pays for it");
    assert_eq!(sim.arrived(), 0);
}

#[test]
fn ended_by_sigterm_again_and_again() {
    let sim = strict();
    let (folder, args) = begin(&sim);
    for _ in 0..3 {
        let from = sim.arrived();
        let run = Background::start(&folder, &words(&args));
        wait_until("calls were made", || sim.arrived() >= from + 60);
        run.signal("TERM");
        run.wait().assert_code(143).assert_says("carries on");
    }
    folder.tidegate(&args).assert_code(0);
    check(&folder, &sim, 0);
    assert_eq!(Out::jsonl(&folder).log().lost, 0, "what was in flight was let finish");
}
