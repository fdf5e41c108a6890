//! Workers that die, freeze and come back: each row ends once, and what was done is not bought again.

use std::fs;

use crate::backlog::{Backlog, Line};
use crate::calls;
use crate::server::Kind;
use crate::world::{Worker, lines, now};

const SLOW: [&str; 4] = ["--service", "lognormal 60ms 0.5", "--jitter", "uniform 0..20ms"];

/// `TIDEGATE_FLEET_SEED=7` repeats a run's choices.
fn dice() -> fastrand::Rng {
    let seed = std::env::var("TIDEGATE_FLEET_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..100_000));
    println!("TIDEGATE_FLEET_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn first(lines: &[Line]) -> f64 {
    lines.iter().map(|line| line.sent_at).fold(f64::MAX, f64::min)
}

fn last(lines: &[Line]) -> f64 {
    lines.iter().map(|line| line.sent_at).fold(f64::MIN, f64::max)
}

/// Three jobs in two queues; workers are killed and others come.
#[test]
fn workers_that_are_killed_lose_nothing() {
    const ROWS: usize = 2_000;
    const SHARD: usize = 182;
    const KILLS: u64 = 3;
    let mut dice = dice();
    let backlog = Backlog::new(Kind::Redis, "1000/s", &SLOW);
    let jobs = [("low", "low", ""), ("one", "high", ""), ("two", "high", "order = \"input\"")];
    for (name, queue, output) in jobs {
        backlog.write_job(name, ROWS, "", output);
        backlog.submit(name, queue, "200ms");
    }
    let (start, asked) = (now(), calls(&backlog.server));
    let mut workers: Vec<Worker<'_>> = Vec::new();
    let worker = |i: usize| {
        let mut worker = backlog.worker(&format!("w{i}"), "high,low", &["--until-empty"]);
        worker.start();
        worker
    };
    workers.extend((0..4).map(worker));
    let mut in_service = 0;
    for kill in 0..KILLS {
        backlog.world.wait_for(800 + 1_500 * kill + dice.u64(..800));
        let mut victim = workers.remove(dice.usize(..workers.len()));
        in_service += backlog.world.stat("in_service");
        victim.kill();
        workers.push(worker(4 + kill as usize));
    }
    for worker in &mut workers {
        worker.ends_with(0);
    }
    let took = now() - start;
    let asked = (calls(&backlog.server) - asked) as f64 / took / 4.0;
    let stats = backlog.world.check_contract();
    let [low, one, two] = ["low", "one", "two"].map(|name| backlog.collect(name, ROWS));
    assert!(two.windows(2).all(|pair| pair[0].index < pair[1].index), "not in the order of the input");
    // A job of a queue ends before the next begins.
    assert!(last(&one) < first(&two), "{} {}", last(&one), first(&two));
    // Whoever took a shard of the lower queue had found none in the higher: all were with workers, dead ones too.
    let before = one.iter().filter(|line| line.sent_at < first(&low)).count();
    assert!(before + (4 + KILLS as usize) * SHARD >= ROWS, "{before} rows of the first were sent before");
    let (again, left_open) = backlog.bought_again(&["low", "one", "two"].map(|name| (name, ROWS)));
    println!(
        "{took:.1} s, {asked:.2} scripts a second for each worker, worst window {}; {again} calls were bought again, {left_open} were in flight at {KILLS} kills ({in_service} with the provider, of all workers)",
        stats["worst_window"]["accepted"]
    );
    assert!(left_open <= KILLS * 250, "more than can have been in flight");
}

/// A worker is frozen, loses its shard, and wakes up: it changes nothing any more.
#[test]
fn a_frozen_worker_comes_too_late() {
    const ROWS: usize = 400;
    let backlog = Backlog::new(Kind::Valkey, "100/s", &SLOW);
    backlog.write_job("job", ROWS, "", "");
    let id = backlog.submit("job", "default", "2s");
    let mut frozen = backlog.worker("frozen", "default", &[]);
    frozen.start();
    backlog.world.wait_for(100);
    frozen.signal("STOP");
    let mut other = backlog.worker("other", "default", &["--until-empty"]);
    other.start().ends_with(0);
    assert!(other.words().contains("epoch 2"), "{}", other.words());
    let sent = backlog.world.stat("accepted");
    frozen.signal("CONT");
    backlog.wait("the end of the frozen one's shard", || {
        frozen.words().contains("was taken over by another worker").then_some(())
    });
    assert_eq!(backlog.world.stat("accepted"), sent, "it sent calls of a shard that it had lost");
    backlog.collect("job", ROWS);
    let (again, open) = backlog.bought_again(&[("job", ROWS)]);
    println!("{again} calls were bought again, {open} were in flight when it was frozen");
    assert!(backlog.status(&id).contains("done"), "{}", backlog.status(&id));
    let taken = |name: &String| name.split_once(".e1").is_some_and(|(_, rest)| rest.is_empty());
    assert!(backlog.parts("job").iter().any(taken), "its folder stays");
    frozen.signal("TERM");
    frozen.ends_with(143);
}

/// Calls that must not be made twice are not, whoever dies: their rows are of unknown outcome.
#[test]
fn what_may_not_be_sent_twice_is_held() {
    const ROWS: u64 = 400;
    let backlog = Backlog::new(Kind::Redis, "100/s", &["--service", "300ms"]);
    backlog.write_job("job", ROWS as usize, "[retry]\nunknown = \"hold\"", "");
    backlog.submit("job", "default", "2s");
    let mut dead = backlog.worker("dead", "default", &[]);
    dead.start();
    backlog.world.wait_for(100);
    dead.kill();
    backlog.worker("other", "default", &["--until-empty"]).start().ends_with(0);
    let fleet = backlog.server.url();
    let collected = backlog.world.tidegate(["collect", "job.toml", "--fleet", &fleet]);
    assert_eq!(collected.code, Some(1), "{collected}");
    let rows = |name: &str| -> Vec<u64> {
        lines(&backlog.world.path(name)).map(|line| line["index"].as_u64().unwrap()).collect()
    };
    let (results, unknown) = (rows("job.jsonl"), rows("job.unknown.jsonl"));
    let mut all = [&results[..], &unknown].concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..ROWS), "{collected}");
    let accepted = backlog.world.check_contract()["accepted"].as_u64().unwrap();
    println!("{} rows of unknown outcome, {accepted} calls for {ROWS} rows", unknown.len());
    assert!(!unknown.is_empty() && accepted <= ROWS, "{accepted} calls");
}

