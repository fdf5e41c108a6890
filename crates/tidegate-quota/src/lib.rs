//! The gate: a quota that many callers share and wait on, in one process or in many.
//!
//! [`Gate`] wraps the pure [`Quota`](tidegate_core::Quota) with a clock, a lock and a line of
//! waiting tasks. [`Gate::try_acquire`] is synchronous; [`Gate::acquire`] waits its turn. Either
//! gives a [`Permit`], which says what became of the call: [`Permit::answered`] at the response
//! head, [`Permit::settle`] at the end. A permit that is dropped counts as
//! [`Outcome::Unknown`](tidegate_core::Outcome::Unknown).
//!
//! [`Partitions`] are many gates under one contract, by name. They are this process's own, or those of a
//! quota in a [`store`] that all processes of a machine share: each holds a share of it and spends that by
//! itself, and a thread moves units between them a few times a second.
//!
//! ```
//! use std::time::Duration;
//!
//! use tidegate_core::{Contract, Limit, Outcome, Pacing, Priority, Terms};
//! use tidegate_quota::store::{Machine, Sqlite, Store, Who};
//! use tidegate_quota::{Membership, Partitions};
//!
//! # let folder = std::env::temp_dir().join(format!("tidegate-doc-{}", std::process::id()));
//! let store = Sqlite::open(&folder, Machine::this())?; // or `Sqlite::of_this_machine()`
//! let terms = Terms { wall: Some(store.machine().wall()), ..Terms::default() };
//! let contract = Contract::new(&["100/s".parse::<Limit>()?], Pacing::Burst, terms)?;
//! let membership = Membership {
//!     quota: "crm".to_owned(),
//!     who: Who::this("tidegate run users.csv"),
//!     timeout: Duration::from_secs(30),
//!     assume_idle: false,
//!     priority: Priority::Normal,
//! };
//! let quotas = Partitions::shared(&contract, Box::new(store), membership)?;
//! let gate = quotas.gate("");
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! # runtime.block_on(async {
//! let permit = gate.acquire().await; // or `try_acquire`, and again after `quotas.changed()`
//! permit.settle(Outcome::Answered);
//! # });
//! quotas.close()?; // what was not used is the others' at once
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bell;
mod clock;
mod gate;
mod ledger;
mod partitions;
pub mod store;

pub use clock::Clock;
pub use gate::{Acquire, Gate, Permit};
pub use ledger::Membership;
pub use partitions::Partitions;
