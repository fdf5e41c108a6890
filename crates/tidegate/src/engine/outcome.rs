//! What becomes of a row after an attempt: a result, a failure, or back in line.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{Costs, Time};
use tidegate_quota::Gate;

use super::credentials::Credentials;
use super::job::{Carried, Job};
use super::work::LaneId;
use super::writer::Writer;
use super::{Ended, Engine, lock};
use crate::Row;
use crate::job::ChargeError;
use crate::llm::{Price, Tokens};
use crate::log::End;
use crate::sink::{Failure, FailureKind, Finished};
use crate::template::{Call, Secrets};
use crate::verdict::{Cause, Verdict};

/// A job whose first answers all fail is stopped at so many: better than to bury the rows.
const FIRST_FAILURES: usize = 20;
/// A call that could not be written this often in a row waits like any other failure.
const UNSENT_AT_ONCE: u32 = 3;

/// What the last attempt of a row brought, as far as outputs want to know.
#[derive(Debug, Default, Clone)]
pub(super) struct Brought {
    pub(super) status: Option<u16>,
    pub(super) sent_at: Option<Time>,
    pub(super) latency: Option<Duration>,
    pub(super) body: Option<Bytes>,
    /// The provider's number of the call, where outputs have a place for it.
    pub(super) request_id: Option<Box<str>>,
    /// What the log has to say of the attempt.
    pub(super) end: Option<End>,
}

/// The failures of a job that has had no result yet. They are written with the first result, or
/// when the job ends by itself; if the job is stopped for them, their rows stay undone.
pub(super) enum Held {
    /// No result so far; how many rows have failed, and those of them that may be tried again.
    Back { failed: usize, rows: Vec<(Ending, Failure)> },
    /// The job is being stopped for them: those that still come in stay undone, too.
    Dropped,
    /// There was a result: failures are written as they come.
    Released,
}

/// What a job is made of, besides its rows.
struct Begun {
    call: Call,
    lane: (LaneId, Gate),
    partition: u32,
    costs: Costs,
    most: Tokens,
    price: Option<Price>,
}

/// A row at its end.
pub(super) struct Ending {
    pub(super) carried: Carried,
    pub(super) brought: Brought,
}

impl Held {
    pub(super) fn new(had_results: bool) -> Self {
        if had_results { Self::Released } else { Self::Back { failed: 0, rows: Vec::new() } }
    }
}

impl Engine {
    /// The call for rows that were just taken. Those that have none fail here, before they cost a permit.
    ///
    /// Rows that make no call together, or that count against different quotas, get calls of their own: one of
    /// them is returned, the others stand in line.
    pub(super) fn render(&self, rows: Vec<Row>) -> Option<Box<Job>> {
        let mut first = None;
        let carry = |row: Row| Carried { sends: self.dangling.sends(row.index), row, key: None };
        let mut together = vec![rows.into_iter().map(carry).collect()];
        while let Some(rows) = together.pop() {
            let begun = match self.begin(rows, &mut together) {
                Ok(job) => self.carry_on(job),
                Err((carried, fault)) => {
                    self.fail_unsent(carried, fault);
                    None
                }
            };
            match begun {
                Some(job) if first.is_none() => first = Some(job),
                Some(job) => lock(&self.work).put_aside(job),
                None => {}
            }
        }
        if first.is_none() {
            lock(&self.work).active -= 1;
        }
        first
    }

    /// A call for `rows`; a row that has none. Rows that do not go together are put back to `others`.
    pub(super) fn begin(
        &self,
        mut rows: Vec<Carried>,
        others: &mut Vec<Vec<Carried>>,
    ) -> Result<Box<Job>, (Carried, Failure)> {
        let alike = self.charges.alike(rows.iter().map(|carried| &carried.row));
        if alike < rows.len() {
            others.push(rows.split_off(alike));
        }
        loop {
            let failed = match self.try_to_begin(&mut rows) {
                Ok(Begun { call, lane, partition, costs, most, price }) => {
                    let job = Job { most, price, partition, ..Job::new(rows, call, lane, costs) };
                    return Ok(Box::new(job));
                }
                Err(failed) => failed,
            };
            if rows.len() == 1
                && let Some(carried) = rows.pop()
            {
                return Err((carried, failed));
            }
            others.push(rows.split_off(rows.len() / 2));
        }
    }

