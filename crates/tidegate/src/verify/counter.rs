//! A sliding counter: the last window's count fades while this one's grows.

use std::cmp::Ordering;

use super::answers::{Answer, Answers};
use super::rule::{Counted, Sight};

/// What a counter reads at `t`, if its present window began at `y` (any y in `[t − W, t]`) and `f = (t −
/// y)/W` of it has passed: each call that may have been counted since y, in full; any other that may have
/// been since y − W, at 1 − f. With `A(x)` for the units of all calls whose `[sent, over]` meets `[x, t]`:
///
/// ```text
/// reading(t, f) = f·A(t − fW) + (1 − f)·A(t − fW − W)
/// ```
///
/// That is exact, as all of them may have been. It is greatest with t at a send and y, or y − W, where a
/// call is over: as many places as two windows have calls. To look at all of them for each send would
/// take too long, so there is a bound first.
///
/// **Bound.** If for some X every interval `[a, t]`, a ≥ t − 2W, holds at most `X + (T − X)·(t − a)/W`, then
/// `reading(t, f) ≤ X + (T − X)·(f·f + (1 − f)(1 + f)) = T`. That is a bucket of X, which takes the same
/// little time for each call. Which X is looked for: what holds too much in less than W says that X is too
/// small, in more than W too great, so that the range is halved each time. T rises, by a sixteenth at
/// a time, to N and no further: where no X does for N, the reading is worked out exactly. So *above* is
/// always said of an exact reading, and what is reported of others is "at most".
#[derive(Debug)]
pub(super) struct Counter {
    amount: i128,
    per: i64,
    sent: i128,
    /// What is over, of all calls, and of those before the oldest that is remembered.
    over: i128,
    gone: i128,
    answers: Answers,
    /// T, X, and the range that X is looked for in.
    target: i128,
    room: i128,
    range: (i128, i128),
    /// The greatest of `(T − X)·a − W·(over before a)`.
    best: i128,
    /// Answers that may still be looked at one by one.
    patience: u64,
}

/// How the remembered answers look with one X.
struct Look {
    best: i128,
    too_small: bool,
    too_great: bool,
    never: bool,
}

/// Some seconds of work.
const PATIENCE: u64 = 1_000_000_000;

impl Counter {
    pub(super) fn new(amount: u64, per: i64) -> Self {
        let amount = i128::from(amount);
        let target = amount / 64 + 1;
        Self {
            amount,
            per,
            sent: 0,
            over: 0,
            gone: 0,
            answers: Answers::new(per.saturating_mul(2)),
            target: target.min(amount),
            room: target / 2,
            range: (0, target),
            best: i128::MIN,
            patience: PATIENCE,
        }
    }

    /// Values are in so many parts of a unit.
    fn parts(&self) -> i128 {
        i128::from(self.per)
    }

