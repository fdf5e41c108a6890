//! Counters that start anew with each day, week or month of somebody's calendar.

use std::num::NonZeroU64;

use jiff::{Timestamp, ToSpan};

use super::{Enforce, Free, replace};
use crate::model::judge::{Settlement, Standing};
use crate::model::spec::{CalendarPeriod, Zone};

#[derive(Debug, Clone)]
pub(super) struct Calendar {
    amount: u64,
    per: CalendarPeriod,
    zone: Zone,
    /// Unix time, in nanoseconds, at the provider's time 0.
    unix_ns: i64,
    /// The period that `count` belongs to; none yet while it ends at 0.
    began: u64,
    ends: u64,
    count: u64,
}

impl Calendar {
    pub(super) fn new(amount: NonZeroU64, per: CalendarPeriod, zone: Zone, unix_ns: i64) -> Self {
        Self { amount: amount.get(), per, zone, unix_ns, began: 0, ends: 0, count: 0 }
    }

    fn roll(&mut self, at: u64) {
        if at >= self.ends {
            // Beyond the calendar's last year one period lasts for ever.
            (self.began, self.ends) = self.period(at).unwrap_or((self.ends, u64::MAX));
            self.count = 0;
        }
    }

    /// Beginning and end of the period that holds this time.
    fn period(&self, at: u64) -> Result<(u64, u64), jiff::Error> {
        let zone = &self.zone.0;
        let now = Timestamp::from_nanosecond(i128::from(self.unix_ns) + i128::from(at))?;
        let date = now.to_zoned(zone.clone()).date();
        let (first, next) = match self.per {
            CalendarPeriod::Day => (date, date.checked_add(1.day())?),
            CalendarPeriod::Week => {
                let since_monday = i64::from(date.weekday().to_monday_zero_offset());
                let monday = date.checked_sub(since_monday.days())?;
                (monday, monday.checked_add(1.week())?)
            }
            CalendarPeriod::Month => {
                let first = date.first_of_month();
                (first, first.checked_add(1.month())?)
            }
        };
        // Midnight, or where a clock leaps over it the first moment after.
        let begins = |date: jiff::civil::Date| {
            let unix_ns = date.to_zoned(zone.clone())?.timestamp().as_nanosecond();
            let since = (unix_ns - i128::from(self.unix_ns)).max(0);
            Ok::<_, jiff::Error>(u64::try_from(since).unwrap_or(u64::MAX))
        };
        Ok((begins(first)?, begins(next)?))
    }
}

impl Enforce for Calendar {
    fn free(&mut self, at: u64, cost: u64) -> Free {
        self.roll(at);
        if self.count.saturating_add(cost) <= self.amount {
            Free::Now
        } else if cost <= self.amount {
            Free::At(self.ends)
        } else {
            Free::Never
        }
    }

    fn count(&mut self, at: u64, cost: u64) {
        self.roll(at);
        self.count = self.count.saturating_add(cost);
    }

    fn settle(&mut self, now: u64, settlement: Settlement) {
        self.roll(now);
        if settlement.arrived >= self.began {
            self.count = replace(self.count, settlement);
        }
    }

    fn standing(&mut self, at: u64) -> Standing {
        self.roll(at);
        let remaining = self.amount.saturating_sub(self.count);
        Standing { limit: self.amount, remaining, reset_at: self.ends }
    }
}
