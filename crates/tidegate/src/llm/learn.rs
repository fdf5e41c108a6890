//! What answers take of their bound, as seen so far.

/// Answers before anything is made of them.
const ENOUGH: u64 = 100;
/// At so many the old ones fade: prompts differ along an input.
const MANY: u64 = 20_000;

/// Shares of bounds, in thousandths, and the 99th percentile of them. Integers only: the same answers in the
/// same order reserve the same.
#[derive(Debug)]
pub(crate) struct Learner {
    counts: Box<[u32; 1_001]>,
    seen: u64,
    /// Thousandths of the bound that 99% of the answers have kept to.
    share: u64,
}

impl Default for Learner {
    fn default() -> Self {
        Self { counts: Box::new([0; 1_001]), seen: 0, share: 1_000 }
    }
}

impl Learner {
    /// What to reserve for a call that takes `bound` at most; never more.
    pub(crate) fn reserve(&self, bound: u64) -> u64 {
        let part = u128::from(bound) * u128::from(self.share);
        u64::try_from(part.div_ceil(1_000)).unwrap_or(u64::MAX).min(bound)
    }

    /// A call that could take `bound` has taken `actual`.
    pub(crate) fn note(&mut self, actual: u64, bound: u64) {
        let share = (u128::from(actual) * 1_000).div_ceil(u128::from(bound.max(1))).min(1_000);
        self.counts[usize::try_from(share).unwrap_or(1_000)] += 1;
        self.seen += 1;
        if self.seen >= MANY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.seen = self.counts.iter().map(|count| u64::from(*count)).sum();
        }
        if self.seen >= ENOUGH {
            self.share = self.percentile();
        }
    }

    fn percentile(&self) -> u64 {
        let most = self.seen - self.seen / 100;
        let mut sum = 0;
        let at = self.counts.iter().position(|count| {
            sum += u64::from(*count);
            sum >= most
        });
        at.map_or(1_000, |at| at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_answers_are_enough_and_one_in_a_hundred_may_be_longer() {
        let mut learner = Learner::default();
        for _ in 0..99 {
            learner.note(250, 1_000);
        }
        assert_eq!(learner.reserve(4_096), 4_096, "not yet");
        learner.note(900, 1_000);
        assert_eq!(learner.reserve(4_096), 1_024);
        learner.note(900, 1_000);
        learner.note(900, 1_000);
        assert_eq!(learner.reserve(1_000), 900);
    }

    #[test]
    fn never_more_than_the_bound_and_old_answers_fade() {
        let mut learner = Learner::default();
        for _ in 0..30_000 {
            learner.note(5_000, 1_000);
        }
        assert_eq!(learner.reserve(10), 10);
        for _ in 0..200_000 {
            learner.note(100, 1_000);
        }
        assert_eq!(learner.reserve(1_000), 100);
        assert_eq!(learner.reserve(1), 1, "rounded up");
        assert_eq!(learner.reserve(0), 0);
    }
}
