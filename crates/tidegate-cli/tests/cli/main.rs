//! The command line as people and shells see it: the real binary, real providers on loopback, and
//! what ends on stdout, on stderr and in files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod auto;
mod bad_input;
mod bad_rows;
mod batch;
mod explain;
mod llm;
mod many;
mod output;
mod probe;
#[path = "../support/provider.rs"]
mod provider;
mod request;
mod resume;
mod signals;
#[path = "../support/sim.rs"]
mod sim;
mod support;
mod verify;
