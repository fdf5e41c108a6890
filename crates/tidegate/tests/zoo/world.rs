//! A job and its provider, and what a run of the one against the other left behind.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;
use tidegate::job::{Job, JobFile, LimitSection, Plan};
use tidegate::{Ended, Handle, Report, Run};
use tidegate_core::{Contract, Limit, Rule};
use tidegate_quota::Clock;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::provider::{Config, Faults, Provider, Span};
use crate::service::Seen;

const ORIGIN: &str = "http://provider.test";
/// What the engine may lose of the rate that is provable: it does things in small batches.
const LOSS: f64 = 0.015;

/// A job and its provider.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) method: &'static str,
    /// What the job says of the limits, and all else.
    pub(crate) job: JobFile,
    /// The provider is declared to give back what a call did not use.
    pub(crate) refunds: bool,
    pub(crate) provider: Config,
    /// Of virtual time: a run that takes longer hangs.
    pub(crate) deadline: Duration,
    /// What may be lost of the provable rate.
    pub(crate) loss: f64,
}

/// A row of the input; its index is its id.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    pub(crate) shop: u32,
    pub(crate) cost: u64,
}

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    pub(crate) seen: Seen,
    pub(crate) results: u64,
    pub(crate) failures: u64,
    contract: Contract,
    loss: f64,
    /// For messages.
    seed: u64,
}

/// Where runs happen: a folder that outlives them, and virtual time that goes on.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) provider: Provider,
    /// As the machine's is: the same for all runs.
    pub(crate) clock: Clock,
}

#[derive(Deserialize)]
struct Line {
    index: u64,
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Body {
    id: String,
}

impl World {
    pub(crate) fn new(declared: &[&str], enforced: &[&str], rows: usize) -> Self {
        let read = |text: &str| text.parse().unwrap();
        let provider = Config {
            limits: enforced.iter().map(|limit| limit.parse().unwrap()).collect(),
            reject_counts: false,
            wall: None,
            handshake: read("lognormal 90ms 0.3"),
            network: read("lognormal 20ms 0.5"),
            service: read("lognormal 30ms 0.5"),
            rest: read("uniform 0..5ms"),
            timeout: Duration::from_secs(2),
            faults: Faults::default(),
            freeze: None,
            closed: None,
            down: None,
            foreigner: None,
        };
        let mut job = JobFile::default();
        job.request.url = Some(format!("{ORIGIN}/v1/{{shop}}/{{cost}}/{{id}}"));
        job.quota.limits = declared.iter().map(|&limit| limit.to_owned()).collect();
        Self {
            seed: 1,
            rows: vec![Row { shop: 0, cost: 1 }; rows],
            method: "GET",
            job,
            refunds: false,
            provider,
            deadline: Duration::from_secs(86_400),
            loss: LOSS,
        }
    }

    pub(crate) fn faults(mut self, faults: Faults) -> Self {
        self.provider.faults = faults;
        self
    }

    pub(crate) fn pace(mut self, pace: &str) -> Self {
        self.job.quota.pace = Some(pace.to_owned());
        self
    }

