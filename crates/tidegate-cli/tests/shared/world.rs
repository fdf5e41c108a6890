//! A provider, a folder of state, and processes that share it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_core::Time;
use tidegate_quota::Clock;

use crate::provider::Provider;

/// What has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds since the machine's boot.
pub(crate) fn now() -> f64 {
    Clock::start().now().since(Time::ZERO).as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "other processes are waited for")]
pub(crate) fn sleep(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds.max(0.0)));
}

/// A folder with a state folder in it, and a provider.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) provider: Provider,
}

impl World {
    pub(crate) fn new(provider: &[&str]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), provider: Provider::start(provider) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The binary in this folder, with its state folder, and nothing of this shell's that changes what it
    /// says.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(args).current_dir(&self.folder).env("COLUMNS", "100");
        command.env("TIDEGATE_STATE_DIR", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub(crate) fn tidegate<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        self.end(self.command(args))
    }

    pub(crate) fn end(&self, mut command: Command) -> Ended {
        let output = assert_cmd::Command::from_std({
            command.stdin(Stdio::null());
            command
        })
        .timeout(PATIENCE)
        .output()
        .unwrap();
        Ended::of(output, self)
    }

    /// `tidegate quota …`, which has to go well; what it says.
    #[track_caller]
    pub(crate) fn quota(&self, args: &[&str]) -> Ended {
        let ended = self.tidegate([&["quota"], args].concat());
        assert_eq!(ended.code, Some(0), "{ended}");
        ended
    }

    /// A list of so many users, `NAME-0` and up, for a run called so.
    pub(crate) fn worker(&self, name: &str, rows: usize, flags: &[&str]) -> Worker<'_> {
        self.worker_at(&self.provider.url, name, rows, flags)
    }

    /// The same, whose provider is reached at this address.
    pub(crate) fn worker_at(&self, provider: &str, name: &str, rows: usize, flags: &[&str]) -> Worker<'_> {
        let mut ids = String::new();
        for i in 0..rows {
            writeln!(ids, "{name}-{i}").unwrap();
        }
        self.write(&format!("{name}.txt"), &ids);
        let url = format!("{provider}/v1/users/{{line}}");
        let (input, output) = (format!("{name}.txt"), format!("{name}.jsonl"));
        let mut args = vec!["run".to_owned(), input, "-o".to_owned(), output, "--url".to_owned(), url];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Worker { world: self, name: name.to_owned(), args, child: None }
    }

    /// A process of any command.
    pub(crate) fn process(&self, name: &str, args: &[&str]) -> Worker<'_> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Worker { world: self, name: name.to_owned(), args, child: None }
    }

    /// A run of the job file of that name.
    pub(crate) fn job(&self, name: &str, flags: &[&str]) -> Worker<'_> {
        self.process(name, &[&["run", &format!("{name}.toml")], flags].concat())
    }

    /// What the store says of the processes with their units, by process.
    pub(crate) fn shares(&self, quota: &str) -> Vec<(u32, u64)> {
        self.shares_in(quota, &[])
    }

    /// The same of another store than this folder's.
    pub(crate) fn shares_in(&self, quota: &str, store: &[&str]) -> Vec<(u32, u64)> {
        let page = self.quota(&[&["show", quota], store].concat()).stdout;
        let processes = page.lines().filter_map(|line| line.strip_prefix("process  "));
        processes
            .map(|line| {
                let (pid, rest) = line.split_once(" (").unwrap();
                let units = rest.split(" · ").nth(1).unwrap().split(' ').next().unwrap();
                (pid.parse().unwrap(), units.replace(',', "").parse().unwrap())
            })
            .collect()
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.provider.stats()[name].as_u64().unwrap()
    }

    /// Waits until so many requests were accepted.
    #[track_caller]
    pub(crate) fn wait_for(&self, accepted: u64) {
        let start = now();
        while self.stat("accepted") < accepted {
            assert!(now() - start < PATIENCE.as_secs_f64(), "{} of {accepted}", self.stat("accepted"));
            sleep(0.005);
        }
    }

    /// Notes all the while, about each 20 ms, how many requests have been accepted.
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Arrivals) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut samples = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let before = now();
                    let accepted = self.stat("accepted");
                    samples.push((f64::midpoint(before, now()), accepted));
                    sleep(0.02);
                }
                samples
            });
            // However it ends, the other thread must.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            over.store(true, Ordering::Relaxed);
            let samples = watching.join().unwrap();
            match done {
                Ok(done) => (done, Arrivals(samples)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Nothing was rejected, and the job's quota was not just left alone.
    #[track_caller]
    pub(crate) fn check_contract(&self) -> Value {
        let stats = self.provider.stats();
        assert_eq!(stats["rejected"], 0, "{stats}");
        stats
    }
}

/// Times, with the number of requests accepted by then.
pub(crate) struct Arrivals(Vec<(f64, u64)>);

impl Arrivals {
    fn by(&self, at: f64) -> f64 {
        let after = self.0.partition_point(|(t, _)| *t < at).clamp(1, self.0.len() - 1);
        let ((t0, n0), (t1, n1)) = (self.0[after - 1], self.0[after]);
        let part = ((at - t0) / (t1 - t0)).clamp(0.0, 1.0);
        n0 as f64 + part * (n1 as f64 - n0 as f64)
    }

    /// Per second, from a time to another.
    pub(crate) fn rate(&self, from: f64, to: f64) -> f64 {
        (self.by(to) - self.by(from)) / (to - from)
    }

    /// When the last one before `by` came.
    pub(crate) fn last_before(&self, by: f64) -> f64 {
        let pairs = self.0.windows(2).take_while(|pair| pair[1].0 <= by);
        pairs.filter(|pair| pair[1].1 > pair[0].1).last().map_or(self.0[0].0, |pair| pair[1].0)
    }

    /// When the first one after `from` came.
    pub(crate) fn first_after(&self, from: f64) -> f64 {
        let mut pairs = self.0.windows(2).filter(|pair| pair[0].0 >= from);
        pairs.find(|pair| pair[1].1 > pair[0].1).map_or(f64::MAX, |pair| pair[1].0)
    }

    /// When the rate over half a second after it is first at least (or at most) that.
    pub(crate) fn first_with(&self, from: f64, is_so: impl Fn(f64) -> bool) -> f64 {
        let last = self.0.last().unwrap().0;
        let mut times = self.0.iter().map(|(t, _)| *t).filter(|t| *t >= from && t + 0.5 <= last);
        times.find(|t| is_so(self.rate(*t, t + 0.5))).unwrap_or(f64::MAX)
    }
}

/// A run with rows and an output of its own.
pub(crate) struct Worker<'w> {
    world: &'w World,
    name: String,
    args: Vec<String>,
    child: Option<Child>,
}

