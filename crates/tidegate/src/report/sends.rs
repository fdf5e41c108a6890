//! How many calls were sent when, in bounded memory.

use std::time::Duration;

use tidegate_core::Time;

/// When this many slots are full, neighbours are merged and slots become twice as long.
const SLOTS: usize = 4_096;

/// Sends over time, in slots that start at a millisecond and grow with the run.
#[derive(Debug)]
pub(super) struct Sends {
    slot: u64,
    counts: Vec<u64>,
    total: u64,
    origin: Option<Time>,
}

impl Sends {
    pub(super) fn new() -> Self {
        Self { slot: 1_000_000, counts: Vec::new(), total: 0, origin: None }
    }

    pub(super) fn record(&mut self, at: Time) {
        let since = at.since(*self.origin.get_or_insert(at)).as_nanos() as u64;
        while since / self.slot >= SLOTS as u64 {
            self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.slot *= 2;
        }
        let slot = (since / self.slot) as usize;
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += 1;
        self.total += 1;
    }

    /// Calls per second between the 10th and the 90th per cent of all sends; `None` for runs too
    /// short to tell.
    pub(super) fn steady_rate(&self) -> Option<f64> {
        let from = self.time_of(self.total / 10)?;
        let to = self.time_of(self.total * 9 / 10)?;
        let calls = self.total * 9 / 10 - self.total / 10;
        let seconds = to.saturating_sub(from).as_secs_f64();
        (calls >= 10 && seconds > 0.0).then(|| calls as f64 / seconds)
    }

    /// The rate over the last `span`.
    pub(super) fn recent_rate(&self, now: Time, span: Duration) -> f64 {
        let Some(origin) = self.origin else { return 0.0 };
        let end = (now.since(origin).as_nanos() as u64) / self.slot;
        let slots = (span.as_nanos() as u64 / self.slot).max(1).min(end.max(1));
        let sum: u64 = (end.saturating_sub(slots)..end).filter_map(|i| self.counts.get(i as usize)).sum();
        sum as f64 / (slots * self.slot) as f64 * 1e9
    }

    /// When the `n`th send happened, interpolated within its slot.
    fn time_of(&self, n: u64) -> Option<Duration> {
        let mut before = 0;
        for (i, &count) in self.counts.iter().enumerate() {
            if before + count > n {
                let part = self.slot * (n - before) / count;
                return Some(Duration::from_nanos(i as u64 * self.slot + part));
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_rate_survives_merging() {
        let mut sends = Sends::new();
        for i in 0..200_000u64 {
            sends.record(Time::from_nanos(5_000_000_000 + i * 1_000_000));
        }
        assert!(sends.counts.len() <= SLOTS);
        let rate = sends.steady_rate().unwrap();
        assert!((rate - 1_000.0).abs() < 1.0, "{rate}");
        let recent = sends.recent_rate(Time::from_nanos(205_000_000_000), Duration::from_secs(2));
        assert!((recent - 1_000.0).abs() < 60.0, "{recent}");
    }
}
