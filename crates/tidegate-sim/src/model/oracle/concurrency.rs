//! Places that are taken while a request is in service.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use super::Free;

#[derive(Debug, Clone)]
pub(super) struct Concurrency {
    amount: u64,
    late: u64,
    /// Answered or not, as long as it takes a place.
    in_service: u64,
    /// When the places of the answered ones will be free.
    leaving: VecDeque<u64>,
}

impl Concurrency {
    pub(super) fn new(amount: NonZeroU64, late: Duration) -> Self {
        Self { amount: amount.get(), late: late.as_nanos() as u64, in_service: 0, leaving: VecDeque::new() }
    }

    pub(super) fn free(&mut self, now: u64) -> Free {
        while self.leaving.front().is_some_and(|time| *time <= now) {
            self.leaving.pop_front();
            self.in_service -= 1;
        }
        if self.in_service < self.amount {
            return Free::Now;
        }
        self.leaving.front().map_or(Free::AfterFinish, |time| Free::At(*time))
    }

    pub(super) fn count(&mut self) {
        self.in_service += 1;
    }

    pub(super) fn finish(&mut self, now: u64) {
        if (self.leaving.len() as u64) < self.in_service {
            self.leaving.push_back(now + self.late);
        }
    }

    /// What was answered has left; what is in service stays.
    pub(super) fn reset(&mut self) {
        self.in_service -= self.leaving.len() as u64;
        self.leaving.clear();
    }
}
