//! `tidegate sim` as a provider.

use std::process::{Command, Stdio};

use crate::provider::Provider;

impl Provider {
    /// The sim with these arguments, on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut sim = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        Self::spawn(sim.args(["sim", "--listen", "127.0.0.1:0"]).args(arguments).stderr(Stdio::null()))
    }
}