    /// The same, where more than usual is lost of what the formula says.
    pub(crate) fn losing(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    /// A limit of tokens besides: rows say what they reserve, answers what they have cost.
    pub(crate) fn tokens(mut self, rate: &str) -> Self {
        self.job.quota.limit.push(LimitSection {
            rate: Some(rate.to_owned()),
            cost: Some(tidegate::job::StatusOrWord::Word("{cost}".to_owned())),
            actual: Some("/usage/total_tokens".to_owned()),
            ..LimitSection::default()
        });
        self
    }

    /// Rows with different shops count against different quotas.
    pub(crate) fn partitioned(mut self) -> Self {
        self.job.quota.partition = Some("{shop}".to_owned());
        self
    }

    pub(crate) fn place(&self) -> Place {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let provider = runtime.block_on(async { Provider::new(self.provider.clone(), ORIGIN, self.seed) });
        let clock = runtime.block_on(async { Clock::simulated() });
        Place { folder: tempfile::tempdir().unwrap(), runtime, provider, clock }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Outcome {
        self.run_in(&self.place(), |_| {})
    }

    /// Runs it where an earlier run may have been; `with` gets the handle.
    pub(crate) fn run_in(&self, place: &Place, with: impl FnOnce(Handle)) -> Outcome {
        let (report, contract) = place.runtime.block_on(async {
            let (run, handle, contract) = self.prepare(place);
            with(handle);
            (timeout(self.deadline, run.drive()).await.expect("it hangs"), contract)
        });
        let (results, failures) = self.ended(place);
        let (seed, loss) = (self.seed, self.loss);
        Outcome { report, seen: place.provider.seen(), results, failures, contract, loss, seed }
    }

    /// A run of the job; within the runtime.
    pub(crate) fn prepare(&self, place: &Place) -> (Run, Handle, Contract) {
        fastrand::seed(self.seed); // the engine's back-off
        let plan = Plan::by_clock(self.job(&place.folder), |_| None, place.clock).unwrap();
        let contract = plan.contract.clone();
        let (run, handle) = Run::simulated(plan.prepare().unwrap(), place.provider.clone()).unwrap();
        (run, handle, contract)
    }

    /// How many rows have a result and how many a failure; none has two, and each result is the
    /// answer to its own row.
    pub(crate) fn ended(&self, place: &Place) -> (u64, u64) {
        let mut ended = vec![false; self.rows.len()];
        let results = note(&place.folder.path().join("out.jsonl"), &mut ended);
        let failed = note(&place.folder.path().join("out.failed.jsonl"), &mut ended);
        (results, failed + note(&place.folder.path().join("out.unknown.jsonl"), &mut ended))
    }

    /// Runs it: nothing is rejected, nothing lost or done twice.
    pub(crate) fn assert_kept(&self) -> Outcome {
        let outcome = self.run();
        let (summary, seen) = (&outcome.report.summary, &outcome.seen);
        let told = outcome.told();
        assert!(matches!(outcome.report.ended, Ended::Finished), "{told}");
        assert_eq!((seen.rejected, summary.throttled), (0, 0), "{told}");
        assert_eq!(summary.attempts, seen.arrived, "{told}");
        assert_eq!(outcome.results + outcome.failures, self.rows.len() as u64, "{told}");
        let without = summary.failed + summary.unknown;
        assert_eq!((outcome.results, outcome.failures), (summary.ok, without), "{told}");
        outcome
    }

    /// The same, and the limit is used.
    pub(crate) fn assert_kept_and_used(&self) -> Outcome {
        let outcome = self.assert_kept();
        let (steady, provable) = (outcome.report.summary.steady_rate_per_s.unwrap(), outcome.provable());
        assert!(steady >= provable * (1.0 - self.loss), "{steady}/s of {provable}/s; {}", outcome.told());
        outcome
    }

    fn job(&self, folder: &TempDir) -> Job {
        let input = folder.path().join("in.csv");
        let mut lines = String::from("id,shop,cost\n");
        for (id, Row { shop, cost }) in self.rows.iter().enumerate() {
            writeln!(lines, "{id},{shop},{cost}").unwrap();
        }
        fs::write(&input, lines).unwrap();
        let mut file = self.job.clone();
        file.input.path = Some(input);
        file.request.method = Some(self.method.to_owned());
        file.output.path = Some(folder.path().join("out.jsonl"));
        let mut job = Job::from_file(file).unwrap();
        if self.refunds {
            job.limits = job.limits.into_iter().map(Limit::refunding).collect();
        }
        job
    }
}

impl Outcome {
    /// What the formulas say of the answer times that there were: calls per second, or units where
    /// calls differ.
    pub(crate) fn provable(&self) -> f64 {
        let mean = |total: Duration| total.div_f64(self.seen.ended as f64);
        let rates = self.contract.limits().map(|(limit, meter)| {
            let to_end = limit.cost().is_none() || matches!(limit.rule(), Rule::Concurrency { .. });
            limit.provable_rate(meter, mean(if to_end { self.seen.to_end } else { self.seen.to_head }))
        });
        rates.min_by(f64::total_cmp).unwrap()
    }

    /// In that time the limits are used as far as the formula says.
    pub(crate) fn assert_used(&self, during: Span) {
        let (rate, provable) = (self.seen.rate(during), self.provable());
        assert!(
            rate >= provable * (1.0 - self.loss),
            "{rate}/s of {provable}/s in {during:?}; {}",
            self.told()
        );
    }

    pub(crate) fn told(&self) -> String {
        format!("seed {}: {:#?} {:#?} {:#?}", self.seed, self.report.ended, self.report.summary, self.seen)
    }
}

/// From one second to another.
pub(crate) fn seconds(from: u64, to: u64) -> Span {
    Span(Duration::from_secs(from), Duration::from_secs(to))
}

pub(crate) fn everything_fails_sometimes() -> Faults {
    Faults { silent: 0.002, reset: 0.005, unavailable: 0.01, stale: 0.005, refused: 0.05 }
}

/// Notes the rows of an output: each only once, and each result the answer to its own row.
fn note(path: &Path, ended: &mut [bool]) -> u64 {
    let Ok(file) = fs::File::open(path) else { return 0 };
    let mut rows = 0;
    for line in BufReader::new(file).lines() {
        let line: Line = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(!std::mem::replace(&mut ended[line.index as usize], true), "row {} twice", line.index);
        if let Some(body) = line.body {
            assert_eq!(body.id, line.index.to_string());
        }
        rows += 1;
    }
    rows
}
