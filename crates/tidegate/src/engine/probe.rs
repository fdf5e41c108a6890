//! Asking the provider whether a call of unknown outcome was done: the policy `probe`.

use http::StatusCode;

use super::Engine;
use super::job::Job;
use super::outcome::Brought;
use crate::retry::UnknownPolicy;
use crate::sink::{Failure, FailureKind};
use crate::template::Template;
use crate::verdict::{Accept, Answer, Cause, Verdict};

/// How the provider is asked, and what its answers mean.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) template: Template,
    /// Answered like this, the row was done: the answer is its result.
    pub(crate) done: Accept,
    /// Answered like this, it was not, and is sent again.
    pub(crate) missing: Accept,
}

impl Engine {
    /// Whether a row of unknown outcome stays undone when the run ends: the next run knows what to do.
    pub(super) fn is_left_open(&self, job: &Job) -> bool {
        self.may_resend(job) || self.retry.unknown == UnknownPolicy::Probe
    }

    /// Turns the job into the question whether its call was done; false if there is none to ask.
    pub(super) fn ask(&self, job: &mut Job) -> bool {
        let Some(probe) = self.probe.as_ref().filter(|_| job.original.is_none()) else { return false };
        let Ok(question) = probe.template.render(&job.rows[0].row) else { return false };
        job.original = Some(Box::new(std::mem::replace(&mut job.call, question)));
        (job.attempts, job.unsent, job.hops) = (0, 0, 0);
        true
    }

    /// The verdict on an answer to the question. Whatever else it brings, the row is not sent again
    /// without a clear no.
    pub(super) fn judge_probe(&self, job: &mut Job, answer: &Answer<'_>, usual: Verdict) -> Verdict {
        let Some(probe) = &self.probe else { return usual };
        if let Answer::Status(status, ..) = answer {
            if probe.done.accepts(*status) {
                return Verdict::Done;
            }
            if probe.missing.accepts(*status) {
                if let Some(original) = job.original.take() {
                    job.call = *original;
                }
                (job.attempts, job.unsent, job.hops) = (0, 0, 0);
                return Verdict::Retry { cause: Cause::Missing };
            }
        }
        let unknown = |what: String| {
            let message =
                format!("whether the call took effect is unknown, and the probe did not tell: {what}");
            Verdict::Failed(Failure { kind: FailureKind::Unknown, message })
        };
        match usual {
            // Statuses that are results of calls say nothing here.
            Verdict::Done => unknown(match answer {
                Answer::Status(status, ..) => answered(*status),
                Answer::Trouble(_, message) => message.clone(),
            }),
            Verdict::Failed(Failure { message, .. }) => unknown(message),
            other => other,
        }
    }

    /// Carries a verdict out, unless the provider can be asked first.
    pub(super) fn conclude_or_ask(&self, mut job: Box<Job>, verdict: Verdict, brought: Brought) {
        let is_unknown = matches!(&verdict, Verdict::Failed(Failure { kind: FailureKind::Unknown, .. }));
        if is_unknown && self.ask(&mut job) {
            // In the log the question is another send of the row.
            return self.conclude(job, Verdict::Retry { cause: Cause::Unknown }, brought);
        }
        self.conclude(job, verdict, brought);
    }
}

fn answered(status: StatusCode) -> String {
    format!("answered {} {}", status.as_u16(), status.canonical_reason().unwrap_or("unknown status"))
}
