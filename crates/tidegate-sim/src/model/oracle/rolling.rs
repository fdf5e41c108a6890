//! Exact logs.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Enforce, Free, replace};
use crate::model::judge::{Settlement, Standing};
use crate::model::spec::Rate;

#[derive(Debug, Clone)]
pub(super) struct Rolling {
    amount: u64,
    /// From this age on, in whole granules, a request no longer counts.
    span: u64,
    granule: u64,
    /// How far the fastest clock may be ahead of the slowest.
    skew: u64,
    /// What was counted, oldest first, one entry per time.
    log: VecDeque<Entry>,
    /// Sum of the log's costs.
    sum: u64,
    /// Entries that are older than so much of newer cost decide nothing.
    enough: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    cost: u64,
}

impl Rolling {
    pub(super) fn new(rate: Rate, closed: bool, granule: Option<Duration>, skew: u64) -> Self {
        let span = rate.period_ns() + u64::from(closed || granule.is_some());
        let granule = granule.map_or(1, |granule| granule.as_nanos() as u64);
        Self {
            amount: rate.amount(),
            span,
            granule,
            skew,
            log: VecDeque::new(),
            sum: 0,
            enough: rate.amount(),
        }
    }

    /// A refund makes room among the entries of a window. All accepted ones together hold no more than the
    /// amount, so twice as much stays enough whatever comes back.
    pub(super) fn refunding(self, refund: bool) -> Self {
        Self { enough: if refund { 2 * self.amount } else { self.amount }, ..self }
    }

    /// Sum of what counts at this time.
    fn used(&mut self, at: u64) -> u64 {
        // No clock will ever show less than this again.
        let slowest = self.stamp(at).saturating_sub(self.skew);
        while let Some(oldest) = self.log.front().filter(|entry| entry.at + self.span <= slowest) {
            self.sum -= oldest.cost;
            self.log.pop_front();
        }
        if self.skew == 0 {
            return self.sum;
        }
        // The slower clocks still count these.
        let stamp = self.stamp(at);
        let over = self.log.iter().take_while(|entry| entry.at + self.span <= stamp);
        self.sum - over.map(|entry| entry.cost).sum::<u64>()
    }

    fn stamp(&self, at: u64) -> u64 {
        if self.granule == 1 { at } else { at / self.granule * self.granule }
    }

    /// When an entry no longer counts.
    fn expiry(&self, entry: Entry) -> u64 {
        (entry.at + self.span).next_multiple_of(self.granule)
    }
}

impl Enforce for Rolling {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        let used = self.used(at);
        if used + cost <= self.amount {
            return Free::Now;
        }
        let mut left = self.sum;
        let room = self.log.iter().find(|entry| {
            left -= entry.cost;
            left + cost <= self.amount
        });
        room.map_or(Free::Never, |entry| Free::At(self.expiry(*entry)))
    }

    fn count(&mut self, at: u64, cost: u64) {
        // More than the amount blocks the window, however much more it is.
        let (at, cost) = (self.stamp(at), cost.min(self.amount + 1));
        self.sum += cost;
        match self.log.back_mut() {
            Some(newest) if newest.at == at => newest.cost += cost,
            Some(newest) if newest.at > at => match self.log.binary_search_by_key(&at, |entry| entry.at) {
                Ok(found) => self.log[found].cost += cost,
                Err(place) => self.log.insert(place, Entry { at, cost }),
            },
            _ => self.log.push_back(Entry { at, cost }),
        }
        while let Some(oldest) = self.log.front().filter(|oldest| self.sum - oldest.cost > self.enough) {
            self.sum -= oldest.cost;
            self.log.pop_front();
        }
    }

    fn settle(&mut self, _now: u64, settlement: Settlement) {
        let at = self.stamp(settlement.arrived);
        if let Ok(found) = self.log.binary_search_by_key(&at, |entry| entry.at) {
            let entry = &mut self.log[found];
            let settled = replace(entry.cost, settlement);
            self.sum = self.sum - entry.cost + settled;
            entry.cost = settled;
        }
    }

    fn standing(&mut self, at: u64) -> Standing {
        let remaining = self.amount.saturating_sub(self.used(at));
        let reset_at = self.log.back().map_or(at, |newest| self.expiry(*newest).max(at));
        Standing { limit: self.amount, remaining, reset_at }
    }
}
