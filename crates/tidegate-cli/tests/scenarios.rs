//! The guarantee over real HTTP: the binary against the strict provider, as a user would run them.
//!
//! Each scenario must end without one rejection, with every row exactly once, and with a steady
//! rate (between the 10th and the 90th per cent of the calls) of at least 0.97 of what the formula
//! of its limit gives for the provider's *configured* latency. Scenarios mostly wait, so those of
//! low rates run side by side.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");
/// Median 60 ms and σ 0.5 have a mean of 60 · e^(0.5² / 2) ms; the jitter adds 10 ms on average.
const RESPONSE: f64 = 0.067_989 + 0.010;
const FLOOR: f64 = 0.97;
/// A place that is free again is seen by a timer of 1 ms, on both sides: 2% of an answer's 83 ms.
/// On a quiet machine it is 0.98; the rest is room for a busy one.
const FLOOR_OF_CONCURRENCY: f64 = 0.95;
const JITTERY: &[&str] = &["--service", "lognormal 60ms 0.5", "--jitter", "uniform 0..20ms"];

struct Scenario {
    name: &'static str,
    provider: &'static [&'static str],
    run: &'static [&'static str],
    rows: u64,
    /// Calls per second by the formula; 0 where the rate says nothing.
    formula: f64,
}

#[test]
fn every_limit_of_low_rate_is_kept_and_used() {
    let window = 100.0 / (6.0 + RESPONSE);
    let scenario = |name, provider, run, rows, formula| Scenario { name, provider, run, rows, formula };
    let scenarios = [
        scenario("rolling", &["--limit", "rolling 100/6s"], &["--rate", "100/6s"], 600, window),
        scenario(
            "rolling, rejections count",
            &["--limit", "rolling 100/6s", "--reject-counts"],
            &["--rate", "100/6s"],
            600,
            window,
        ),
        scenario("fixed, phase 0", &["--limit", "fixed 100/6s"], &["--rate", "100/6s"], 600, window),
        scenario(
            "fixed, phase 1.2s",
            &["--limit", "fixed 100/6s phase 1200ms"],
            &["--rate", "100/6s"],
            600,
            window,
        ),
        scenario(
            "fixed, phase 2.4s",
            &["--limit", "fixed 100/6s phase 2400ms"],
            &["--rate", "100/6s"],
            600,
            window,
        ),
        scenario(
            "fixed, phase 3.6s",
            &["--limit", "fixed 100/6s phase 3600ms"],
            &["--rate", "100/6s"],
            600,
            window,
        ),
        scenario(
            "fixed, phase 4.8s",
            &["--limit", "fixed 100/6s phase 4800ms"],
            &["--rate", "100/6s"],
            600,
            window,
        ),
        scenario(
            "bucket",
            &["--limit", "bucket 50/s capacity 10"],
            &["--rate", "50/s bucket 10"],
            1_500,
            50.0,
        ),
        scenario(
            "bucket, rejections count",
            &["--limit", "bucket 50/s capacity 10", "--reject-counts"],
            &["--rate", "50/s bucket 10"],
            1_500,
            50.0,
        ),
        scenario(
            "concurrency",
            &["--limit", "concurrency 20"],
            &["--concurrency", "20"],
            5_000,
            20.0 / (RESPONSE + 0.005),
        ),
        scenario(
            "stacked",
            &["--limit", "rolling 100/6s", "--limit", "fixed 30/s", "--limit", "concurrency 5"],
            &["--rate", "100/6s", "--rate", "30/s", "--concurrency", "5"],
            600,
            window,
        ),
    ];
    thread::scope(|scope| {
        let runs: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(|| check(scenario))).collect();
        for run in runs {
            run.join().unwrap();
        }
    });
}

