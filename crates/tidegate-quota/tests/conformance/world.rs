//! Processes that share a quota, the network between them and a provider, and a judge.

use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tidegate_core::{Contract, Costs, Limit, MemberId, Outcome, Pacing, Priority, Terms, Time};
use tidegate_quota::store::{
    Admin, Definition, Exchange, Join, Joined, Machine, Memory, Redis, RedisAddress, Reply, Sqlite, Store,
    StoreError, Who,
};
use tidegate_quota::{Clock, Membership, Partitions};
use tokio::task::{JoinHandle, LocalSet};

use crate::server::{Kind, Server};

pub(crate) const QUOTA: &str = "crm";
/// Calls are given up after so long, unless a test says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// The 14th of November 2023, 23:53:20 UTC.
pub(crate) const EPOCH_MS: u64 = 1_700_006_000_000;

pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Where a store is kept.
#[derive(Clone)]
pub(crate) enum Place {
    Memory(Memory),
    Sqlite(PathBuf),
    Redis(Box<RedisAddress>, Kind),
}

/// A store in its place, on a machine; in a runtime with paused time.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) machine: Machine,
}

pub(crate) fn in_memory<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    run(|| {
        let machine = Machine::simulated(Clock::simulated(), "first", EPOCH_MS);
        test(World { place: Place::Memory(Memory::new(machine.clone())), machine })
    });
}

pub(crate) fn in_sqlite<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let folder = tempfile::tempdir().unwrap();
    run(|| {
        let machine = Machine::simulated(Clock::simulated(), "first", EPOCH_MS);
        test(World { place: Place::Sqlite(folder.path().to_owned()), machine })
    });
}

/// A server for all tests of a kind; each has keys of its own.
pub(crate) fn in_redis<F: Future<Output = ()>>(kind: Kind, test: impl FnOnce(World) -> F) {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let server = server(kind);
    let prefix = format!("test-{}", TESTS.fetch_add(1, Ordering::Relaxed));
    let address = RedisAddress::parse(&server.url()).unwrap().with_prefix(&prefix);
    run(|| {
        let machine = Machine::simulated(Clock::simulated(), "first", EPOCH_MS);
        test(World { place: Place::Redis(Box::new(address), kind), machine })
    });
}

fn server(kind: Kind) -> &'static Server {
    static SERVERS: [OnceLock<Server>; 2] = [OnceLock::new(), OnceLock::new()];
    SERVERS[kind as usize].get_or_init(|| Server::start(kind, &[]))
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // Not the zero of all clocks: nothing may depend on that.
        tokio::time::advance(Duration::from_secs(1)).await;
        LocalSet::new().run_until(test()).await;
    });
}

impl World {
    pub(crate) fn now(&self) -> Time {
        self.machine.clock().now()
    }

    /// Whether a process that was killed is seen to be dead; else its lease and its time-out are waited for.
    pub(crate) fn knows_the_dead(&self) -> bool {
        !matches!(self.place, Place::Redis(..))
    }

    pub(crate) fn store(&self) -> Box<dyn Store> {
        match &self.place {
            Place::Memory(memory) => Box::new(memory.clone()),
            Place::Sqlite(folder) => Box::new(Sqlite::open(folder, self.machine.clone()).unwrap()),
            Place::Redis(address, _) => {
                Box::new(Redis::simulated((**address).clone(), self.machine.clone()).unwrap())
            }
        }
    }

    pub(crate) fn admin(&self) -> Admin {
        let who = Who::this("quota set");
        match &self.place {
            Place::Memory(memory) => Admin::of_memory(memory.clone(), who),
            Place::Sqlite(folder) => Admin::new(Sqlite::open(folder, self.machine.clone()).unwrap(), who),
            Place::Redis(address, _) => {
                Admin::of_redis(Redis::simulated((**address).clone(), self.machine.clone()).unwrap(), who)
            }
        }
    }

    /// Changes what a server has of the quota.
    pub(crate) fn tamper(&self, field: &str, value: &str) {
        self.ask(&|prefix| format!("HSET {prefix}:{{{QUOTA}}}:quota {field} {value}"));
    }

    /// Takes away all that a server has of the quota.
    pub(crate) fn wipe(&self) {
        self.wipe_only(&["quota", "members", "tombs", "pools", "pools:", "holders:"]);
    }

    /// Or some of it.
    pub(crate) fn wipe_only(&self, keys: &[&str]) {
        let key = |prefix: &str, of: &&str| format!("{prefix}:{{{QUOTA}}}:{of}");
        let all = |prefix: &str| keys.iter().map(|of| key(prefix, of)).collect::<Vec<_>>().join(" ");
        self.ask(&|prefix| format!("DEL {}", all(prefix)));
    }

