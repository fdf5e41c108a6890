//! A worker: one connection, and the calls made on it, one after another.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Time;
use tidegate_quota::Permit;
use tokio::sync::oneshot;

use super::call::{connect_elsewhere, is_home};
use super::job::Job;
use super::work::LaneId;
use super::{Ended, Engine, Found, Idle, lock};
use crate::http::{Connect, ConnectError, Exchange};
use crate::retry::Human;

/// Waits between connection attempts: doubling from the least to the most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A job that has never reached its provider stops after so many attempts to connect.
const FIRST_CONNECTS: u32 = 5;

/// Connects and makes calls until there are none, or the connection ends.
pub(super) async fn work(engine: Arc<Engine>, transport: impl Connect) {
    let connected = transport.connect().await;
    let mut connection = match connected {
        Ok(connection) => {
            engine.connected();
            connection
        }
        Err(error) => {
            engine.not_connected(&error);
            return;
        }
    };
    while let Some((job, permit)) = next(&engine, &mut connection).await {
        if job.hops == 0 || is_home(&transport, &job.call.uri) {
            engine.attempt(&mut connection, job, permit).await;
        } else {
            match connect_elsewhere(&transport, &job.call.uri).await {
                Ok(mut elsewhere) => engine.attempt(&mut elsewhere, job, permit).await,
                Err(why) => engine.led_astray(job, permit, &why),
            }
        }
        if !connection.reusable() {
            break;
        }
    }
    drop(connection);
    engine.disconnected();
}

/// The next call for this worker: at once if there is one, else when the pump has one.
async fn next(engine: &Engine, connection: &mut impl Exchange) -> Option<(Box<Job>, Permit)> {
    while !engine.is_stopping() {
        if let Found::Go(job, permit) = engine.next_for_worker() {
            return Some((job, permit));
        }
        let (give, mut take) = oneshot::channel();
        engine.idle(give);
        let given = tokio::select! {
            biased;
            work = &mut take => work.ok(),
            () = connection.closed() => None,
        };
        let Some(work) = given else {
            // Work may have been given in the very moment.
            take.close();
            if let Ok(work) = take.try_recv() {
                engine.give_up(work);
            }
            return None;
        };
        if engine.may_send(&work.0) {
            return Some(work);
        }
        engine.give_up(work);
    }
    None
}

impl Engine {
    fn connected(&self) {
        let mut pool = self.pool();
        pool.connecting -= 1;
        pool.connected += 1;
        pool.ever_connected = true;
        pool.failures = 0;
        pool.failing_since = None;
        pool.last_error = None;
        drop(pool);
        self.wake.notify_one(); // there may be room for more of them now
    }

    fn disconnected(&self) {
        self.pool().connected -= 1;
        self.wake.notify_one();
    }

    /// No connection: no row pays for that. The job waits longer and longer, and gives up when it
    /// has never come through, or not for `max_elapsed`.
    fn not_connected(&self, error: &ConnectError) {
        let now = self.clock.now();
        let mut pool = self.pool();
        pool.connecting -= 1;
        pool.failures += 1;
        let wait = RETRY.0.saturating_mul(1 << pool.failures.saturating_sub(1).min(20)).min(RETRY.1);
        pool.retry_at = now + wait;
        let since = *pool.failing_since.get_or_insert(now);
        let never = !pool.ever_connected && pool.failures >= FIRST_CONNECTS;
        let too_long = pool.connected == 0 && now.since(since) > self.retry.max_elapsed;
        let message = error.to_string();
        pool.last_error = Some(message.clone());
        drop(pool);
        if never {
            self.stop(Ended::Stopped(format!("{message}, {FIRST_CONNECTS} times in a row")));
        } else if too_long {
            self.stop(Ended::Stopped(format!("{message}, for {}", Human(now.since(since)))));
        }
        self.wake.notify_one();
    }

    /// A worker looks for its next call; the pump hears of times that only the gate knows.
    fn next_for_worker(&self) -> Found {
        let found = self.next();
        if let Found::Wait(Some(until)) = found {
            self.wake_pump_by(until);
        }
        found
    }

    /// Whether a permit of a moment ago may still be used: meanwhile another worker may have been
    /// asked for silence.
    pub(super) fn may_send(&self, job: &Job) -> bool {
        job.gate.paused().is_none() && !self.is_stopping()
    }

    fn idle(&self, give: oneshot::Sender<(Box<Job>, Permit)>) {
        let since = self.clock.now();
        let mut pool = self.pool();
        // The pump stood still if nobody was idle, or if it did not know until when.
        let wake = pool.idle.is_empty() || pool.pump_at.is_none();
        pool.idle.push(Idle { since, give });
        drop(pool);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Sees to it that the pump looks again at `at`.
    pub(super) fn wake_pump_by(&self, at: Time) {
        if self.pool().pump_at.is_none_or(|pump_at| pump_at > at) {
            self.wake.notify_one();
        }
    }

    /// Units that only an answer could free may now have a time.
    pub(super) fn answer_came(&self, lane: LaneId) {
        if lock(&self.work).answered(lane) {
            self.wake.notify_one();
        }
    }
}
