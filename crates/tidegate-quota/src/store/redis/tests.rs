//! Others that come in between, and clocks that jump.

use std::cell::Cell;
use std::time::Duration;

use tidegate_core::{LEASE, Limit, Terms};

use super::frame::Reference;
use super::support::{Kind, Server as RealServer};
use super::*;
use crate::Clock;
use crate::store::rows::MemberRow;
use crate::store::{Visit, Who};

const QUOTA: &str = "crm";

struct World {
    server: RealServer,
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let server = RealServer::start(Kind::Redis, &[]);
        Self { server, machine: Machine::simulated(Clock::simulated(), "a machine", 1_700_000_000_000) }
    }

    fn store(&self) -> Redis {
        Redis::simulated(RedisAddress::parse(&self.server.url()).unwrap(), self.machine.clone()).unwrap()
    }

    fn micros(&self) -> u64 {
        self.machine.wall_ms() * 1_000
    }
}

fn join(store: &mut Redis) -> Joined {
    join_that(store, true)
}

/// As one that has sent something itself.
fn join_again(store: &mut Redis) -> Joined {
    join_that(store, false)
}

fn join_that(store: &mut Redis, assume_idle: bool) -> Joined {
    let definition = Definition::new(&["100/s".parse::<Limit>().unwrap()], &Terms::default());
    let join = Join {
        quota: QUOTA,
        definition: Some(&definition),
        who: &Who::this("a test"),
        timeout: Duration::from_secs(5),
        assume_idle,
    };
    store.join(&join).unwrap()
}

fn exchange(store: &mut Redis, joined: &Joined, visits: &[Visit]) -> Result<Reply, StoreError> {
    let (member, version) = (joined.member, joined.version);
    store.exchange(&Exchange { quota: QUOTA, member, version, visits, leaves: false })
}

