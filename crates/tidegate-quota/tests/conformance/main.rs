//! What every store has to do, held to by the same tests.
//!
//! Members live in one process and in virtual time: each has its own ledger, as a task.

#![expect(clippy::unwrap_used, reason = "a test may panic, outside of its functions too")]

mod admin;
mod contract;
mod life;
mod machine;
mod world;

/// Makes a test of each function, for each store.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $name() { $crate::world::in_memory(super::$name) })+
        }
        mod sqlite {
            $(#[test] fn $name() { $crate::world::in_sqlite(super::$name) })+
        }
    };
}
pub(crate) use on_every_store;
