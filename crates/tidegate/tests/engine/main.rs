//! The engine against a real provider on loopback: files and counts, never durations.

#![expect(clippy::unwrap_used, reason = "a test may panic, outside of its functions too")]

mod language;
mod limits;
mod many;
mod points;
mod redirects;
mod resume;
mod rows;
mod scripted;
mod setting;
mod stops;
mod trouble;
