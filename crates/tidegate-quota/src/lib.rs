//! The gate: a quota in memory that many callers share and wait on.
//!
//! [`Gate`] wraps the pure [`Quota`](tidegate_core::Quota) with a clock, a lock and a line of
//! waiting tasks. [`Gate::try_acquire`] is synchronous; [`Gate::acquire`] waits its turn. Either
//! gives a [`Permit`], which says what became of the call: [`Permit::answered`] at the response
//! head, [`Permit::settle`] at the end. A permit that is dropped counts as
//! [`Outcome::Unknown`](tidegate_core::Outcome::Unknown).
//!
//! [`Partitions`] are many gates under one contract, by name.

mod clock;
mod gate;
mod partitions;

pub use clock::Clock;
pub use gate::{Acquire, Gate, Permit};
pub use partitions::Partitions;
