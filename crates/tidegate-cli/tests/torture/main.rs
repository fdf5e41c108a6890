//! Whatever is done to a run: each row ends once, nothing is bought twice, and no limit is broken.
//!
//! `kills` ends runs at random points, `writes` between every two writes, `faults` takes the disk away,
//! `away` the provider, the time or the process itself, and `retry` sends failures again.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

mod away;
mod disk;
mod faults;
mod kills;
#[path = "../support/provider.rs"]
mod provider;
mod recorder;
mod retry;
#[path = "../support/sim.rs"]
mod sim;
mod strace;
#[expect(dead_code, reason = "shared with the tests of the command line, which need more of it")]
#[path = "../cli/support.rs"]
mod support;
mod world;
mod writes;
