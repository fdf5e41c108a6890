//! Counters that start anew with each window.

use super::windows::Windows;
use super::{Enforce, Free, replace};
use crate::model::judge::{Settlement, Standing};
use crate::model::spec::Rate;

/// Windows that begin at fixed times.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    amount: u64,
    windows: Windows,
}

/// Windows that begin with the first request after the last one's end.
#[derive(Debug, Clone)]
pub(super) struct Aligned {
    rate: Rate,
    /// The last window, if it ever began: it may be over.
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: u64,
    ends: u64,
    count: u64,
}

impl Fixed {
    pub(super) fn new(amount: u64, windows: Windows) -> Self {
        Self { amount, windows }
    }
}

impl Enforce for Fixed {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        let window = self.windows.number(at);
        if self.windows.count(window).saturating_add(cost) <= self.amount {
            Free::Now
        } else if cost <= self.amount {
            Free::At(self.windows.end(window))
        } else {
            Free::Never
        }
    }

    fn count(&mut self, at: u64, cost: u64) {
        self.windows.add(self.windows.number(at), cost);
    }

    fn settle(&mut self, _now: u64, settlement: Settlement) {
        self.windows.settle(settlement);
    }

    fn standing(&mut self, at: u64) -> Standing {
        let window = self.windows.number(at);
        let remaining = self.amount.saturating_sub(self.windows.count(window));
        Standing { limit: self.amount, remaining, reset_at: self.windows.end(window) }
    }
}

impl Aligned {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, window: None }
    }

    fn current(&self, at: u64) -> Option<Window> {
        self.window.filter(|window| at < window.ends)
    }
}

impl Enforce for Aligned {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        if cost > self.rate.amount() {
            return Free::Never;
        }
        match self.current(at) {
            Some(window) if window.count.saturating_add(cost) > self.rate.amount() => Free::At(window.ends),
            _ => Free::Now,
        }
    }

    fn count(&mut self, at: u64, cost: u64) {
        let fresh = Window { began: at, ends: at + self.rate.period_ns(), count: 0 };
        let window = self.current(at).unwrap_or(fresh);
        self.window = Some(Window { count: window.count.saturating_add(cost), ..window });
    }

    fn settle(&mut self, _now: u64, settlement: Settlement) {
        if let Some(window) = self.window.as_mut().filter(|window| settlement.arrived >= window.began) {
            window.count = replace(window.count, settlement);
        }
    }

    fn standing(&mut self, at: u64) -> Standing {
        let limit = self.rate.amount();
        let (count, reset_at) = self.current(at).map_or((0, at), |window| (window.count, window.ends));
        Standing { limit, remaining: limit.saturating_sub(count), reset_at }
    }
}
