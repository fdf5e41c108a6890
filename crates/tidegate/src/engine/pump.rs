//! The pump: what is sent next, by whom, and when it looks again.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Time, Why};
use tokio::task::JoinSet;

use super::breaker::Leave;
use super::job::Job;
use super::work::Next;
use super::{Ended, Engine, Found, lock, worker};
use crate::http::Connect;
use crate::retry::Human;

/// Connections that are made at the same time, at most.
const MOST_CONNECTING: usize = 32;
/// While only even pacing holds it back, the pump rests so long between looks: above some hundred
/// calls a second they are sent in small batches. The pacing catches up what that delays.
const BATCH: Duration = Duration::from_millis(2);
/// How long before a permit is due its connection is made.
const PREPARE: Duration = Duration::from_millis(500);
/// Rows that fail before they are sent, or whose quotas have nothing to give, may be this many in a
/// row before others have their turn.
const LOOKS_AT_ONCE: usize = 256;

impl Engine {
    /// When the pump looks again if nobody wakes it, given when there is something to send.
    pub(super) fn look_again_at(&self, until: Option<Time>) -> Option<Time> {
        let mut pool = self.pool();
        pool.pump_at = if pool.idle.is_empty() {
            // Ahead of a permit that has no connection yet, there is one to be made. Once it is
            // being made, its worker wakes the pump.
            until.map(|until| until - PREPARE).filter(|at| *at > self.clock.now())
        } else if pool.wait.as_ref().is_some_and(|(wait, _)| matches!(wait.why, Why::Pacing(_))) {
            until.map(|until| until.max(self.clock.now() + BATCH))
        } else {
            until
        };
        pool.pump_at
    }

    /// Gives work to idle workers as far as it goes; when there will be more to send, if that is
    /// known.
    pub(super) fn hand_out(&self) -> Option<Time> {
        loop {
            {
                let mut pool = self.pool();
                if pool.stopping.is_some() {
                    pool.idle.clear(); // they hear it and end
                    return None;
                }
                if pool.idle.is_empty() {
                    drop(pool);
                    return self.look_ahead();
                }
            }
            let (job, permit) = match self.next() {
                Found::Go(job, permit) => (job, permit),
                Found::Wait(until) => return until,
            };
            let mut given = Some((job, permit));
            while let Some(work) = given.take() {
                let Some(worker) = self.pool().idle.pop() else {
                    self.give_up(work);
                    return None;
                };
                given = worker.give.send(work).err(); // its connection has just closed
            }
        }
    }

    /// The next call and the permit for it.
    pub(super) fn next(&self) -> Found {
        for _ in 0..LOOKS_AT_ONCE {
            if lock(&self.writer).is_full() {
                return Found::Wait(None); // the writer wakes the pump
            }
            if !self.has_token() {
                return Found::Wait(None); // whoever fetches it wakes the pump
            }
            let now = self.clock.now();
            let leave = lock(&self.breaker).leave(now);
            if let Leave::Wait(until) = leave {
                return Found::Wait(until);
            }
            // In an outage a row that is new to it loses nothing.
            let next = lock(&self.work).next(now, &self.feeder, leave == Leave::Probe);
            let mut job = match next {
                Next::Again(job) => job,
                Next::Fresh(rows) => match self.render(rows) {
                    Some(job) => job,
                    None => continue,
                },
                Next::Nothing(due) => {
                    self.nothing_until(due);
                    return Found::Wait(due);
                }
                Next::Broken(error) => {
                    self.stop(Ended::Input(error));
                    return Found::Wait(None);
                }
            };
            if !self.may_spend(&mut job) {
                lock(&self.work).put_back(job);
                return Found::Wait(None); // the worker of a call under way asks again
            }
            match job.gate.try_acquire_costing(&job.costs) {
                Ok(permit) => {
                    self.pool().wait = None;
                    return Found::Go(self.as_probe(job, leave), permit);
                }
                Err(wait) => {
                    let mut work = lock(&self.work);
                    let lane = job.lane;
                    work.put_back(job);
                    work.shut(lane, wait);
                }
            }
        }
        self.wake.notify_one();
        Found::Wait(None)
    }

