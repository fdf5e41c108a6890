//! A server that is restarted in the middle, and one that has lost everything.

use crate::backlog::Backlog;
use crate::server::Kind;
use crate::world::{Worker, sleep};

const ROWS: usize = 1_200;
const SLOW: [&str; 2] = ["--service", "lognormal 60ms 0.5"];

fn begin(kind: Kind) -> (Backlog, String) {
    let backlog = Backlog::new(kind, "200/s", &SLOW);
    backlog.write_job("job", ROWS, "", "");
    let id = backlog.submit("job", "default", "1s");
    (backlog, id)
}

fn start<'b>(backlog: &'b Backlog, names: &[&str], flags: &[&str]) -> Vec<Worker<'b>> {
    let start = |name: &&str| {
        let mut worker = backlog.worker(name, "default", flags);
        worker.start();
        worker
    };
    names.iter().map(start).collect()
}

/// With its data kept: nobody has to do anything.
#[test]
fn a_server_that_starts_again_is_waited_for() {
    let (mut backlog, _) = begin(Kind::Redis);
    let mut workers = ["a", "b"].map(|name| backlog.start(name));
    backlog.world.wait_for(300);
    backlog.server.kill();
    sleep(1.5);
    backlog.server.start_again();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    backlog.collect("job", ROWS);
    let (again, open) = backlog.bought_again(&[("job", ROWS)]);
    println!("{again} calls were bought again, {open} were in flight when shards changed hands");
}

/// Without: the parts say what is done.
#[test]
fn a_job_is_rebuilt_from_its_parts() {
    let (mut backlog, id) = begin(Kind::Valkey);
    let [mut dead, mut frozen] = ["dead", "frozen"].map(|name| backlog.start(name));
    backlog.world.wait_for(500);
    dead.kill().unwrap();
    dead.wait().unwrap();
    let signal = |name: &str, process: u32| {
        let status = std::process::Command::new("kill").args(["-s", name, &process.to_string()]).status();
        assert!(status.unwrap().success());
    };
    signal("STOP", frozen.id());
    let sent = backlog.world.stat("accepted");
    backlog.server.kill();
    backlog.server.wipe();
    backlog.server.start_again();
    assert_eq!(backlog.status(&id), "");
    let fleet = backlog.server.url();
    let unknown = backlog.world.tidegate(["collect", "job.toml", "--fleet", &fleet]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("tidegate rebuild"), "{unknown}");
    backlog.tell("rebuild", "job.toml");
    let known = backlog.world.tidegate(["rebuild", "job.toml", "--fleet", &fleet]);
    assert!(known.code == Some(2) && known.stderr.contains("the server has job"), "{known}");
    for mut worker in start(&backlog, &["c", "d"], &["--until-empty"]) {
        worker.ends_with(0);
    }
    backlog.collect("job", ROWS);
    // It wakes up when all is over, and what it says is not heard.
    signal("CONT", frozen.id());
    assert!(frozen.wait().unwrap().success());
    let words = std::fs::read_to_string(backlog.world.path("frozen.stderr")).unwrap();
    assert!(words.contains("was taken over by another worker"), "{words}");
    backlog.collect("job", ROWS);
    let (again, open) = backlog.bought_again(&[("job", ROWS)]);
    println!("{sent} calls before, {again} were bought again, {open} were in flight at the kills");
    assert!(open < 100, "finished rows were bought again");
}
