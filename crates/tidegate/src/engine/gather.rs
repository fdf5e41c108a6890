//! Which rows share a call.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use roaring::RoaringTreemap;
use tidegate_core::Time;

use crate::Row;
use crate::log::Dangling;

/// Where the input is slower than the calls, rows wait for others so long at most.
const LINGER: Duration = Duration::from_millis(200);

/// Puts rows together, as they come, until a call is full.
///
/// Rows of which nobody knows whether an earlier run's call was done go as they went then: the same rows
/// make the same call, under the same idempotency key.
#[derive(Debug)]
pub(super) struct Gatherer {
    per_call: usize,
    rows: Vec<Row>,
    since: Time,
    /// Rows of earlier calls, each with the first one of its call; how many are missing of each call yet, and
    /// those that came.
    calls: HashMap<u64, u64>,
    again: BTreeMap<u64, (usize, Vec<Row>)>,
    /// Rows that were sent alone.
    alone: RoaringTreemap,
}

impl Default for Gatherer {
    fn default() -> Self {
        Self::new(1, &Dangling::default())
    }
}

impl Gatherer {
    pub(super) fn new(per_call: usize, dangling: &Dangling) -> Self {
        let calls = dangling.calls().clone();
        let mut again: BTreeMap<u64, (usize, Vec<Row>)> = BTreeMap::new();
        for first in calls.values() {
            again.entry(*first).or_default().0 += 1;
        }
        // One by one, nothing has to be kept apart.
        let alone = if per_call > 1 { dangling.unknown.clone() } else { RoaringTreemap::new() };
        Self { per_call, rows: Vec::new(), since: Time::ZERO, calls, again, alone }
    }

    /// Takes a row in; the rows of a call if it is full with that.
    pub(super) fn add(&mut self, row: Row, now: Time) -> Option<Vec<Row>> {
        if let Some(first) = self.calls.remove(&row.index) {
            let (missing, rows) = self.again.get_mut(&first)?;
            *missing -= 1;
            rows.push(row);
            return if *missing == 0 { self.again.remove(&first).map(|(_, rows)| rows) } else { None };
        }
        if self.per_call == 1 || self.alone.contains(row.index) {
            return Some(vec![row]);
        }
        if self.rows.is_empty() {
            self.since = now;
            self.rows.reserve_exact(self.per_call);
        }
        self.rows.push(row);
        (self.rows.len() >= self.per_call).then(|| std::mem::take(&mut self.rows))
    }

    /// Rows that have waited for others for long enough.
    pub(super) fn ripe(&mut self, now: Time) -> Option<Vec<Row>> {
        self.due().is_some_and(|due| due <= now).then(|| std::mem::take(&mut self.rows))
    }

    /// When rows will have waited for long enough.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.rows.is_empty()).then(|| self.since + LINGER)
    }

    /// No more rows will come: those of one call that is not full.
    pub(super) fn rest(&mut self) -> Option<Vec<Row>> {
        if !self.rows.is_empty() {
            return Some(std::mem::take(&mut self.rows));
        }
        let first = *self.again.iter().find(|(_, (_, rows))| !rows.is_empty())?.0;
        self.again.remove(&first).map(|(_, rows)| rows)
    }

    /// Whether rows wait here.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.again.values().all(|(_, rows)| rows.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Record;

    fn row(index: u64) -> Row {
        Row { index, line: index + 1, record: Ok(Record::Line(String::new())) }
    }

    fn indices(rows: Option<Vec<Row>>) -> Option<Vec<u64>> {
        rows.map(|rows| rows.iter().map(|row| row.index).collect())
    }

    #[test]
    fn a_call_goes_when_it_is_full_or_has_waited_or_nothing_more_comes() {
        let mut gatherer = Gatherer::new(3, &Dangling::default());
        let (start, later) = (Time::from_millis(1_000), Time::from_millis(1_150));
        assert_eq!(indices(gatherer.add(row(0), start)), None);
        assert_eq!(indices(gatherer.add(row(1), later)), None);
        assert_eq!(indices(gatherer.add(row(2), later)), Some(vec![0, 1, 2]));
        assert!(gatherer.is_empty() && gatherer.due().is_none());
        assert_eq!(indices(gatherer.add(row(3), start)), None);
        assert_eq!(indices(gatherer.add(row(4), later)), None);
        assert_eq!(indices(gatherer.ripe(later)), None);
        assert_eq!(gatherer.due(), Some(start + LINGER), "the first one waits no longer than that");
        assert_eq!(indices(gatherer.ripe(start + LINGER)), Some(vec![3, 4]));
        assert_eq!(indices(gatherer.add(row(5), later)), None);
        assert_eq!(indices(gatherer.rest()), Some(vec![5]));
        assert_eq!(indices(gatherer.rest()), None);
    }

    #[test]
    fn what_went_together_goes_together_again() {
        let now = Time::ZERO;
        let dangling = Dangling::of_calls(&[&[1, 2, 5], &[4], &[7, 8]]);
        let mut gatherer = Gatherer::new(2, &dangling);
        let called: Vec<_> = (0..8).map(|index| indices(gatherer.add(row(index), now))).collect();
        let calls: Vec<Vec<u64>> = called.into_iter().flatten().collect();
        assert_eq!(calls, [vec![0, 3], vec![4], vec![1, 2, 5]]);
        // Of the last one a row does not come any more.
        assert_eq!(indices(gatherer.rest()), Some(vec![6]));
        assert_eq!(indices(gatherer.rest()), Some(vec![7]));
        assert_eq!(indices(gatherer.rest()), None);
        let mut one_by_one = Gatherer::new(1, &dangling);
        assert_eq!(indices(one_by_one.add(row(0), now)), Some(vec![0]));
        assert_eq!(indices(one_by_one.add(row(1), now)), None);
    }
}
