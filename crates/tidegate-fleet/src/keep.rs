//! Says to the server, all the while, that a shard is still being worked on; and sees when it no longer is this worker's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_quota::Clock;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::fleet::{Fleet, Grant, LEASE, Renewal, State};

/// Said so often.
const EACH: Duration = Duration::from_secs(2);
/// Looked at so often.
const TICK: Duration = Duration::from_millis(250);
/// Not heard for so long, some time before others may have the shard, this worker takes it for lost, whatever the server would say: it
/// may have been frozen, and whoever has it now is not to find its calls.
const SILENT: Duration = Duration::from_secs(8);
const _: () = assert!(SILENT.as_secs() + 2 <= LEASE.as_secs());

/// How it stands with a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is this worker's.
    Mine,
    /// Another one has it.
    Lost,
    /// The server has not heard of this worker for too long.
    Silent,
    /// Nobody is to go on with the job.
    Stop(State, String),
}

/// Keeps a shard for as long as this is there.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) kept: watch::Receiver<Kept>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins with a shard that was just given.
    pub(crate) fn new(
        fleet: Arc<Mutex<Fleet>>,
        worker: String,
        grant: Grant,
        asked_at: tidegate_core::Time,
    ) -> Self {
        let (tell, kept) = watch::channel(Kept::Mine);
        let task = tokio::spawn(keep(fleet, worker, grant, asked_at, tell));
        Self { kept, task }
    }

    pub(crate) fn now(&self) -> Kept {
        self.kept.borrow().clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    fleet: Arc<Mutex<Fleet>>,
    worker: String,
    grant: Grant,
    asked_at: tidegate_core::Time,
    tell: watch::Sender<Kept>,
) {
    let clock = Clock::start();
    // Of the last time that it was heard, when it was said: the server heard it later.
    let (mut said_at, mut next) = (asked_at, asked_at + EACH);
    let mut saying: Option<JoinHandle<_>> = None;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = clock.now();
        if now.since(said_at) >= SILENT {
            say(&tell, Kept::Silent);
        }
        if saying.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(said) = saying.take()
        {
            match said.await {
                Ok((at, Ok(Renewal::Mine(state, why)))) => {
                    said_at = at;
                    next = at + EACH;
                    if let Some(state) = state.filter(|state| *state != State::Open) {
                        say(&tell, Kept::Stop(state, why));
                    }
                }
                Ok((_, Ok(Renewal::Lost))) => return say(&tell, Kept::Lost),
                // It is said again, at once.
                Ok((_, Err(_))) | Err(_) => next = now,
            }
        }
        if saying.is_none() && now >= next {
            let (fleet, worker, grant) = (Arc::clone(&fleet), worker.clone(), grant.clone());
            saying = Some(spawn_blocking(move || {
                let at = Clock::start().now();
                (at, fleet.lock().unwrap_or_else(PoisonError::into_inner).renew(&worker, &grant))
            }));
        }
    }
}

/// What was said first stays: a shard that was lost once is not taken up again.
fn say(tell: &watch::Sender<Kept>, news: Kept) {
    tell.send_if_modified(|kept| {
        let is_news = *kept == Kept::Mine;
        if is_news {
            *kept = news;
        }
        is_news
    });
}
