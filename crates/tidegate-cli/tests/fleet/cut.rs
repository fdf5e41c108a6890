//! A process that the network has cut off from its server, and not from its provider.

use crate::at_once;
use crate::backlog::Backlog;
use crate::line::{Line, Way};
use crate::server::{Kind, Server};
use crate::world::{World, now, sleep};

const SLOW: [&str; 2] = ["--service", "lognormal 40ms 0.5"];

/// One of two runs is cut off: it spends its lease, and sends nothing more; the other one gets all that there is; when the
/// line is back both go on.
fn run(kind: Kind, way: Way) {
    const ROWS: [usize; 2] = [200, 450];
    let server = Server::start(kind, &["--appendonly", "yes"]);
    let world = World::new(&[&["--limit", "rolling 60/s"], &SLOW[..]].concat());
    let (line, road) = (Line::to(&server), Line::to_url(&world.provider.url));
    let (store, through) = (server.url(), line.store());
    world.quota(&["create", "crm", "60/s", "--store", &store]);
    let flags = ["--rate", "60/s", "--quota", "crm", "--timeout", "2s", "--store"];
    let mut cut = world.worker_at(&road.url(), "cut", ROWS[0], &[&flags[..], &[&through]].concat());
    let mut other = world.worker("other", ROWS[1], &[&flags[..], &[&store]].concat());
    cut.start();
    other.start();
    world.wait_for(100);
    line.turn(way);
    let begin = now();
    // Lease, time-out and a window later.
    while world.shares_in("crm", &["--store", &store]) != [(other.id(), 60)] {
        assert!(now() - begin < 12.0, "{:?}", world.shares_in("crm", &["--store", &store]));
        sleep(0.1);
    }
    let gone = now();
    // A plain line is written each five seconds.
    sleep(begin + 3.0 + 6.5 - now());
    let last = road.said_after(begin).into_iter().fold(begin, f64::max) - begin;
    assert!(last < 3.0 + 1.0, "sent without a lease, {last} s after the cut");
    assert!(last > 1.0, "what was leased is not spent: {last}");
    cut.assert_runs();
    let back = now();
    line.turn(Way::Open);
    cut.ends_with(0);
    other.ends_with(0);
    assert!(!road.said_after(back).is_empty(), "it had ended already");
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], (ROWS[0] + ROWS[1]) as u64, "{stats}");
    assert_eq!([cut.sends().len(), other.sends().len()], ROWS);
    let words = cut.words();
    assert!(words.contains("cannot be used now"), "{words}");
    assert!(!words.contains("nothing is sent for"), "the server has forgotten nothing: {words}");
    println!(
        "{kind:?}, {way:?}: the last call {last:.2} s after the cut; the other has all after {:.2} s",
        gone - begin
    );
}

/// Ten seconds after its lease has ended it stops; the same command carries on.
fn run_for_long() {
    const ROWS: usize = 250;
    let server = Server::start(Kind::Redis, &[]);
    let world = World::new(&[&["--limit", "rolling 60/s"], &SLOW[..]].concat());
    let line = Line::to(&server);
    world.quota(&["create", "crm", "60/s", "--store", &line.store()]);
    let store = line.store();
    let mut run = world.worker("run", ROWS, &["--rate", "60/s", "--quota", "crm", "--store", &store]);
    run.start();
    world.wait_for(30);
    line.turn(Way::Refused);
    let cut = now();
    run.ends_with(3);
    let (waited, words) = (now() - cut, run.words());
    assert!(waited > 3.0 + 10.0 - 1.0, "it waited {waited} s");
    assert!(words.contains("cannot be used now"), "{words}");
    assert!(run.sends().len() < ROWS);
    line.turn(Way::Open);
    run.start().ends_with(0);
    let stats = world.check_contract();
    assert_eq!((run.sends().len(), &stats["accepted"]), (ROWS, &ROWS.into()), "{stats}");
    println!("it stopped {waited:.2} s after the cut");
}

