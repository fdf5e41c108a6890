//! The engine: takes rows to their end.
//!
//! One task, the *pump*, hands calls to *workers*; each worker owns one connection. A worker that
//! ends a call looks for the next one itself and only goes idle when there is no row or no permit.
//! A permit is asked for when row and connection are both at hand, so that nothing but the network
//! lies between grant and answer.

mod breaker;
mod budget;
mod call;
mod credentials;
mod ending;
mod feeder;
mod gather;
mod heed;
mod job;
mod keys;
mod outcome;
mod probe;
mod pump;
mod run;
mod sends;
mod share;
mod spending;
mod work;
mod worker;
mod writer;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tidegate_core::{Limit, MemberId, Outcome, Time, Wait};
use tidegate_quota::{Clock, Partitions, Permit};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use self::breaker::Breaker;
use self::credentials::Credentials;
use self::feeder::Feeder;
use self::gather::Gatherer;
use self::heed::Ears;
use self::job::Job;
pub(crate) use self::keys::IdempotencyKeys;
use self::outcome::Held;
pub(crate) use self::probe::Probe;
pub use self::run::{Ended, Handle, Report, Run};
use self::sends::Sends;
use self::work::{LaneId, Work};
use self::writer::Writer;
use crate::http::Connect;
use crate::job::{Charges, Prepared, State, StopPolicy};
use crate::llm::{Prices, Purse};
use crate::log::{Control, Dangling, Replay};
use crate::report::{Before, Stats};
use crate::retry::RetryPolicy;
use crate::sink::Outputs;
use crate::source::Marker;
use crate::split::Split;
use crate::template::{KeyTemplate, SuccessRule, Template};
use crate::verdict::Accept;

/// How often outputs are flushed and the state of the run is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Idle connections are closed before servers do: some wait only five seconds, and a call that
/// meets a closing connection has an unknown outcome.
const IDLE: Duration = Duration::from_secs(4);

/// Who reads and writes files.
#[derive(Clone, Copy)]
enum Disk {
    /// A thread each, so that no disk stops the loop.
    Threads,
    /// The loop itself.
    Inline,
}

pub(crate) struct Engine {
    quotas: Partitions,
    charges: Charges,
    ears: Ears,
    credentials: Option<Credentials>,
    prices: Prices,
    /// `None` without prices.
    purse: Option<Arc<Purse>>,
    /// Answers say how many tokens they took.
    speaks_tokens: bool,
    clock: Clock,
    template: Template,
    key: Option<KeyTemplate>,
    /// Calls carry many rows: how answers are divided among them.
    split: Option<Split>,
    success: Option<SuccessRule>,
    retry: RetryPolicy,
    accept: Accept,
    stop: StopPolicy,
    redirects: u8,
    connections: usize,
    /// Results are put in the order of the input at the end.
    in_order: bool,
    /// Outputs have a place for the provider's own number of a call.
    wants_request_ids: bool,
    drain: Duration,
    /// The pause after a 429 that names none: the shortest window.
    throttle: Duration,
    limits: Vec<String>,
    /// What earlier runs have left open.
    dangling: Dangling,
    keys: IdempotencyKeys,
    probe: Option<Probe>,
    /// `None` without a log.
    sends: Option<Sends>,
    feeder: Feeder,
    work: Mutex<Work>,
    stats: Mutex<Stats>,
    writer: Mutex<Writer>,
    held: Mutex<Held>,
    breaker: Mutex<Breaker>,
    pool: Mutex<Pool>,
    wake: Arc<Notify>,
    /// The wall clock's reading at the gate's origin.
    origin: SystemTime,
    state: Option<State>,
}