#[test]
fn in_bursts_the_ideal_time_is_met_but_for_the_answers() {
    let scenario = Scenario {
        name: "rolling, burst",
        provider: &["--limit", "rolling 100/6s"],
        run: &["--rate", "100/6s", "--pace", "burst"],
        rows: 600,
        formula: 0.0,
    };
    let summary = check(&scenario);
    // Five windows and six answers, of which the slowest counts; nothing else.
    let wall = summary["wall_s"].as_f64().unwrap();
    assert!(wall < 1.04 * 30.0, "{wall} s");
}

#[test]
fn a_thousand_a_second() {
    let formula = 1_000.0 / (1.0 + RESPONSE);
    check(&Scenario {
        name: "rolling 1000/s",
        provider: &["--limit", "rolling 1000/s"],
        run: &["--rate", "1000/s"],
        rows: 20_000,
        formula,
    });
}

#[test]
#[ignore = "half a minute at full speed; ./test --long"]
fn a_hundred_thousand_a_minute() {
    let formula = 1_667.0 / (1.0 + RESPONSE);
    check(&Scenario {
        name: "rolling 1667/s",
        provider: &["--limit", "rolling 1667/s"],
        run: &["--rate", "1667/s"],
        rows: 50_000,
        formula,
    });
}

/// Connections reset, calls that hang, bodies that end early: each row ends once, and both sides
/// count the same.
#[test]
fn faults_lose_nothing_and_are_counted_alike() {
    let provider = Provider::start(&[
        "--limit",
        "rolling 200/s",
        "--service",
        "5ms",
        "--fault",
        "reset 10%",
        "--fault",
        "hang 2%",
        "--fault",
        "truncate 2%",
        "--fault",
        "status 503 3%",
        "--seed",
        "7",
    ]);
    let job = Job::new(1_000);
    job.run(&provider, &["--rate", "200/s", "--timeout", "1s", "--backoff", "50ms..500ms"], &[0, 1]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(1_000);
    let count = |value: &Value| value.as_u64().unwrap();
    assert_eq!(count(&summary["ok"]) + count(&summary["failed"]), 1_000);
    assert_eq!(summary["attempts"], stats["arrived"]);
    assert_eq!(summary["throttled"], stats["rejected"]);
    assert_eq!(count(&stats["rejected"]), 0);
    assert_eq!(summary["ok"], stats["served_200"]);
    assert_eq!(count(&stats["served_twice"]), 0);
    let faults = &stats["faults"];
    for (cause, fault) in [("timeout", "hang"), ("503", "status")] {
        // The last attempt of a row that failed is no retry.
        let retried = summary["retried_by_cause"].get(cause).map_or(0, count);
        assert!(retried <= count(&faults[fault]) && retried > 0, "{cause}: {retried} of {faults}");
    }
}

/// Windows do not end with the run: interrupted or killed and started again at once, in bursts that
/// leave nothing of the window free, the job meets no rejection.
#[test]
fn restarts_do_not_forget_what_was_sent() {
    let provider = Provider::start(&["--limit", "rolling 100/3s", "--service", "20ms"]);
    let job = Job::new(500);
    let burst = ["--rate", "100/3s", "--pace", "burst"];
    for (signal, code) in [("INT", Some(130)), ("KILL", None), ("TERM", Some(143)), ("KILL", None)] {
        let served = provider.stats()["accepted"].as_u64().unwrap();
        let mut run = job.command(&provider, &burst).stderr(Stdio::null()).spawn().unwrap();
        // In the middle of a window, with calls behind it and calls in flight.
        while provider.stats()["accepted"].as_u64().unwrap() < served + 60 {
            assert!(run.try_wait().unwrap().is_none(), "ended by itself");
        }
        let sent = Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(run.wait().unwrap().code(), code, "{signal}");
    }
    job.run(&provider, &burst, &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    assert_eq!(stats["rejected"], 0, "{stats}");
    assert_eq!(stats["worst_window"]["accepted"], 100, "the window was never used to the full: {stats}");
    assert_eq!(summary["resumed_after_kill"], true);
    job.check_rows(500);
}

/// A provider that asks for a minute and a half of silence gets it.
#[test]
#[ignore = "waits for 90 s; ./test --long"]
fn a_long_retry_after_is_waited_for() {
    let provider = Provider::start(&["--limit", "rolling 100/s", "--fault", "pause after 150 for 90s"]);
    let job = Job::new(300);
    job.run(&provider, &["--rate", "100/s"], &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(300);
    assert_eq!(summary["ok"], 300);
    assert_eq!(summary["throttled"], stats["faults"]["pause"]);
    assert_eq!(summary["attempts"], stats["arrived"]);
    assert!(summary["wall_s"].as_f64().unwrap() > 90.0);
}

/// Runs a scenario and checks what holds for all of them.
fn check(scenario: &Scenario) -> Value {
    let arguments: Vec<&str> = scenario.provider.iter().chain(JITTERY).copied().collect();
    let provider = Provider::start(&arguments);
    let job = Job::new(scenario.rows);
    job.run(&provider, scenario.run, &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(scenario.rows);

    let name = scenario.name;
    assert_eq!(stats["rejected"], 0, "{name}: {stats}");
    assert_eq!(stats["accepted"], scenario.rows, "{name}");
    assert_eq!(stats["served_twice"], 0, "{name}");
    assert_eq!(summary["throttled"], 0, "{name}");
    assert_eq!(summary["ok"], scenario.rows, "{name}");
    for limit in summary["limits"].as_array().unwrap() {
        let Some(worst) = limit["worst_window"].as_u64() else { continue };
        assert!(worst <= limit["allows"].as_u64().unwrap(), "{name}: {limit}");
    }
    if scenario.formula > 0.0 {
        let steady = summary["steady_rate_per_s"].as_f64().unwrap();
        let share = steady / scenario.formula;
        println!("{name}: {steady:.2}/s is {share:.4} of the formula");
        let only_concurrency = !scenario.run.contains(&"--rate");
        let floor = if only_concurrency { FLOOR_OF_CONCURRENCY } else { FLOOR };
        assert!(
            share >= floor,
            "{name}: {steady:.2}/s is {share:.4} of the formula's {:.2}/s",
            scenario.formula
        );
    }
    summary
}

/// `tidegate sim` on a free port.
struct Provider {
    process: Child,
    address: String,
}

impl Provider {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(TIDEGATE)
            .args(["sim", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let address = url.trim().strip_prefix("http://").unwrap().to_owned();
        Self { process, address }
    }

    fn stats(&self) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET /_stats HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A list of ids and a folder for what comes of it.
struct Job {
    folder: TempDir,
}

impl Job {
    fn new(rows: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ids = String::new();
        for i in 0..rows {
            writeln!(ids, "u{i}").unwrap();
        }
        fs::write(folder.path().join("ids.txt"), ids).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, provider: &Provider, arguments: &[&str]) -> Command {
        let mut command = Command::new(TIDEGATE);
        command
            .arg("run")
            .arg(self.path("ids.txt"))
            .arg("-o")
            .arg(self.path("out.jsonl"))
            .args(["--url", &format!("http://{}/v1/users/{{line}}", provider.address)])
            .args(arguments);
        command
    }

    fn run(&self, provider: &Provider, arguments: &[&str], codes: &[i32]) {
        let output = self.command(provider, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{said}");
    }

    fn summary(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("out.tidegate/summary.json")).unwrap()).unwrap()
    }

    /// Each row ends exactly once, with its own answer.
    fn check_rows(&self, rows: u64) {
        let mut seen = HashSet::new();
        for line in lines(&self.path("out.jsonl")) {
            let index = line["index"].as_u64().unwrap();
            assert_eq!(line["body"]["id"], format!("u{index}"), "an answer on another row");
            assert!(seen.insert(index), "row {index} twice");
        }
        for line in lines(&self.path("out.failed.jsonl")) {
            assert!(line["error"]["kind"].is_string(), "{line}");
            assert!(seen.insert(line["index"].as_u64().unwrap()), "{line} twice");
        }
        assert_eq!(seen.len() as u64, rows);
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
