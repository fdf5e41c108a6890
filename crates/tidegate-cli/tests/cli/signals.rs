//! Ctrl-C and SIGTERM: no new calls, what is in flight may finish, and the same command goes on.

use serde_json::json;

use crate::support::{Background, Folder, Sim};

#[test]
fn ctrl_c_in_mid_run_and_the_same_command_again() {
    stopped_and_carried_on("INT", 130);
}

#[test]
fn sigterm_in_mid_run_and_the_same_command_again() {
    stopped_and_carried_on("TERM", 143);
}

#[track_caller]
fn stopped_and_carried_on(signal: &str, code: i32) {
    let (sim, folder) = (Sim::start(&["--service", "20ms"]), Folder::new());
    folder.users(400);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--connections", "8"];
    let run = Background::start(&folder, &args);
    sim.wait_for(100);
    run.signal(signal);
    let ended = run.wait();
    ended.assert_code(code).assert_says("the same command carries on");
    let done = folder.endings().len() as u64;
    assert!((100..400).contains(&done), "{done}");
    assert_eq!(sim.arrived(), done, "calls in flight were let finish, and written");
    let summary = folder.summary();
    assert_eq!((&summary["ended"], &summary["rows"]), (&json!("interrupted"), &json!(done)));

    folder.tidegate(args).assert_code(0);
    folder.assert_each_once(400);
    let stats = sim.stats();
    assert_eq!((&stats["arrived"], &stats["served_twice"]), (&json!(400), &json!(0)));
    assert_eq!(folder.summary()["resumed_after_kill"], false);
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let (sim, folder) = (Sim::start(&["--fault", "hang 100%"]), Folder::new());
    folder.users(5);
    let mut run = Background::start(
        &folder,
        &["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--timeout", "5m", "--drain", "5m"],
    );
    sim.wait_for(1);
    run.signal("INT");
    run.wait_for("interrupt again to end at once");
    run.signal("INT");
    run.wait().assert_code(130);
    assert!(folder.endings().is_empty(), "nobody knows how they ended");
    assert!(folder.summary()["wall_s"].as_f64().unwrap() < 60.0);
}

#[test]
fn calls_in_flight_get_the_drain_time_and_no_more() {
    let (sim, folder) = (Sim::start(&["--fault", "hang 100%"]), Folder::new());
    folder.users(5);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--drain", "200ms"];
    let run = Background::start(&folder, &args);
    sim.wait_for(1);
    run.signal("TERM");
    run.wait().assert_code(143);
    assert!(folder.endings().is_empty());
}

#[test]
fn a_pause_of_the_provider_can_be_interrupted() {
    let (sim, folder) = (Sim::start(&["--fault", "pause after 20 for 90s"]), Folder::new());
    folder.users(50);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--connections", "2"];
    let run = Background::start(&folder, &args);
    sim.wait_for(21);
    run.signal("INT");
    run.wait().assert_code(130);
    assert_eq!(folder.endings().len(), 20);
    assert_eq!(folder.summary()["ended"], "interrupted");
}

#[test]
fn stdin_that_stays_open_does_not_hold_the_end_back() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let url = format!("{}/v1/users/{{line}}", sim.url);
    let mut command = folder.command(["run", "-", "--url", &url, "-o", "out.jsonl"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"u0\nu1\n").unwrap();
    sim.wait_for(2);
    let run = Background::of(child, &folder);
    run.signal("INT");
    run.wait().assert_code(130);
    drop(stdin);
    assert_eq!(folder.endings().len(), 2);
}
