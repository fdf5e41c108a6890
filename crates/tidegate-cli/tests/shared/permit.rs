//! Commands that wait for their turn in a quota.

use std::process::Command;
use std::thread;

use crate::world::{Ended, World, now, sleep};

/// `tidegate permit` for a command.
fn permit(world: &World, flags: &[&str], command: &[&str]) -> Command {
    world.command([&["permit", "--quota", "crm"], flags, &["--"], command].concat())
}

/// A command that makes one call.
fn a_call(world: &World) -> Vec<String> {
    let url = format!("{}/v1/users/7", world.provider.url);
    vec![env!("CARGO_BIN_EXE_tidegate").to_owned(), "probe".to_owned(), url]
}

#[test]
fn scripts_share_a_quota_with_each_other_and_with_a_job() {
    let world = World::new(&["--limit", "rolling 20/s", "--service", "20ms"]);
    let mut job = world.worker("job", 60, &["--rate", "20/s", "--quota", "crm", "-q"]);
    job.start();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..12 {
                    let call = a_call(&world);
                    let call: Vec<&str> = call.iter().map(String::as_str).collect();
                    let ended = world.end(permit(&world, &["--rate", "20/s"], &call));
                    assert_eq!(ended.code, Some(0), "{ended}");
                }
            });
        }
    });
    job.ends_with(0);
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 96, "{stats}");
    let worst = stats["worst_window"]["accepted"].as_u64().unwrap();
    assert!(worst >= 14, "the limit was never near: {stats}");
}

#[test]
fn the_code_is_that_of_the_command() {
    let world = World::new(&[]);
    let ended = |flags: &[&str], command: &[&str]| world.end(permit(&world, flags, command));
    let unknown = ended(&[], &["true"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("tidegate quota create crm"), "{unknown}");
    world.quota(&["create", "crm", "100/s"]);
    for (code, script) in [(0, "exit 0"), (7, "exit 7"), (143, "kill -TERM $$"), (0, "test -t 0 || true")] {
        let ended = ended(&[], &["sh", "-c", script]);
        assert_eq!(ended.code, Some(code), "{script}: {ended}");
    }
    let said = ended(&[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((&*said.stdout, &*said.stderr), ("out\n", "err\n"), "nothing is added to what it says");
    assert_eq!(ended(&[], &["./no-such-command"]).code, Some(127));
    world.write("data", "");
    assert_eq!(ended(&[], &["./data"]).code, Some(126));
    let late = ended(&["--timeout", "300ms"], &["sleep", "30"]);
    assert_eq!(late.code, Some(124), "{late}");
    let wrong = ended(&["--cost", "tokens=8"], &["true"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("it counts requests"), "{wrong}");
    let memory = ended(&["--store", "memory"], &["true"]);
    assert!(memory.code == Some(2) && memory.stderr.contains("hint:"), "{memory}");
}

#[test]
fn a_command_whose_turn_does_not_come_is_not_run() {
    let world = World::new(&[]);
    world.quota(&["create", "crm", "1/h"]);
    assert_eq!(world.end(permit(&world, &[], &["true"])).code, Some(0));
    let late = world.end(permit(&world, &["--wait", "1500ms"], &["touch", "it-ran"]));
    assert_eq!(late.code, Some(75), "{late}");
    assert!(late.stderr.contains("no permit within 1.5s: 1/h is used up for"), "{late}");
    assert!(!world.path("it-ran").exists());
    world.quota(&["create", "tokens", "100 tokens/h"]);
    let take = |flags: &[&str]| {
        let ended = world
            .tidegate([&["permit", "--quota", "tokens", "--wait", "1s"], flags, &["--", "true"]].concat());
        assert!(ended.code == Some(0) || !ended.stderr.is_empty(), "{ended}");
        ended.code
    };
    assert_eq!(take(&[]), Some(2));
    assert_eq!(take(&["--cost", "tokens=101"]), Some(2));
    assert_eq!(take(&["--cost", "tokens=60"]), Some(0));
    assert_eq!(take(&["--cost", "tokens=60"]), Some(75));
    assert_eq!(take(&["--cost", "tokens=40"]), Some(0));
}

#[test]
fn what_is_kept_for_high_priority_is_not_used_up_by_lower_ones() {
    let world = World::new(&[]);
    world.quota(&["create", "crm", "8/h", "--reserve", "high=25%"]);
    let take =
        |priority: &str| world.end(permit(&world, &["--priority", priority, "--wait", "1s"], &["true"])).code;
    let taken: Vec<_> = (0..7).map(|_| take("low")).collect();
    assert_eq!(taken, [[Some(0); 6].as_slice(), &[Some(75)]].concat());
    assert_eq!(take("normal"), Some(75));
    assert_eq!(["high"; 3].map(take), [Some(0), Some(0), Some(75)]);
    assert!(world.quota(&["show", "crm"]).stdout.contains("8/h, reserve high=25%"));
    world.quota(&["set", "crm", "--reserve", "high=0%"]);
    assert!(!world.quota(&["show", "crm"]).stdout.contains("25%"));
}

#[test]
fn a_job_leaves_what_is_kept_to_others() {
    let world = World::new(&["--limit", "rolling 100/6s", "--service", "20ms"]);
    let flags = ["--rate", "100/6s", "--quota", "crm", "--pace", "burst", "-q"];
    let mut job =
        world.worker("job", 250, &[&flags[..], &["--priority", "low", "--reserve", "high=5%"]].concat());
    job.start();
    world.wait_for(80);
    // The next ones of the job come six seconds later.
    for _ in 0..3 {
        let call = a_call(&world);
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        let ended = world.end(permit(&world, &["--priority", "high", "--wait", "3s"], &call));
        assert_eq!(ended.code, Some(0), "{ended}");
    }
    job.ends_with(0);
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 253, "{stats}");
}

#[test]
fn a_command_that_outlives_its_permit_still_counts() {
    let world = World::new(&[]);
    world.quota(&["create", "crm", "1/s"]);
    let mut killed =
        permit(&world, &["--timeout", "1s"], &["sh", "-c", "touch begun; sleep 8"]).spawn().unwrap();
    let start = now();
    while !world.path("begun").exists() {
        assert!(now() - start < 30.0);
        sleep(0.005);
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let next = |wait: &str| -> Ended { world.end(permit(&world, &["--wait", wait], &["true"])) };
    // It would be some three seconds if the command had ended with it.
    assert_eq!(next("5s").code, Some(75));
    // Lease, time-out, and the grace of a command that is ended.
    assert_eq!(next("20s").code, Some(0));
}
