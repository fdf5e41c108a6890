//! The binary under `strace`, which kills it, or fails its system calls, at any one of them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Ended, Folder};

/// Which system calls of which files.
#[derive(Clone)]
pub(crate) struct Calls<'a> {
    /// As strace names them, with commas.
    pub(crate) names: &'a str,
    pub(crate) files: Vec<PathBuf>,
}

/// What is done at the n-th of them (of any thread), before it takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    Kill,
    /// The disk is full for a moment.
    FullOnce,
    /// The disk is full, from there on.
    Full,
}

impl Calls<'_> {
    /// Runs `tidegate` with `args` until the n-th of these calls; what it said, and whether it came
    /// that far.
    pub(crate) fn run(&self, folder: &Folder, args: &[&str], n: usize, then: Then) -> (Ended, bool) {
        require();
        let trace = folder.path("strace.out");
        let mut strace = Command::new("strace");
        // The path of a file that is renamed counts as well.
        strace.args(["-f", "-qq", "-o"]).arg(&trace);
        strace.args(["-e", "signal=none", "-e", &format!("trace={}", self.names)]);
        let what = match then {
            Then::Kill => format!("inject={}:signal=SIGKILL:when={n}", self.names),
            Then::FullOnce => format!("inject={}:error=ENOSPC:when={n}", self.names),
            Then::Full => format!("inject={}:error=ENOSPC:when={n}+", self.names),
        };
        strace.args(["-e", &what]);
        for file in &self.files {
            strace.arg("-P").arg(file);
        }
        let binary = folder.command(args);
        strace.arg(binary.get_program()).args(binary.get_args());
        for (name, value) in binary.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        strace.current_dir(binary.get_current_dir().unwrap());
        strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = folder.end(strace);
        let told = std::fs::read_to_string(&trace).unwrap();
        // Killed itself by what has killed its child.
        let came = ended.code.is_none() || told.contains("(INJECTED)");
        (ended, came)
    }
}

/// Not to be skipped: without it nobody knows.
fn require() {
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "strace is needed for this test, and is not here: apt-get install strace (./test does)"
    );
}
