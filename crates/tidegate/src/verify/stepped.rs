//! A bucket that is filled in steps.

use std::collections::VecDeque;

use super::answers::Answers;
use super::rule::{Counted, Edge, Sight};

/// A bucket that holds C and gains `G = N·step/W` at each step, at a phase that nobody knows, is overdrawn
/// if and only if some interval `[a, b]` holds more than C and what is gained in it: at the unkindest phase
/// `G·⌊(b − a − 1)/step⌋`, times being whole numbers, and closed at both ends.
///
/// So the value is the greatest, over all k, of `sent until b − over before b − (k + 1)·step − k·G`: of
/// all a with the same k the earliest has the most. To try each k for each call would take too long, so
/// there is a bound first, `⌊(b − a − 1)/step⌋·G ≥ (b − a − step)·N/W`: as with a bucket that is
/// filled all the time, that is a maximum which is kept. Only where that is more than C are the k tried, from
/// the latest on, until the bound of what is older says enough.
#[derive(Debug)]
pub(super) struct SteppedBucket {
    /// C, G, and what the bound gains a microsecond, in parts: W of them are a unit.
    capacity: i128,
    gain: i128,
    amount: i128,
    per: i128,
    step: i64,
    sent: i128,
    over: i128,
    answers: Answers,
    /// Of the calls that are over, in the order of time.
    past: VecDeque<Past>,
    /// Of what is not in it any more.
    gone: (i128, i128),
    /// Not declared before.
    since: i64,
    /// Times that may still be looked at one by one.
    patience: u64,
}

/// When a call was over.
#[derive(Debug)]
struct Past {
    at: i64,
    /// Units that were over before.
    over: i128,
    /// The greatest of `N·(a + step) − W·(over before a)`, up to here.
    best: i128,
    edge: Edge,
}

const MOST_PAST: usize = 1 << 20;
/// Some seconds of work.
const PATIENCE: u64 = 100_000_000;

impl SteppedBucket {
    pub(super) fn new(amount: u64, per: i64, capacity: u64, step: i64) -> Self {
        let (amount, per) = (i128::from(amount), i128::from(per));
        Self {
            capacity: per.saturating_mul(i128::from(capacity)),
            gain: amount.saturating_mul(i128::from(step)),
            amount,
            per,
            step,
            sent: 0,
            over: 0,
            answers: Answers::new(0),
            past: VecDeque::new(),
            gone: (0, i128::MIN),
            since: i64::MIN,
            patience: PATIENCE,
        }
    }

    #[cfg(test)]
    pub(super) fn impatient(self) -> Self {
        Self { patience: 0, ..self }
    }

    pub(super) fn declared_at(&mut self, began: i64) {
        self.since = began;
        self.past.iter_mut().for_each(|past| past.best = i128::MIN);
        self.gone.1 = i128::MIN;
    }

    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        while let Some(answer) = self.answers.come(call.sent) {
            let mut best = self.past.back().map_or(self.gone.1, |past| past.best);
            if answer.over >= self.since {
                let gained = self.amount.saturating_mul(i128::from(answer.over) + i128::from(self.step));
                best = best.max(gained.saturating_sub(self.per.saturating_mul(self.over)));
            }
            self.past.push_back(Past { at: answer.over, over: self.over, best, edge: answer.edge });
            self.over += i128::from(answer.units);
            if self.past.len() > MOST_PAST
                && let Some(oldest) = self.past.pop_front()
            {
                self.gone = (self.past.front().map_or(0, |next| next.over), oldest.best);
            }
        }
        self.answers.expect(call);
        self.sent += i128::from(call.units);
        judged.then(|| self.look(call.sent))
    }

    fn look(&mut self, b: i64) -> Sight {
        let mut greatest = Sight { value: i128::MIN, begin: b, end: b, first: None, at_most: false };
        let mut k = 0;
        loop {
            let earliest = b.saturating_sub(self.step.saturating_mul(k).saturating_add(self.step));
            let a = earliest.max(self.since);
            let place = self.past.partition_point(|past| past.at < a);
            let (over, first) = self.past.get(place).map_or((self.over, None), |p| (p.over, Some(p.edge)));
            let held = self.per.saturating_mul(self.sent.saturating_sub(over));
            let value = held.saturating_sub(self.gain.saturating_mul(i128::from(k)));
            if value > greatest.value {
                greatest = Sight { value, begin: a, first, ..greatest };
            }
            let older = place.checked_sub(1).map_or(self.gone.1, |older| self.past[older].best);
            let sent = self.per.saturating_mul(self.sent);
            let bound = match older {
                _ if earliest <= self.since => return greatest,
                i128::MIN => return greatest,
                older => sent.saturating_add(older).saturating_sub(self.amount.saturating_mul(i128::from(b))),
            };
            if bound <= greatest.value {
                return greatest;
            }
            self.patience = self.patience.saturating_sub(1);
            let forgotten = place == 0 && self.gone.1 > i128::MIN;
            if bound <= self.capacity || self.patience == 0 || forgotten {
                return Sight { value: bound, first: None, at_most: true, ..greatest };
            }
            k += 1;
        }
    }
}
