//! One limit each. Callers keep `now` from going backwards.

use std::collections::VecDeque;

use super::judge::Standing;
use super::spec::{LimitSpec, Rate};

/// When a limit has room for one more request.
pub(super) enum Free {
    Now,
    At(u64),
    /// Unknown: when a request in service ends.
    AfterFinish,
}

#[derive(Debug, Clone)]
pub(super) enum Oracle {
    Fixed(Fixed),
    Rolling(Rolling),
    Bucket(Bucket),
    Counter(Counter),
    Concurrency(Concurrency),
}

impl Oracle {
    pub(super) fn new(spec: &LimitSpec) -> Self {
        match *spec {
            LimitSpec::Fixed(rate, phase) => {
                // Windows repeat, so a phase is the same as its remainder.
                let phase = (phase.as_nanos() % u128::from(rate.period_ns())) as u64;
                Self::Fixed(Fixed { rate, phase, window: 0, count: 0 })
            }
            LimitSpec::Rolling(rate) => Self::Rolling(Rolling { rate, log: VecDeque::new() }),
            LimitSpec::Bucket(rate, capacity) => Self::Bucket(Bucket::new(rate, capacity.get())),
            LimitSpec::Counter(rate) => Self::Counter(Counter { rate, window: 0, previous: 0, current: 0 }),
            LimitSpec::Concurrency(amount) => {
                Self::Concurrency(Concurrency { amount: amount.get(), in_service: 0 })
            }
        }
    }

    pub(super) fn free(&mut self, now: u64) -> Free {
        match self {
            Self::Fixed(fixed) => fixed.free(now),
            Self::Rolling(rolling) => rolling.free(now),
            Self::Bucket(bucket) => bucket.free(now),
            Self::Counter(counter) => counter.free(now),
            Self::Concurrency(concurrency) if concurrency.in_service < concurrency.amount => Free::Now,
            Self::Concurrency(_) => Free::AfterFinish,
        }
    }

    /// Takes one request into account. For an accepted one, `free` has just answered `Now`.
    pub(super) fn count(&mut self, now: u64) {
        match self {
            Self::Fixed(fixed) => fixed.count(now),
            Self::Rolling(rolling) => rolling.count(now),
            Self::Bucket(bucket) => bucket.count(now),
            Self::Counter(counter) => counter.count(now),
            Self::Concurrency(concurrency) => concurrency.in_service += 1,
        }
    }

    pub(super) fn count_rejected(&mut self, now: u64) {
        match self {
            // It was never in service.
            Self::Concurrency(_) => {}
            _ => self.count(now),
        }
    }

    pub(super) fn finish(&mut self) {
        if let Self::Concurrency(concurrency) = self {
            concurrency.in_service = concurrency.in_service.saturating_sub(1);
        }
    }

    pub(super) fn reset(&mut self) {
        match self {
            Self::Fixed(fixed) => (fixed.window, fixed.count) = (0, 0),
            Self::Rolling(rolling) => rolling.log.clear(),
            Self::Bucket(bucket) => *bucket = Bucket::new(bucket.rate, bucket.capacity),
            Self::Counter(counter) => (counter.window, counter.previous, counter.current) = (0, 0, 0),
            Self::Concurrency(_) => {}
        }
    }

