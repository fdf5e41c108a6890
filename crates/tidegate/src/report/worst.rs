//! The greatest number of calls that can have been counted in any window.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_core::Time;

/// So many answers are remembered exactly: rounded, a limit used to the full would seem broken.
const EXACT: usize = 1 << 16;
/// Those beyond, in steps of a window's 1024th.
const STEPS: u32 = 1_024;

/// Bounds the calls in any window of one length from what is known of each: `[sent, answered]`.
///
/// A call can have been counted in a window only if its interval meets the window. For the window
/// that ends when call `j` is sent, that leaves all calls sent so far, less those answered before
/// the window began. Shares nothing with the meters; an answer that is rounded is rounded to
/// later, so the bound errs on the side of more.
///
/// Where it is assumed that a call is counted within some time of its send, that stands for its answer.
#[derive(Debug)]
pub(super) struct WorstWindow {
    window: Duration,
    assumed: Option<Duration>,
    step: Duration,
    sent: u64,
    answered_before: u64,
    answers: VecDeque<(Time, u64)>,
    worst: u64,
}

impl WorstWindow {
    pub(super) fn new(window: Duration, assumed: Option<Duration>) -> Self {
        let step = window / STEPS;
        Self { window, assumed, step, sent: 0, answered_before: 0, answers: VecDeque::new(), worst: 0 }
    }

    pub(super) fn sent(&mut self, at: Time) {
        self.sent += 1;
        let begin = at - self.window;
        while let Some(&(answered, calls)) = self.answers.front()
            && answered < begin
        {
            self.answered_before += calls;
            self.answers.pop_front();
        }
        self.worst = self.worst.max(self.sent - self.answered_before);
        if let Some(within) = self.assumed {
            self.counted_by(at + within);
        }
    }

    pub(super) fn answered(&mut self, at: Time) {
        if self.assumed.is_none() {
            self.counted_by(at);
        }
    }

    fn counted_by(&mut self, at: Time) {
        let rounding = if self.answers.len() < EXACT { Duration::ZERO } else { self.step };
        match self.answers.back_mut() {
            // The step's end was set when it began: it is no earlier than any of its answers.
            Some((end, calls)) if at <= *end => *calls += 1,
            _ => self.answers.push_back((at + rounding, 1)),
        }
    }

    /// Never sent: it cannot have been counted anywhere.
    pub(super) fn not_sent(&mut self) {
        // With an assumption it is noted as counted already, and stays so: on the side of more.
        if self.assumed.is_none() {
            self.sent -= 1;
        }
    }

    pub(super) fn worst(&self) -> u64 {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_wherever_between_send_and_answer_it_may_have_been_counted() {
        let ms = Time::from_millis;
        let mut worst = WorstWindow::new(Duration::from_secs(1), None);
        worst.sent(ms(0));
        worst.answered(ms(500));
        worst.sent(ms(1_400)); // the first may have been counted at 500
        assert_eq!(worst.worst(), 2);
        worst.answered(ms(1_450));
        worst.sent(ms(2_600)); // more than a window after the last answer
        assert_eq!(worst.worst(), 2);
        worst.not_sent();
        worst.sent(ms(2_700));
        assert_eq!(worst.worst(), 2);
        worst.sent(ms(2_700));
        worst.sent(ms(2_700));
        assert_eq!(worst.worst(), 3);
    }

    #[test]
    fn a_unit_that_is_used_again_a_millisecond_after_the_window_does_not_count_twice() {
        let mut worst = WorstWindow::new(Duration::from_secs(6), None);
        let mut at = Time::ZERO;
        for _ in 0..10 {
            worst.sent(at);
            worst.answered(at + Duration::from_millis(80));
            at = at + Duration::from_millis(6_081);
        }
        assert_eq!(worst.worst(), 1);
    }

    #[test]
    fn with_an_assumption_answers_do_not_matter() {
        let ms = Time::from_millis;
        let mut worst = WorstWindow::new(Duration::from_secs(1), Some(Duration::from_millis(30)));
        worst.sent(ms(0));
        worst.sent(ms(1_030));
        assert_eq!(worst.worst(), 2);
        worst.sent(ms(2_061));
        worst.answered(ms(9_000));
        assert_eq!(worst.worst(), 2);
    }

    #[test]
    fn memory_does_not_grow_with_the_calls() {
        let mut worst = WorstWindow::new(Duration::from_secs(1), None);
        for i in 0..1_000_000u64 {
            worst.sent(Time::from_nanos(i * 10_000));
            worst.answered(Time::from_nanos(i * 10_000 + 1_000));
        }
        assert!(worst.answers.len() <= EXACT + STEPS as usize + 2);
        assert!((100_000..100_500).contains(&worst.worst()), "{}", worst.worst());
    }
}
