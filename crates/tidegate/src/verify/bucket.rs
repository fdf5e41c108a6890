//! A bucket: token bucket, leaky bucket, GCRA.

use super::answers::{Answer, Answers};
use super::rule::{Counted, Edge, Sight};

/// A bucket that holds C and gains N in each W is overdrawn if and only if some interval `[a, b]` holds
/// more than `C + N/W·(b − a)`; one that gains in steps may hold back what it gained in the last one, so
/// `b − a − step` stands for `b − a`, if that is not negative. What may have been counted in `[a, b]` are
/// the units of all calls whose `[sent, over]` meets it, all of them at once.
///
/// So the value is the greatest, over all a ≤ b, of `sent until b − over before a − N/W·max(0, b − a −
/// step)`: what a bucket must hold. It is reached with b at a send, and a where a call is over (no later
/// than `step` before b), or `step` before b. The first of these is kept as a maximum, so each call takes
/// the same little time. Without steps it is exact; a bucket with steps whose phase happens to be kinder is
/// judged as the unkindest.
#[derive(Debug)]
pub(super) struct Bucket {
    amount: i128,
    per: i128,
    step: i64,
    sent: i128,
    over: i128,
    answers: Answers,
    /// The greatest of `amount·(a + step) − per·(over before a)`, and where.
    best: Option<(i128, i64, Edge)>,
    /// Not declared before.
    since: i64,
}

impl Bucket {
    pub(super) fn new(amount: u64, per: i64, step: i64) -> Self {
        Self {
            amount: i128::from(amount),
            per: i128::from(per),
            step,
            sent: 0,
            over: 0,
            answers: Answers::new(step),
            best: None,
            since: i64::MIN,
        }
    }

    pub(super) fn declared_at(&mut self, began: i64) {
        self.best = None;
        self.since = began;
    }

    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        let b = call.sent;
        let a = b.saturating_sub(self.step);
        if self.step == 0 {
            while let Some(answer) = self.answers.come(b) {
                self.pass(answer);
            }
        } else {
            while let Some(answer) = self.answers.come(b) {
                self.answers.remember(answer);
            }
            while let Some(answer) = self.answers.forget(a.saturating_add(1)) {
                self.pass(answer);
            }
        }
        self.answers.expect(call);
        self.sent += i128::from(call.units);
        if !judged {
            return None;
        }
        let sent = self.per.saturating_mul(self.sent);
        let near = (sent.saturating_sub(self.per.saturating_mul(self.over)), a, None);
        let far = self.best.map(|(best, a, edge)| {
            (
                sent.saturating_add(best).saturating_sub(self.amount.saturating_mul(i128::from(b))),
                a,
                Some(edge),
            )
        });
        let (value, begin, first) = match far {
            Some(far) if far.0 >= near.0 => far,
            _ => near,
        };
        Some(Sight { value, begin, end: b, first, at_most: self.answers.rounded })
    }

    /// Time has come to `step` after an answer.
    fn pass(&mut self, answer: Answer) {
        let gained = self.amount.saturating_mul(i128::from(answer.over) + i128::from(self.step));
        let value = gained.saturating_sub(self.per.saturating_mul(self.over));
        if answer.over >= self.since && self.best.is_none_or(|(best, ..)| value > best) {
            self.best = Some((value, answer.over, answer.edge));
        }
        self.over += i128::from(answer.units);
    }
}
