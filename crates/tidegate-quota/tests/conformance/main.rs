//! What every store has to do, held to by the same tests.
//!
//! Members live in one process and in virtual time: each has its own ledger, as a task.

#![expect(clippy::unwrap_used, reason = "a test may panic, outside of its functions too")]

mod admin;
mod contract;
mod forgets;
mod life;
mod machine;
mod priority;
#[expect(dead_code, reason = "what kills servers is for other tests")]
#[path = "../support/redis.rs"]
mod server;
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
        mod redis {
            $(#[test] fn $name() { $crate::world::in_redis($crate::server::Kind::Redis, super::$name) })+
        }
        mod valkey {
            $(#[test] fn $name() { $crate::world::in_redis($crate::server::Kind::Valkey, super::$name) })+
        }
    };
}
pub(crate) use on_every_store;

/// For each store whose clock is the machine's.
macro_rules! on_every_store_of_a_machine {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $name() { $crate::world::in_memory(super::$name) })+
        }
        mod sqlite {
            $(#[test] fn $name() { $crate::world::in_sqlite(super::$name) })+
        }
    };
}
pub(crate) use on_every_store_of_a_machine;
