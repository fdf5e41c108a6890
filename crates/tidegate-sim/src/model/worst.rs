//! The fullest window that ever was.

use std::collections::VecDeque;
use std::time::Duration;

/// Times kept at most; beyond that the greatest count is only a lower bound. 64 MB.
const MAX_KEPT: usize = 8 << 20;

/// Greatest number of events in any rolling window (t − W, t] of one length, as they stream by.
///
/// Exact as long as no window holds more than about eight million events.
#[derive(Debug, Clone)]
pub struct WorstWindow {
    length: u64,
    recent: VecDeque<u64>,
    greatest: u64,
    exact: bool,
    capacity: usize,
}

impl WorstWindow {
    /// Watches windows of this length.
    pub fn new(length: Duration) -> Self {
        Self::with_capacity(length, MAX_KEPT)
    }

    /// An event at `now`, in nanoseconds; times never go backwards.
    pub fn record(&mut self, now: u64) {
        while self.recent.front().is_some_and(|time| time.saturating_add(self.length) <= now) {
            self.recent.pop_front();
        }
        if self.recent.len() == self.capacity {
            self.recent.pop_front();
            self.exact = false;
        }
        self.recent.push_back(now);
        self.greatest = self.greatest.max(self.recent.len() as u64);
    }

    /// Events in the fullest window so far.
    pub fn greatest(&self) -> u64 {
        self.greatest
    }

    /// Whether [`greatest`](Self::greatest) is exact, and not just a lower bound.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Length of the windows.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.length)
    }

    /// Forgets everything but the length.
    pub fn reset(&mut self) {
        *self = Self::with_capacity(self.length(), self.capacity);
    }

    fn with_capacity(length: Duration, capacity: usize) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { length, recent: VecDeque::new(), greatest: 0, exact: true, capacity }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_thousand_a_second_for_a_minute_is_exact() {
        let mut worst = WorstWindow::new(Duration::from_secs(60));
        let gap = 1_000_000_000 / 2_000;
        for event in 0..300_000 {
            worst.record(event * gap);
        }
        assert_eq!((worst.greatest(), worst.is_exact()), (120_000, true));
    }

    #[test]
    fn beyond_its_memory_it_says_so() {
        let mut worst = WorstWindow::with_capacity(Duration::from_secs(1), 10);
        (0..10).for_each(|time| worst.record(time));
        assert_eq!((worst.greatest(), worst.is_exact()), (10, true));
        worst.record(10);
        assert_eq!((worst.greatest(), worst.is_exact()), (10, false));
        worst.reset();
        assert_eq!((worst.greatest(), worst.is_exact()), (0, true));
    }

    proptest! {
        #[test]
        fn agrees_with_counting_every_window(gaps in prop::collection::vec(0_u64..6, 0..80), length in 1_u64..20) {
            let mut worst = WorstWindow::new(Duration::from_nanos(length));
            let mut times = Vec::new();
            let mut now = 0;
            for gap in gaps {
                now += gap;
                times.push(now);
                worst.record(now);
            }
            let in_window_ending = |end: u64| times.iter().filter(|time| **time <= end && **time + length > end).count();
            let expected = (0..=now).map(in_window_ending).max().unwrap_or(0);
            prop_assert_eq!(worst.greatest(), expected as u64);
        }
    }
}
