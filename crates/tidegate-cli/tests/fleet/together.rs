//! `tidegate run --fleet`: one command that submits, works beside others, waits and puts together.

use std::fs;

use serde_json::Value;

use crate::backlog::Backlog;
use crate::server::Kind;
use crate::world::{Worker, lines};

const SLOW: [&str; 2] = ["--service", "lognormal 60ms 0.5"];

fn run<'b>(backlog: &'b Backlog, name: &str, flags: &[&str]) -> Worker<'b> {
    let (job, url) = (format!("{name}.toml"), backlog.server.url());
    backlog.world.process("run", &[&["run", &job, "--fleet", &url][..], flags].concat())
}

/// The last line that a command said with this label.
#[track_caller]
fn said(worker: &Worker<'_>, label: &str) -> String {
    let words = worker.words();
    let line = words.lines().rev().find_map(|line| line.strip_prefix(&format!("{label:<8}")));
    line.unwrap_or_else(|| panic!("nothing about {label}: {words}")).to_owned()
}

/// Others help, and it waits for them; killed with `kill -9` it goes on, and when all is done it does nothing.
#[test]
fn one_command_does_it_all() {
    const ROWS: usize = 900;
    let backlog = Backlog::new(Kind::Redis, "200/s", &SLOW);
    backlog.write_job("job", ROWS, "", "order = \"input\"");
    let mut run = run(&backlog, "job", &["--shard", "1s"]);
    run.start();
    let mut helper = backlog.worker("helper", "default", &[]);
    helper.start();
    backlog.world.wait_for(300);
    run.kill();
    run.start().ends_with(0);
    helper.signal("TERM");
    helper.ends_with(143);
    assert!(said(&run, "job").contains("was submitted before"), "{}", run.words());
    assert_eq!(said(&run, "rows"), "900 · 900 results · 0 failures");
    assert!(helper.words().contains("shard"), "the helper had nothing to do");
    let indices: Vec<u64> =
        lines(&backlog.world.path("job.jsonl")).map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indices.into_iter().eq(0..ROWS as u64), "not each row once, in the order of the input");
    let (again, open) = backlog.bought_again(&[("job", ROWS)]);
    println!("{again} calls were bought again, {open} were in flight at the kill");
    let sent = backlog.world.stat("accepted");
    run.start().ends_with(0);
    assert!(run.words().ends_with("Nothing was left to do; nothing was sent.\n"), "{}", run.words());
    assert_eq!(backlog.world.stat("accepted"), sent);
}

/// It ends with the code of a run, and says how to go on; whatever became of the server.
#[test]
fn it_is_stopped_and_goes_on() {
    const ROWS: usize = 500;
    let backlog = Backlog::new(Kind::Valkey, "200/s", &SLOW);
    backlog.write_job("job", ROWS, "", "");
    let mut run = run(&backlog, "job", &["--queue", "high", "--shard", "500ms"]);
    run.start();
    backlog.world.wait_for(60);
    let status = backlog.wait("the job", || {
        Some(backlog.world.tidegate(["status", "--fleet", &backlog.server.url()]).stdout)
    });
    let id = status.split('\t').next().unwrap();
    backlog.tell("pause", id);
    run.ends_with(3);
    assert!(
        run.words().contains("error: stopped: ") && run.words().contains("said so\nhint: nothing is lost")
    );
    // What may change between two runs may change here, for all workers.
    let job = fs::read_to_string(backlog.world.path("job.toml")).unwrap();
    backlog.world.write("job.toml", &job.replace("timeout = \"2s\"", "timeout = \"2500ms\""));
    run.start();
    backlog.world.wait_for(200);
    assert!(backlog.server.ask(&format!("HGET tidegate:{{fleet}}:job:{id} job")).contains("2500ms"));
    assert!(run.words().contains("goes on; it was paused: "), "{}", run.words());
    run.signal("TERM");
    run.ends_with(143);
    assert!(run.words().contains(&format!("job {id} stays in queue high")), "{}", run.words());
    backlog.wait_for_status(id, "open");
    backlog.wait_for_status(id, "0 with workers");
    backlog.server.ask("FLUSHALL");
    backlog.create_quota();
    run.start().ends_with(0);
    assert!(run.words().contains("found in its folder"), "{}", run.words());
    assert_eq!(said(&run, "rows"), "500 · 500 results · 0 failures");
    assert_eq!(backlog.bought_again(&[("job", ROWS)]), (0, 0));
}

/// Failures make the code of a run; what is wrong is said before anything is queued.
#[test]
fn it_ends_with_the_codes_of_a_run() {
    let backlog = Backlog::new(Kind::Redis, "1000/s", &["--fault", "status 404 10%"]);
    let url = backlog.server.url();
    backlog.write_job("unset", 10, "headers = { Authorization = \"Bearer {{ env.NOT_SET_ANYWHERE }}\" }", "");
    let refused = backlog.world.tidegate(["run", "unset.toml", "--fleet", &url]);
    assert!(refused.code == Some(2) && refused.stderr.contains("NOT_SET_ANYWHERE"), "{refused}");
    assert!(backlog.world.tidegate(["status", "--fleet", &url]).stdout.is_empty());
    backlog.write_job("job", 300, "", "");
    let run = || backlog.world.tidegate(["run", "job.toml", "--fleet", &url]);
    let first = run();
    assert_eq!(first.code, Some(1), "{first}");
    let failed = lines(&backlog.world.path("job.failed.jsonl")).count();
    assert!(failed > 0 && first.stderr.contains(&format!("{failed} failures")), "{first}");
    let again = run();
    assert!(again.code == Some(1) && again.stderr.contains("Nothing was left to do"), "{again}");
    // Killed while all was put in its place: results are there, failures and what stands beside them are not.
    let note = backlog.world.path("job.parts/collected.json");
    let mut text: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    text["lines"] = Value::Null;
    fs::write(&note, text.to_string()).unwrap();
    fs::remove_file(backlog.world.path("job.failed.jsonl")).unwrap();
    fs::rename(backlog.world.path("job.tidegate"), backlog.world.path("job.parts/old.tidegate")).unwrap();
    let again = run();
    assert!(again.code == Some(1) && !again.stderr.contains("Nothing was left to do"), "{again}");
    assert_eq!(lines(&backlog.world.path("job.failed.jsonl")).count(), failed);
    assert!(backlog.world.path("job.tidegate/log").is_file());
    // Another job, or the same with other rows, does not go on with it.
    let job = fs::read_to_string(backlog.world.path("job.toml")).unwrap();
    backlog.world.write("job.toml", &job.replace("/v1/users/", "/v2/users/"));
    let other = run();
    assert!(other.code == Some(2) && other.stderr.contains("request was"), "{other}");
    backlog.world.write("job.toml", &job);
    fs::remove_file(backlog.world.path("job.jsonl")).unwrap();
    backlog.world.write("job.txt", "one\n");
    let other = run();
    assert!(
        other.code == Some(2) && other.stderr.contains("has changed since the job was submitted"),
        "{other}"
    );
}