/// The workers.
#[derive(Default)]
struct Pool {
    /// The one that went idle last is taken first: the others may then close.
    idle: Vec<Idle>,
    connected: usize,
    connecting: usize,
    ever_connected: bool,
    failures: u32,
    /// No connection is tried before.
    retry_at: Time,
    failing_since: Option<Time>,
    last_error: Option<String>,
    /// What the gate said last, and of which partition.
    wait: Option<(Wait, Box<str>)>,
    /// When the pump looks again by itself.
    pump_at: Option<Time>,
    /// Who the run is in its quota's store.
    member: Option<MemberId>,
    stopping: Option<Ended>,
    stop_at: Option<Time>,
}

/// A worker with a connection and nothing to do.
struct Idle {
    since: Time,
    give: oneshot::Sender<(Box<Job>, Permit)>,
}

impl Engine {
    fn new(prepared: Prepared, disk: Disk) -> std::io::Result<Self> {
        let Prepared {
            job, source, template, probe, charges, key, keys, quotas, outputs, log, state, ..
        } = prepared;
        let Outputs { formatter, files, before } = outputs;
        let Replay { done, dangling, marks, spent, .. } = before;
        let wake = Arc::new(Notify::new());
        let clock = quotas.clock();
        let before =
            Before { ok: done.succeeded.len(), failed: done.failed.len(), unknown: done.unknown.len() };
        let limits: Vec<Limit> = quotas.contract().limits().map(|(limit, _)| limit.clone()).collect();
        let stats = Stats::new(quotas.contract(), charges.is_partitioned(), clock.now(), before);
        let quotas_member = quotas.member_id();
        let sends = log.map(|log| Sends::new(log, *quotas.contract().costs(), limits.len()));
        let wants_request_ids = formatter.wants_request_ids();
        let prices = job.prices.clone();
        let purse = (!prices.is_empty()).then(|| Arc::new(Purse::new(spent, job.max_cost)));
        let writer = Writer::start((formatter, files), purse.clone(), disk, Arc::clone(&wake))?;
        let end = job.head.unwrap_or(u64::MAX);
        let marker = sends.is_some().then(|| Marker::new(&job.input, marks));
        let feeder = Feeder::start(source, done, end, marker, disk, Arc::clone(&wake))?;
        let (throttle, retry_percent) = (job.throttle_pause(), job.retry.budget_percent);
        let ears = Ears::new((job.dialects, job.signs), quotas.contract());
        let (per_call, split) = job.batch.unzip();
        let gatherer = Gatherer::new(per_call.unwrap_or(1), &dangling);
        Ok(Self {
            ears,
            credentials: job.auth.map(Credentials::new),
            prices,
            purse,
            speaks_tokens: job.speaks_tokens,
            dangling,
            keys,
            probe,
            sends,
            throttle,
            limits: limits.iter().map(ToString::to_string).collect(),
            split,
            success: job.success,
            retry: job.retry,
            accept: job.accept,
            stop: job.stop,
            redirects: job.redirects,
            connections: job.connections,
            in_order: job.in_order,
            wants_request_ids,
            drain: job.drain,
            state,
            work: Mutex::new(Work::new(!charges.is_partitioned(), retry_percent, gatherer)),
            quotas,
            charges,
            template,
            key,
            feeder,
            stats: Mutex::new(stats),
            writer: Mutex::new(writer),
            held: Mutex::new(Held::new(before.ok > 0 || job.shard.is_some_and(|shard| shard.has_results))),
            breaker: Mutex::default(),
            pool: Mutex::new(Pool { member: quotas_member, ..Pool::default() }),
            wake,
            origin: wall_clock(clock),
            clock,
        })
    }

