//! Calls that carry many rows: what answers bring to each, and what becomes of rows whose call has failed.

use bytes::Bytes;

use super::job::{Carried, Job};
use super::outcome::{Brought, Ending};
use super::{Engine, lock};
use crate::sink::{Failure, FailureKind};
use crate::split::Split;
use crate::verdict::Cause;

/// What an answer brings to one row.
struct Part {
    body: Option<Bytes>,
    failure: Option<Failure>,
}

impl Engine {
    /// A call is done.
    pub(super) fn done(&self, job: Job, brought: Brought) {
        if let Some(split) = &self.split {
            return self.share_out(split, job, brought);
        }
        self.release_held();
        for ending in endings(job.rows, brought) {
            lock(&self.stats).ok();
            let mut writer = lock(&self.writer);
            self.write(&mut writer, &ending, None);
            writer.added();
        }
    }

    /// Its rows are at their end, each with its part of the answer.
    fn share_out(&self, split: &Split, job: Job, brought: Brought) {
        let divided = match self.divide(split, &job.rows, &brought) {
            Ok(divided) => divided,
            Err(message) => {
                // It was done, and must not be bought again.
                return self.fail_all(job, brought, &Failure { kind: FailureKind::BadBody, message });
            }
        };
        let parts = endings(job.rows, brought).zip(divided).map(|(mut ending, part)| {
            ending.brought.body = part.body;
            (ending, part.failure)
        });
        let parts: Vec<_> = parts.collect();
        if parts.iter().all(|(_, failure)| failure.is_some()) {
            for (ending, failure) in parts {
                if let Some(failure) = failure {
                    self.fail(ending, failure);
                }
            }
            return;
        }
        self.release_held();
        let mut writer = lock(&self.writer);
        for (ending, failure) in &parts {
            let mut stats = lock(&self.stats);
            if failure.is_some() {
                stats.failed();
            } else {
                stats.ok();
            }
            drop(stats);
            self.write(&mut writer, ending, failure.as_ref());
        }
        // All of them at once: after a kill either each has its line, or the call has none.
        writer.added();
        drop(writer);
        let (ok, failed) = lock(&self.stats).finished();
        self.stop_if_too_many(failed, ok);
    }

    /// The part of each row.
    fn divide(&self, split: &Split, rows: &[Carried], brought: &Brought) -> Result<Vec<Part>, String> {
        let body = brought.body.clone().unwrap_or_default();
        let text = std::str::from_utf8(&body).map_err(|_| "the answer is not UTF-8".to_owned())?;
        let keys: Vec<Option<&str>> = rows.iter().map(|carried| carried.key.as_deref()).collect();
        let status = brought.status.unwrap_or_default();
        let judged = |part: Option<&str>| {
            let Some(part) = part else {
                let message = "the answer has nothing with the key of this row".to_owned();
                return Part { body: None, failure: Some(Failure { kind: FailureKind::BadBody, message }) };
            };
            let failure = (!self.is_success(status, part.as_bytes())).then(|| {
                let message = "its part of the answer is no success by the job's own rule".to_owned();
                Failure { kind: FailureKind::Status, message }
            });
            Part { body: Some(body.slice_ref(part.as_bytes())), failure }
        };
        Ok(split.parts(text, &keys)?.into_iter().map(judged).collect())
    }

    /// All rows of a call have failed with it.
    pub(super) fn fail_all(&self, job: Job, brought: Brought, failure: &Failure) {
        for ending in endings(job.rows, brought) {
            self.fail(ending, failure.clone());
        }
    }

    /// Whether a call has failed that may be sent again for fewer rows.
    pub(super) fn goes_in_halves(&self, job: &Job, failure: &Failure) -> bool {
        // By the key of all its rows the provider knows what it has done already, by others it does not.
        let bound_by_key = job.may_be_done && !self.retry.unknown.resends(&job.call.method, false);
        job.rows.len() > 1
            && !bound_by_key
            && match failure.kind {
                // It was refused, or is known not to have been done.
                FailureKind::Status => true,
                FailureKind::Timeout | FailureKind::Network | FailureKind::BodyTooLarge => {
                    self.retry.unknown.resends(&job.call.method, false)
                }
                _ => false,
            }
    }

    /// Sends each half of the rows by itself. The call's own end has been noted.
    pub(super) fn halve(&self, job: Job) {
        let mut first = job.rows;
        let second = first.split_off(first.len() / 2);
        let now = self.clock.now();
        let mut halves = vec![second, first];
        while let Some(rows) = halves.pop() {
            match self.begin(rows, &mut halves) {
                Ok(mut half) => {
                    // What has failed so often needs no patience before the bad row is alone.
                    half.attempts =
                        if half.rows.len() > 1 { self.retry.attempts.saturating_sub(1) } else { 0 };
                    lock(&self.stats).retried(Cause::Halved);
                    lock(&self.work).add(half, now);
                }
                Err((carried, fault)) => self.fail_unsent(carried, fault),
            }
        }
        self.wake_pump_by(now);
    }
}

/// The rows of a call at their end. With the first goes the call's own end, and the whole answer: once is enough.
fn endings(rows: Vec<Carried>, mut brought: Brought) -> impl Iterator<Item = Ending> {
    rows.into_iter().map(move |carried| {
        let (body, end) = (brought.body.take(), brought.end.take());
        Ending { carried, brought: Brought { body, end, ..brought.clone() } }
    })
}
