//! The engine of tidegate: rows in, permits, calls, results out.
//!
//! A row's way, in one direction:
//! [`source`] → [`Row`] → [`template`] → [`Call`](template::Call) → gate → permit → [`http`] →
//! outcome → verdict → [`sink`], or to the retry timer and back to the gate ahead of fresh rows.

pub mod http;
pub mod row;
pub mod sink;
pub mod source;
pub mod template;

pub use row::{Record, Row, RowFault};
