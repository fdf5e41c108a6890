//! Servers with a replica, as they are kept in production: one that is behind takes over.

use crate::at_once;
use crate::line::{Line, Way};
use crate::server::{Kind, Server};
use crate::world::{World, now, sleep};

/// A primary and a replica, with the line between them.
struct Pair {
    primary: Server,
    replica: Server,
    line: Line,
}

impl Pair {
    fn start(kind: Kind, settings: &[&str]) -> Self {
        let usual = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"];
        let primary = Server::start(kind, &[&usual, settings].concat());
        let (replica, line) = (Server::start(kind, &usual), Line::to(&primary));
        let this = Self { primary, replica, line };
        this.follow();
        this
    }

    /// The replica follows, and has all that there is.
    fn follow(&self) {
        let (port, begin) = (self.line.port(), now());
        let wait_for = |command: &str, is_there: fn(&str) -> bool| {
            while !is_there(&self.replica.ask(command)) {
                assert!(now() - begin < 30.0, "{}", self.replica.ask(command));
                sleep(0.02);
            }
        };
        // It may be reading its data yet.
        wait_for(&format!("REPLICAOF 127.0.0.1 {port}"), |answer| answer.starts_with("+OK"));
        wait_for("INFO replication", |answer| answer.contains("master_link_status:up"));
    }
}

fn revision(server: &Server) -> u64 {
    let answer = server.ask("HGET tidegate:{crm}:quota rev");
    answer.lines().nth(1).and_then(|rev| rev.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// A replica that has not heard the last of it takes the place of its primary, at the same address. What it knows of members is an
/// old story: one of them had left, and the others had taken over what it had.
fn stale(kind: Kind) {
    const ROWS: usize = 170;
    let mut pair = Pair::start(kind, &[]);
    let way = Line::to(&pair.primary);
    let store = way.store();
    let world = World::new(&["--limit", "rolling 60/s", "--service", "lognormal 40ms 0.5"]);
    world.quota(&["create", "crm", "60/s", "--store", &store]);
    let flags = ["--rate", "60/s", "--quota", "crm", "--store", &store, "--timeout", "1s"];
    let [mut a, mut b] = ["a", "b"].map(|name| world.worker(name, ROWS, &flags));
    let mut leaves = world.worker("leaves", 100, &flags);
    for worker in [&mut a, &mut b, &mut leaves] {
        worker.start();
    }
    world.wait_for(120);
    pair.line.turn(Way::Silent);
    let (heard, known) = (world.stat("accepted"), revision(&pair.replica));
    leaves.signal("INT");
    leaves.ends_with(130);
    world.wait_for(heard + 90);
    let behind = revision(&pair.primary) - known;
    assert_eq!(revision(&pair.replica), known, "it has heard more");
    assert!(behind >= 6, "it is not behind: {behind}");
    pair.primary.kill();
    assert!(pair.replica.ask("REPLICAOF NO ONE").starts_with("+OK"));
    let over = now();
    way.lead_to(&pair.replica);
    // They ask each half second, and get no answer for one at most.
    sleep(2.0);
    let sent = world.stat("accepted");
    // From when the first one has found out: a lease, a time-out and a window.
    sleep(over + 3.0 + 1.0 + 1.0 - now());
    assert_eq!(world.stat("accepted"), sent, "sent while calls may have been under way");
    let page = world.quota(&["show", "crm", "--store", &store]).stdout;
    assert!(page.contains("its server has started again"), "{page}");
    // The one that was forgotten with the rest comes back when they are at it again.
    world.wait_for(sent + 60);
    leaves.start();
    for worker in [&mut a, &mut b, &mut leaves] {
        worker.ends_with(0);
    }
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 2 * ROWS as u64 + 100, "{stats}");
    let rows = [&a, &b, &leaves].map(|worker| worker.sends().len());
    assert_eq!(rows, [ROWS, ROWS, 100]);
    for worker in [a, b] {
        let words = worker.words();
        assert!(
            words.contains("another one has taken its place") && words.contains("nothing is sent for"),
            "{words}"
        );
    }
    println!(
        "{kind:?}: {behind} changes behind, {} calls after the takeover",
        stats["accepted"].as_u64().unwrap() - sent
    );
}

/// A primary that must not write without a replica: what is leased is spent, then nothing is sent, and people are told why
/// and what to do; with a replica all goes on, and nothing was forgotten.
fn alone(kind: Kind) {
    const ROWS: usize = 220;
    let mut pair = Pair::start(kind, &["--min-replicas-to-write", "1"]);
    let store = pair.primary.url();
    let world = World::new(&["--limit", "rolling 60/s", "--service", "lognormal 40ms 0.5"]);
    world.quota(&["create", "crm", "60/s", "--store", &store]);
    let flags = ["--rate", "60/s", "--quota", "crm", "--store", &store, "--timeout", "1s"];
    let mut workers = ["a", "b"].map(|name| world.worker(name, ROWS, &flags));
    for worker in &mut workers {
        worker.start();
    }
    world.wait_for(100);
    pair.replica.kill();
    let begin = now();
    sleep(1.0);
    let refused = world.tidegate(["quota", "pause", "crm", "--store", &store]);
    assert!(refused.code != Some(0) && refused.stderr.contains("min-replicas-to-write"), "{refused}");
    // The lease, and what was under way by then.
    sleep(begin + 3.0 + 1.0 - now());
    let sent = world.stat("accepted");
    assert!(sent > 180, "what was leased is not spent: {sent}");
    // A plain line is written each five seconds.
    sleep(begin + 3.0 + 6.5 - now());
    assert_eq!(world.stat("accepted"), sent, "sent without a lease");
    pair.replica.start_again();
    pair.follow();
    for worker in &mut workers {
        worker.ends_with(0);
    }
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 2 * ROWS as u64, "{stats}");
    for worker in workers {
        assert_eq!(worker.sends().len(), ROWS);
        let words = worker.words();
        let why = "its min-replicas-to-write asks for (connect one, or lower that); nothing is sent until";
        assert!(words.contains(why) && !words.contains("nothing is sent for"), "{words}");
    }
    println!("{kind:?}: {sent} calls with what was leased");
}

#[test]
fn a_stale_replica_that_takes_over_holds_all_and_a_primary_without_one_is_waited_for() {
    let both = |test: fn(Kind)| at_once(&[&|| test(Kind::Redis), &|| test(Kind::Valkey)]);
    at_once(&[&|| both(stale), &|| both(alone)]);
}
