//! What a strict provider decides: pure, with time as an argument in nanoseconds.
//!
//! No clock, no socket, no file, no async in here. All arithmetic is in integers and exact; every oracle's
//! memory is bounded by the amount of its own limit.

mod judge;
mod oracle;
mod parse;
mod spec;
mod worst;

#[cfg(test)]
mod tests;

pub use judge::{Judge, Rejection, Settlement, Standing, Verdict};
pub use spec::{CalendarPeriod, LimitSpec, Nodes, Rate, Rule, Unit, WindowStart, Zone};
pub use worst::WorstWindow;
