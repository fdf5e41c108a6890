//! What was collected is an output like that of any run: it can be verified and retried.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::backlog::Backlog;
use crate::server::Kind;
use crate::world::{Ended, lines};

/// What `tidegate verify` found, and its code.
fn verified(backlog: &Backlog) -> (Option<i32>, Value) {
    let ended = backlog.world.tidegate(["verify", "job.jsonl", "--json"]);
    (ended.code, serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended}")))
}

fn attempts(found: &Value) -> u64 {
    found["logs"].as_array().unwrap().iter().map(|log| log["attempts"].as_u64().unwrap()).sum()
}

/// All that any worker has sent counts, once: what a killed one had sent as well, and what was sent by the retry. Together they kept the limit, and only together they show how far it was used.
#[test]
fn what_was_collected_is_verified_as_a_whole() {
    const ROWS: usize = 1_000;
    let backlog =
        Backlog::new(Kind::Redis, "200/s", &["--service", "lognormal 60ms 0.5", "--fault", "status 404 3%"]);
    backlog.write_job("job", ROWS, "", "order = \"input\"");
    backlog.submit("job", "default", "500ms");
    let early = backlog.world.tidegate(["verify", "job.jsonl"]);
    assert!(
        early.code == Some(2) && early.stderr.contains("hint: its parts are not put together yet"),
        "{early}"
    );
    let mut workers = ["a", "b", "c"].map(|name| backlog.worker(name, "default", &["--until-empty"]));
    for worker in &mut workers {
        worker.start();
    }
    backlog.world.wait_for(400);
    workers[0].kill();
    for worker in &mut workers[1..] {
        worker.ends_with(0);
    }
    let url = backlog.server.url();
    let collect = || backlog.world.tidegate(["collect", "job.toml", "--fleet", &url]);
    assert_eq!(collect().code, Some(1));
    let (code, found) = verified(&backlog);
    assert_eq!((code, &found["ok"]), (Some(0), &Value::Bool(true)), "{found:#}");
    assert_eq!(attempts(&found), backlog.world.stat("accepted"), "{found:#}");
    // Half of it at least was used, and none of the parts alone has so many rows in a second.
    let worst = found["checks"][0]["worst"].as_u64().unwrap();
    assert!((150..=200).contains(&worst), "{found:#}");
    assert_eq!(found["notes"], Value::Array(Vec::new()), "all of it is of one machine's clock");

    // Not all logs are open at once.
    let program = backlog.world.command(["verify", "job.jsonl"]);
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 12 && exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args());
    few.current_dir(backlog.world.path(""));
    let few = backlog.world.end(few);
    assert!(few.code == Some(0) && few.stdout.contains("logs: 1,"), "{few}");

    let failed = lines(&backlog.world.path("job.failed.jsonl")).count();
    assert!(failed > 0);
    let kept = backlog.world.path("kept");
    fs::rename(backlog.world.path("job.parts"), &kept).unwrap();
    let gone = backlog.world.tidegate(["verify", "job.jsonl"]);
    assert!(gone.code == Some(2) && gone.stderr.contains("parts, and the logs of 10 are gone"), "{gone}");
    // The retry needs no parts.
    let retried = backlog.world.tidegate(["retry", "job.jsonl"]);
    assert!(retried.code.is_some_and(|code| code < 2), "{retried}");
    let left = lines(&backlog.world.path("job.failed.jsonl")).count();
    assert!(left < failed, "{retried}");
    let indices: Vec<u64> =
        lines(&backlog.world.path("job.jsonl")).map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indices.is_sorted() && indices.len() + left == ROWS, "{retried}");
    // Nor does a run by this machine alone, for which all is done.
    let alone = backlog.world.tidegate(["run", "job.toml"]);
    assert!(alone.stderr.contains("Nothing was left to do"), "{alone}");
    let over = || {
        let again = backlog.world.tidegate(["run", "job.toml", "--fleet", &url]);
        let left = format!("{left} failures");
        assert!(again.stderr.contains("Nothing was left to do") && again.stderr.contains(&left), "{again}");
    };
    over();
    fs::rename(&kept, backlog.world.path("job.parts")).unwrap();
    let (code, found) = verified(&backlog);
    assert_eq!((code, attempts(&found)), (Some(0), backlog.world.stat("accepted")), "{found:#}");
    backlog.world.check_contract();
    // What has been retried is not overwritten.
    let refused = collect();
    assert!(refused.code == Some(2) && refused.stderr.contains("was not made by collecting"), "{refused}");
    over();
}

/// Each result would stand beside the wrong row.
#[test]
fn rows_of_another_input_are_not_retried() {
    let backlog = Backlog::new(Kind::Redis, "1000/s", &["--fault", "status 404 10%"]);
    backlog.write_job("job", 300, "", "");
    backlog.submit("job", "default", "100ms");
    let early = backlog.world.tidegate(["retry", "job.jsonl"]);
    assert!(early.code == Some(2) && early.stderr.contains("not put together yet"), "{early}");
    backlog.worker("one", "default", &["--until-empty"]).start().ends_with(0);
    let input = backlog.world.path("job.txt");
    let text = fs::read_to_string(&input).unwrap();
    let other = text.replacen("job-7\n", "job-x\n", 1);
    let url = backlog.server.url();
    let retry = |said: &str| -> Ended {
        let ended = backlog.world.tidegate(["retry", "job.jsonl"]);
        assert!(ended.stderr.contains(said), "{ended}");
        ended
    };
    // It has changed before they were collected, or after.
    for changed_before in [true, false] {
        fs::write(&input, if changed_before { &other } else { &text }).unwrap();
        let collected = backlog.world.tidegate(["collect", "job.toml", "--fleet", &url]);
        assert_eq!(collected.code, Some(1), "{collected}");
        fs::write(&input, &other).unwrap();
        let sent = backlog.world.stat("arrived");
        assert_eq!(retry("error: ").code, Some(2));
        assert_eq!(backlog.world.stat("arrived"), sent, "something was sent");
    }
    fs::write(&input, &text).unwrap();
    assert!(retry("results").code.is_some_and(|code| code < 2));
}
