//! `Bell`: wakes whoever does the exchanges, from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    lock: Mutex<()>,
    condition: Condvar,
    notify: Notify,
}

impl Bell {
    /// Wakes whoever waits, or whoever waits next. Ringing again before that is nearly free.
    pub(crate) fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // Within the lock: whoever has looked and not gone to sleep yet would miss it.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.condition.notify_all();
        self.notify.notify_one();
    }

    /// Whether it was rung since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }

    /// Blocks the thread until it is rung, or for that long.
    pub(crate) fn wait(&self, length: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |(): &mut ()| !self.rung.load(Ordering::Acquire);
        drop(self.condition.wait_timeout_while(guard, length, silent));
    }

    /// Until it is rung.
    pub(crate) async fn rung(&self) {
        while !self.rung.load(Ordering::Acquire) {
            self.notify.notified().await;
        }
    }
}
