//! A provider, a job for it, and what the job left behind.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate::job::{Job, JobError, JobFile, Pairs, Plan};
use tidegate::{Handle, Report, Run};
use tidegate_sim::{Faults, SimConfig, SimError, SimHandle, serve_blocking};

/// Ends a test that would otherwise hang; nothing takes this long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// A provider on a thread of its own; stops when dropped.
pub(crate) struct Provider {
    pub(crate) addr: SocketAddr,
    pub(crate) sim: SimHandle,
    thread: Option<JoinHandle<Result<(), SimError>>>,
}

/// A job in a folder of its own. Its retries do not wait long.
pub(crate) struct Setting {
    folder: TempDir,
    pub(crate) file: JobFile,
    pub(crate) head: Option<u64>,
    pub(crate) env: Vec<(&'static str, &'static str)>,
}

/// Limits and faults, as `tidegate sim` has them.
pub(crate) fn config(limits: &[&str], faults: &[&str]) -> SimConfig {
    SimConfig {
        limits: limits.iter().map(|limit| limit.parse().unwrap()).collect(),
        faults: Faults::new(faults.iter().map(|fault| fault.parse().unwrap())).unwrap(),
        ..SimConfig::default()
    }
}

impl Provider {
    pub(crate) fn start(config: SimConfig) -> Self {
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            serve_blocking(config, |addr, handle| ready.send((addr, handle)).unwrap())
        });
        let (addr, sim) = started.recv_timeout(DEADLINE).unwrap();
        Self { addr, sim, thread: Some(thread) }
    }

    /// One that accepts all.
    pub(crate) fn easy() -> Self {
        Self::start(SimConfig::default())
    }

    /// Ends it, and starts another at the same address.
    pub(crate) fn replace(mut self, config: SimConfig) -> Self {
        self.stop();
        let addr = self.addr;
        Self::start(SimConfig { addr, ..config })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn stop(&mut self) {
        self.sim.shutdown();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Setting {
    /// `rows` lines `u0`, `u1`, … and a GET for each, without a limit.
    pub(crate) fn new(provider: &Provider, rows: u64) -> Self {
        let lines: Vec<String> = (0..rows).map(|i| format!("u{i}\n")).collect();
        Self::with_input(&provider.url("/v1/users/{line}"), lines.concat().as_bytes())
    }

    pub(crate) fn with_input(url: &str, input: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut file = JobFile::default();
        let path = folder.path().join("in.txt");
        fs::write(&path, input).unwrap();
        file.input.path = Some(path);
        file.request.url = Some(url.to_owned());
        file.retry.backoff = Some("1ms..5ms".to_owned());
        file.output.path = Some(folder.path().join("out.jsonl"));
        Self { folder, file, head: None, env: Vec::new() }
    }

    pub(crate) fn limits(mut self, limits: &[&str]) -> Self {
        self.file.quota.limits = limits.iter().map(|&limit| limit.to_owned()).collect();
        self
    }

    pub(crate) fn connections(mut self, connections: usize) -> Self {
        self.file.quota.connections = Some(connections);
        self
    }

    /// A POST of each line.
    pub(crate) fn post(mut self, provider: &Provider) -> Self {
        self.file.request.url = Some(provider.url("/v1/chat/completions"));
        self.file.request.json = Some(serde_json::json!({
            "model": "m", "messages": [{ "role": "user", "content": "{{ line }}" }]
        }));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let Pairs(headers) = &mut self.file.request.headers;
        headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn prepare(&self) -> Result<(Run, Handle), JobError> {
        let mut job = Job::from_file(self.file.clone())?;
        job.head = self.head;
        let env = |name: &str| {
            self.env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Ok(Run::new(Plan::new(job, env)?.prepare()?).unwrap())
    }

    /// Runs the job to its end.
    pub(crate) async fn run(&self) -> Report {
        let (run, _handle) = self.prepare().unwrap();
        in_time(run.drive()).await
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.folder().join("out.jsonl")
    }

    pub(crate) fn results(&self) -> Vec<Value> {
        lines(&self.output())
    }

    pub(crate) fn failures(&self) -> Vec<Value> {
        lines(&self.folder().join("out.failed.jsonl"))
    }

    /// Rows of which nobody knows whether they were done.
    pub(crate) fn unknown(&self) -> Vec<Value> {
        lines(&self.folder().join("out.unknown.jsonl"))
    }

    /// The rows that are at their end, in the order of the input.
    pub(crate) fn ended(&self) -> Vec<u64> {
        let all = [self.results(), self.failures(), self.unknown()].concat();
        let mut rows: Vec<u64> = all.iter().map(|row| row["index"].as_u64().unwrap()).collect();
        rows.sort_unstable();
        rows
    }

    /// Each of the first `rows` rows is at its end once, and each result is the answer
    /// to its own row.
    #[track_caller]
    pub(crate) fn assert_each_row_once(&self, rows: u64) {
        assert_eq!(self.ended(), (0..rows).collect::<Vec<_>>());
        for row in self.results().iter().filter(|row| row["body"]["id"].is_string()) {
            if row["body"]["object"].is_null() {
                assert_eq!(row["body"]["id"], format!("u{}", row["index"]), "{row}");
            }
        }
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("it hangs")
}

/// Looks again and again until `done`.
pub(crate) async fn until(done: impl Fn() -> bool) {
    in_time(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
