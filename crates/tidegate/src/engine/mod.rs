//! The engine: takes rows to their end.
//!
//! One task, the *pump*, hands calls to *workers*; each worker owns one connection. A worker that
//! ends a call looks for the next one itself and only goes idle when there is no row or no permit.
//! A permit is asked for when row and connection are both at hand, so that nothing but the network
//! lies between grant and answer.

mod call;
mod ending;
mod feeder;
mod outcome;
mod pump;
mod run;
mod work;
mod worker;
mod writer;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tidegate_core::{Limit, Outcome, Time, Wait};
use tidegate_quota::{Clock, Partitions, Permit};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use self::feeder::Feeder;
use self::outcome::Held;
pub use self::run::{Ended, Handle, Report, Run};
use self::work::{Job, LaneId, Work};
use self::writer::Writer;
use crate::http::Connect;
use crate::job::{Charges, Prepared, State, StopPolicy};
use crate::report::Stats;
use crate::retry::RetryPolicy;
use crate::template::{KeyTemplate, Template};
use crate::verdict::Accept;

/// How often outputs are flushed and the state of the run is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often a run says that it is alive; see `job::State`.
const BEAT: Duration = Duration::from_secs(1);
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
    clock: Clock,
    template: Template,
    key: Option<KeyTemplate>,
    retry: RetryPolicy,
    accept: Accept,
    stop: StopPolicy,
    redirects: u8,
    connections: usize,
    drain: Duration,
    /// The pause after a 429 that names none: the shortest window.
    throttle: Duration,
    limits: Vec<String>,
    feeder: Feeder,
    work: Mutex<Work>,
    stats: Mutex<Stats>,
    writer: Mutex<Writer>,
    held: Mutex<Held>,
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
    /// When the run last said that it is alive.
    beat_at: Time,
    /// What the gate said last, and of which partition.
    wait: Option<(Wait, Box<str>)>,
    /// When the pump looks again by itself.
    pump_at: Option<Time>,
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
        let Prepared { job, source, template, charges, key, quotas, outputs, state, .. } = prepared;
        let wake = Arc::new(Notify::new());
        let clock = quotas.clock();
        let before = (outputs.done.succeeded.len(), outputs.done.failed.len());
        let limits: Vec<Limit> = quotas.contract().limits().map(|(limit, _)| limit.clone()).collect();
        let stats = Stats::new(quotas.contract(), charges.is_partitioned(), clock.now(), before);
        let writer = Writer::start(outputs.formatter, outputs.files, disk, Arc::clone(&wake))?;
        let end = job.head.unwrap_or(u64::MAX);
        let feeder = Feeder::start(source, outputs.done, end, disk, Arc::clone(&wake))?;
        Ok(Self {
            throttle: job.throttle_pause(),
            limits: limits.iter().map(ToString::to_string).collect(),
            retry: job.retry,
            accept: job.accept,
            stop: job.stop,
            redirects: job.redirects,
            connections: job.connections,
            drain: job.drain,
            state,
            work: Mutex::new(Work::new(!charges.is_partitioned())),
            quotas,
            charges,
            template,
            key,
            feeder,
            stats: Mutex::new(stats),
            writer: Mutex::new(writer),
            held: Mutex::new(Held::new(before.0 > 0)),
            pool: Mutex::default(),
            wake,
            origin: wall_clock(clock),
            clock,
        })
    }

    async fn pump(self: &Arc<Self>, transport: &impl Connect, workers: &mut JoinSet<()>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pool().pump_at = None; // whatever comes up while the pump looks wakes it again
            let until = self.hand_out();
            self.connect(transport, workers, until);
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
                () = self.wake.notified() => {}
                () = sleep_until(self.clock.instant(look_at.unwrap_or(Time::MAX))), if look_at.is_some() => {}
            }
            // The network first: nothing else in this loop is sure to let others have their turn.
            yield_now().await;
        }
    }

    fn tick(&self) {
        self.beat();
        let now = self.clock.now();
        self.pool().idle.retain(|worker| !worker.give.is_closed() && now.since(worker.since) < IDLE);
        let error = {
            let mut writer = lock(&self.writer);
            writer.flush();
            writer.take_error()
        };
        if let Some(error) = error {
            self.stop(Ended::Output(error));
        }
    }

    /// Leaves a sign of life in the job's folder, once a second.
    fn beat(&self) {
        let now = self.clock.now();
        let mut pool = self.pool();
        if now.since(pool.beat_at) < BEAT {
            return;
        }
        pool.beat_at = now;
        drop(pool);
        if let Some(state) = &self.state {
            state.beat();
        }
    }

    /// Takes back what was to be sent.
    fn give_up(&self, (job, permit): (Box<Job>, Permit)) {
        permit.settle(Outcome::NotSent);
        let lane = job.lane;
        lock(&self.work).put_back(job);
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
