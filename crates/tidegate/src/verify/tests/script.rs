//! Logs as a run would have written them, from a list of calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::log::{
    Control, End, EndsEncoder, LimitRecord, MAGIC, Micros, Outcome, RunRecord, SendsEncoder, Window,
};
use crate::verify::{Checked, Findings, Verdict, VerifyError, verify};

pub(super) const MS: u64 = 1_000;
pub(super) const S: u64 = 1_000_000;
/// 2026-01-05, a Monday, 00:00 UTC.
pub(super) const MONDAY_MS: u64 = 1_767_571_200_000;

/// A call of a run; times in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) row: u64,
    pub(super) number: u32,
    pub(super) sent: u64,
    /// Head and last byte; `None`: its run was killed first.
    pub(super) over: Option<(u64, u64)>,
    pub(super) outcome: Outcome,
    pub(super) reserved: Option<Vec<u64>>,
    pub(super) settled: Option<Vec<u64>>,
    pub(super) partition: u32,
}

/// Of row `row`, answered `after` its send.
pub(super) fn call(row: u64, sent: u64, after: u64) -> Call {
    Call {
        row,
        number: 1,
        sent,
        over: Some((sent + after, sent + after)),
        outcome: Outcome::Answered(200),
        reserved: None,
        settled: None,
        partition: 0,
    }
}

impl Call {
    pub(super) fn number(self, number: u32) -> Self {
        Self { number, ..self }
    }

    pub(super) fn lost(self) -> Self {
        Self { over: None, ..self }
    }

    pub(super) fn not_sent(self) -> Self {
        Self { outcome: Outcome::NotSent, ..self }
    }

    pub(super) fn of(self, partition: u32) -> Self {
        Self { partition, ..self }
    }

    pub(super) fn reserves(self, cost: u64) -> Self {
        Self { reserved: Some(vec![cost]), ..self }
    }

    pub(super) fn settles(self, cost: u64) -> Self {
        Self { settled: Some(vec![cost]), ..self }
    }

    /// Its body takes so long.
    pub(super) fn body(self, takes: u64) -> Self {
        Self { over: self.over.map(|(head, _)| (head, head + takes)), ..self }
    }
}

/// A run that begins at `at`, with limits that each call costs one of.
pub(super) fn run(at: u64, limits: &[LimitRecord]) -> RunRecord {
    RunRecord {
        version: "0".to_owned(),
        boot: "boot".to_owned(),
        at: Micros(at),
        wall_ms: MONDAY_MS + at / MS,
        limits: limits.to_vec(),
        costs: vec![1; limits.len()],
        ..RunRecord::default()
    }
}

pub(super) fn limit(amount: u64, window: Window) -> LimitRecord {
    let ends_with_head = !matches!(window, Window::Concurrency { .. });
    let limit = format!("{amount} {window:?}");
    LimitRecord { limit, unit: "requests".to_owned(), amount, window, ends_with_head }
}

pub(super) fn any(amount: u64, per_us: u64) -> LimitRecord {
    limit(amount, Window::Any { per_us })
}

/// A log under way.
#[derive(Default)]
pub(super) struct Script {
    bytes: Vec<u8>,
    sends: SendsEncoder,
    ends: EndsEncoder,
    lag: u64,
    put_on_list: bool,
}

impl Script {
    /// Ends are written so much later than they were.
    pub(super) fn late(self, lag: u64) -> Self {
        Self { lag, ..self }
    }

    /// Sends are written in the order of the list.
    pub(super) fn put_on_list(self) -> Self {
        Self { put_on_list: true, ..self }
    }

    /// One run with its calls.
    pub(super) fn of(run: RunRecord, calls: &[Call]) -> Self {
        Self::default().run(run, &[], calls)
    }

    /// Adds a run with its partitions, numbered from 1, and its calls.
    pub(super) fn run(mut self, run: RunRecord, partitions: &[&str], calls: &[Call]) -> Self {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(MAGIC);
        }
        (self.sends, self.ends) = Default::default();
        self.sends.control(&Control::Run(Box::new(run)));
        for (number, name) in (1..).zip(partitions) {
            self.sends.control(&Control::Partition { number, name: (*name).to_owned() });
        }
        self.sends.take(&mut self.bytes);
        let mut order: Vec<usize> = (0..calls.len()).collect();
        if !self.put_on_list {
            order.sort_by_key(|i| calls[*i].sent);
        }
        let mut ends: BTreeMap<(u64, u64), &Call> = BTreeMap::new();
        let mut written: u64 = 0;
        for i in order {
            let call = &calls[i];
            written = written.max(call.sent);
            self.write_ends(&mut ends, written);
            let costs = call.reserved.as_deref();
            let id = self.sends.send([(call.row, call.number)], Micros(call.sent), costs, call.partition);
            self.sends.take(&mut self.bytes);
            if let Some((_, last)) = call.over {
                ends.insert((last + self.lag, id), call);
            }
        }
        self.write_ends(&mut ends, u64::MAX);
        self
    }

    fn write_ends(&mut self, ends: &mut BTreeMap<(u64, u64), &Call>, until: u64) {
        let later = ends.split_off(&(until, 0));
        for ((_, id), call) in std::mem::replace(ends, later) {
            let (head, last) = call.over.unwrap();
            let costs = call.settled.clone().map(Into::into);
            let end = End { id, answered: Micros(head), ended: Micros(last), outcome: call.outcome, costs };
            let mut records = Vec::new();
            self.ends.put(Some(&end), None, &mut records);
            EndsEncoder::block(&records, &mut self.bytes);
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn judged(&self) -> Findings {
        judged(&[self]).unwrap()
    }

    pub(super) fn error(&self) -> VerifyError {
        judged(&[self]).unwrap_err()
    }
}

/// What is found in logs of jobs that shared a quota.
pub(super) fn judged(logs: &[&Script]) -> Result<Findings, VerifyError> {
    let folder = TempDir::new().unwrap();
    let paths: Vec<PathBuf> =
        logs.iter().enumerate().map(|(i, log)| write(folder.path(), i, log.bytes())).collect();
    verify(&paths)
}

fn write(folder: &Path, i: usize, bytes: &[u8]) -> PathBuf {
    let path = folder.join(format!("log{i}"));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The honest twin passes, and uses the limit up; the other one is refused, for nothing but its excess.
#[track_caller]
pub(super) fn twins(honest: &Findings, doctored: &Findings) {
    let the = |findings: &Findings| -> Checked { findings.checks[0].clone() };
    assert!(honest.ok, "the honest twin: {honest:#?}");
    assert_eq!(the(honest).worst, the(honest).allows, "a twin that leaves room shows nothing: {honest:#?}");
    assert!(!doctored.ok, "the doctored twin: {doctored:#?}");
    assert_eq!(the(doctored).verdict, Verdict::Above);
    assert!(the(doctored).worst > the(doctored).allows);
}
