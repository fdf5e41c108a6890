//! Five million rows: a job that is nearly done goes on in little memory, and results are put in order
//! in little memory. Times are printed only; `bench/run resume order log` measures them.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

#[path = "../support/provider.rs"]
mod provider;
#[path = "../support/sim.rs"]
mod sim;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use provider::Provider;
use tempfile::TempDir;
use tidegate_core::Time;
use tidegate_quota::Clock;

const ROWS: u64 = 5_000_000;
/// MiB.
const MOST_AT_RESUME: f64 = 64.0;
const MOST_IN_ORDER: f64 = 128.0;
const MOST_BYTES_PER_ATTEMPT: f64 = 24.0;

#[test]
#[ignore = "minutes at full speed; ./test --long"]
fn a_long_job_goes_on_and_is_put_in_order_in_little_memory() {
    let provider = Provider::start(&[]);
    let job = Job::new(ROWS);
    let start = now();
    let mut first = job.start(&provider, &["--order", "input"]);
    while arrived(&provider) < ROWS * 9 / 10 {
        assert!(first.try_wait().unwrap().is_none(), "ended by itself");
        pause(50);
    }
    interrupt(&mut first);
    let done = arrived(&provider);
    println!("{done} rows in {:.0} s", now() - start);
    assert!(done < ROWS);

    let start = now();
    let mut second = job.start(&provider, &["--order", "input"]);
    while arrived(&provider) == done {
        assert!(second.try_wait().unwrap().is_none(), "ended by itself");
        pause(2);
    }
    println!("resumed: first new request after {:.2} s", now() - start);
    // Sorting begins when all have their answers.
    let (mut resuming, mut peak) = (0.0_f64, 0.0_f64);
    while second.try_wait().unwrap().is_none() {
        peak = peak.max(peak_mib(second.id()));
        if arrived(&provider) < ROWS {
            resuming = peak;
        }
        pause(20);
    }
    assert!(second.wait().unwrap().success());
    println!("{resuming:.1} MiB while it went on, {peak:.1} MiB to put all in order, {:.0} s", now() - start);

    let stats = provider.stats();
    assert_eq!((&stats["served_200"], &stats["served_twice"]), (&ROWS.into(), &0.into()), "{stats}");
    job.check_order();
    let each = job.log_bytes() as f64 / ROWS as f64;
    println!("{each:.1} bytes of log for each attempt");
    assert!(resuming < MOST_AT_RESUME, "{resuming} MiB");
    assert!(peak < MOST_IN_ORDER, "{peak} MiB");
    assert!(each < MOST_BYTES_PER_ATTEMPT, "{each} bytes");
}

/// At the paces at which each is written by itself, too.
#[test]
#[ignore = "two minutes of waiting; ./test --long"]
fn an_attempt_takes_few_bytes_of_the_log_at_any_pace() {
    thread::scope(|scope| {
        for (rate, rows) in [("100/min", 200), ("1000/s", 20_000)] {
            scope.spawn(move || {
                let limit = format!("rolling {rate}");
                let provider = Provider::start(&["--limit", &limit, "--service", "lognormal 60ms 0.5"]);
                let job = Job::new(rows);
                assert!(job.start(&provider, &["--rate", rate]).wait().unwrap().success());
                assert_eq!(provider.stats()["rejected"], 0);
                // What a log says of the run itself is the same for a single row.
                let (single, idle) = (Job::new(1), Provider::start(&[]));
                assert!(single.start(&idle, &["--rate", rate]).wait().unwrap().success());
                let (all, own) = (job.log_bytes(), single.log_bytes());
                let each = (all - own) as f64 / (rows - 1) as f64;
                println!("{rate}: {each:.1} bytes of log for each attempt: {all} of {rows}, {own} of one");
                assert!(each < MOST_BYTES_PER_ATTEMPT, "{rate}: {each} bytes");
            });
        }
    });
}

/// A list of ids, and what comes of it.
struct Job {
    folder: TempDir,
    rows: u64,
}

impl Job {
    fn new(rows: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ids = BufWriter::new(File::create(folder.path().join("ids.txt")).unwrap());
        (0..rows).for_each(|row| writeln!(ids, "{row}").unwrap());
        ids.flush().unwrap();
        Self { folder, rows }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, provider: &Provider, flags: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .current_dir(&self.folder)
            .env("TIDEGATE_STATE_DIR", self.path(".state"))
            .args(["run", "ids.txt", "-o", "out.jsonl", "-q"])
            .args(["--url", &format!("{}/v1/users/{{line}}", provider.url)])
            .args(flags);
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(self.path("out.tidegate/log")).unwrap().len()
    }

    fn check_order(&self) {
        let results = BufReader::new(File::open(self.path("out.jsonl")).unwrap());
        let mut rows = 0;
        for line in results.lines() {
            let line = line.unwrap();
            let start = format!(r#"{{"index":{rows},"#);
            assert!(line.starts_with(&start), "expected row {rows}: {line}");
            rows += 1;
        }
        assert_eq!(rows, self.rows);
    }
}

fn interrupt(child: &mut Child) {
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn arrived(provider: &Provider) -> u64 {
    provider.stats()["arrived"].as_u64().unwrap()
}

/// The most memory that a process ever had; 0 if it has ended.
fn peak_mib(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn now() -> f64 {
    Clock::start().now().since(Time::ZERO).as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn pause(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}