    fn as_probe(&self, mut job: Box<Job>, leave: Leave) -> Box<Job> {
        job.is_probe = leave == Leave::Probe;
        if job.is_probe {
            lock(&self.breaker).probe_sent();
        }
        job
    }

    /// Sees, with nobody there to send it, whether there is anything to send: without, no connection
    /// is made. When there will be, if that is known.
    fn look_ahead(&self) -> Option<Time> {
        for _ in 0..LOOKS_AT_ONCE {
            let now = self.clock.now();
            if let Leave::Wait(until) = lock(&self.breaker).leave(now) {
                return until;
            }
            let first = lock(&self.work).peek(now);
            if let Some((lane, gate, costs)) = first {
                let Some(wait) = gate.wait(&costs) else {
                    self.pool().wait = None;
                    return None;
                };
                lock(&self.work).shut(lane, wait);
                continue;
            }
            let mut work = lock(&self.work);
            if work.active > 0
                && work.has_ready(now)
                && let Some(gate) = work.only_gate()
            {
                // Rows wait unread while calls are in flight: each of those brings a worker back.
                drop(work);
                let wait = gate.wait(gate.costs());
                self.pool().wait = wait.map(|wait| (wait, Box::default()));
                return wait.and_then(|wait| wait.until);
            }
            let next = work.next(now, &self.feeder, false);
            drop(work);
            match next {
                Next::Again(job) => lock(&self.work).put_back(job),
                Next::Fresh(rows) => {
                    if let Some(job) = self.render(rows) {
                        lock(&self.work).put_back(job);
                    }
                }
                Next::Nothing(due) => {
                    self.nothing_until(due);
                    return due;
                }
                Next::Broken(error) => {
                    self.stop(Ended::Input(error));
                    return None;
                }
            }
        }
        self.wake.notify_one();
        None
    }

    /// Nothing can be sent before `due`: notes why, and ends the job if that is too long to wait.
    fn nothing_until(&self, due: Option<Time>) {
        let work = lock(&self.work);
        let wait = work.opens_first().map(|(wait, lane)| (wait, lane.into()));
        // Else an answer, or a row of another quota, may come before.
        let only_time = work.waits_for_time_only();
        drop(work);
        if let (Some((wait, _)), Some(due)) = (&wait, due.filter(|_| only_time))
            && let Why::Limit(limit) = wait.why
            && let Some(calendar) = self.charges.calendar(limit)
        {
            let left = due.since(self.clock.now());
            if left > self.retry.max_pause {
                let (back, most) = (self.back_at(left), Human(self.retry.max_pause));
                self.stop(Ended::Stopped(format!(
                    "the limit {calendar} is used up: {back}, more than max_pause = {most}; \
                     the same command goes on then, or waits with --wait"
                )));
            }
        }
        self.pool().wait = wait;
    }

    /// Makes connections where work is ready and no worker is idle: one to spare while the gate is
    /// shut, and where calls wait for nothing else, as many again as stand already. So a provider
    /// never sees them all at once, and it takes few round trips to have enough.
    pub(super) fn connect(
        self: &Arc<Self>,
        transport: &impl Connect,
        workers: &mut JoinSet<()>,
        until: Option<Time>,
    ) {
        let now = self.clock.now();
        if !lock(&self.work).has_ready(now + PREPARE) || until.is_some_and(|until| until > now + PREPARE) {
            return;
        }
        let mut pool = self.pool();
        if pool.stopping.is_some() || now < pool.retry_at {
            return;
        }
        let spare = if pool.wait.is_none() { pool.connected.clamp(1, MOST_CONNECTING) } else { 1 };
        while pool.idle.len() + pool.connecting < spare && pool.connected + pool.connecting < self.connections
        {
            pool.connecting += 1;
            workers.spawn(worker::work(Arc::clone(self), transport.clone()));
        }
    }
}