    async fn pump(self: &Arc<Self>, transport: &impl Connect, workers: &mut JoinSet<()>) {
        let mut tick = interval(TICK);
        // Of a quota that nobody shares nothing changes but by calls.
        let changed = self.quotas.changed().unwrap_or_default();
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pool().pump_at = None; // whatever comes up while the pump looks wakes it again
            let until = self.hand_out();
            self.connect(transport, workers, until);
            if let Some(fetching) = self.look_after_token() {
                workers.spawn(fetching);
            }
            if self.is_over() {
                return;
            }
            while let Some(ended) = workers.try_join_next() {
                raise_panic(ended);
            }
            let look_at = self.look_again_at(until);
            tokio::select! {
                biased; // the tick is never starved, and a simulation never rolls a die for it
                _ = tick.tick() => self.tick(),
                () = changed.notified() => self.shares_have_changed(),
                () = self.wake.notified() => {}
                () = sleep_until(self.clock.instant(look_at.unwrap_or(Time::MAX))), if look_at.is_some() => {}
            }
            // The network first: nothing else in this loop is sure to let others have their turn.
            yield_now().await;
        }
    }

    fn tick(&self) {
        let now = self.clock.now();
        self.pool().idle.retain(|worker| !worker.give.is_closed() && now.since(worker.since) < IDLE);
        let member = self.quotas.member_id();
        let rejoined = std::mem::replace(&mut self.pool().member, member) != member;
        let error = {
            let mut writer = lock(&self.writer);
            if let Some(MemberId(id)) = member.filter(|_| rejoined) {
                writer.control(&Control::Member { id });
            }
            if let Some(mark) = self.feeder.take_mark() {
                writer.control(&Control::Input(mark));
            }
            writer.flush();
            writer.take_error()
        };
        if let Some(error) = error {
            self.stop(Ended::Output(error));
        } else if let Some(why) = self.quotas.ended() {
            self.stop(Ended::LeftQuota(why));
        }
    }

    /// Quotas that others use as well may grant what they did not grant before.
    fn shares_have_changed(&self) {
        lock(&self.work).reopen_all();
        self.pool().wait = None;
    }

    /// Passes lines on when the loop has nothing else to do, or its thread has caught up: the time
    /// in which an answer can be lost in memory is as short as the disk allows.
    async fn keep_writing(self: Arc<Self>) {
        let dirty = lock(&self.writer).dirty();
        loop {
            dirty.notified().await;
            lock(&self.writer).flush();
        }
    }

    /// Takes back what was to be sent.
    fn give_up(&self, (job, permit): (Box<Job>, Permit)) {
        permit.settle(Outcome::NotSent);
        let lane = job.lane;
        self.put_back(job);
        self.units_are_back(lane);
    }

    /// Units came back before the time that the gate had told: ask it again.
    fn units_are_back(&self, lane: LaneId) {
        lock(&self.work).reopen(lane);
        self.pool().wait = None;
        self.wake.notify_one();
    }

    /// No new calls from here on.
    fn stop(&self, ended: Ended) {
        if let Ended::Output(_) = ended {
            // The log tells no more when calls were over: by what it says, they may count until now.
            self.quotas.abandon();
        }
        let mut pool = self.pool();
        if pool.stopping.is_none() {
            pool.stop_at = Some(self.clock.now() + self.drain);
            pool.stopping = Some(ended);
        }
        drop(pool);
        self.wake.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.pool().stopping.is_some()
    }

    fn is_over(&self) -> bool {
        let pool = self.pool();
        let (stopping, stop_at) = (pool.stopping.is_some(), pool.stop_at);
        drop(pool);
        let work = lock(&self.work);
        if stopping {
            return work.active == 0 || stop_at.is_some_and(|at| at <= self.clock.now());
        }
        work.is_over()
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        lock(&self.pool)
    }

    fn wall(&self, at: Time) -> SystemTime {
        self.origin + at.since(Time::ZERO)
    }
}

enum Found {
    Go(Box<Job>, Permit),
    /// Look again then, or when woken.
    Wait(Option<Time>),
}

/// A worker's defect is the run's: its row would be waited for for ever.
fn raise_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read, for sent_at")]
fn wall_clock(clock: Clock) -> SystemTime {
    let since_origin = clock.now().since(Time::ZERO);
    SystemTime::now() - since_origin
}
