//! A run, the handle to it, and how it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tidegate_core::Time;
use tokio::task::JoinSet;

use super::{Disk, Engine, lock};
use crate::http::Connect;
use crate::job::{Held, Prepared};
use crate::report::{LearntUse, Snapshot, Summary};
use crate::sink::SinkError;
use crate::source::SourceError;

/// A run that is ready to go.
pub struct Run {
    // Boxed, so that the loop over HTTP is compiled within this crate, where all of it can be
    // inlined: as a generic `Run<C>`, left to the caller's crate, a call cost 3% more instructions.
    work: Pin<Box<dyn Future<Output = Report> + Send>>,
}

/// Watches and stops a run, from any thread.
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// Every row has its result or its failure.
    Finished,
    /// As many rows as `--head` asked for have; there may be more in the input.
    Head,
    /// Stopped early, for this reason; the same command carries on.
    Stopped(String),
    /// It cannot take part in its quota any more, for this reason; the same command carries on.
    LeftQuota(String),
    /// Somebody asked it to stop; the same command carries on.
    Interrupted,
    /// The outputs could not be written any more.
    Output(SinkError),
    /// The input could not be read any more.
    Input(SourceError),
}

impl Ended {
    /// How it ended, in a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Head => "head",
            Self::Interrupted => "interrupted",
            Self::Stopped(_) | Self::LeftQuota(_) | Self::Output(_) | Self::Input(_) => "stopped",
        }
    }
}

/// What a run did and how it ended.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// What it did.
    pub summary: Summary,
    /// Failures are within what `--max-failed` allows.
    pub failures_allowed: bool,
}

impl Run {
    /// A run of `prepared`, and the handle to it.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn new(prepared: Prepared) -> io::Result<(Self, Handle)> {
        let transport = prepared.connector.clone();
        Self::build(prepared, transport, Disk::Threads)
    }

    /// A run that sends its calls over `transport`, for simulations. It has no threads: files are
    /// read and written by the task that drives it, so that under tokio's paused clock nothing but
    /// that clock says what happens when.
    ///
    /// # Errors
    /// None so far.
    pub fn simulated(prepared: Prepared, transport: impl Connect) -> io::Result<(Self, Handle)> {
        Self::build(prepared, transport, Disk::Inline)
    }

    /// Takes all rows to their end, or as far as it goes.
    ///
    /// Must run within a tokio runtime with time and I/O.
    pub async fn drive(self) -> Report {
        self.work.await
    }

    fn build(prepared: Prepared, transport: impl Connect, disk: Disk) -> io::Result<(Self, Handle)> {
        let engine = Arc::new(Engine::new(prepared, disk)?);
        let work = Box::pin(work(Arc::clone(&engine), transport));
        Ok((Self { work }, Handle { engine }))
    }
}

async fn work(engine: Arc<Engine>, transport: impl Connect) -> Report {
    let mut workers = JoinSet::new();
    workers.spawn(Arc::clone(&engine).keep_writing());
    engine.pump(&transport, &mut workers).await;
    // Calls in flight are aborted: their permits count as unknown, their rows stay undone.
    workers.shutdown().await;
    engine.report().await
}

impl Handle {
    /// Stops taking rows; calls in flight get the drain time. A second call ends it at once.
    pub fn interrupt(&self) {
        let mut pool = self.engine.pool();
        if pool.stopping.is_some() {
            pool.stop_at = Some(Time::ZERO);
            drop(pool);
            self.engine.wake.notify_one();
            return;
        }
        drop(pool);
        self.engine.stop(Ended::Interrupted);
    }

    /// Why nothing is sent at first, and for how much longer. That others have used up a quota that is
    /// shared is known only a moment after the start.
    pub fn held(&self) -> Option<Held> {
        let held = self.engine.quotas.held()?;
        Some(Held { length: held.until.since(self.engine.clock.now()), why: held.why })
    }

    /// The counters as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = lock(&self.engine.stats).snapshot(self.engine.clock.now());
        Snapshot { cost: self.engine.cost().map(|cost| cost.spent), ..snapshot }
    }

    /// What is learnt of limits that nobody has declared; `None` where all are declared.
    pub fn learnt(&self) -> Option<LearntUse> {
        lock(&self.engine.stats).learnt()
    }

    /// What the run waits for, in words for people; `None` while calls flow.
    pub fn waiting(&self) -> Option<String> {
        self.engine.waiting()
    }
}
