//! Exit codes, and nothing else decides them.

use std::process::ExitCode;

/// How the program ended, for the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every row has a result, or the failures are within `--max-failed`.
    Success,
    /// Finished with failures.
    Failures,
    /// Usage or job error; nothing was sent.
    Usage,
    /// Stopped early; the same command carries on.
    Stopped,
    /// Ctrl-C; the same command carries on.
    Interrupted,
    /// SIGTERM; the same command carries on.
    Terminated,
    /// What another command said.
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failures => 1,
            Exit::Usage => 2,
            Exit::Stopped => 3,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Code(code) => code,
        })
    }
}