    pub(super) fn fail_unsent(&self, carried: Carried, Failure { kind, message }: Failure) {
        let Row { index, line, .. } = carried.row;
        let message = format!("row {index} (line {line}): {message}");
        self.fail(Ending { carried, brought: Brought::default() }, Failure { kind, message });
    }

    /// Rows that an earlier run has sent, and of which nobody knows whether they were done, are sent again
    /// only if they may be.
    fn carry_on(&self, mut job: Box<Job>) -> Option<Box<Job>> {
        let is_known = !job.rows.iter().any(|carried| self.dangling.unknown.contains(carried.row.index));
        if !is_known && let Some(purse) = &self.purse {
            purse.spend_at_most(job.price.map(|price| price.most(job.most)));
        }
        job.may_be_done = !is_known;
        if is_known || self.may_resend(&job) || self.ask(&mut job) {
            return Some(job);
        }
        let message = format!(
            "an earlier run was ended before an answer came; whether the {} took effect is unknown",
            job.call.method
        );
        let failure = Failure { kind: FailureKind::Unknown, message };
        let lane = job.lane;
        for carried in job.rows {
            // It says nothing of how this run goes: it does not count among its first failures.
            self.write_failure(&Ending { carried, brought: Brought::default() }, &failure);
        }
        lock(&self.work).leave(lane);
        self.wake.notify_one();
        None
    }

    /// What the job of some rows is made of. The lane of its quota comes last: rows that fail here have none.
    fn try_to_begin(&self, rows: &mut [Carried]) -> Result<Begun, Failure> {
        if let Some(fault) = rows.iter().find_map(|carried| carried.row.record.as_ref().err()) {
            return Err(Failure { kind: FailureKind::Input, message: fault.to_string() });
        }
        self.charge(rows).map_err(|error| Failure { kind: FailureKind::Template, message: error.to_string() })
    }

    fn charge(&self, rows: &mut [Carried]) -> Result<Begun, ChargeError> {
        if let Some(key) = &self.key {
            for carried in rows.iter_mut() {
                carried.key = Some(key.key(&carried.row)?.into_owned());
            }
        }
        let rows: Vec<&Row> = rows.iter().map(|carried| &carried.row).collect();
        let name = self.charges.partition(rows[0])?;
        let mut call = self.template.render_all(&rows)?;
        self.keys.stamp(rows.iter().map(|row| row.index), &mut call);
        let (costs, most) = self.charges.costs(&rows, &call)?;
        let price = self.price(&call)?;
        let partition = self.sends.as_ref().map_or(0, |sends| sends.partition(&name));
        let lane = lock(&self.work).lane(&name, || self.quotas.gate(&name));
        Ok(Begun { call, lane, partition, costs, most, price })
    }

    /// Carries out the verdict on an attempt.
    pub(super) fn conclude(&self, mut job: Box<Job>, verdict: Verdict, mut brought: Brought) {
        let lane = job.lane;
        self.tell_breaker(&mut job, &verdict, &brought);
        match verdict {
            Verdict::Retry { cause } => {
                job.may_be_done |= matches!(cause, Cause::Timeout | Cause::Network);
                job.is_exempt = matches!(cause, Cause::Throttled | Cause::NotSent | Cause::Unauthorized);
                self.over(&mut brought);
                let due = self.due(&mut job, cause);
                lock(&self.stats).retried(cause);
                lock(&self.work).wait(job, due);
                self.wake_pump_by(due);
                return;
            }
            Verdict::Done => self.done(*job, brought),
            Verdict::Failed(failure) if self.goes_in_halves(&job, &failure) => {
                self.over(&mut brought);
                self.halve(*job);
            }
            Verdict::Failed(failure) => self.fail_all(*job, brought, &failure),
            Verdict::Stop(why) => {
                self.over(&mut brought);
                self.stop(Ended::Stopped(why));
            }
        }
        let mut work = lock(&self.work);
        work.ended(lane);
        let over = work.active == 0 && !work.is_pending();
        drop(work);
        if over {
            self.wake.notify_one();
        }
    }

    /// When a row is due again.
    fn due(&self, job: &mut Job, cause: Cause) -> Time {
        let now = self.clock.now();
        let backoff = |tries| now + self.retry.backoff.wait(tries, &mut fastrand::Rng::new());
        match cause {
            // The whole quota is paused for it; then it goes first.
            Cause::Throttled | Cause::Unauthorized => now,
            Cause::NotSent => {
                job.unsent += 1;
                if job.unsent <= UNSENT_AT_ONCE { now } else { backoff(job.unsent) }
            }
            _ => backoff(job.attempts),
        }
    }

