//! No more than N in any window: fixed at any phase, or rolling.

use super::answers::Answers;
use super::rule::{Counted, Sight};

/// The units that may have been counted in a window `[x, x + per]` are those of all calls whose
/// `[sent, over]` meets it: each of them may have been counted in it, and all of them at once. So the
/// number is exact.
///
/// Moving the window back to the last send in it loses nothing and gains what was over just before. So
/// it is enough to look at windows that end with a send: of all units sent so far, those are left out
/// that were over before the window began.
///
/// Whoever gives units back no sooner than `per` after the answer keeps this: of two calls on one
/// unit the second is sent more than `per` after the first was over, and no window meets both.
#[derive(Debug)]
pub(super) struct AnyWindow {
    per: i64,
    sent: i128,
    over_before: i128,
    answers: Answers,
}

impl AnyWindow {
    pub(super) fn new(per: i64) -> Self {
        Self { per, sent: 0, over_before: 0, answers: Answers::new(per) }
    }

    #[cfg(test)]
    pub(super) fn remembering(self, exact: usize) -> Self {
        Self { answers: Answers::exact_up_to(exact, self.per), ..self }
    }

    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        let begin = call.sent.saturating_sub(self.per);
        self.sent += i128::from(call.units);
        while let Some(answer) = self.answers.come(call.sent - 1) {
            self.answers.remember(answer);
        }
        while let Some(answer) = self.answers.forget(begin) {
            self.over_before += i128::from(answer.units);
        }
        self.answers.expect(call);
        judged.then(|| Sight {
            value: self.sent - self.over_before,
            begin,
            end: call.sent,
            first: Some(self.answers.past().front().map_or(call.edge, |answer| answer.edge)),
            at_most: self.answers.rounded,
        })
    }
}
