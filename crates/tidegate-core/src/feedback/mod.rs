//! What an answer's headers say of the provider's limits, made alike.
//!
//! Each provider has its own names and forms for the same few facts. A [`Dialect`] is one of them,
//! as data; [`Dialects`] are those that are looked for. Nothing here is obeyed blindly: a value that
//! makes no sense is left out and reported, and a time is never made shorter.

mod dialect;
mod fields;
mod ietf;
mod read;
mod table;
mod told;
mod value;

use std::time::Duration;

pub use self::dialect::{Dialect, Role};
pub use self::read::Dialects;
pub use self::value::Form;
use crate::limit::Unit;

/// What an answer says of the provider's limits, made alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feedback {
    /// The silence that is asked for. A floor: never to be shortened.
    pub retry_after: Option<Duration>,
    /// The state of each resource that is told of.
    pub readings: Vec<Reading>,
    /// Fields that make no sense.
    pub ignored: Vec<Ignored>,
}

/// One resource (a limit by the provider's name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What the provider calls it, or what it counts: `requests`, `core`, `daily`.
    pub resource: Box<str>,
    /// What is counted.
    pub unit: Unit,
    /// How much is allowed.
    pub limit: Option<u64>,
    /// How much of it is left. Not a grant: others may use it up.
    pub remaining: Option<u64>,
    /// The time over which the limit counts, if it is told or the dialect implies it.
    pub window: Option<Duration>,
    /// From the arrival of the answer.
    pub resets_in: Option<Duration>,
    /// What happens then.
    pub reset: Reset,
}

/// What a reset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Some quota is back.
    Some,
    /// A window ends: all of it is back.
    All,
    /// The bucket is full.
    Full,
}

/// A field that makes no sense; never obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its name.
    pub field: Box<str>,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Where headers are read from.
pub trait Headers {
    /// Shows each field, its name in lower case.
    fn each(&self, visit: &mut dyn FnMut(&str, &[u8]));
}

/// Pairs of names and values, for tests and small programs.
impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in self {
            visit(name.as_ref(), value.as_ref());
        }
    }
}

#[cfg(test)]
mod tests;
