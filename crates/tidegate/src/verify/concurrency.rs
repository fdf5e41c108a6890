//! No more than N at the same time.

use super::answers::Answers;
use super::rule::{Counted, Sight};
use super::timeline::NEVER;

/// A call may be running from its send to `linger` after its last byte. The most at a time are
/// reached at a send; the number is exact.
#[derive(Debug)]
pub(super) struct Concurrency {
    linger: i64,
    running: i128,
    answers: Answers,
}

impl Concurrency {
    pub(super) fn new(linger: i64) -> Self {
        Self { linger, running: 0, answers: Answers::new(0) }
    }

    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        while let Some(answer) = self.answers.come(call.sent - 1) {
            self.running -= i128::from(answer.units);
        }
        self.running += i128::from(call.units);
        let over = if call.over == NEVER { NEVER } else { call.over.saturating_add(self.linger) };
        self.answers.expect(&Counted { over, ..*call });
        judged.then_some(Sight {
            value: self.running,
            begin: call.sent,
            end: call.sent,
            first: None,
            at_most: false,
        })
    }
}