fn held(store: &mut Redis) -> Option<HeldFor> {
    let row = store.transact(QUOTA, |_, rows| rows.quota(QUOTA)).unwrap().unwrap();
    row.held.map(|held| held.why)
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_changed_meanwhile_is_read_again() {
    tokio::time::advance(Duration::from_secs(10)).await;
    let world = World::new();
    let (mut one, mut other) = (world.store(), world.store());
    let joined = join(&mut other);
    let (tries, other) = (Cell::new(0), std::cell::RefCell::new(other));
    one.transact(QUOTA, |books, rows| {
        let mut row = rows.quota(QUOTA)?.unwrap();
        if tries.replace(tries.get() + 1) == 0 {
            let reply = exchange(&mut other.borrow_mut(), &joined, &[]);
            assert!(matches!(reply, Ok(Reply::Settled { .. })));
        }
        row.resumes += 1;
        books.put(rows, QUOTA, &mut row, books.now())
    })
    .unwrap();
    let row = one.transact(QUOTA, |_, rows| rows.quota(QUOTA)).unwrap().unwrap();
    assert_eq!((tries.get(), row.resumes), (2, 1));
}

/// Who has found it changed makes the others wait, and not for ever.
#[tokio::test(start_paused = true)]
async fn exchanges_wait_while_a_quota_is_changed() {
    tokio::time::advance(Duration::from_secs(10)).await;
    let world = World::new();
    let (mut one, mut other) = (world.store(), world.store());
    let joined = join(&mut one);
    let loaded = other.server.load(QUOTA, false, true).unwrap();
    // Time stands still: it would be half a second.
    let Err(StoreError::Unreachable { message, .. }) = exchange(&mut one, &joined, &[]) else { panic!() };
    assert!(message.contains("is being changed"), "{message}");
    tokio::time::advance(Duration::from_millis(501)).await;
    assert!(matches!(exchange(&mut one, &joined, &[]), Ok(Reply::Settled { .. })));
    // Too late by then.
    let (revision, run) = (loaded.revision().to_owned(), loaded.run);
    assert!(!other.server.commit(QUOTA, &revision, &run, Vec::new()).unwrap());
    let now = other.server.load(QUOTA, false, false).unwrap();
    assert!(!other.server.commit(QUOTA, now.revision(), "another", Vec::new()).unwrap(), "another server");
    assert!(other.server.commit(QUOTA, now.revision(), &now.run, Vec::new()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_ahead_is_a_loss_of_memory() {
    tokio::time::advance(Duration::from_secs(100)).await;
    let world = World::new();
    let mut store = world.store();
    for jump in [300_000, 40_000_000] {
        let joined = join(&mut store);
        assert!(matches!(exchange(&mut store, &joined, &[]), Ok(Reply::Settled { .. })));
        // As if the server's clock had shown less just now.
        store.reference = Some(Reference::new(world.micros() - jump, world.machine.now()));
        assert!(matches!(exchange(&mut store, &joined, &[]), Ok(Reply::Unknown)), "{jump}");
        assert_eq!(held(&mut store), Some(HeldFor::ClockJumped));
        assert!(matches!(exchange(&mut store, &joined, &[]), Ok(Reply::Unknown)));
    }
}

/// A report that was said before the answer was lost, and comes again from a slow network when all is over.
#[tokio::test(start_paused = true)]
async fn a_report_that_comes_late_raises_nobody() {
    tokio::time::advance(Duration::from_secs(10)).await;
    let world = World::new();
    let mut store = world.store();
    let joined = join(&mut store);
    let report = tidegate_core::Report { seq: 1, timeout: Duration::from_secs(5), ..Default::default() };
    let visit = Visit { partition: "".into(), report, leaves: false };
    assert!(matches!(exchange(&mut store, &joined, std::slice::from_ref(&visit)), Ok(Reply::Settled { .. })));
    tokio::time::advance(LEASE + Duration::from_secs(5)).await;
    assert!(matches!(exchange(&mut store, &joined, &[visit]), Ok(Reply::Unknown)));
    let died = store.died_by(joined.member).unwrap().unwrap();
    assert!(died > world.machine.now() - Duration::from_millis(20) && died <= world.machine.now(), "{died}");
}

/// Whatever the clocks of the machines show, dates are by the server's.
#[test]
fn no_clock_of_a_machine_is_a_date() {
    let server = RealServer::start(Kind::Valkey, &[]);
    let open = |wall_ms| {
        let machine = Machine::simulated(Clock::start(), "a machine", wall_ms);
        Redis::open(RedisAddress::parse(&server.url()).unwrap(), machine).unwrap()
    };
    let mut stores = [open(1_000_000_000_000), open(3_000_000_000_000)];
    let joined = stores.each_mut().map(join);
    for _ in 0..3 {
        for (store, joined) in stores.iter_mut().zip(&joined) {
            assert!(matches!(exchange(store, joined, &[]), Ok(Reply::Settled { .. })));
            let seen = store.server.load(QUOTA, false, false).unwrap().quota["seen"].clone();
            let time: Vec<u64> = store.server.session().command(&["TIME"]).unwrap();
            let apart = Duration::from_micros(time[0] * 1_000_000)
                .abs_diff(Duration::from_micros(seen.parse().unwrap()));
            assert!(apart < Duration::from_secs(60), "{apart:?}");
        }
    }
}

/// The server counts a lease from when it heard the question, which is some time after it was written: who waits long for
/// the answer has less of it.
#[test]
fn a_lease_counts_from_the_question() {
    const LATE: Duration = Duration::from_millis(500);
    let server = RealServer::start(Kind::Redis, &[]);
    let machine = Machine::this();
    let mut store = Redis::open(RedisAddress::parse(&server.url()).unwrap(), machine.clone()).unwrap();
    let joined = join(&mut store);
    let report = tidegate_core::Report { seq: 1, timeout: Duration::from_secs(5), ..Default::default() };
    let visit = Visit { partition: "".into(), report, leaves: false };
    server.signal("STOP");
    let asked = machine.now();
    let reply = std::thread::scope(|scope| {
        scope.spawn(|| {
            while machine.now() < asked + LATE {
                std::thread::park_timeout(LATE);
            }
            server.signal("CONT");
        });
        exchange(&mut store, &joined, std::slice::from_ref(&visit))
    });
    let Ok(Reply::Settled { answers, .. }) = reply else { panic!("{reply:?}") };
    let Answer::Allotted(allotment) = &answers[0] else { panic!("{answers:?}") };
    // The exchange was written a little after it was asked for.
    assert!(allotment.until < asked + LEASE + LATE / 2, "{} {asked}", allotment.until);
    assert!(allotment.until > asked + LEASE - LATE / 2, "{} {asked}", allotment.until);
}

/// Another server takes a server's place for a while; then it is back, with the run id that it had: what was given out
/// elsewhere meanwhile it does not know.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_and_is_back_as_it_was_holds_all() {
    tokio::time::advance(Duration::from_secs(100)).await;
    let (here, elsewhere) = (World::new(), RealServer::start(Kind::Valkey, &[]));
    let server = |server: &RealServer| {
        Server::simulated(RedisAddress::parse(&server.url()).unwrap(), here.machine.clone())
    };
    let (mut one, mut other) = (here.store(), here.store());
    let joined = [&mut one, &mut other].map(join);
    for (store, joined) in [(&mut one, &joined[0]), (&mut other, &joined[1])] {
        assert!(matches!(exchange(store, joined, &[]), Ok(Reply::Settled { .. })));
        store.server = server(&elsewhere);
        assert!(matches!(exchange(store, joined, &[]), Ok(Reply::Unknown)));
    }
    // Long after all that is known of it here.
    tokio::time::advance(Duration::from_secs(20)).await;
    let joined = [&mut one, &mut other].map(join_again);
    for (store, joined) in [(&mut one, &joined[0]), (&mut other, &joined[1])] {
        assert!(matches!(exchange(store, joined, &[]), Ok(Reply::Settled { .. })));
        store.server = server(&here.server);
    }
    let mut until = None;
    for (store, joined) in [(&mut one, &joined[0]), (&mut other, &joined[1])] {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(exchange(store, joined, &[]), Ok(Reply::Unknown)));
        let held = join_again(store).held.expect("it is not held");
        assert_eq!(held.why, HeldFor::Restarted);
        // A lease, a time-out and a window; who comes later finds it so, and makes it no longer.
        let begun = *until.get_or_insert(here.machine.now() + Duration::from_secs(9));
        assert!(
            held.until >= begun && held.until < begun + Duration::from_millis(100),
            "{} {begun}",
            held.until
        );
    }
    // Nobody holds it up again.
    tokio::time::advance(Duration::from_secs(20)).await;
    let joined = join_again(&mut one);
    assert!(matches!(exchange(&mut one, &joined, &[]), Ok(Reply::Settled { .. })));
    assert_eq!(joined.held, None);
}

/// Calls of scripts so far, and the microseconds that they took.
fn scripts(server: &RealServer) -> (f64, f64) {
    let stats = server.ask("INFO commandstats");
    let of = |line: &str, what: &str| line.split_once(what)?.1.split(',').next()?.parse::<f64>().ok();
    let lines = stats.lines().filter(|line| line.starts_with("cmdstat_eval"));
    lines.fold((0.0, 0.0), |(calls, micros), line| {
        (calls + of(line, "calls=").unwrap_or(0.0), micros + of(line, "usec=").unwrap_or(0.0))
    })
}

/// So many members in one quota, each with two exchanges a second: microseconds for each of them.
async fn crowd(members: u64) -> f64 {
    let world = World::new();
    let mut store = world.store();
    let version = join(&mut store).version;
    store
        .transact(QUOTA, |books, rows| {
            let now = books.now();
            let who = Who::this("one of many");
            for id in 1..=members {
                let timeout = Duration::from_secs(30);
                let member = MemberRow {
                    id: MemberId(id),
                    who: who.clone(),
                    joined_ms: 0,
                    seen: now,
                    until: now,
                    timeout,
                };
                rows.put_member(QUOTA, &member)?;
            }
            Ok(())
        })
        .unwrap();
    let step = Duration::from_millis(500) / u32::try_from(members).unwrap();
    let mut targets = vec![0; usize::try_from(members).unwrap()];
    let mut before = (0.0, 0.0);
    for seq in 1..=8 {
        for id in 1..=members {
            let demand = vec![tidegate_core::Demand { units: u64::MAX, need: 0 }];
            let report = tidegate_core::Report {
                seq,
                demand,
                timeout: Duration::from_secs(30),
                ceded: vec![tidegate_core::Part::default()],
                ..Default::default()
            };
            let visits = [Visit { partition: "".into(), report, leaves: false }];
            let exchange =
                Exchange { quota: QUOTA, member: MemberId(id), version, visits: &visits, leaves: false };
            let Ok(Reply::Settled { answers, .. }) = store.exchange(&exchange) else { panic!() };
            let Answer::Allotted(allotment) = &answers[0] else { panic!() };
            targets[usize::try_from(id - 1).unwrap()] = allotment.targets[0];
            tokio::time::advance(step).await;
        }
        if seq == 4 {
            before = scripts(&world.server);
        }
    }
    // All are to have about the same.
    let (fewest, most) = (targets.iter().min().unwrap(), targets.iter().max().unwrap());
    assert!(most - fewest <= 1, "{fewest} {most}");
    let after = scripts(&world.server);
    (after.1 - before.1) / (after.0 - before.0)
}

#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "what it measured")]
async fn a_thousand_members_cost_a_server_little() {
    tokio::time::advance(Duration::from_secs(10)).await;
    let (ten, thousand) = (crowd(10).await, crowd(1_000).await);
    println!("an exchange of one of 10 takes a server {ten:.0} µs, of 1,000 {thousand:.0} µs");
    assert!(thousand < 10.0 * ten, "{ten} {thousand}");
}

/// What a server cannot do now it may do later: that is waited for, and people are told what to do.
#[test]
fn a_server_that_takes_no_writes_now_is_waited_for() {
    const STUCK: &str = "EVAL \"while true do end\" 0";
    for kind in [Kind::Redis, Kind::Valkey] {
        let server = RealServer::start(kind, &[]);
        let address = RedisAddress::parse(&server.url()).unwrap();
        let mut store = Redis::open(address, Machine::this()).unwrap();
        let joined = join(&mut store);
        for (begins, ends, words) in [
            (
                "CONFIG SET min-replicas-to-write 1",
                "CONFIG SET min-replicas-to-write 0",
                "min-replicas-to-write",
            ),
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory"),
            ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "it is a replica"),
            (STUCK, "SCRIPT KILL", "SCRIPT KILL"),
        ] {
            std::thread::scope(|scope| {
                server.ask("CONFIG SET lua-time-limit 20");
                let begun = scope.spawn(|| server.ask(begins));
                let error = loop {
                    if let Err(error) = exchange(&mut store, &joined, &[]) {
                        break error;
                    }
                };
                assert!(error.may_pass(), "{begins}: {error:?}");
                assert!(error.to_string().contains(words), "{begins}: {error}");
                let ended = server.ask(ends);
                assert!(ended.starts_with("+OK"), "{ends}: {ended}");
                begun.join().unwrap();
            });
            assert!(matches!(exchange(&mut store, &joined, &[]), Ok(Reply::Settled { .. })), "{begins}");
        }
    }
}