/// What a dead worker has written cannot be read: its rows are sent again where that may be, and are counted; where not, nobody
/// sends anything.
#[test]
fn what_a_dead_worker_has_done_may_be_lost() {
    const ROWS: usize = 200;
    let backlog = Backlog::new(Kind::Valkey, "100/s", &SLOW);
    for (name, section) in [("sent", ""), ("held", "[retry]\nunknown = \"hold\"")] {
        backlog.write_job(name, ROWS, section, "");
    }
    let lost = |name: &str, begun: u64| {
        let mut dead = backlog.worker(name, name, &[]);
        dead.start();
        backlog.world.wait_for(begun + 60);
        dead.kill();
        let parts = backlog.world.path(&format!("{name}.parts"));
        let begun = |part: &String| part.split_once(".e").is_some_and(|(_, epoch)| epoch == "1");
        let part = backlog.parts(name).into_iter().find(begun).unwrap();
        let results = parts.join(part).join(format!("{name}.jsonl"));
        fs::rename(&results, backlog.world.path("away")).unwrap();
        std::os::unix::fs::symlink(backlog.world.path("away"), results).unwrap();
    };
    backlog.submit("sent", "sent", "3s");
    lost("sent", 0);
    backlog.worker("other", "sent", &["--until-empty"]).start().ends_with(0);
    backlog.collect("sent", ROWS);
    let said = backlog.tell("collect", "sent.toml").stderr;
    let unread = said.split_once("; up to ").unwrap().1.split_once(" were made again").unwrap().0;
    let accepted = backlog.world.check_contract()["accepted"].as_u64().unwrap();
    println!("{accepted} calls for {ROWS} rows, up to {unread} again");
    assert!(accepted > ROWS as u64, "nothing was lost");
    assert!(accepted <= ROWS as u64 + unread.parse::<u64>().unwrap(), "{accepted}, {said}");

    let id = backlog.submit("held", "held", "10s");
    lost("held", accepted);
    let sent = backlog.world.stat("accepted");
    let mut other = backlog.worker("another", "held", &[]);
    other.start();
    let status = backlog.wait_for_status(&id, "no worker may run it");
    assert!(status.contains(".e1"), "{status}");
    other.signal("TERM");
    other.ends_with(143);
    assert_eq!(backlog.world.stat("accepted"), sent, "something was sent again");
}

