//! A bucket: token bucket, leaky bucket, GCRA.

use super::answers::{Answer, Answers};
use super::rule::{Counted, Edge, Sight};

/// A bucket that holds C and gains N in each W is overdrawn if and only if some interval `[a, b]` holds
/// more than `C + N/W·(b − a)`. What may have been counted in `[a, b]` are the units of all calls whose
/// `[sent, over]` meets it, all of them at once.
///
/// So the value is the greatest, over all a ≤ b, of `sent until b − over before a − N/W·(b − a)`: what a
/// bucket must hold. It is reached with b at a send, and a where a call is over, or at b. The first of these
/// is kept as a maximum, so each call takes the same little time. It is exact.
#[derive(Debug)]
pub(super) struct Bucket {
    amount: i128,
    per: i128,
    sent: i128,
    over: i128,
    answers: Answers,
    /// The greatest of `amount·a − per·(over before a)`, and where.
    best: Option<(i128, i64, Edge)>,
    /// Not declared before.
    since: i64,
}

impl Bucket {
    pub(super) fn new(amount: u64, per: i64) -> Self {
        Self {
            amount: i128::from(amount),
            per: i128::from(per),
            sent: 0,
            over: 0,
            answers: Answers::new(0),
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
        while let Some(answer) = self.answers.come(b) {
            self.pass(answer);
        }
        self.answers.expect(call);
        self.sent += i128::from(call.units);
        if !judged {
            return None;
        }
        let sent = self.per.saturating_mul(self.sent);
        let near = (sent.saturating_sub(self.per.saturating_mul(self.over)), b, None);
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
        Some(Sight { value, begin, end: b, first, at_most: false })
    }

    /// Time has come to an answer.
    fn pass(&mut self, answer: Answer) {
        let gained = self.amount.saturating_mul(i128::from(answer.over));
        let value = gained.saturating_sub(self.per.saturating_mul(self.over));
        if answer.over >= self.since && self.best.is_none_or(|(best, ..)| value > best) {
            self.best = Some((value, answer.over, answer.edge));
        }
        self.over += i128::from(answer.units);
    }
}
