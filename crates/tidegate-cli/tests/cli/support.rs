//! A folder to run in, the real binary, and strict providers on loopback.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::provider::Provider as Sim;

/// A job that hangs must fail its test, not stop the suite.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes with its test; commands run in it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    /// A CSV file of so many users, `u0` and up.
    pub(crate) fn users(&self, rows: usize) -> &Self {
        let mut csv = "user_id,plan\n".to_owned();
        for i in 0..rows {
            let _ = writeln!(csv, "u{i},free");
        }
        self.write("users.csv", csv)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The lines of a JSONL file, none if it does not exist.
    pub(crate) fn lines(&self, name: &str) -> Vec<Value> {
        if self.exists(name) { json_lines(&self.read(name)) } else { Vec::new() }
    }

    pub(crate) fn summary(&self) -> Value {
        serde_json::from_str(&self.read("out.tidegate/summary.json")).unwrap()
    }

    /// How often each row stands in results, failures or unknown outcomes, by its index.
    pub(crate) fn endings(&self) -> BTreeMap<u64, usize> {
        let mut endings = BTreeMap::new();
        let files = ["out.jsonl", "out.failed.jsonl", "out.unknown.jsonl"];
        for line in files.into_iter().flat_map(|file| self.lines(file)) {
            *endings.entry(line["index"].as_u64().unwrap()).or_default() += 1;
        }
        endings
    }

    /// Every row has exactly one ending.
    #[track_caller]
    pub(crate) fn assert_each_once(&self, rows: u64) {
        let expected: BTreeMap<u64, usize> = (0..rows).map(|index| (index, 1)).collect();
        assert_eq!(self.endings(), expected);
    }

    /// The binary under test, with nothing of this shell's that would change what it says.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(args).current_dir(self.0.path()).env_remove("TOKEN").env("COLUMNS", "100");
        command.env("TIDEGATE_STATE_DIR", self.0.path().join(".state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub(crate) fn tidegate<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        self.end(self.command(args))
    }

    /// The same with `input` on stdin.
    pub(crate) fn tidegate_with_stdin(&self, args: &[&str], input: &[u8]) -> Ended {
        let command = assert_cmd::Command::from_std(self.command(args));
        self.end_within_patience(command, input)
    }

    /// Runs `command` to the end.
    pub(crate) fn end(&self, command: Command) -> Ended {
        self.end_within_patience(assert_cmd::Command::from_std(command), b"")
    }

    fn end_within_patience(&self, mut command: assert_cmd::Command, input: &[u8]) -> Ended {
        Ended::of(command.write_stdin(input).timeout(PATIENCE).output().unwrap(), self)
    }
}

/// How a command ended and what it said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output, folder: &Folder) -> Self {
        let real = fs::canonicalize(folder.0.path()).unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&*real.to_string_lossy(), "[DIR]")
        };
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn assert_says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "nothing of `{text}` in\n{self}");
        self
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit code {code}")?,
            None => writeln!(f, "killed")?,
        }
        if !self.stdout.is_empty() {
            writeln!(f, "--- stdout\n{}", self.stdout)?;
        }
        if !self.stderr.is_empty() {
            writeln!(f, "--- stderr\n{}", self.stderr)?;
        }
        Ok(())
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}")))
        .collect()
}

impl Sim {
    /// Where the users are, by the column `user_id`.
    pub(crate) fn users(&self) -> String {
        format!("{}/v1/users/{{user_id}}", self.url)
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.stats()["arrived"].as_u64().unwrap()
    }

    /// Waits until so many requests have arrived: the run is in its middle.
    #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
    pub(crate) fn wait_for(&self, requests: u64) {
        for _ in 0..6_000 {
            if self.arrived() >= requests {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{requests} requests never came, but {}", self.arrived());
    }
}

/// A URL at which nobody listens.
pub(crate) fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A run in the background, to be interrupted.
pub(crate) struct Background<'a> {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    folder: &'a Folder,
}

impl<'a> Background<'a> {
    pub(crate) fn start(folder: &'a Folder, args: &[&str]) -> Self {
        Self::of(folder.command(args).stdout(Stdio::null()).spawn().unwrap(), folder)
    }

    pub(crate) fn of(mut child: Child, folder: &'a Folder) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, said: String::new(), folder }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until a line with `text` in it was written to stderr.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            let from = self.said.len();
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert!(read > 0, "ended without saying `{text}`:\n{}", self.said);
            if self.said[from..].contains(text) {
                return;
            }
        }
    }

    pub(crate) fn wait(mut self) -> Ended {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let output =
            Output { status: self.child.wait().unwrap(), stdout: Vec::new(), stderr: self.said.into_bytes() };
        Ended::of(output, self.folder)
    }
}