impl Worker<'_> {
    /// Starts it, or starts it again: the same command.
    pub(crate) fn start(&mut self) -> &mut Self {
        let mut command = self.world.command(&self.args);
        let said = fs::OpenOptions::new().append(true).create(true).open(self.said()).unwrap();
        self.child = Some(command.stdout(Stdio::null()).stderr(said).spawn().unwrap());
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(status.unwrap().success(), "{}: ended by itself: {}", self.name, self.words());
    }

    /// Kills it as nothing can be killed more.
    pub(crate) fn kill(&mut self) {
        self.assert_runs();
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end, which must have this code.
    #[track_caller]
    pub(crate) fn ends_with(&mut self, code: i32) {
        let ended = self.child.take().unwrap().wait().unwrap();
        assert_eq!(ended.code(), Some(code), "{}: {}", self.name, self.words());
    }

    #[track_caller]
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.child.as_mut().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "{} has ended: {ended:?} {}", self.name, self.words());
    }

    fn said(&self) -> PathBuf {
        self.world.path(&format!("{}.stderr", self.name))
    }

    /// All that it has said.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(self.said()).unwrap_or_default()
    }

    pub(crate) fn summary(&self) -> Value {
        let path = self.world.path(&format!("{}.tidegate/summary.json", self.name));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// When its rows were sent, in seconds of some clock, in order; no row is there twice.
    pub(crate) fn sends(&self) -> Vec<f64> {
        let mut seen = HashSet::new();
        let mut sends: Vec<f64> = lines(&self.world.path(&format!("{}.jsonl", self.name)))
            .map(|line| {
                assert!(seen.insert(line["index"].as_u64().unwrap()), "{}: twice: {line}", self.name);
                assert_eq!(line["status"], 200, "{}: {line}", self.name);
                time_of_day(line["sent_at"].as_str().unwrap())
            })
            .collect();
        let first = sends.first().copied().unwrap_or(0.0);
        // Midnight.
        sends.iter_mut().filter(|at| **at < first - 43_200.0).for_each(|at| *at += 86_400.0);
        sends.sort_by(f64::total_cmp);
        sends
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command's end, with what differs from run to run made equal.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output, world: &World) -> Self {
        let real = fs::canonicalize(&world.folder).unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&*real.to_string_lossy(), "[DIR]").replace(&world.provider.url, "[URL]")
        };
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit code {code}")?,
            None => writeln!(f, "killed")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "--- {name}\n{text}")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn lines(path: &Path) -> impl Iterator<Item = Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A process that runs, or was killed, has perhaps not written all of the last one.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines: Vec<Value> = text[..whole].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter()
}

/// Seconds since midnight, of `2026-01-31T12:34:56.789Z`.
pub(crate) fn time_of_day(text: &str) -> f64 {
    let clock = text.split_once('T').unwrap().1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}
