//! The provider over real sockets.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test itself")]

mod client;
mod costs;
mod endpoints;
mod faults;
mod limits;
mod time;
