//! The fullest window that ever was.

use std::collections::VecDeque;
use std::time::Duration;

/// Times kept at most; beyond that the greatest count is only a lower bound. 128 MB.
const MAX_KEPT: usize = 8 << 20;

/// Greatest sum of costs in any rolling window (t − W, t] of one length, as events stream by; their greatest
/// number, where each costs 1.
///
/// Exact as long as no window holds events at more than about eight million different times.
#[derive(Debug, Clone)]
pub struct WorstWindow {
    length: u64,
    /// Time and cost.
    recent: VecDeque<(u64, u64)>,
    sum: u64,
    greatest: u64,
    exact: bool,
    capacity: usize,
}

impl WorstWindow {
    /// Watches windows of this length.
    pub fn new(length: Duration) -> Self {
        Self::with_capacity(length, MAX_KEPT)
    }

    /// An event of cost 1 at `now`, in nanoseconds; times never go backwards.
    pub fn record(&mut self, now: u64) {
        self.record_costing(now, 1);
    }

    /// An event of this cost at `now`, in nanoseconds; times never go backwards, and a window's sum stays
    /// below 2⁶⁴.
    pub fn record_costing(&mut self, now: u64, cost: u64) {
        while self.recent.front().is_some_and(|(time, _)| time.saturating_add(self.length) <= now) {
            self.forget_oldest();
        }
        self.sum = self.sum.saturating_add(cost);
        match self.recent.back_mut() {
            Some((time, sum)) if *time == now => *sum = sum.saturating_add(cost),
            _ => {
                if self.recent.len() == self.capacity {
                    self.forget_oldest();
                    self.exact = false;
                }
                self.recent.push_back((now, cost));
            }
        }
        self.greatest = self.greatest.max(self.sum);
    }

    /// Sum of the costs in the fullest window so far.
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

    fn forget_oldest(&mut self) {
        let oldest = self.recent.pop_front();
        self.sum = self.sum.saturating_sub(oldest.map_or(0, |(_, cost)| cost));
    }

    fn with_capacity(length: Duration, capacity: usize) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { length, recent: VecDeque::new(), sum: 0, greatest: 0, exact: true, capacity }
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
        fn agrees_with_adding_up_every_window(
            events in prop::collection::vec((0_u64..6, 0_u64..9), 0..80),
            length in 1_u64..20,
        ) {
            let mut worst = WorstWindow::new(Duration::from_nanos(length));
            let mut past = Vec::new();
            let mut now = 0;
            for (gap, cost) in events {
                now += gap;
                past.push((now, cost));
                worst.record_costing(now, cost);
            }
            let in_window_ending = |end: u64| {
                let inside = past.iter().filter(|(time, _)| *time <= end && time + length > end);
                inside.map(|(_, cost)| cost).sum::<u64>()
            };
            let expected = (0..=now).map(in_window_ending).max().unwrap_or(0);
            prop_assert_eq!(worst.greatest(), expected);
        }
    }
}
