//! What becomes of a row after an attempt: a result, a failure, or back in line.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{Costs, Time};
use tidegate_quota::Gate;

use super::credentials::Credentials;
use super::work::{Job, LaneId};
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
#[derive(Debug, Default)]
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

/// What a job is made of, besides its row.
struct Begun {
    key: Option<String>,
    call: Call,
    lane: (LaneId, Gate),
    partition: u32,
    costs: Costs,
    most: Tokens,
    price: Option<Price>,
}

/// A row at its end.
pub(super) struct Ending {
    row: Row,
    key: Option<String>,
    sends: u32,
    brought: Brought,
}

impl Held {
    pub(super) fn new(had_results: bool) -> Self {
        if had_results { Self::Released } else { Self::Back { failed: 0, rows: Vec::new() } }
    }
}

impl Engine {
    /// The call for a fresh row. A row that has none fails here, before it costs a permit.
    pub(super) fn render(&self, row: Row) -> Option<Box<Job>> {
        let fault = if let Err(fault) = &row.record {
            Failure { kind: FailureKind::Input, message: fault.to_string() }
        } else {
            match self.begin(&row) {
                Ok(Begun { key, call, lane, partition, costs, most, price }) => {
                    let sends = self.dangling.sends(row.index);
                    let job = Job { most, price, sends, partition, ..Job::new(row, key, call, lane, costs) };
                    return self.carry_on(Box::new(job));
                }
                Err(error) => Failure { kind: FailureKind::Template, message: error.to_string() },
            }
        };
        let message = format!("row {} (line {}): {}", row.index, row.line, fault.message);
        let fault = Failure { message, ..fault };
        let ending = Ending { row, key: None, sends: 0, brought: Brought::default() };
        self.fail(ending, fault);
        lock(&self.work).active -= 1;
        None
    }

    /// A row that an earlier run has sent, and of which nobody knows whether it was done, is sent again
    /// only if it may be.
    fn carry_on(&self, mut job: Box<Job>) -> Option<Box<Job>> {
        let is_known = !self.dangling.unknown.contains(job.row.index);
        if !is_known && let Some(purse) = &self.purse {
            purse.spend_at_most(job.price.map(|price| price.most(job.most)));
        }
        if is_known || self.may_resend(&job) || self.ask(&mut job) {
            return Some(job);
        }
        let message = format!(
            "an earlier run was ended before an answer came; whether the {} took effect is unknown",
            job.call.method
        );
        let failure = Failure { kind: FailureKind::Unknown, message };
        let lane = job.lane;
        let Job { row, key, sends, .. } = *job;
        // It says nothing of how this run goes: it does not count among its first failures.
        self.write_failure(&Ending { row, key, sends, brought: Brought::default() }, &failure);
        lock(&self.work).ended(lane);
        self.wake.notify_one();
        None
    }

    /// What a row's job is made of. The lane of its quota comes last: a row that fails here has none.
    fn begin(&self, row: &Row) -> Result<Begun, ChargeError> {
        let mut call = self.template.render(row)?;
        self.keys.stamp(row.index, &mut call);
        let key = self.key.as_ref().map(|key| key.key(row).map(Cow::into_owned)).transpose()?;
        let (costs, most) = self.charges.costs(row, &call)?;
        let price = self.price(&call)?;
        let name = self.charges.partition(row)?;
        let partition = self.sends.as_ref().map_or(0, |sends| sends.partition(&name));
        let lane = lock(&self.work).lane(&name, || self.quotas.gate(&name));
        Ok(Begun { key, call, lane, partition, costs, most, price })
    }

    /// Carries out the verdict on an attempt.
    pub(super) fn conclude(&self, mut job: Box<Job>, verdict: Verdict, mut brought: Brought) {
        let lane = job.lane;
        self.tell_breaker(&mut job, &verdict, &brought);
        match verdict {
            Verdict::Retry { cause } => {
                job.is_exempt = matches!(cause, Cause::Throttled | Cause::NotSent | Cause::Unauthorized);
                self.over(&mut brought);
                let due = self.due(&mut job, cause);
                lock(&self.stats).retried(cause);
                lock(&self.work).wait(job, due);
                self.wake_pump_by(due);
                return;
            }
            Verdict::Done => {
                self.release_held();
                let ending = Ending { row: job.row, key: job.key, sends: job.sends, brought };
                lock(&self.stats).ok();
                self.write(&ending, None);
            }
            Verdict::Failed(failure) => {
                let ending = Ending { row: job.row, key: job.key, sends: job.sends, brought };
                self.fail(ending, failure);
            }
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

    fn fail(&self, mut ending: Ending, mut failure: Failure) {
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

    fn write_failure(&self, ending: &Ending, failure: &Failure) {
        let (ok, failed) = {
            let mut stats = lock(&self.stats);
            if failure.kind == FailureKind::Unknown {
                stats.unknown();
            } else {
                stats.failed();
            }
            stats.finished()
        };
        self.write(ending, Some(failure));
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

    fn write(&self, ending: &Ending, error: Option<&Failure>) {
        let body = ending.brought.body.as_ref().map(|body| self.redact(body));
        let finished = Finished {
            index: ending.row.index,
            key: ending.key.as_deref(),
            record: ending.row.record.as_ref(),
            status: ending.brought.status,
            attempts: ending.sends,
            sent_at: ending.brought.sent_at.map(|at| self.wall(at)),
            latency: ending.brought.latency,
            request_id: ending.brought.request_id.as_deref(),
            body: body.as_deref(),
            error,
        };
        lock(&self.writer).append(&finished, ending.brought.end.as_ref());
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
