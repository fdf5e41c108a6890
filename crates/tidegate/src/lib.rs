//! The engine of tidegate: rows in, permits, calls, results out.
//!
//! A row's way, in one direction:
//! [`source`] → [`Row`] → [`template`] → [`Call`](template::Call) → gate → permit → [`http`] →
//! outcome → [`verdict`] → [`sink`], or to the retry timer and back to the gate ahead of fresh rows.
//!
//! Use: a [`JobFile`](job::JobFile) becomes a checked [`Job`](job::Job), that a
//! [`Plan`](job::Plan) (input, request and limits opened and compiled), that a
//! [`Prepared`](job::Prepared) (outputs open, what is done found), and that a [`Run`].

pub mod auth;
mod engine;
pub mod feedback;
pub mod http;
pub mod job;
mod json;
pub mod llm;
pub mod log;
pub mod report;
pub mod retry;
pub mod row;
pub mod signs;
pub mod sink;
pub mod source;
pub mod split;
pub mod template;
pub mod verdict;
pub mod verify;

pub use engine::{Ended, Handle, Report, Run};
pub use row::{FieldError, Record, Row, RowFault};
