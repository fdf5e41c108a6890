//! The ledger: exchanges with the store, on a thread of its own.

mod account;
mod desk;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_core::{Contract, MemberId, Priority, Time};
use tokio::sync::Notify;

use self::desk::Desk;
pub(crate) use self::desk::Status;
use crate::Clock;
use crate::bell::Bell;
use crate::partitions::Gates;
use crate::store::{Store, StoreError, Who};

/// How a process takes part in a quota.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The quota's name.
    pub quota: String,
    /// Who takes part, for people who look at the quota.
    pub who: Who,
    /// Each call is given up this long after its permit, at the latest. If this process vanishes, what
    /// its calls under way have used is known that much later.
    pub timeout: Duration,
    /// The user vouches that nobody has used it lately.
    pub assume_idle: bool,
    /// Whom its calls come before.
    pub priority: Priority,
}

/// Does the exchanges for the gates of one process, until it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Ledger {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    bell: Arc<Bell>,
    desk: Mutex<Desk>,
    status: Arc<Mutex<Status>>,
    changed: Arc<Notify>,
    /// The store is to hear nothing more.
    abandoned: AtomicBool,
    /// Somebody waits for the desk, to close it: with a server that does not answer its thread would have it all the while.
    closing: AtomicBool,
}

impl Ledger {
    /// Joins, and begins to do exchanges.
    pub(crate) fn open(
        contract: &Contract,
        store: Box<dyn Store>,
        membership: Membership,
        bell: Arc<Bell>,
        gates: Arc<Mutex<Gates>>,
    ) -> Result<(Self, Contract), StoreError> {
        let clock = store.machine().clock();
        let (status, changed) = (Arc::new(Mutex::new(Status::default())), Arc::new(Notify::new()));
        let desk = Desk::open(contract, store, membership, gates, Arc::clone(&status), Arc::clone(&changed))?;
        let contract = desk.contract().clone();
        let inner = Arc::new(Inner {
            clock,
            bell,
            desk: Mutex::new(desk),
            status,
            changed,
            abandoned: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let thread = Inner::drive(&inner)?;
        Ok((Self { inner, thread: Mutex::new(thread) }, contract))
    }

    /// Notified when a gate may grant what it did not grant before.
    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.inner.changed
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.inner.status)
    }

    pub(crate) fn died_by(&self, member: MemberId) -> Result<Option<Time>, StoreError> {
        lock(&self.inner.desk).died_by(member)
    }

    /// Says nothing more to the store, as if this process had been killed; waits for nothing.
    pub(crate) fn abandon(&self) {
        self.inner.abandoned.store(true, Ordering::Relaxed);
    }

    /// Hands back all that is not in use, and leaves the quota.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.inner.closing.store(true, Ordering::Relaxed);
        let closed = {
            let mut desk = lock(&self.inner.desk);
            if self.inner.abandoned.load(Ordering::Relaxed) {
                desk.abandon();
                Ok(())
            } else {
                desk.close()
            }
        };
        self.inner.bell.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // it has seen that the desk is closed; what it panicked with was said
        }
        closed
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // What could not be handed back is waited for by the others, as if this process had died.
        let _ = self.close();
    }
}

impl Inner {
    /// A thread; under a simulated clock a task, as threads have no part in that time.
    fn drive(this: &Arc<Self>) -> Result<Option<JoinHandle<()>>, StoreError> {
        let inner = Arc::clone(this);
        if this.clock.is_simulated() {
            tokio::spawn(async move {
                while let Some(due) = inner.turn() {
                    let due = inner.clock.instant(due);
                    tokio::select! {
                        () = tokio::time::sleep_until(due) => {}
                        () = inner.bell.rung() => {}
                    }
                }
            });
            return Ok(None);
        }
        let work = move || {
            while let Some(due) = inner.turn() {
                inner.bell.wait(due.since(inner.clock.now()));
            }
        };
        let thread = std::thread::Builder::new().name("quota".to_owned()).spawn(work);
        thread.map(Some).map_err(|source| StoreError::Thread { source })
    }

    /// Does what is due; when to look again, if nobody rings before. `None` when it is over.
    fn turn(&self) -> Option<Time> {
        if self.closing.load(Ordering::Relaxed) {
            return None;
        }
        let mut desk = lock(&self.desk);
        if self.abandoned.load(Ordering::Relaxed) {
            return None;
        }
        let rung = self.bell.take();
        desk.turn(self.clock.now(), rung)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