    fn ask(&self, command: &dyn Fn(&str) -> String) {
        let Place::Redis(address, kind) = &self.place else { panic!("no server") };
        let prefix = address.to_string().split_once("prefix=").unwrap().1.to_owned();
        let answer = server(*kind).ask(&command(&prefix));
        assert!(answer.starts_with(':'), "{answer}");
    }

    /// The same store after the machine has started again, with the wall clock at `wall_ms`.
    pub(crate) fn rebooted(&self, boot: &str, wall_ms: u64) -> Self {
        let machine = Machine::simulated(Clock::simulated(), boot, wall_ms);
        let place = match &self.place {
            Place::Memory(memory) => Place::Memory(memory.on(machine.clone())),
            Place::Sqlite(_) | Place::Redis(..) => self.place.clone(),
        };
        Self { place, machine }
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.now().as_nanos() / 1_000_000
    }

    pub(crate) fn process(&self, limits: &[&str]) -> Process {
        self.try_process(limits).unwrap()
    }

    pub(crate) fn try_process(&self, limits: &[&str]) -> Result<Process, StoreError> {
        self.process_with(&contract(&self.machine, limits), false)
    }

    pub(crate) fn process_with(&self, contract: &Contract, assume_idle: bool) -> Result<Process, StoreError> {
        self.process_in(QUOTA, contract, assume_idle)
    }

    pub(crate) fn process_in(
        &self,
        quota: &str,
        contract: &Contract,
        assume_idle: bool,
    ) -> Result<Process, StoreError> {
        self.join(quota, contract, assume_idle, Priority::Normal)
    }

    pub(crate) fn process_of(&self, priority: Priority, contract: &Contract) -> Process {
        self.join(QUOTA, contract, false, priority).unwrap()
    }

    fn join(
        &self,
        quota: &str,
        contract: &Contract,
        assume_idle: bool,
        priority: Priority,
    ) -> Result<Process, StoreError> {
        let wire = Wire::new(self.store());
        // On a server a name that was never seen is held at first, which is a test of its own.
        let assume_idle = assume_idle || !self.knows_the_dead();
        let who = Who::this("a test");
        let membership = Membership { quota: quota.to_owned(), who, timeout: TIMEOUT, assume_idle, priority };
        let partitions = Partitions::shared(contract, Box::new(wire.clone()), membership)?;
        Ok(Process { partitions, wire, place: self.place.clone(), frozen: Rc::new(RefCell::new(false)) })
    }
}

pub(crate) fn contract(machine: &Machine, limits: &[&str]) -> Contract {
    let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    let terms = Terms { wall: Some(machine.wall()), ..Terms::default() };
    Contract::new(&limits, Pacing::Burst, terms).unwrap()
}

pub(crate) fn definition(limits: &[&str]) -> Definition {
    let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    Definition::new(&limits, &Terms::default())
}

/// A process that uses the quota.
pub(crate) struct Process {
    pub(crate) partitions: Partitions,
    pub(crate) wire: Wire,
    place: Place,
    frozen: Rc<RefCell<bool>>,
}

impl Process {
    pub(crate) fn id(&self) -> MemberId {
        self.partitions.member_id().unwrap()
    }

    /// Calls as fast as it may, one after the other in each of so many tasks, each of `latency`.
    pub(crate) fn work(&self, calls: &Calls, tasks: usize, latency: Duration) -> Work {
        self.work_in(calls, tasks, latency, "", None)
    }

    pub(crate) fn work_in(
        &self,
        calls: &Calls,
        tasks: usize,
        latency: Duration,
        partition: &'static str,
        costs: Option<Costs>,
    ) -> Work {
        let made = Rc::new(RefCell::new(0));
        let tasks = (0..tasks).map(|_| {
            let (partitions, calls) = (self.partitions.clone(), calls.clone());
            let (made, frozen) = (Rc::clone(&made), Rc::clone(&self.frozen));
            tokio::task::spawn_local(async move {
                loop {
                    let gate = partitions.gate(partition);
                    let costs = costs.unwrap_or(*gate.costs());
                    let permit = gate.acquire_costing(costs).await;
                    if *frozen.borrow() {
                        std::mem::forget(permit); // a frozen process does nothing with it
                        return;
                    }
                    let sent = permit.granted_at();
                    let call = calls.begin(sent, costs.of(0));
                    *made.borrow_mut() += 1;
                    tokio::time::sleep(latency).await;
                    calls.end(call, permit.settle(Outcome::Answered));
                }
            })
        });
        Work { tasks: tasks.collect(), made }
    }

    /// Stops as with SIGSTOP: it grants what it can and says nothing.
    pub(crate) fn freeze(&self) {
        *self.frozen.borrow_mut() = true;
        self.wire.cut(true);
    }

    pub(crate) fn thaw(&self) {
        *self.frozen.borrow_mut() = false;
        self.wire.cut(false);
    }

