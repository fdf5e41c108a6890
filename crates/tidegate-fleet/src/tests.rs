//! The scripts, on real servers: answers get lost, workers come too late, the server forgets.

#[path = "../../tidegate-quota/tests/support/redis.rs"]
#[expect(dead_code, reason = "what kills servers is for other tests")]
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::job::{JobFile, KeptJob};
use tidegate::source::{Cut, InputRange};
use tidegate_quota::Clock;

use self::server::{Kind, Server};
use crate::error::FleetError;
use crate::fleet::{Fleet, Grant, LEASE, Renewal, State, Sums, Taken};
use crate::job::{FleetJob, Shard};
use crate::keep::{Keeper, Kept};
use crate::submit::write_down;
use crate::worker::Backlog;

const SUMS: Sums = Sums { ok: 8, failed: 1, unknown: 1, rebought: 2 };

struct World {
    server: Server,
    fleet: Fleet,
}

impl World {
    fn new(kind: Kind) -> Self {
        let server = Server::start(kind, &[]);
        let fleet = Fleet::open(&server.url()).unwrap();
        Self { server, fleet }
    }

    fn submit(&mut self, id: &str, queue: &str, shards: u64) {
        let shards: Vec<_> = (0..shards).map(|number| (shard(number), 0, None)).collect();
        write_down(&mut self.fleet, &job(id, queue, shards.len() as u64), &shards, [0; 4]).unwrap();
    }

    fn take(&mut self, worker: &str, queues: &[&str]) -> Taken {
        let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
        self.fleet.take(worker, &Backlog::Queues(queues), &[]).unwrap()
    }

