//! Limiters that nobody here wrote, judged by their own counts: no rejection, no row twice, and the
//! rate that they allow.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod answers;
mod headers;
#[path = "../support/job.rs"]
mod job;
mod nginx;
#[path = "../support/provider.rs"]
mod provider;
#[path = "../support/sim.rs"]
mod sim;
mod windows;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: they measure rates, and share a few cores.
fn whole_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