    #[cfg(test)]
    pub(super) fn impatient(self) -> Self {
        Self { patience: 0, ..self }
    }

    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        let now = call.sent;
        while let Some(answer) = self.answers.come(now - 1) {
            self.pass(answer);
        }
        while let Some(answer) = self.answers.forget(now.saturating_sub(self.per.saturating_mul(2))) {
            self.gone += i128::from(answer.units);
        }
        self.answers.expect(call);
        self.sent += i128::from(call.units);
        if !judged {
            return None;
        }
        if !self.holds(now)
            && let Some(sight) = self.look_closely(call)
        {
            return Some(sight);
        }
        let begin = now.saturating_sub(self.per.saturating_mul(2));
        let value = self.target.saturating_mul(self.parts());
        Some(Sight { value, begin, end: now, first: None, at_most: true })
    }

    fn pass(&mut self, answer: Answer) {
        self.best = self.best.max(self.worth(answer.over, self.over));
        self.over += i128::from(answer.units);
        self.answers.remember(answer);
    }

    /// `(T − X)·a − W·(over before a)`
    fn worth(&self, a: i64, over: i128) -> i128 {
        let gained = (self.target - self.room).saturating_mul(i128::from(a));
        gained.saturating_sub(self.parts().saturating_mul(over))
    }

    /// Whether no interval that ends now holds too much, for the present T and X.
    fn holds(&self, now: i64) -> bool {
        let room = self.parts().saturating_mul(self.room);
        let far = self.worth(now, self.sent).saturating_neg().saturating_add(self.best);
        far <= room && self.sent - self.over <= self.room
    }

    /// Finds T and X that hold; else what the counter reads now, if that is more than the amount.
    fn look_closely(&mut self, call: &Counted) -> Option<Sight> {
        let now = call.sent;
        // What the range was narrowed by may lie further back than any window reaches.
        let mut narrowed_now = false;
        loop {
            let look = self.look(now);
            self.best = look.best;
            if !(look.too_small || look.too_great || look.never) {
                return None;
            }
            if look.too_small {
                self.range.0 = self.room + 1;
            }
            if look.too_great {
                self.range.1 = self.room - 1;
            }
            if look.never || self.range.0 > self.range.1 {
                if narrowed_now || look.never {
                    if self.target >= self.amount {
                        break;
                    }
                    self.target = (self.target + self.target / 16 + 1).min(self.amount);
                }
                self.range = (0, self.target);
                narrowed_now = true;
            }
            self.room = i128::midpoint(self.range.0, self.range.1);
        }
        self.range = (0, self.target);
        let sight = if self.patience == 0 { self.bound(now) } else { self.reading(now) };
        (sight.value > self.amount.saturating_mul(self.parts()))
            .then(|| Sight { first: sight.first.or(Some(call.edge)), ..sight })
    }

    fn look(&mut self, now: i64) -> Look {
        self.patience = self.patience.saturating_sub(self.answers.past().len() as u64 + 1);
        let room = self.parts().saturating_mul(self.room);
        let all = self.worth(now, self.sent);
        let mut look = Look { best: i128::MIN, too_small: false, too_great: false, never: false };
        let mut over = self.gone;
        for answer in self.answers.past() {
            let worth = self.worth(answer.over, over);
            if worth.saturating_sub(all) > room {
                match (now - answer.over).cmp(&self.per) {
                    Ordering::Less => look.too_small = true,
                    Ordering::Equal => look.never = true,
                    Ordering::Greater => look.too_great = true,
                }
            }
            look.best = look.best.max(worth);
            over += i128::from(answer.units);
        }
        look.too_small |= self.sent - over > self.room;
        look.never |= look.too_small && look.too_great;
        look
    }

    /// The greatest reading now, at any phase.
    fn reading(&mut self, now: i64) -> Sight {
        let past = self.answers.past();
        self.patience = self.patience.saturating_sub(8 * past.len() as u64 + 1);
        let mut over_before = Vec::with_capacity(past.len() + 1);
        over_before.push(self.gone);
        for answer in past {
            over_before.push(over_before.last().copied().unwrap_or(0) + i128::from(answer.units));
        }
        let first_from = |time: i64| past.partition_point(|answer| answer.over < time);
        let read = |began: i64| {
            let (this, last) = (over_before[first_from(began)], over_before[first_from(began - self.per)]);
            let faded = i128::from(now - began).saturating_mul(this - last);
            (self.parts().saturating_mul(self.sent - last).saturating_sub(faded), began)
        };
        let phases = past.iter().flat_map(|answer| [answer.over, answer.over.saturating_add(self.per)]);
        let phases = phases.filter(|began| *began <= now && *began >= now - self.per);
        let (value, began) = phases.map(read).fold(read(now), Ord::max);
        let from = began - self.per;
        let first = past.get(first_from(from)).map(|answer| answer.edge);
        Sight { value, begin: from, end: now, first, at_most: self.answers.rounded }
    }

    /// No reading is more than what two windows hold.
    fn bound(&self, now: i64) -> Sight {
        let value = (self.sent - self.gone).saturating_mul(self.parts());
        Sight { value, begin: now - 2 * self.per, end: now, first: None, at_most: true }
    }
}