#[test]
fn a_run_that_is_cut_off_spends_its_lease_and_waits_and_stops_after_long() {
    at_once(&[&|| run(Kind::Redis, Way::Silent), &|| run(Kind::Valkey, Way::Refused), &run_for_long]);
}

/// A worker is cut off: another one takes its shard over, and it begins nothing more of that; when the line is back it
/// takes what comes next.
fn worker(kind: Kind, way: Way) {
    const ROWS: usize = 600;
    let backlog = Backlog::new(kind, "100/s", &SLOW);
    backlog.write_job("job", ROWS, "", "");
    backlog.submit("job", "default", "6s"); // more than it can do before its lease ends
    let line = Line::to(&backlog.server);
    let mut cut = backlog.worker_on(&line.store(), "cut", "default", &[]);
    cut.start();
    backlog.world.wait_for(100);
    line.turn(way);
    let begin = now();
    // Its share of the quota.
    sleep(3.0 + 1.0);
    let arrived = backlog.world.stat("arrived");
    sleep(begin + 8.0 + 0.5 - now());
    let mut other = backlog.worker("other", "default", &["--until-empty"]);
    assert_eq!(backlog.world.stat("arrived"), arrived, "it goes on");
    other.start().ends_with(0);
    assert!(other.words().contains("epoch 2"), "{}", other.words());
    assert!(now() - begin > 10.0, "it was taken over too early");
    let arrived = backlog.world.stat("arrived");
    line.turn(Way::Open);
    // It asks each second.
    sleep(2.0);
    assert_eq!(backlog.world.stat("arrived"), arrived, "it sent calls of a shard that it had lost");
    cut.assert_runs();
    backlog.write_job("next", 50, "", "");
    let next = backlog.submit("next", "default", "2s");
    backlog.wait_for_status(&next, "done");
    cut.signal("TERM");
    cut.ends_with(143);
    backlog.collect("job", ROWS);
    backlog.collect("next", 50);
    let (again, open) = backlog.bought_again(&[("job", ROWS), ("next", 50)]);
    println!(
        "{kind:?}, {way:?}: {again} calls were bought again, {open} were in flight at the end of its lease"
    );
    let words = cut.words();
    assert!(words.contains("cannot be used now"), "{words}");
}

/// A worker does the last row of its shard before its lease ends, and cannot say so: whoever takes the shard over finds it
/// done, and buys nothing again. A server that does not answer holds up nobody who is done.
fn done() {
    const ROWS: usize = 150;
    let backlog = Backlog::new(Kind::Redis, "100/s", &SLOW);
    backlog.write_job("job", ROWS, "", "");
    backlog.submit("job", "default", "5s");
    let line = Line::to(&backlog.server);
    let mut cut = backlog.worker_on(&line.store(), "cut", "default", &[]);
    cut.start();
    backlog.world.wait_for(100);
    line.turn(Way::Silent);
    let cut_at = now();
    backlog.wait("its part", || backlog.parts("job").contains(&"00000.e1.done".to_owned()).then_some(()));
    let done = now() - cut_at;
    assert!(done < 8.0, "it takes {done} s to end without a server");
    let mut other = backlog.worker("other", "default", &["--until-empty"]);
    other.start().ends_with(0);
    assert!(other.words().contains("its part was there"), "{}", other.words());
    line.turn(Way::Open);
    // It says so when it can, which changes nothing.
    backlog.wait("its word", || cut.words().contains("150 results · 0 failures · 0 left").then_some(()));
    cut.signal("INT");
    cut.ends_with(130);
    let away = cut.words().matches("trying again").count();
    assert!(away <= 1, "it is said once: {}", cut.words());
    backlog.collect("job", ROWS);
    assert_eq!(backlog.bought_again(&[("job", ROWS)]), (0, 0));
    println!("its part was whole {done:.2} s after the cut");
}

#[test]
fn a_worker_that_is_cut_off_begins_nothing_more_and_what_it_has_done_is_found() {
    at_once(&[&|| worker(Kind::Valkey, Way::Silent), &|| worker(Kind::Redis, Way::Refused), &done]);
}