    pub(super) fn standing(&mut self, now: u64) -> Option<Standing> {
        match self {
            Self::Fixed(fixed) => Some(fixed.standing(now)),
            Self::Rolling(rolling) => Some(rolling.standing(now)),
            Self::Bucket(bucket) => Some(bucket.standing(now)),
            Self::Counter(counter) => Some(counter.standing(now)),
            Self::Concurrency(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Fixed {
    rate: Rate,
    phase: u64,
    /// Number of the window that `count` belongs to; window k ends at k·W + phase.
    window: u64,
    count: u64,
}

impl Fixed {
    fn free(&mut self, now: u64) -> Free {
        self.roll(now);
        if self.count < self.rate.amount() { Free::Now } else { Free::At(self.end()) }
    }

    fn count(&mut self, now: u64) {
        self.roll(now);
        self.count += 1;
    }

    fn standing(&mut self, now: u64) -> Standing {
        self.roll(now);
        let limit = self.rate.amount();
        Standing { limit, remaining: limit.saturating_sub(self.count), reset_at: self.end() }
    }

    fn roll(&mut self, now: u64) {
        let period = self.rate.period_ns();
        let window = (now + (period - self.phase)) / period;
        if window != self.window {
            (self.window, self.count) = (window, 0);
        }
    }

    fn end(&self) -> u64 {
        self.window * self.rate.period_ns() + self.phase
    }
}

#[derive(Debug, Clone)]
pub(super) struct Rolling {
    rate: Rate,
    /// Times of the last counted requests, oldest first; never more than the limit's amount, because
    /// only the N-th last one decides.
    log: VecDeque<u64>,
}

impl Rolling {
    fn free(&mut self, now: u64) -> Free {
        self.prune(now);
        match self.log.front() {
            Some(oldest) if self.log.len() as u64 >= self.rate.amount() => {
                Free::At(oldest + self.rate.period_ns())
            }
            _ => Free::Now,
        }
    }

    fn count(&mut self, now: u64) {
        if self.log.len() as u64 >= self.rate.amount() {
            self.log.pop_front();
        }
        self.log.push_back(now);
    }

    fn standing(&mut self, now: u64) -> Standing {
        self.prune(now);
        let limit = self.rate.amount();
        let reset_at = self.log.back().map_or(now, |newest| newest + self.rate.period_ns());
        Standing { limit, remaining: limit - self.log.len() as u64, reset_at }
    }

    /// The window is (now − W, now]: what is exactly W old no longer counts.
    fn prune(&mut self, now: u64) {
        let period = self.rate.period_ns();
        while self.log.front().is_some_and(|time| time + period <= now) {
            self.log.pop_front();
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: Rate,
    capacity: u64,
    /// Tokens times the period in nanoseconds, so that each nanosecond adds exactly `rate.amount()`.
    level: u128,
    updated: u64,
}

impl Bucket {
    fn new(rate: Rate, capacity: u64) -> Self {
        let mut bucket = Self { rate, capacity, level: 0, updated: 0 };
        bucket.level = bucket.full();
        bucket
    }

    fn free(&mut self, now: u64) -> Free {
        self.refill(now);
        if self.level >= self.token() { Free::Now } else { Free::At(self.reaches(self.token())) }
    }

    /// A rejected request that counts takes what there is; the bucket knows no debt.
    fn count(&mut self, now: u64) {
        self.refill(now);
        self.level = self.level.saturating_sub(self.token());
    }

    fn standing(&mut self, now: u64) -> Standing {
        self.refill(now);
        let remaining = (self.level / self.token()) as u64;
        Standing { limit: self.capacity, remaining, reset_at: self.reaches(self.full()) }
    }

    fn refill(&mut self, now: u64) {
        let added = u128::from(now - self.updated) * u128::from(self.rate.amount());
        self.level = self.full().min(self.level + added);
        self.updated = now;
    }

    fn reaches(&self, level: u128) -> u64 {
        let wait = level.saturating_sub(self.level).div_ceil(u128::from(self.rate.amount()));
        self.updated + wait as u64
    }

    fn token(&self) -> u128 {
        u128::from(self.rate.period_ns())
    }

    fn full(&self) -> u128 {
        u128::from(self.capacity) * self.token()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Counter {
    rate: Rate,
    /// Number of the current window; window k starts at k·W.
    window: u64,
    previous: u64,
    current: u64,
}

impl Counter {
    fn free(&mut self, now: u64) -> Free {
        self.roll(now);
        let elapsed = now - self.start();
        if self.room(elapsed) > 0 {
            return Free::Now;
        }
        // Nobody else comes: room only grows within a window, but a window's end turns its count
        // into `previous`, which then fades.
        let mut later = self.clone();
        loop {
            if let Some(elapsed) = later.first_room() {
                return Free::At(later.start() + elapsed);
            }
            later.roll(later.start() + later.rate.period_ns());
        }
    }

    fn count(&mut self, now: u64) {
        self.roll(now);
        self.current += 1;
    }

    fn standing(&mut self, now: u64) -> Standing {
        self.roll(now);
        let windows = if self.current > 0 { 2 } else { u64::from(self.previous > 0) };
        let reset_at = if windows == 0 { now } else { self.start() + windows * self.rate.period_ns() };
        Standing { limit: self.rate.amount(), remaining: self.room(now - self.start()), reset_at }
    }

    /// Greatest k with previous·(1 − f) + current + k ≤ N, where f = elapsed / W.
    fn room(&self, elapsed: u64) -> u64 {
        let period = u128::from(self.rate.period_ns());
        let weighted = u128::from(self.previous) * (period - u128::from(elapsed));
        let used = u128::from(self.current) + weighted.div_ceil(period);
        u128::from(self.rate.amount()).saturating_sub(used) as u64
    }

    /// Smallest elapsed time within this window at which one request has room.
    fn first_room(&self) -> Option<u64> {
        let period = self.rate.period_ns();
        let spare = self.rate.amount().checked_sub(self.current + 1)?;
        if self.previous == 0 {
            return Some(0);
        }
        let fading = u128::from(spare) * u128::from(period) / u128::from(self.previous);
        let elapsed = period - u64::try_from(fading).unwrap_or(u64::MAX).min(period);
        (elapsed < period).then_some(elapsed)
    }

    fn roll(&mut self, now: u64) {
        let window = now / self.rate.period_ns();
        if window != self.window {
            self.previous = if window == self.window + 1 { self.current } else { 0 };
            self.current = 0;
            self.window = window;
        }
    }

    fn start(&self) -> u64 {
        self.window * self.rate.period_ns()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Concurrency {
    amount: u64,
    in_service: u64,
}