    #[track_caller]
    fn given(&mut self, worker: &str, queues: &[&str]) -> Grant {
        match self.take(worker, queues) {
            Taken::Shard(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    /// Its worker says nothing for longer than the lease.
    fn silence(&self, worker: &str, grant: &Grant) {
        let idle = LEASE.as_millis() + 1;
        let key = format!("tidegate:{{fleet}}:shards:{}", grant.job);
        self.server.ask(&format!("XCLAIM {key} workers {worker} 0 {} IDLE {idle} JUSTID", grant.entry));
    }

    /// How many are left, if that was accepted; whether it ended the job.
    fn finish(&mut self, worker: &str, grant: &Grant) -> Option<(u64, bool)> {
        let finished = self.fleet.finish(worker, grant, grant.epoch, SUMS).unwrap();
        finished.accepted.then_some((finished.left, finished.ended_job))
    }
}

fn shard(number: u64) -> Shard {
    let range = InputRange { from: number * 10, to: number * 10 + 10, row: number * 5, line: number * 5 + 1 };
    Shard { number, cut: Cut { range, rows: 5, sha256: "00".to_owned() } }
}

fn job(id: &str, queue: &str, shards: u64) -> FleetJob {
    FleetJob {
        id: id.to_owned(),
        number: id.to_owned(),
        queue: queue.to_owned(),
        by: "me".to_owned(),
        at_ms: 0,
        length: 0,
        rows: shards * 5,
        shards,
        in_order: false,
        kept: KeptJob::of(&JobFile::default()),
    }
}

fn on_both(test: impl Fn(World)) {
    for kind in [Kind::Redis, Kind::Valkey] {
        test(World::new(kind));
    }
}

#[test]
fn who_comes_too_late_is_not_heard() {
    on_both(|mut world| {
        world.submit("a", "q", 1);
        let first = world.given("one", &["q"]);
        assert_eq!((first.epoch, world.take("two", &["q"])), (1, Taken::Busy));
        world.silence("one", &first);
        let second = world.given("two", &["q"]);
        assert_eq!((second.epoch, &second.shard), (2, &first.shard));
        // It wakes up: whatever it says changes nothing.
        assert_eq!(world.fleet.renew("one", &first).unwrap(), Renewal::Lost);
        assert_eq!(world.fleet.raise("one", &first, 1).unwrap(), None);
        assert!(!world.fleet.release("one", &first, Some("it says so")).unwrap());
        assert_eq!(world.finish("one", &first), None);
        let mine = Renewal::Mine(Some(State::Open), String::new());
        assert_eq!(world.fleet.renew("two", &second).unwrap(), mine);
        assert_eq!(world.finish("two", &second), Some((0, true)));
        assert_eq!(world.finish("one", &first), None);
        assert_eq!(world.fleet.done("a").unwrap().into_iter().collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(world.take("one", &["q"]), Taken::Empty);
    });
}

#[test]
fn what_is_said_twice_happens_once() {
    on_both(|mut world| {
        let shards = [(shard(0), 0, None), (shard(1), 0, None)];
        for _ in 0..2 {
            assert_eq!(world.fleet.begin("a", "q", &[("shards", "2".to_owned())]).unwrap(), None);
            world.fleet.load("a", 0, &shards[..1]).unwrap();
        }
        for _ in 0..2 {
            world.fleet.load("a", 1, &shards[1..]).unwrap();
        }
        assert_eq!(world.take("one", &["q"]), Taken::Empty);
        for _ in 0..2 {
            world.fleet.begin_work("a").unwrap();
        }
        let lost = world.given("one", &["q"]);
        // The answer did not come: the same shard again, under another epoch.
        let grant = world.given("one", &["q"]);
        assert_eq!((&grant.shard, grant.epoch), (&lost.shard, lost.epoch + 1));
        assert_eq!(world.finish("one", &lost), None);
        assert_eq!(world.finish("one", &grant), Some((1, false)));
        assert_eq!(world.finish("one", &grant), Some((1, false)));
        let back = world.given("one", &["q"]);
        assert!(world.fleet.release("one", &back, None).unwrap());
        assert!(!world.fleet.release("one", &back, None).unwrap());
        let grant = world.given("two", &["q"]);
        assert_eq!((&grant.shard, grant.epoch), (&back.shard, 2));
        // Who has handed it back has no say any more.
        assert_eq!(world.fleet.renew("one", &back).unwrap(), Renewal::Lost);
        for _ in 0..2 {
            assert_eq!(world.finish("two", &grant), Some((0, true)));
        }
        let status = world.fleet.jobs().unwrap().remove(0);
        assert_eq!(
            (status.state, status.done, status.counts, status.left_open),
            (State::Done, 2, [16, 2, 2], 4)
        );
    });
}

#[test]
fn queues_and_jobs_have_their_order() {
    on_both(|mut world| {
        world.submit("low", "low", 1);
        world.submit("one", "high", 2);
        world.submit("two", "high", 1);
        let both = ["high", "low"];
        let first = world.given("a", &both);
        let second = world.given("b", &both);
        assert_eq!((&*first.job, &*second.job), ("one", "one"));
        // The first job of the queue is not over yet: who has nothing to do there helps the other queue.
        let third = world.given("c", &both);
        assert_eq!(third.job, "low");
        assert_eq!(world.take("d", &["high"]), Taken::Busy);
        // A job that nobody goes on with holds up no other.
        world.fleet.control("one", State::Paused, "later").unwrap();
        assert_eq!(world.given("d", &both).job, "two");
        world.fleet.control("one", State::Open, "").unwrap();
        assert_eq!(world.finish("a", &first), Some((1, false)));
        assert_eq!(world.finish("b", &second), Some((0, true)));
        assert_eq!(world.take("e", &both), Taken::Busy);
        // Dead workers' shards go before fresh ones.
        world.submit("three", "new", 2);
        let dead = world.given("e", &["new"]);
        world.silence("e", &dead);
        assert_eq!(world.given("f", &["new"]).shard, dead.shard);
        assert!(world.fleet.control("one", State::Cancelled, "").is_err());
        assert!(world.fleet.control("none", State::Cancelled, "").is_err());
    });
}

#[test]
fn who_works_on_one_job_takes_nothing_else() {
    on_both(|mut world| {
        world.submit("first", "q", 1);
        world.submit("own", "q", 2);
        let own = Backlog::Job(std::sync::Arc::new(job("own", "q", 2)));
        let Taken::Shard(grant) = world.fleet.take("one", &own, &[]).unwrap() else {
            panic!("it had to wait")
        };
        assert_eq!(grant.job, "own");
        assert_eq!(world.finish("one", &grant), Some((1, false)));
        let first = world.given("two", &["q"]);
        assert_eq!((&*first.job, world.finish("two", &first)), ("first", Some((0, true))));
        let other = world.given("three", &["q"]);
        assert_eq!(world.fleet.take("one", &own, &[]).unwrap(), Taken::Busy);
        assert_eq!(world.finish("three", &other), Some((0, true)));
        assert_eq!(world.fleet.take("one", &own, &[]).unwrap(), Taken::Empty);
    });
}

/// Workers die of it, one after the other, and say so many rows are done when they begin. Why it is stopped, and at which of them.
fn deaths(world: &mut World, rows: impl Fn(u64) -> Option<u64>) -> Option<(u64, String)> {
    for i in 1..=12 {
        let worker = format!("w{i}");
        let grant = match world.take(&worker, &["q"]) {
            Taken::Shard(grant) => grant,
            other => {
                assert_eq!(other, Taken::Empty);
                let (state, why) = world.fleet.state("a").unwrap().unwrap();
                return (state == State::Paused).then_some((i, why));
            }
        };
        if let Some(rows) = rows(i).filter(|_| grant.ended > 0)
            && let Some(why) = world.fleet.further(&worker, &grant, rows).unwrap()
        {
            assert!(world.fleet.release(&worker, &grant, Some(&why)).unwrap());
            return Some((i, why));
        }
        world.silence(&worker, &grant);
    }
    None
}

#[test]
fn a_shard_that_ends_each_worker_is_stopped() {
    const WHY: &str = "shard 0 has ended 5 workers, and none of them brought it further";
    on_both(|mut world| {
        world.submit("a", "q", 1);
        assert_eq!(deaths(&mut world, |_| Some(0)), Some((6, WHY.to_owned())));
        let status = world.fleet.jobs().unwrap().remove(0);
        assert_eq!((status.state, &*status.why), (State::Paused, WHY));
        // Whoever resumes it has it tried as often again.
        world.fleet.control("a", State::Open, "").unwrap();
        assert_eq!(deaths(&mut world, |_| Some(0)).unwrap().0, 6);
        // Those that die before they could look are seen as well.
        world.fleet.control("a", State::Open, "").unwrap();
        let (last, why) = deaths(&mut world, |_| None).unwrap();
        assert_eq!((last, &*why), (7, "shard 0 has ended 6 workers, and none of them brought it further"));
        // As long as it comes further, machines may be switched off as often as they like.
        world.fleet.control("a", State::Open, "").unwrap();
        assert_eq!(deaths(&mut world, |i| Some(i / 3)), None);
        // What was handed back has ended nobody.
        world.submit("b", "back", 1);
        for i in 0..12 {
            let grant = world.given(&format!("w{i}"), &["back"]);
            assert_eq!(grant.ended, 0);
            assert!(world.fleet.release(&format!("w{i}"), &grant, None).unwrap());
        }
    });
}

#[test]
fn a_job_that_is_forgotten_leaves_nothing() {
    on_both(|mut world| {
        let before = world.server.ask("KEYS *");
        assert!(before.starts_with("*0\r\n"), "{before}");
        let keys = |world: &World| world.server.ask("KEYS *");
        world.submit("done", "q", 1);
        world.fleet.refuse("done", "one", "it may not").unwrap();
        let dead = world.given("dead", &["q"]);
        world.silence("dead", &dead);
        let grant = world.given("one", &["q"]);
        assert!(matches!(world.fleet.forget("done"), Err(FleetError::NotOver { state: State::Open, .. })));
        assert_eq!(world.finish("one", &grant), Some((0, true)));
        world.submit("cancelled", "q", 3);
        let late = world.given("one", &["q"]);
        world.fleet.control("cancelled", State::Cancelled, "").unwrap();
        // Whoever wrote it down was killed in the middle.
        world.fleet.begin("torn", "q", &[("shards", "2".to_owned())]).unwrap();
        world.fleet.load("torn", 0, &[(shard(0), 1, None)]).unwrap();
        assert_eq!(world.fleet.jobs().unwrap().len(), 3);
        world.fleet.control("torn", State::Cancelled, "").unwrap();
        for id in ["done", "cancelled", "torn"] {
            world.fleet.forget(id).unwrap();
            assert!(matches!(world.fleet.forget(id), Err(FleetError::Unknown { .. })));
        }
        assert_eq!(keys(&world), before);
        // Nor does it come back by what its workers say.
        assert_eq!(world.fleet.renew("one", &late).unwrap(), Renewal::Lost);
        assert_eq!(world.fleet.raise("one", &late, 3).unwrap(), None);
        assert!(!world.fleet.release("one", &late, Some("late")).unwrap());
        assert_eq!(world.finish("one", &late), None);
        world.fleet.refuse("cancelled", "one", "late").unwrap();
        world.fleet.load("torn", 1, &[(shard(1), 1, None)]).unwrap();
        world.fleet.begin_work("torn").unwrap();
        assert_eq!(world.take("one", &["q"]), Taken::Empty);
        assert_eq!(keys(&world), before);
    });
}

/// The server was killed before it had written its last second down.
#[test]
fn an_epoch_that_was_forgotten_is_not_used_again() {
    on_both(|mut world| {
        let folder = tempfile::tempdir().unwrap();
        let mut file = JobFile::default();
        file.output.path = Some(folder.path().join("out.jsonl"));
        let job = FleetJob { kept: KeptJob::of(&file), ..job("a", "q", 1) };
        std::fs::create_dir(folder.path().join("out.parts")).unwrap();
        write_down(&mut world.fleet, &job, &[(shard(0), 0, None)], [0; 4]).unwrap();
        let place = |world: World, worker: &str, grant: &mut Grant| {
            let World { server, fleet } = world;
            let fleet = std::sync::Mutex::new(fleet);
            let placed = crate::shard::place(&fleet, worker, &job, grant).unwrap();
            (World { server, fleet: fleet.into_inner().unwrap() }, format!("{placed:?}"))
        };
        let mut first = world.given("one", &["q"]);
        let (mut world, placed) = place(world, "one", &mut first);
        assert!(placed.contains("00000.e1"), "{placed}");
        world.server.ask("HSET tidegate:{fleet}:epochs:a 0 0");
        world.silence("one", &first);
        let mut second = world.given("two", &["q"]);
        assert_eq!(second.epoch, first.epoch, "the test makes no sense");
        let (mut world, placed) = place(world, "two", &mut second);
        assert!(placed.contains("00000.e2") && second.epoch == 2, "{placed}");
        assert_eq!(world.finish("one", &first), None);
        assert_eq!(world.finish("two", &second), Some((0, true)));
    });
}

/// What it cannot write now it may write later, and until then nothing has changed.
#[test]
fn a_server_that_takes_no_writes_is_waited_for() {
    on_both(|mut world| {
        world.submit("a", "q", 2);
        let grant = world.given("one", &["q"]);
        world.server.ask("CONFIG SET min-replicas-to-write 1");
        let errors = [
            world.fleet.renew("one", &grant).unwrap_err(),
            world.fleet.finish("one", &grant, grant.epoch, SUMS).unwrap_err(),
            world.fleet.take("two", &Backlog::Queues(vec!["q".to_owned()]), &[]).unwrap_err(),
        ];
        for error in errors {
            assert!(error.may_pass() && error.to_string().contains("min-replicas-to-write"), "{error}");
        }
        world.server.ask("CONFIG SET min-replicas-to-write 0");
        assert_eq!(world.given("two", &["q"]).epoch, 1);
        assert_eq!(world.finish("one", &grant), Some((1, false)));
    });
}

/// The server answers no more: the shard is given up before others may have it. Nearly all of that time has passed here.
#[test]
fn a_worker_that_is_not_heard_gives_its_shard_up_first() {
    on_both(|mut world| {
        world.submit("a", "q", 1);
        let grant = world.given("one", &["q"]);
        world.server.signal("STOP");
        let World { server, fleet } = world;
        let said_at = Clock::start().now() - Duration::from_secs(7);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let keeper = Keeper::new(Arc::new(Mutex::new(fleet)), "one".to_owned(), grant, said_at);
            assert_eq!(keeper.now(), Kept::Mine);
            let mut kept = keeper.kept.clone();
            tokio::time::timeout(LEASE, kept.changed()).await.expect("it keeps it").unwrap();
            assert_eq!(keeper.now(), Kept::Silent);
            let silent = Clock::start().now().since(said_at);
            assert!(silent >= Duration::from_secs(8) && silent < LEASE, "{silent:?}");
        });
        runtime.shutdown_background();
        server.signal("CONT");
    });
}
