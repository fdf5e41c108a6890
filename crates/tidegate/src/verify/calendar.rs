//! No more than N in each day, week or month of a time zone.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::rule::{Counted, Edge, Sight};
use super::timeline::NEVER;

/// A call that meets several periods counts in each of them: it may have been counted in any. Exact,
/// as far as the wall clock that the runs have noted is right.
#[derive(Debug, Clone)]
pub(super) struct CalendarPeriods {
    zone: TimeZone,
    unit: Unit,
    periods: BTreeMap<i64, Period>,
    /// The one that was looked at last.
    last: (i64, i64),
    /// Calls that are never over: from when on, and how many units.
    never_over: Vec<(i64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
}

#[derive(Debug, Clone)]
struct Period {
    end: i64,
    units: i128,
    first: Edge,
}

/// A call that meets more than these is as good as never over.
const MOST_PERIODS: u32 = 400;

impl CalendarPeriods {
    /// # Errors
    /// What is not known of it.
    pub(super) fn new(period: &str, zone: &str) -> Result<Self, String> {
        let unit = match period {
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            other => return Err(format!("this version does not know a calendar's {other}")),
        };
        let zone = TimeZone::get(zone).map_err(|_| format!("this version does not know the zone {zone}"))?;
        Ok(Self { zone, unit, periods: BTreeMap::new(), last: (0, 0), never_over: Vec::new() })
    }

    pub(super) fn call(&mut self, call: &Counted, judged: bool) -> Option<Sight> {
        let (sent, over) = call.wall;
        let (start, mut end) = self.period_of(sent);
        let mut fullest = self.count(start, end, call);
        let mut met = 1;
        while over >= end && met < MOST_PERIODS {
            // Those of a call that is never over are counted as far as there are any; later ones know of it.
            if over == NEVER && self.periods.range(end..).next().is_none() {
                break;
            }
            let following = self.period_of(end);
            fullest = fullest.max(self.count(following.0, following.1, call));
            end = following.1;
            met += 1;
        }
        if over == NEVER || met == MOST_PERIODS {
            self.never_over.push((end, call.units));
        }
        let (units, start) = fullest;
        let period = self.periods.get(&start).filter(|_| judged)?;
        let to_wall = sent - call.sent;
        Some(Sight {
            value: units,
            begin: start.saturating_sub(to_wall),
            end: period.end.saturating_sub(to_wall),
            first: Some(period.first),
            at_most: false,
        })
    }

    fn count(&mut self, start: i64, end: i64, call: &Counted) -> (i128, i64) {
        let before = self.never_over.iter().filter(|(from, _)| *from <= start);
        let before = || before.map(|(_, units)| i128::from(*units)).sum();
        let period =
            self.periods.entry(start).or_insert_with(|| Period { end, units: before(), first: call.edge });
        period.units += i128::from(call.units);
        (period.units, start)
    }

    /// Start and end of the period that the wall clock is in.
    fn period_of(&mut self, wall: i64) -> (i64, i64) {
        if !(self.last.0..self.last.1).contains(&wall) {
            self.last = self.look_up(wall).unwrap_or((i64::MIN, NEVER));
        }
        self.last
    }

    fn look_up(&self, wall: i64) -> Option<(i64, i64)> {
        let date = Timestamp::from_microsecond(wall).ok()?.to_zoned(self.zone.clone()).date();
        let (first, next) = match self.unit {
            Unit::Day => (date, date.tomorrow().ok()?),
            Unit::Week => {
                let since_monday = date.weekday().to_monday_zero_offset();
                let monday = date.checked_sub(i64::from(since_monday).days()).ok()?;
                (monday, monday.checked_add(7.days()).ok()?)
            }
            Unit::Month => (date.first_of_month(), date.last_of_month().tomorrow().ok()?),
        };
        Some((self.starts(first)?, self.starts(next)?))
    }

    fn starts(&self, date: Date) -> Option<i64> {
        Some(date.to_zoned(self.zone.clone()).ok()?.timestamp().as_microsecond())
    }
}