    /// Ends as with SIGKILL.
    pub(crate) fn kill(self) {
        let id = self.id();
        *self.frozen.borrow_mut() = true;
        self.wire.cut(true);
        self.wire.inner.lock().unwrap().take();
        if let Place::Memory(memory) = &self.place {
            memory.kill(id);
        }
    }
}

/// Tasks that make calls; they end when this is dropped, with their calls under way unknown.
pub(crate) struct Work {
    tasks: Vec<JoinHandle<()>>,
    made: Rc<RefCell<u64>>,
}

impl Work {
    pub(crate) fn made(&self) -> u64 {
        *self.made.borrow()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// All calls of all processes: when each was granted, and when it was over.
#[derive(Clone, Default)]
pub(crate) struct Calls(Rc<RefCell<Vec<(Time, Time, u64)>>>);

impl Calls {
    fn begin(&self, sent: Time, cost: u64) -> usize {
        let mut calls = self.0.borrow_mut();
        calls.push((sent, Time::MAX, cost));
        calls.len() - 1
    }

    fn end(&self, call: usize, over: Time) {
        self.0.borrow_mut()[call].1 = over;
    }

    /// The process that made them was killed then: what was under way was counted by then.
    pub(crate) fn were_cut_off(&self, at: Time) {
        for call in self.0.borrow_mut().iter_mut().filter(|call| call.1 == Time::MAX) {
            call.1 = at;
        }
    }

    /// All calls of several processes.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut all = self.0.borrow().clone();
        all.extend(other.0.borrow().iter());
        Self(Rc::new(RefCell::new(all)))
    }

    /// The same by a clock that shows more.
    pub(crate) fn later(&self, by: Duration) -> Self {
        let calls =
            self.0.borrow().iter().map(|(sent, over, cost)| (*sent + by, *over + by, *cost)).collect();
        Self(Rc::new(RefCell::new(calls)))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Calls that were granted in this time.
    pub(crate) fn between(&self, from: Time, to: Time) -> usize {
        self.0.borrow().iter().filter(|(sent, ..)| *sent >= from && *sent < to).count()
    }

    /// The most that any window of this length can have counted: each call some time between its
    /// grant and its answer, or its time-out.
    pub(crate) fn worst(&self, window: Duration) -> u64 {
        let calls = self.0.borrow();
        let mut events: Vec<(Time, bool, u64)> = Vec::new();
        for &(sent, over, cost) in calls.iter() {
            // It may stand in a window that begins between sent - window and over.
            let over = if over == Time::MAX { sent + TIMEOUT } else { over };
            events.push((sent, false, cost));
            events.push((over + window, true, cost));
        }
        events.sort_unstable();
        let (mut now, mut worst) = (0u64, 0u64);
        for (_, leaves, cost) in events {
            if leaves {
                now -= cost;
            } else {
                now += cost;
                worst = worst.max(now);
            }
        }
        worst
    }
}

/// A store behind a line that can be cut, or that loses answers.
#[derive(Clone)]
pub(crate) struct Wire {
    inner: Arc<Mutex<Option<Box<dyn Store>>>>,
    machine: Machine,
    is_cut: Arc<AtomicBool>,
    /// One in so many answers is lost.
    loses: Arc<AtomicU32>,
    pub(crate) exchanges: Arc<AtomicU32>,
}

impl Wire {
    fn new(store: Box<dyn Store>) -> Self {
        Self {
            machine: store.machine().clone(),
            inner: Arc::new(Mutex::new(Some(store))),
            is_cut: Arc::default(),
            loses: Arc::default(),
            exchanges: Arc::default(),
        }
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    pub(crate) fn lose_one_in(&self, n: u32) {
        self.loses.store(n, Ordering::Relaxed);
    }

    fn with<T>(&self, ask: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable {
            path: "quotas.db".into(),
            message: "the line is cut".into(),
            full: false,
        };
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let mut inner = self.inner.lock().unwrap();
        let answer = ask(inner.as_mut().ok_or_else(gone)?.as_mut());
        let n = self.exchanges.fetch_add(1, Ordering::Relaxed);
        match self.loses.load(Ordering::Relaxed) {
            0 => answer,
            one_in if n.is_multiple_of(one_in) => Err(gone()),
            _ => answer,
        }
    }
}

impl Store for Wire {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn definition(&mut self, quota: &str) -> Result<Option<Definition>, StoreError> {
        self.with(|store| store.definition(quota))
    }

    fn join(&mut self, join: &Join<'_>) -> Result<Joined, StoreError> {
        self.with(|store| store.join(join))
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Reply, StoreError> {
        self.with(|store| store.exchange(exchange))
    }

    fn died_by(&mut self, member: MemberId) -> Result<Option<Time>, StoreError> {
        self.with(|store| store.died_by(member))
    }
}