/// A worker that is asked to end hands its shard back at once, with all that it has done.
#[test]
fn a_worker_that_is_stopped_hands_its_shard_back() {
    const ROWS: usize = 300;
    let backlog = Backlog::new(Kind::Redis, "100/s", &SLOW);
    backlog.write_job("job", ROWS, "", "");
    backlog.submit("job", "default", "5s");
    let mut stopped = backlog.worker("stopped", "default", &[]);
    stopped.start();
    backlog.world.wait_for(80);
    stopped.signal("TERM");
    stopped.ends_with(143);
    assert!(stopped.words().contains("is handed back"), "{}", stopped.words());
    let back = now();
    let mut other = backlog.worker("other", "default", &[]);
    other.start();
    backlog.wait("the other has it", || other.words().contains("epoch 2").then_some(()));
    println!("taken {:.2} s after it was handed back", now() - back);
    assert!(now() - back < 8.0, "it waited for the lease");
    backlog.wait("the end", || other.words().contains("0 left").then_some(()));
    other.signal("INT");
    other.ends_with(130);
    backlog.collect("job", ROWS);
    assert_eq!(backlog.bought_again(&[("job", ROWS)]), (0, 0));
}

/// A shard that ends each worker that runs it is not tried for ever: the job is paused, and says why.
#[test]
fn a_shard_that_ends_each_worker_is_left_alone() {
    let backlog = Backlog::new(Kind::Valkey, "1000/s", &["--service", "60s"]);
    backlog.write_job("job", 10, "", "");
    let id = backlog.submit("job", "default", "1s");
    for dead in 1..=5 {
        let mut worker = backlog.worker(&format!("dead{dead}"), "default", &[]);
        worker.start();
        let begun = backlog.world.path(&format!("job.parts/00000.e{dead}/begun"));
        backlog.wait("its begin", || begun.exists().then_some(()));
        worker.kill();
        // As if its lease were over.
        let key = format!("tidegate:{{fleet}}:shards:{id}");
        let pending = backlog.server.ask(&format!("XPENDING {key} workers - + 1"));
        let words: Vec<&str> =
            pending.lines().filter(|line| !line.starts_with(['*', '$', ':', '+'])).collect();
        let idle = backlog
            .server
            .ask(&format!("XCLAIM {key} workers {} 0 {} IDLE 20000 JUSTID", words[1], words[0]));
        assert!(idle.starts_with("*1"), "{idle}");
    }
    backlog.worker("last", "default", &["--until-empty"]).start().ends_with(0);
    let status = backlog.status(&id);
    assert!(status.contains("paused") && status.contains("why: shard 0 has ended 5 workers"), "{status}");
    assert!(backlog.world.stat("in_service") == 0, "the last one has called");
    backlog.tell("resume", &id);
    let mut again = backlog.worker("again", "default", &[]);
    again.start();
    backlog.wait("a new try", || again.words().contains("shard   0 of 1").then_some(()));
}

/// One part of each shard counts, the one that was accepted, whatever else is there.
#[test]
fn only_one_part_of_a_shard_is_collected() {
    const ROWS: usize = 100;
    let backlog = Backlog::new(Kind::Redis, "1000/s", &[]);
    backlog.write_job("job", ROWS, "", "");
    backlog.submit("job", "default", "1s");
    backlog.worker("one", "default", &["--until-empty"]).start().ends_with(0);
    let parts = backlog.world.path("job.parts");
    // Somebody who had lost it went on to the end.
    let copied = std::process::Command::new("cp")
        .args(["-r", "00000.e1.done", "00000.e2.done"])
        .current_dir(&parts)
        .status();
    assert!(copied.unwrap().success());
    backlog.collect("job", ROWS);
    // The same again; a part that is not whole is noticed; so is a file that somebody else wrote.
    backlog.collect("job", ROWS);
    let output = backlog.world.path("job.jsonl");
    let fleet = backlog.server.url();
    fs::write(&output, "mine\n").unwrap();
    let refused = backlog.world.tidegate(["collect", "job.toml", "--fleet", &fleet]);
    assert!(refused.code == Some(2) && refused.stderr.contains("was not made by collecting"), "{refused}");
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine\n");
    fs::remove_file(&output).unwrap();
    fs::remove_dir_all(parts.join("00000.e1.done")).unwrap();
    let refused = backlog.world.tidegate(["collect", "job.toml", "--fleet", &fleet]);
    assert!(refused.code == Some(2) && refused.stderr.contains("is missing or not whole"), "{refused}");
}