    /// An attempt is over, and its row is not at its end.
    pub(super) fn over(&self, brought: &mut Brought) {
        if let Some(end) = brought.end.take() {
            lock(&self.writer).end(&end);
        }
    }

    pub(super) fn fail(&self, mut ending: Ending, mut failure: Failure) {
        failure.message = self.template.secrets().redact(&failure.message).into_owned();
        for secrets in self.credentials.iter().flat_map(Credentials::secrets) {
            failure.message = secrets.redact(&failure.message).into_owned();
        }
        // The provider may have done these: left undone, they would be bought twice.
        let may_be_done =
            matches!(failure.kind, FailureKind::Unknown | FailureKind::BodyTooLarge | FailureKind::BadBody);
        let mut held = lock(&self.held);
        let failed = match &mut *held {
            Held::Back { failed, .. } => {
                *failed += 1;
                *failed
            }
            _ => 0,
        };
        if failed >= FIRST_FAILURES && !self.is_stopping() {
            let why = &failure.message;
            self.stop(Ended::Stopped(format!("the first {failed} rows all failed; the last: {why}")));
            *held = Held::Dropped;
        }
        match &mut *held {
            Held::Back { rows, .. } if !may_be_done => {
                self.over(&mut ending.brought);
                rows.push((ending, failure));
            }
            Held::Dropped if !may_be_done => self.over(&mut ending.brought),
            _ => {
                drop(held);
                self.write_failure(&ending, &failure);
                return;
            }
        }
        drop(held);
        if self.stop.stops(failed as u64, failed as u64) {
            self.release_held(); // and the job stops as they are written
        }
    }

    pub(super) fn write_failure(&self, ending: &Ending, failure: &Failure) {
        let (ok, failed) = {
            let mut stats = lock(&self.stats);
            if failure.kind == FailureKind::Unknown {
                stats.unknown();
            } else {
                stats.failed();
            }
            stats.finished()
        };
        let mut writer = lock(&self.writer);
        self.write(&mut writer, ending, Some(failure));
        writer.added();
        drop(writer);
        self.stop_if_too_many(failed, ok);
    }

    pub(super) fn stop_if_too_many(&self, failed: u64, ok: u64) {
        if self.stop.stops(failed, ok + failed) {
            self.stop(Ended::Stopped(format!("{failed} rows have failed, more than --max-failed allows")));
        }
    }

    /// From the first result on, failures are written as they come.
    pub(super) fn release_held(&self) {
        let mut held = lock(&self.held);
        let Held::Back { rows, .. } = &mut *held else { return };
        let rows = std::mem::take(rows);
        *held = Held::Released;
        drop(held);
        for (ending, failure) in &rows {
            self.write_failure(ending, failure);
        }
    }

    /// Adds a row's line.
    pub(super) fn write(&self, writer: &mut Writer, ending: &Ending, error: Option<&Failure>) {
        let Ending { carried, brought } = ending;
        let body = brought.body.as_ref().map(|body| self.redact(body));
        let finished = Finished {
            index: carried.row.index,
            key: carried.key.as_deref(),
            record: carried.row.record.as_ref(),
            status: brought.status,
            attempts: carried.sends,
            sent_at: brought.sent_at.map(|at| self.wall(at)),
            latency: brought.latency,
            request_id: brought.request_id.as_deref(),
            body: body.as_deref(),
            error,
        };
        writer.append(&finished, brought.end.as_ref());
    }

    /// A body without the secrets that it may echo.
    fn redact(&self, body: &Bytes) -> Bytes {
        let is_secret = |secrets: &Secrets, body: &Bytes| {
            if secrets.is_empty() {
                return None;
            }
            // Valid text, nearly always, is looked at where it lies.
            match secrets.redact(&String::from_utf8_lossy(body)) {
                Cow::Borrowed(_) => None,
                Cow::Owned(text) => Some(Bytes::from(text)),
            }
        };
        let mut body = is_secret(self.template.secrets(), body).unwrap_or_else(|| body.clone());
        for secrets in self.credentials.iter().flat_map(Credentials::secrets) {
            body = is_secret(&secrets, &body).unwrap_or(body);
        }
        body
    }
}
